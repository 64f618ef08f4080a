//! A network that fails on command: a TCP proxy between a server and its backend, inside the test's
//! process, that cuts connections, holds bytes back, or lets them through slowly.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{Error, port::Port};

/// Commands that wait for the proxy; callers wait for each.
const MAX_COMMANDS: usize = 16;
/// Bytes that the proxy takes at once. While it holds bytes back, it holds no more than this of each
/// direction of a connection; the rest waits in the kernel's buffers and then in the sender.
const CHUNK_BYTES: usize = 64 * 1024;
/// At a limited speed, how often bytes go on.
const SLOW_TICK: Duration = Duration::from_millis(50);

/// A proxy at an address of its own. It ends with this value, and with it its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    commands: mpsc::Sender<Command>,
    flow: watch::Sender<Flow>,
    counters: Arc<Counters>,
    /// Owns the task that accepts, which owns those of the connections.
    _task: JoinSet<()>,
}

/// What went through a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections open now, to the backend as well.
    pub open: u64,
    /// Bytes to the backend.
    pub bytes_to: u64,
    /// Bytes from the backend.
    pub bytes_from: u64,
}

/// How bytes go through.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    stalled: bool,
    bytes_per_second: Option<u64>,
}

#[derive(Debug)]
enum Command {
    Cut(oneshot::Sender<()>),
    CutOnce(oneshot::Sender<()>),
    Heal(oneshot::Sender<io::Result<()>>),
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    open: AtomicU64,
    bytes_to: AtomicU64,
    bytes_from: AtomicU64,
}

impl Proxy {
    /// Starts a proxy to `target`, which need not be there yet.
    ///
    /// # Errors
    /// When it finds no port to listen on.
    pub async fn start(target: SocketAddr) -> Result<Self, Error> {
        let port = Port::claim()?;
        let addr = port.addr();
        let listener = listen(addr)
            .await
            .map_err(Error::system(format!("cannot listen at {addr}")))?;
        let (commands, queue) = mpsc::channel(MAX_COMMANDS);
        let flow = watch::Sender::new(Flow::default());
        let counters = Arc::new(Counters::default());
        let acceptor = Acceptor {
            port,
            target,
            flow: flow.subscribe(),
            counters: Arc::clone(&counters),
            connections: JoinSet::new(),
        };
        let mut task = JoinSet::new();
        task.spawn(acceptor.run(listener, queue));
        Ok(Self {
            addr,
            commands,
            flow,
            counters,
            _task: task,
        })
    }

    /// Where it listens; the same after a cut.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes all connections and refuses new ones until [`Proxy::heal`]. Both are so when it
    /// returns.
    ///
    /// # Errors
    /// None, as long as the runtime that started the proxy runs; here and in the next ones.
    pub async fn cut(&self) -> Result<(), Error> {
        self.command(Command::Cut).await
    }

    /// Closes all connections; new ones are welcome at once.
    ///
    /// # Errors
    /// See [`Proxy::cut`].
    pub async fn cut_once(&self) -> Result<(), Error> {
        self.command(Command::CutOnce).await
    }

    /// Accepts connections again after [`Proxy::cut`].
    ///
    /// # Errors
    /// When a stranger has taken the port.
    pub async fn heal(&self) -> Result<(), Error> {
        self.command(Command::Heal)
            .await?
            .map_err(Error::system(format!("cannot listen at {}", self.addr)))
    }

    /// From now on lets no byte through, in either direction. Connections stay and new ones come
    /// about. What has been taken before may still arrive.
    pub fn stall(&self) {
        self.flow.send_modify(|flow| flow.stalled = true);
    }

    /// Lets bytes through again after [`Proxy::stall`]; none is lost.
    pub fn resume(&self) {
        self.flow.send_modify(|flow| flow.stalled = false);
    }

    /// From now on lets through so many bytes per second of each direction of each connection, at
    /// least one at a time; none: as many as come.
    pub fn slow(&self, bytes_per_second: impl Into<Option<u64>>) {
        let bytes_per_second = bytes_per_second.into();
        self.flow
            .send_modify(|flow| flow.bytes_per_second = bytes_per_second);
    }

