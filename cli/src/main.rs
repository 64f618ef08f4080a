//! The `switchboard` command.

mod argument;
mod ask;
mod check;
mod inspect;
mod kit;
mod new;
mod plugins;
mod say;
mod send;
mod status;
mod switch;
mod text;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Asks a running server how it stands, sends into a Socket.IO cluster without being a server, and
/// helps to write transport plugins.
///
/// A command that sends succeeds when the transport has accepted it; whether a server was there to
/// receive it is not known.
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
    /// Tells how a running server stands: transport, plugin, queues, rates, gaps, last errors.
    Status(ask::AskStatus),
    /// Lists the plugin folder of a running server.
    Plugins(ask::AskPlugins),
    /// Moves the whole cluster to another transport while it runs.
    Switch(ask::AskSwitch),
    /// Calls off a switch that the server was asked for and that is not decided yet.
    Abort(ask::AskAbort),
    /// Sends an event to clients (or, with --server-side, to servers).
    Emit(send::Emit),
    /// Makes sockets join rooms.
    Join(send::Rooms),
    /// Makes sockets leave rooms.
    Leave(send::Rooms),
    /// Disconnects sockets.
    Disconnect(send::Disconnect),
    /// Begins a transport plugin: writes a crate that builds, with a test.
    New(new::New),
    /// Tells what a plugin's file is, and whether a server would load it.
    Inspect(inspect::Inspect),
    /// Holds a plugin to everything that a transport promises, with real servers.
    Check(check::Check),
    #[command(hide = true)]
    Kit(kit::Kit),
}

/// A check could not be made; 1 says that a promise is broken.
const NOT_CHECKED: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Kit(kit) = cli.command {
        return run_kit(kit);
    }
    // On stderr, and quiet: what goes wrong is what matters in a script.
    let filter = std::env::var("SWITCHBOARD_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // These need no runtime, or have their own.
    let (done, trouble) = match cli.command {
        Command::New(new) => (new.run().map(|()| true), 1),
        Command::Inspect(inspect) => (inspect.run(), 1),
        Command::Check(check) => (check.run(cli.config, kit::NAME), NOT_CHECKED),
        command => (run(cli.config, command).map(|()| true), 1),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(trouble)
        }
    }
}

/// It keeps a log of its own, and ends the process.
#[tokio::main]
async fn run_kit(kit: kit::Kit) -> ExitCode {
    kit.run().await
}

#[tokio::main(flavor = "current_thread")]
async fn run(config: Option<PathBuf>, command: Command) -> anyhow::Result<()> {
    let config = || {
        Ok(match &config {
            Some(file) => switchboard::Config::from_file(file)?,
            None => switchboard::Config::load()?,
        })
    };
    match command {
        Command::Status(status) => status.run(config).await,
        Command::Plugins(plugins) => plugins.run(config).await,
        Command::Switch(switch) => switch.run(config).await,
        Command::Abort(abort) => abort.run(config).await,
        Command::Emit(emit) => emit.run(config()?).await,
        Command::Join(rooms) => rooms.join(config()?).await,
        Command::Leave(rooms) => rooms.leave(config()?).await,
        Command::Disconnect(disconnect) => disconnect.run(config()?).await,
        // Done before there is a runtime.
        Command::New(_) | Command::Inspect(_) | Command::Check(_) | Command::Kit(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Cli;

    #[test]
    fn the_command_line_is_understood() {
        Cli::command().debug_assert();
        for line in [
            "switchboard emit temperature -5",
            "switchboard emit --server-side reload",
            "switchboard emit -n /chat --to a --to b --except c --volatile hello {} text",
            "switchboard join --to a b c",
            "switchboard leave --all b",
            // The ids of sockets may begin with any of their characters.
            "switchboard disconnect -t -K1_ArXoRtEsxeb2 --except --mFWdwdMdV2AAAE",
            "switchboard disconnect --to a --close",
            "switchboard status --watch --json",
            "switchboard status --socket /run/chat/admin.sock",
            "switchboard plugins --config chat.toml",
            "switchboard switch redis-streams --force --json",
            "switchboard abort --socket admin.sock",
            "switchboard new nats --path ../nats --sdk ../switchboard/plugins/sdk",
            "switchboard inspect nats.wasm --json",
            "switchboard check nats.wasm --config nats.toml --only order --only rooms::a --json",
            "switchboard check --list",
            "switchboard kit server --name a --exit-with-stdin --config x.toml",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(
                parsed.is_ok(),
                "{line}: {}",
                parsed.err().map_or(String::new(), |e| e.to_string())
            );
        }
        for line in [
            "switchboard emit",
            "switchboard emit --server-side --to a reload",
            "switchboard join --to a",
            "switchboard disconnect --all --to a",
            "switchboard switch",
            "switchboard check",
            "switchboard inspect",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
