//! Against real sockets on this machine. The guest's side of the border is played by [`Instance`].

#![allow(clippy::unwrap_used)]

mod attempts;
mod limits;
mod streams;
mod takeover;
mod tls;

use std::{net::Shutdown, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    Flow, Tcp, TcpError, TcpOptions, TcpPermit, TcpRights, flow::Received, socket::Linked,
};
use crate::capabilities::handout::Rollback;

/// For everything that is expected to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what is expected not to happen.
const A_MOMENT: Duration = Duration::from_millis(100);

fn permit() -> TcpPermit {
    TcpPermit::new("test", "main", vec![TcpRights::default()], None)
}

/// Somebody to connect to, until it is dropped.
struct Peer {
    listener: TcpListener,
    addr: String,
}

impl Drop for Peer {
    /// A process that another test starts at this moment may have a copy of the listener: it would
    /// go on listening if it were only closed.
    fn drop(&mut self) {
        // Where a listener cannot be shut down, it is closed at least.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

impl Peer {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        Self { listener, addr }
    }

    async fn accept(&self) -> TcpStream {
        let accepted = timeout(PATIENCE, self.listener.accept());
        accepted.await.unwrap().unwrap().0
    }

    fn options(&self) -> TcpOptions {
        TcpOptions {
            addresses: vec![self.addr.parse().unwrap()],
            ..TcpOptions::default()
        }
    }

    fn tcp(&self) -> Tcp {
        Tcp::new("main", self.options()).unwrap()
    }
}

/// One instance of a plugin with one socket, which ends as a guest's does.
struct Instance {
    socket: super::Socket,
    owner: Option<u64>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.socket.release(self.owner);
    }
}

impl Instance {
    fn of(tcp: &Tcp) -> Self {
        Self {
            socket: tcp.socket(&permit(), "subscriber", "in").unwrap(),
            owner: None,
        }
    }

    async fn try_connect(&mut self, wait: Duration) -> Result<Option<Linked>, TcpError> {
        self.socket.connect(&mut self.owner, None, wait).await
    }

    async fn connect(&mut self) -> Linked {
        self.try_connect(PATIENCE).await.unwrap().unwrap()
    }

    fn flow(&self) -> Arc<Flow> {
        self.socket.flow(self.owner).unwrap()
    }

    /// Exactly so many bytes, as text.
    async fn read(&self, count: usize) -> String {
        let mut all = Vec::new();
        while all.len() < count {
            match self.flow().read(count - all.len(), PATIENCE).await.unwrap() {
                Received::Bytes(bytes) => all.extend(bytes),
                other => panic!("{other:?} after {all:?}"),
            }
        }
        String::from_utf8(all).unwrap()
    }

    async fn write(&self, text: &str) {
        self.flow().write(text.as_bytes(), PATIENCE).await.unwrap();
    }

    /// The exported call returns, having consumed so many bytes and left a note.
    fn keeps(&self, consumed: usize, note: &str) {
        let flow = self.flow();
        flow.consume(consumed);
        flow.keep(note.as_bytes().to_vec()).unwrap();
        flow.commit();
    }

    /// It traps.
    fn dies(self) {
        self.flow().rollback(Rollback::Fault);
    }
}

async fn hear(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    let reading = timeout(PATIENCE, stream.read_exact(&mut bytes));
    reading.await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// The peer sees the end of the stream, or that it is reset.
async fn assert_ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection stands");
}