    /// What went through so far.
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            accepted: read(&self.counters.accepted),
            open: read(&self.counters.open),
            bytes_to: read(&self.counters.bytes_to),
            bytes_from: read(&self.counters.bytes_from),
        }
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Error> {
        let ended = || Error::Test("the runtime of the proxy has ended".into());
        let (done, is_done) = oneshot::channel();
        self.commands
            .send(command(done))
            .await
            .map_err(|_| ended())?;
        is_done.await.map_err(|_| ended())
    }
}

async fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Nobody is connected from now on. To drop the listener is not enough: a process that is started at
/// this moment, in another thread, has a copy of it until it runs its program.
fn refuse(listener: TcpListener) {
    // Where a listener cannot be shut down, it is closed at least.
    let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
}

/// The proxy's task.
struct Acceptor {
    /// Ours also while nobody listens.
    port: Port,
    target: SocketAddr,
    flow: watch::Receiver<Flow>,
    counters: Arc<Counters>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener, mut commands: mpsc::Receiver<Command>) {
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                // Commands first: what comes after a cut must not slip in before it.
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.carry_out(command, &mut listener).await,
                    None => return,
                },
                client = accept(listener.as_ref()) => self.connect(client),
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    /// Those who asked may have been cancelled: nobody hears the answer then.
    async fn carry_out(&mut self, command: Command, listener: &mut Option<TcpListener>) {
        match command {
            Command::Cut(done) => {
                if let Some(listener) = listener.take() {
                    refuse(listener);
                }
                self.connections.shutdown().await;
                let _ = done.send(());
            }
            Command::CutOnce(done) => {
                self.connections.shutdown().await;
                let _ = done.send(());
            }
            Command::Heal(done) => {
                let healed = match listener {
                    Some(_) => Ok(()),
                    None => listen(self.port.addr())
                        .await
                        .map(|again| *listener = Some(again)),
                };
                let _ = done.send(healed);
            }
        }
    }

    fn connect(&mut self, client: TcpStream) {
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let (target, flow) = (self.target, self.flow.clone());
        let counters = Arc::clone(&self.counters);
        self.connections.spawn(async move {
            // A broken connection is what this is for: both ends see it by its end.
            let _ = connection(client, target, flow, &counters).await;
        });
    }
}

/// The next client; never one while nobody listens.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // The client has gone already, or this process has too many files open.
            Err(_) => sleep(SLOW_TICK).await,
        }
    }
}

async fn connection(
    client: TcpStream,
    target: SocketAddr,
    flow: watch::Receiver<Flow>,
    counters: &Counters,
) -> io::Result<()> {
    let backend = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    backend.set_nodelay(true)?;
    let _open = Open::count(&counters.open);
    let (client_in, client_out) = client.into_split();
    let (backend_in, backend_out) = backend.into_split();
    // The first error ends both directions; the end of one direction leaves the other.
    tokio::try_join!(
        pump(client_in, backend_out, flow.clone(), &counters.bytes_to),
        pump(backend_in, client_out, flow, &counters.bytes_from),
    )?;
    Ok(())
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flow: watch::Receiver<Flow>,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let speed = flowing(&mut flow).await?.bytes_per_second;
        let most = speed.map_or(CHUNK_BYTES, bytes_per_tick);
        let length = from.read(&mut buffer[..most]).await?;
        // Bytes that came during the stall, or the news that there are no more, wait too.
        flowing(&mut flow).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        count.fetch_add(length as u64, Ordering::Relaxed);
        if let Some(speed) = speed {
            sleep(Duration::from_secs_f64(length as f64 / speed.max(1) as f64)).await;
        }
    }
}

/// Waits until bytes may go.
async fn flowing(flow: &mut watch::Receiver<Flow>) -> io::Result<Flow> {
    flow.wait_for(|flow| !flow.stalled)
        .await
        .map(|flow| *flow)
        .map_err(|_| io::ErrorKind::ConnectionAborted.into())
}

fn bytes_per_tick(bytes_per_second: u64) -> usize {
    let ticks_per_second = Duration::from_secs(1).as_millis() / SLOW_TICK.as_millis();
    let bytes = u128::from(bytes_per_second) / ticks_per_second;
    usize::try_from(bytes).map_or(CHUNK_BYTES, |bytes| bytes.clamp(1, CHUNK_BYTES))
}

