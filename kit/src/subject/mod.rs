//! A Socket.IO server of a cluster that does what it is told: the subject of the integration tests.
//!
//! It is an ordinary socketioxide server with an ordinary Switchboard; what is special is that it
//! takes commands ([`protocol`](crate::protocol)) as JSON lines on standard input. By hand:
//!
//! ```text
//! $ test-server --config switchboard.toml
//! LISTENING http://127.0.0.1:40123
//! {"id":1,"op":"server_count","nsp":"/"}
//! {"id":1,"ok":3}
//! ```

mod answers;
mod args;
mod commands;
mod flood;
mod handlers;
mod records;
mod whole_cluster;

use std::{error::Error, future::IntoFuture, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::{ConnectInfo, Request},
    middleware::map_request,
    serve::ListenerExt,
};
use socketioxide::{ParserConfig, SocketIo, adapter::Emitter};
use switchboard::PeerAddr;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tracing_subscriber::EnvFilter;

use self::{args::Args, commands::Commands, handlers::SocketData, records::Records};
use crate::{console, protocol::Parser};

/// The adapter under test, of which everything here is made.
type Adapter = switchboard::Adapter<Emitter>;

/// A server that cannot stop in this time is a finding: it exits with an error.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Runs a server with these arguments (without the program's name) until it is told to stop, and ends
/// the process: no destructor may hold up the exit, for standard input is read by a thread that cannot
/// be ended. `program` is what it calls itself when it fails.
pub async fn run(program: &str, args: impl IntoIterator<Item = String>) -> ! {
    log_to_stderr();
    let code = match serve(args).await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{program}: {error}");
            1
        }
    };
    std::process::exit(code)
}

/// The log of a program of the kit: on standard error, as much as `SWITCHBOARD_LOG` says.
pub(crate) fn log_to_stderr() {
    let filter =
        EnvFilter::try_from_env("SWITCHBOARD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second logger in one process would be a fault of the caller's, and no reason to end.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init();
}

async fn serve(args: impl IntoIterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let args = Args::read(args)?;
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
    board.socket_data_extension::<SocketData>();
    let (layer, io) = board.layer(builder);
    let records = Records::default();
    let _following = records.follow(&board);
    answers::register(&board, &args.name, &records);
    handlers::register(&io)?;

    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    let address = listener.local_addr()?;
    // Small packets must not wait for the acknowledgement of earlier ones.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!("cannot set TCP_NODELAY: {error}");
        }
    });
    let app = axum::Router::new()
        .layer(layer)
        .layer(map_request(note_peer))
        .into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(axum::serve(listener, app).into_future());

    tracing::info!("{} is node {}", args.name, board.node());
    println!("LISTENING http://{address}");
    let commands = Arc::new(Commands {
        io: io.clone(),
        board: board.clone(),
        records,
    });
    let run = move |command| {
        let commands = Arc::clone(&commands);
        async move { commands.run(command).await }
    };
    tokio::select! {
        () = console::run(run), if args.exit_with_stdin => {}
        result = stop_signal() => result?,
    }

    let stopped = timeout(STOP_LIMIT, stop(&io, &board)).await;
    server.abort();
    stopped.map_err(|_| format!("did not stop within {} s", STOP_LIMIT.as_secs()))?;
    Ok(())
}

/// Tells Switchboard where a request comes from, in the way that it knows.
async fn note_peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    request.extensions_mut().insert(PeerAddr(peer));
    request
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
