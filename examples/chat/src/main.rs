//! A chat whose servers form one cluster: run it several times, and visitors of any server talk
//! to visitors of all.
//!
//! This file starts and stops the server, and is all that a Socket.IO server needs to join a
//! cluster. What visitors can do is in `chat.rs`, `ping.rs` and `presence.rs`, which are written
//! as for a single server; `page.rs` serves the files of the page.

use std::{future::IntoFuture, net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::serve::ListenerExt;
use socketioxide::SocketIo;
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tracing::{debug, info, warn};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

mod args;
mod chat;
mod input;
mod page;
mod ping;
mod presence;
mod stop;
mod transport;

/// Packets that may wait for one slow client before further ones are dropped.
const MAX_WAITING_PACKETS: usize = 4096;
/// Bytes of one packet from a visitor: a picture, which long polling writes as base64, and what
/// surrounds it.
const MAX_PACKET_BYTES: usize = input::MAX_PICTURE_BYTES / 3 * 4 + 64 * 1024;
/// How long open connections may take to end when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = match args::read(std::env::args().skip(1))? {
        args::Command::Run(args) => args,
        args::Command::Help => {
            println!("{}", args::HELP);
            return Ok(());
        }
    };
    log_to_stderr();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .await
        .with_context(|| format!("cannot listen on port {}", args.port))?;
    let url = format!("http://{}", listener.local_addr()?);

    // The cluster: which transport, and all its limits, are in the configuration.
    let config = match &args.config {
        Some(path) => switchboard::Config::from_file(path)?,
        None => switchboard::Config::load()?,
    };
    // What it can be moved to while it runs: whatever the configuration has something to say about.
    let choices: Vec<_> = config.transports.keys().map(ToString::to_string).collect();
    let board = switchboard::Board::open(config).await?;
    let transports = Arc::new(transport::Transports::new(board.clone(), choices));

    let id = board.node().to_string();
    let name = args.name.unwrap_or_else(|| id.clone());
    let node = Arc::new(presence::Node::new(id, name, url.clone()));

    // The Socket.IO server: built by the board, it is a part of the cluster.
    let builder = SocketIo::builder()
        .max_buffer_size(MAX_WAITING_PACKETS)
        .max_payload(MAX_PACKET_BYTES as u64)
        .ws_max_message_size(MAX_PACKET_BYTES)
        .with_state(node.clone())
        .with_state(transports.clone());
    let (layer, io) = board.layer(builder);
    io.ns("/", chat::connect);

    // Without TCP_NODELAY small packets wait for the client's delayed acknowledgement.
    let listener = listener.tap_io(|tcp| {
        if let Err(error) = tcp.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY could not be set");
        }
    });

    let app = page::router(&args.web).layer(layer);
    let (stop_accepting, accepting) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = accepting.await;
    });
    let mut server = tokio::spawn(server.into_future());
    let announcer = tokio::spawn(presence::announce(io.clone(), node.clone()));
    let teller = tokio::spawn(transport::tell(io.clone(), transports));

    println!("LISTENING {url}");
    info!(node = %board.node(), name = node.name(), "the chat is open");

    let ended = tokio::select! {
        () = stop::requested(args.exit_with_stdin) => None,
        ended = &mut server => Some(ended),
    };

    info!("closing");
    announcer.abort();
    teller.abort();
    presence::say_goodbye(&io, &node).await;
    // First, so that clients that lose their connection do not come back to this node.
    let _ = stop_accepting.send(());
    if timeout(STOP_LIMIT, io.close()).await.is_err() {
        warn!("clients did not disconnect in time");
    }
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => timeout(STOP_LIMIT, &mut server).await,
    };
    board.close().await;
    match ended {
        Ok(ended) => ended
            .context("the server task failed")?
            .context("the server could not accept connections"),
        Err(_late) => {
            server.abort();
            warn!("some connections did not end in time and were cut");
            Ok(())
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::builder()
        .with_env_var("SWITCHBOARD_LOG")
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