/// Counts a connection as long as it lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn count(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        process::Command,
        time::{Duration, Instant},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        task::JoinSet,
        time::timeout,
    };

    use super::{Proxy, Traffic};

    /// Too long for anything that should happen, too short for anything that should not.
    const SOON: Duration = Duration::from_secs(10);
    const NEVER: Duration = Duration::from_millis(300);

    /// A proxy to a server that sends back what it gets.
    async fn echo() -> (Proxy, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                clients.spawn(async move {
                    let (mut from, mut to) = client.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (Proxy::start(addr).await.unwrap(), tasks)
    }

    async fn says(client: &mut TcpStream, text: &str) -> std::io::Result<String> {
        client.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        client.read_exact(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn is_closed(client: &mut TcpStream) -> bool {
        let read = timeout(SOON, client.read(&mut [0; 1])).await.unwrap();
        !read.is_ok_and(|length| length > 0)
    }

    #[tokio::test]
    async fn bytes_go_through_and_are_counted_until_one_side_ends() {
        let (proxy, _server) = echo().await;
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(says(&mut client, "hello").await.unwrap(), "hello");
        let expected = Traffic {
            accepted: 1,
            open: 1,
            bytes_to: 5,
            bytes_from: 5,
        };
        assert_eq!(proxy.traffic(), expected);
        client.shutdown().await.unwrap();
        assert!(is_closed(&mut client).await);
    }

    #[tokio::test]
    async fn after_a_cut_nobody_comes_through_until_it_is_healed() {
        let (proxy, _server) = echo().await;
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        says(&mut client, "a").await.unwrap();
        proxy.cut().await.unwrap();
        assert!(is_closed(&mut client).await);
        assert_eq!(proxy.traffic().open, 0);
        let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        proxy.cut().await.unwrap();
        proxy.heal().await.unwrap();
        proxy.heal().await.unwrap();
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(says(&mut client, "b").await.unwrap(), "b");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cut_is_at_once_while_processes_are_started() {
        let (proxy, _server) = echo().await;
        let mut starting = JoinSet::new();
        for _ in 0..4 {
            starting.spawn_blocking(|| {
                for _ in 0..200 {
                    Command::new("true").status().unwrap();
                }
            });
        }
        while starting.try_join_next().is_none() {
            proxy.cut().await.unwrap();
            let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            proxy.heal().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_single_cut_closes_what_is_open_and_nothing_else() {
        let (proxy, _server) = echo().await;
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        says(&mut client, "a").await.unwrap();
        proxy.cut_once().await.unwrap();
        assert!(is_closed(&mut client).await);
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(says(&mut client, "b").await.unwrap(), "b");
        assert_eq!(proxy.traffic().accepted, 2);
    }

    #[tokio::test]
    async fn a_stall_holds_every_byte_and_loses_none() {
        let (proxy, _server) = echo().await;
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        says(&mut client, "a").await.unwrap();
        proxy.stall();
        let mut late = TcpStream::connect(proxy.addr()).await.unwrap();
        for client in [&mut client, &mut late] {
            let answer = timeout(NEVER, says(client, "b")).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        assert_eq!(proxy.traffic().bytes_to, 1);
        proxy.resume();
        for mut client in [client, late] {
            let mut answer = [0];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"b");
        }
    }

    #[tokio::test]
    async fn slow_bytes_take_their_time_and_fast_ones_again_do_not() {
        let (proxy, _server) = echo().await;
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        let text = "x".repeat(2_000);
        proxy.slow(4_000);
        let start = Instant::now();
        assert_eq!(says(&mut client, &text).await.unwrap(), text);
        // Half a second each way, which overlap; one chunk of ten more.
        assert!(start.elapsed() >= Duration::from_millis(450), "{start:?}");
        proxy.slow(None);
        let long = "y".repeat(200_000);
        let answer = timeout(SOON, async {
            let (mut from, mut to) = client.split();
            let mut answer = vec![0; long.len()];
            let (sent, got) =
                tokio::join!(to.write_all(long.as_bytes()), from.read_exact(&mut answer));
            sent.and(got).map(|_| answer)
        });
        assert!(answer.await.unwrap().unwrap() == long.as_bytes());
    }

    #[tokio::test]
    async fn a_backend_that_is_not_there_ends_the_connection() {
        let nobody = crate::port::Port::claim().unwrap();
        let proxy = Proxy::start(nobody.addr()).await.unwrap();
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        assert!(is_closed(&mut client).await);
    }
}
