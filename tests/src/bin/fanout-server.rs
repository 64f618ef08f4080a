//! A node for black-box benchmarks of clustered Socket.IO servers: it broadcasts on request, as
//! fast as it may, and reports what it did.
//!
//! ```text
//! fanout-server --port PORT [--config switchboard.toml] [--buffer PACKETS]
//! ```
//!
//! Namespace `/`. Events from a client: `join` puts it into the room `bench` and answers
//! `joined`; `ack SEQ` notes that all below SEQ has arrived; `go {n, ms, size, rate, window, conc,
//! binary, base}` broadcasts `m (SEQ, STAMP, payload)` to the room until `n` messages or `ms`
//! milliseconds are over (0: no limit), `rate` a second (0: no limit), at most `window` ahead of
//! `ack` (0: no limit), `conc` emits in flight, and answers `done {emitted, errors, first_error,
//! elapsed_us}`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::serve::ListenerExt;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
use socketioxide::{
    SocketIo,
    extract::{Data, SocketRef},
};
use switchboard::{Adapter, Board, Config};
use tokio::sync::Notify;

const ROOM: &str = "bench";
/// A window that does not move for so long ends the run.
const WINDOW_STALL: Duration = Duration::from_secs(3);

type Socket = SocketRef<Adapter<socketioxide::adapter::Emitter>>;

#[derive(Clone, Deserialize)]
struct Go {
    #[serde(default)]
    n: u64,
    #[serde(default)]
    ms: u64,
    #[serde(default)]
    size: usize,
    #[serde(default)]
    rate: f64,
    #[serde(default)]
    window: u64,
    #[serde(default)]
    conc: usize,
    #[serde(default)]
    binary: bool,
    #[serde(default)]
    base: u64,
}

#[derive(Default, Serialize)]
struct Done {
    emitted: u64,
    errors: u64,
    first_error: Option<String>,
    elapsed_us: u64,
}

/// What has arrived, as the client says.
#[derive(Default)]
struct Acked {
    /// All below this.
    seq: AtomicU64,
    changed: Notify,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("SWITCHBOARD_LOG"))
        .with_writer(std::io::stderr)
        .init();
    let mut port = 0u16;
    let mut buffer = 128usize;
    let mut config = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--port" => port = value.parse()?,
            "--buffer" => buffer = value.parse()?,
            "--config" => config = Some(value),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let config = match config {
        Some(path) => Config::from_file(path)?,
        None => Config::load()?,
    };
    let board = Board::open(config).await?;
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(buffer)
        .with_adapter::<Adapter<_>>(board.clone())
        .build_layer();
    board.attach(&io);
    io.ns("/", connected);

    let app = axum::Router::new().layer(layer);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!(
        "LISTENING {} {}",
        listener.local_addr()?.port(),
        std::process::id()
    );
    let listener = listener.tap_io(|stream| {
        // Only costs latency if it fails.
        let _ = stream.set_nodelay(true);
    });
    let stopped = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        () = stopped => {}
    }
    board.close().await;
    Ok(())
}

async fn connected(socket: Socket) {
    let acked = Arc::new(Acked::default());
    socket.on("join", async |socket: Socket| {
        socket.join(ROOM);
        let _ = socket.emit("joined", &());
    });
    let noted = Arc::clone(&acked);
    socket.on("ack", async move |Data(seq): Data<u64>| {
        noted.seq.fetch_max(seq, Ordering::Relaxed);
        noted.changed.notify_one();
    });
    socket.on("go", async move |socket: Socket, Data(go): Data<Go>| {
        acked.seq.store(0, Ordering::Relaxed);
        let done = run(&socket, &go, &acked).await;
        let _ = socket.emit("done", &done);
    });
}

async fn run(socket: &Socket, go: &Go, acked: &Acked) -> Done {
    let start = Instant::now();
    let text = "x".repeat(go.size);
    let bytes = Bytes::from(vec![0x78; go.size]);
    let conc = go.conc.max(1);
    let mut done = Done::default();
    let mut in_flight = FuturesUnordered::new();
    let mut next = 0u64;
    let over = |next: u64| {
        (go.n > 0 && next >= go.n) || (go.ms > 0 && start.elapsed() >= Duration::from_millis(go.ms))
    };
    while !over(next) {
        if go.window > 0 {
            let arrived = acked.seq.load(Ordering::Relaxed).max(go.base);
            if (go.base + next).saturating_sub(arrived) >= go.window {
                // Waiting must not cost the processor time that is being measured.
                let moved = tokio::time::timeout(WINDOW_STALL, acked.changed.notified());
                if drive(&mut in_flight, &mut done, moved).await.is_err() {
                    break;
                }
                continue;
            }
        }
        if go.rate > 0.0 {
            let due = start + Duration::from_secs_f64(next as f64 / go.rate);
            drive(
                &mut in_flight,
                &mut done,
                tokio::time::sleep_until(due.into()),
            )
            .await;
        }
        let seq = go.base + next;
        next += 1;
        let (text, bytes, binary, at) = (&text, &bytes, go.binary, stamp());
        let emit = async move {
            let to = socket.within(ROOM);
            match binary {
                true => to.emit("m", &(seq, at, bytes)).await,
                false => to.emit("m", &(seq, at, text)).await,
            }
        };
        in_flight.push(emit);
        while in_flight.len() >= conc
            && let Some(result) = in_flight.next().await
        {
            done.count(result);
        }
    }
    while let Some(result) = in_flight.next().await {
        done.count(result);
    }
    done.elapsed_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    done
}

/// Waits, and goes on with the emits in flight meanwhile.
async fn drive<E: std::fmt::Display, T>(
    in_flight: &mut FuturesUnordered<impl Future<Output = Result<(), E>>>,
    done: &mut Done,
    wait: impl Future<Output = T>,
) -> T {
    tokio::pin!(wait);
    loop {
        tokio::select! {
            Some(result) = in_flight.next(), if !in_flight.is_empty() => done.count(result),
            waited = &mut wait => return waited,
        }
    }
}

impl Done {
    fn count<E: std::fmt::Display>(&mut self, result: Result<(), E>) {
        self.emitted += 1;
        if let Err(error) = result {
            self.errors += 1;
            self.first_error.get_or_insert_with(|| error.to_string());
        }
    }
}

/// Microseconds since the epoch.
fn stamp() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
