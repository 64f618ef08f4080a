//! Between a client and a server: passes everything on, until it is told to cut, to stall or to take
//! its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// Pieces that are on their way to the client.
const ON_THE_WAY: usize = 1024;

/// A proxy in front of a server at a port of this machine.
pub(super) struct Proxy {
    pub(super) port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    /// Bytes from the server that may still pass; then the connection is cut.
    allowed: AtomicUsize,
    stalled: AtomicBool,
    go_on: Notify,
    /// How long what the server says is on its way.
    delay_ms: AtomicU64,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(super) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            allowed: AtomicUsize::new(usize::MAX),
            stalled: AtomicBool::new(false),
            go_on: Notify::new(),
            delay_ms: AtomicU64::new(0),
        });
        let passing = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&passing);
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await {
                        pass(client, server, &shared).await;
                    }
                });
            }
        });
        Self { port, shared, task }
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Cuts all connections when so many more bytes have come from the server; new ones too, until
    /// [`mend`](Self::mend).
    pub(super) fn cut_after(&self, bytes: usize) {
        self.shared.allowed.store(bytes, Ordering::SeqCst);
    }

    /// Passes nothing on, in both directions, and keeps it.
    pub(super) fn stall(&self) {
        self.shared.stalled.store(true, Ordering::SeqCst);
    }

    pub(super) fn mend(&self) {
        self.shared.allowed.store(usize::MAX, Ordering::SeqCst);
        self.shared.stalled.store(false, Ordering::SeqCst);
        self.shared.go_on.notify_waiters();
    }

    /// A long way: each round trip takes at least so long.
    pub(super) fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.shared.delay_ms.store(millis, Ordering::SeqCst);
    }
}

impl Shared {
    async fn wait(&self) {
        loop {
            let go_on = self.go_on.notified();
            if !self.stalled.load(Ordering::SeqCst) {
                return;
            }
            go_on.await;
        }
    }
}

async fn pass(client: TcpStream, server: TcpStream, shared: &Shared) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = from_client.read(&mut buffer).await?;
            shared.wait().await;
            to_server.write_all(buffer.get(..read).unwrap()).await?;
            if read == 0 {
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    let (on_the_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let away = async {
        let mut buffer = vec![0; 4096];
        loop {
            // An empty piece is the end; what is on the way before it still arrives.
            let read = from_server.read(&mut buffer).await.unwrap_or(0);
            let delay = Duration::from_millis(shared.delay_ms.load(Ordering::SeqCst));
            let piece = buffer.get(..read).unwrap().to_vec();
            let sent = on_the_way.send((Instant::now() + delay, piece)).await;
            if read == 0 || sent.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    let down = async {
        while let Some((due, piece)) = arriving.recv().await {
            sleep_until(due).await;
            shared.wait().await;
            let left = shared.allowed.load(Ordering::SeqCst);
            let passed = piece.len().min(left);
            to_client.write_all(piece.get(..passed).unwrap()).await?;
            if piece.is_empty() || passed < piece.len() {
                break;
            }
            if left != usize::MAX {
                shared.allowed.fetch_sub(passed, Ordering::SeqCst);
            }
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::select! { _ = up => {}, _ = away => {}, _ = down => {} }
}
