//! One WebSocket to a server, shared by the clients of several namespaces.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue},
    },
};

use super::{
    packet::{self, Head, Kind, Packet},
    socket::Socket,
};
use crate::value::Arg;

/// Packets that wait to be written.
const MAX_QUEUED: usize = 1024;

/// Engine.IO's own packets are text with one of these in front.
mod engine {
    pub(super) const CLOSE: u8 = b'1';
    pub(super) const PING: u8 = b'2';
    pub(super) const MESSAGE: u8 = b'4';
}

type WebSocket = WebSocketStream<TcpStream>;
type Sockets = Arc<Mutex<HashMap<String, Arc<Socket>>>>;

/// A connection. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    out: mpsc::Sender<Out>,
    sockets: Sockets,
    /// Owns the tasks that read and write.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
enum Out {
    /// Text and binary parts, as Socket.IO writes them.
    Packet(String, Vec<Vec<u8>>),
    Pong,
    /// Ends the connection without a farewell.
    End,
}

impl Connection {
    /// Connects to a server at `http://HOST:PORT`.
    pub(super) async fn open(
        url: &str,
        query: &BTreeMap<String, String>,
        headers: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let host = url
            .strip_prefix("http://")
            .ok_or_else(|| format!("{url} is no http:// address"))?;
        let mut uri = format!("ws://{host}/socket.io/?EIO=4&transport=websocket");
        for (key, value) in query {
            uri.push_str(&format!("&{}={}", encoded(key), encoded(value)));
        }
        let mut request = uri.into_client_request().map_err(text)?;
        for (name, value) in headers {
            let name: HeaderName = name.parse().map_err(text)?;
            let value: HeaderValue = value.parse().map_err(text)?;
            request.headers_mut().insert(name, value);
        }
        let tcp = TcpStream::connect(host).await.map_err(text)?;
        tcp.set_nodelay(true).map_err(text)?;
        let (socket, _) = client_async(request, tcp).await.map_err(text)?;
        let (sink, stream) = socket.split();
        let (out, queue) = mpsc::channel(MAX_QUEUED);
        let sockets = Sockets::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(write(sink, queue));
        tasks.spawn(read(stream, Arc::clone(&sockets), out.clone()));
        Ok(Self {
            out,
            sockets,
            _tasks: tasks,
        })
    }

    /// Asks to enter a socket's namespace.
    pub(super) async fn enter(&self, socket: Arc<Socket>, auth: &Value) -> Result<(), String> {
        let connect = packet::connect(&socket.nsp, auth);
        lock(&self.sockets).insert(socket.nsp.clone(), socket);
        self.send((connect, Vec::new())).await
    }

    /// Sends a packet.
    pub(super) async fn send(&self, (text, parts): (String, Vec<Vec<u8>>)) -> Result<(), String> {
        self.tell(Out::Packet(text, parts)).await
    }

    /// Ends the connection without a farewell, as if the network were gone.
    pub(super) async fn end(&self) -> Result<(), String> {
        self.tell(Out::End).await
    }

    async fn tell(&self, out: Out) -> Result<(), String> {
        let sent = self.out.send(out).await;
        sent.map_err(|_| "the connection has ended".to_owned())
    }
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut queue: mpsc::Receiver<Out>) {
    while let Some(out) = queue.recv().await {
        let written = match out {
            Out::Pong => sink.send(Message::text("3")).await,
            Out::Packet(text, parts) => write_packet(&mut sink, text, parts).await,
            // The other half sees that the queue is gone, and ends too.
            Out::End => return,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn write_packet(
    sink: &mut SplitSink<WebSocket, Message>,
    text: String,
    parts: Vec<Vec<u8>>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    sink.feed(Message::text(format!("4{text}"))).await?;
    for part in parts {
        sink.feed(Message::binary(part)).await?;
    }
    sink.flush().await
}

/// Hands packets out until the connection ends, and tells everybody why.
async fn read(mut stream: SplitStream<WebSocket>, sockets: Sockets, out: mpsc::Sender<Out>) {
    let reason = match read_packets(&mut stream, &sockets, &out).await {
        Ok(()) => "transport close".to_owned(),
        Err(error) => error,
    };
    let all: Vec<_> = lock(&sockets).drain().map(|(_, socket)| socket).collect();
    for socket in all {
        socket.ended(&reason);
    }
}

async fn read_packets(
    stream: &mut SplitStream<WebSocket>,
    sockets: &Sockets,
    out: &mpsc::Sender<Out>,
) -> Result<(), String> {
    let mut head: Option<Head> = None;
    let mut parts: Vec<Vec<u8>> = Vec::new();
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            // The writer has ended: so does the connection.
            () = out.closed() => return Ok(()),
        };
        match message {
            Some(Ok(Message::Text(frame))) => match frame.as_bytes().first() {
                Some(&engine::PING) => {
                    let _ = out.send(Out::Pong).await;
                }
                Some(&engine::MESSAGE) => head = Some(Head::read(&frame.as_str()[1..])?),
                Some(&engine::CLOSE) => return Ok(()),
                _ => {}
            },
            Some(Ok(Message::Binary(part))) => parts.push(part.to_vec()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
            Some(Ok(_)) => {}
        }
        let Some(whole) = head.take_if(|head| head.parts() <= parts.len()) else {
            continue;
        };
        let packet = whole.complete(&std::mem::take(&mut parts))?;
        take(packet, sockets, out).await;
    }
}

async fn take(packet: Packet, sockets: &Sockets, out: &mpsc::Sender<Out>) {
    let Packet { nsp, id, kind } = packet;
    let Some(socket) = lock(sockets).get(&nsp).cloned() else {
        return;
    };
    match kind {
        Kind::Connected(data) => {
            let sid = data["sid"].as_str().map(str::to_owned);
            socket.change(|state| state.id = sid);
        }
        Kind::Disconnected => {
            lock(sockets).remove(&nsp);
            socket.ended("io server disconnect");
        }
        Kind::Refused(data) => {
            let reason = data["message"].as_str().unwrap_or("refused").to_owned();
            socket.change(|state| state.failure = Some(reason));
        }
        Kind::Acknowledged(args) => {
            let waiting = id.and_then(|id| socket.state().waiting.remove(&id));
            if let Some(waiting) = waiting {
                let _: Result<(), Vec<Arg>> = waiting.send(args);
            }
        }
        Kind::Event(args) => {
            let answer = socket.event(args, id.is_some());
            if let (Some(id), Some(answer)) = (id, answer) {
                let (text, parts) = packet::acknowledgement(&nsp, id, answer);
                let _ = out.send(Out::Packet(text, parts)).await;
            }
        }
    }
}

fn lock(sockets: &Sockets) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Socket>>> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// As `encodeURIComponent` does.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn parameters_are_encoded_as_browsers_do() {
        assert_eq!(encoded("1 & 2"), "1%20%26%202");
        assert_eq!(encoded("é"), "%C3%A9");
        assert_eq!(encoded("a-b_c.d"), "a-b_c.d");
    }
}
