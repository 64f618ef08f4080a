//! A Socket.IO server of a cluster that does what it is told: the subject of the integration tests.
//!
//! It is an ordinary socketioxide server with an ordinary Switchboard; what is special is the
//! console (`console.rs`): commands as JSON lines on standard input. By hand:
//!
//! ```text
//! $ test-server --config switchboard.toml
//! LISTENING http://127.0.0.1:40123
//! {"id":1,"op":"server_count","nsp":"/"}
//! {"id":1,"ok":3}
//! ```

mod args;
mod commands;
mod console;
mod flood;
mod handlers;

use std::{error::Error, future::IntoFuture, io, process::ExitCode, time::Duration};

use axum::serve::ListenerExt;
use socketioxide::{ParserConfig, SocketIo, adapter::Emitter};
use switchboard_tests::protocol::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tracing_subscriber::EnvFilter;

use crate::{args::Args, commands::Commands};

/// The adapter under test, of which everything here is made.
type Adapter = switchboard::Adapter<Emitter>;

/// A server that cannot stop in this time is a finding: it exits with an error.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// No destructor may hold up the exit: standard input is read by a thread that cannot be ended.
#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("SWITCHBOARD_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();

    let code = match run().await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("test-server: {error}");
            1
        }
    };
    std::process::exit(code)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let args = Args::read(std::env::args().skip(1))?;
    let config = match &args.config {
        Some(path) => switchboard::Config::from_file(path)?,
        None => switchboard::Config::load()?,
    };
    let board = switchboard::Board::open(config).await?;
    let builder = SocketIo::builder().max_buffer_size(args.buffer);
    let builder = match args.parser {
        Parser::Common => builder.with_parser(ParserConfig::common()),
        Parser::Msgpack => builder.with_parser(ParserConfig::msgpack()),
    };
    let (layer, io) = builder.with_adapter::<Adapter>(board.clone()).build_layer();
    handlers::register(&io)?;

    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    let address = listener.local_addr()?;
    // Small packets must not wait for the acknowledgement of earlier ones.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!("cannot set TCP_NODELAY: {error}");
        }
    });
    let app = axum::Router::new().layer(layer);
    let server = tokio::spawn(axum::serve(listener, app).into_future());

    tracing::info!("{} is node {}", args.name, board.node());
    println!("LISTENING http://{address}");
    let commands = Commands::new(io.clone(), board.clone());
    tokio::select! {
        () = console::run(commands), if args.exit_with_stdin => {}
        result = stop_signal() => result?,
    }

    let stopped = timeout(STOP_LIMIT, stop(&io, &board)).await;
    server.abort();
    stopped.map_err(|_| format!("did not stop within {} s", STOP_LIMIT.as_secs()))?;
    Ok(())
}

async fn stop(io: &SocketIo<Adapter>, board: &switchboard::Board) {
    io.close().await;
    board.close().await;
}

async fn stop_signal() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => result,
    }
}
