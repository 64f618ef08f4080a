//! The `switchboard` command.

mod argument;
mod send;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Sends into a Socket.IO cluster, without being a server.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// The servers' configuration; default: SWITCHBOARD_CONFIG, or switchboard.toml here.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends an event to clients (or, with --server-side, to servers).
    Emit(send::Emit),
    /// Makes sockets join rooms.
    Join(send::Rooms),
    /// Makes sockets leave rooms.
    Leave(send::Rooms),
    /// Disconnects sockets.
    Disconnect(send::Disconnect),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // On stderr, and quiet: what goes wrong is what matters in a script.
    let filter = std::env::var("SWITCHBOARD_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: Cli) -> anyhow::Result<()> {
    let config = match &cli.config {
        Some(file) => switchboard::Config::from_file(file)?,
        None => switchboard::Config::load()?,
    };
    match cli.command {
        Command::Emit(emit) => emit.run(config).await,
        Command::Join(rooms) => rooms.join(config).await,
        Command::Leave(rooms) => rooms.leave(config).await,
        Command::Disconnect(disconnect) => disconnect.run(config).await,
    }
}
