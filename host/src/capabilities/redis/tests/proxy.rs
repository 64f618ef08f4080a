//! Between a client and a server: passes everything on, until it is told to cut or to fall silent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// How often a connection asks whether it has to fall silent.
const LOOK: Duration = Duration::from_millis(5);

/// A proxy that passes on a number of bytes from the server, then cuts the connection.
pub(super) struct Proxy {
    pub(super) port: u16,
    /// Bytes from the server that may still pass.
    allowed: Arc<AtomicUsize>,
    /// Connections pass nothing more, and are not closed either.
    is_silent: Arc<AtomicBool>,
    /// Asks for a cut, and is told when it is done.
    cuts: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
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
        let allowed = Arc::new(AtomicUsize::new(usize::MAX));
        let passing = Arc::clone(&allowed);
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = Arc::clone(&is_silent);
        let (cuts, mut wanted) = mpsc::channel::<oneshot::Sender<()>>(1);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = tokio::select! {
                    Some(done) = wanted.recv() => {
                        connections.shutdown().await;
                        let _ = done.send(());
                        continue;
                    }
                    Ok(accepted) = listener.accept() => accepted,
                };
                // The server must not hear of it: what it would answer could come after the mending.
                if passing.load(Ordering::SeqCst) == 0 {
                    continue;
                }
                let (allowed, is_silent) = (Arc::clone(&passing), Arc::clone(&silent));
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await {
                        pass(client, server, &allowed, &is_silent).await;
                    }
                });
            }
        });
        Self {
            port,
            allowed,
            is_silent,
            cuts,
            task,
        }
    }

    /// Cuts all connections, and has done so when it returns; new ones too, until
    /// [`mend`](Self::mend).
    pub(super) async fn cut(&self) {
        self.cut_after(0);
        let (done, is_done) = oneshot::channel();
        self.cuts.send(done).await.unwrap();
        is_done.await.unwrap();
    }

    /// Cuts all connections when so many more bytes have come from the server; new ones too, until
    /// [`mend`](Self::mend).
    pub(super) fn cut_after(&self, bytes: usize) {
        self.allowed.store(bytes, Ordering::SeqCst);
    }

    /// All connections fall silent and stay so, those that are made meanwhile as well, as if the
    /// other side had vanished. Those that are made after [`mend`](Self::mend) work.
    pub(super) fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::SeqCst);
    }

    pub(super) fn mend(&self) {
        self.is_silent.store(false, Ordering::SeqCst);
        self.allowed.store(usize::MAX, Ordering::SeqCst);
    }
}

async fn pass(client: TcpStream, server: TcpStream, allowed: &AtomicUsize, is_silent: &AtomicBool) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server)
            .await
            .map(|_| ())
    };
    let down = async {
        let mut buffer = vec![0; 4096];
        loop {
            let read = from_server.read(&mut buffer).await?;
            let left = allowed.load(Ordering::SeqCst);
            let passed = read.min(left);
            to_client.write_all(buffer.get(..passed).unwrap()).await?;
            if read == 0 || passed < read {
                return Ok::<(), std::io::Error>(());
            }
            if left != usize::MAX {
                allowed.fetch_sub(passed, Ordering::SeqCst);
            }
        }
    };
    let silence = async {
        while !is_silent.load(Ordering::SeqCst) {
            sleep(LOOK).await;
        }
    };
    tokio::select! { _ = up => {}, _ = down => {}, () = silence => std::future::pending().await }
}
