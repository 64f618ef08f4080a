//! One connection to one server: open, encrypted, greeted. What it is used for is the business of
//! [`super::lane`], [`super::reader`] and [`super::subscription`].

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{
    options::{Form, RedisOptions},
    secret::Secret,
    tls,
    trouble::Trouble,
    url::Address,
    wire::{self, Frame, Scan, Value},
};

/// What one read asks for. Messages that arrive together share this buffer until the last is gone.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// With less room than this, a new buffer is better than many short reads.
const MIN_READ_BYTES: usize = 8 << 10;
/// By this name a server lists its connections.
const CLIENT_NAME: &str = "switchboard";

/// A stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How to connect and who to be; where to, comes with each call.
#[derive(Debug)]
pub(super) struct Connector {
    tls: Option<Arc<ClientConfig>>,
    server_name: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    database: u32,
    pub(super) connect_timeout: Duration,
    max_reply_bytes: usize,
}

/// An open connection.
pub(super) struct Wire {
    pub(super) read: Reading,
    pub(super) write: WriteHalf<Box<dyn Stream>>,
}

/// Its incoming half: bytes, and replies cut out of them.
pub(super) struct Reading {
    half: ReadHalf<Box<dyn Stream>>,
    pub(super) buffer: BytesMut,
    pub(super) scan: Scan,
}

impl Connector {
    /// # Errors
    /// A setting is wrong: names the key.
    pub(super) fn new(options: &RedisOptions, form: &Form) -> Result<Self, String> {
        let tls = match options.tls(form) {
            true => Some(tls::client_config(&options.tls)?),
            false => None,
        };
        Ok(Self {
            tls,
            server_name: options.tls.server_name.clone(),
            username: options.username(form),
            password: options.password(form),
            database: options.database(form),
            connect_timeout: options.connect_timeout,
            max_reply_bytes: options.max_reply_bytes,
        })
    }

    /// The same, as another user: for sentinels.
    pub(super) fn with_user(&self, username: Option<String>, password: Option<Secret>) -> Self {
        Self {
            tls: self.tls.clone(),
            server_name: self.server_name.clone(),
            username,
            password,
            database: 0,
            connect_timeout: self.connect_timeout,
            max_reply_bytes: self.max_reply_bytes,
        }
    }

    /// Connects, in `connect_timeout` at most.
    ///
    /// # Errors
    /// Why not; refusals of the credentials are told from everything else.
    pub(super) async fn connect(&self, address: &Address) -> Result<Wire, Trouble> {
        let connected = timeout(self.connect_timeout, async {
            let stream = self.open(address).await?;
            let (read, write) = split(stream);
            let mut wire = Wire {
                read: Reading {
                    half: read,
                    buffer: BytesMut::new(),
                    scan: Scan::new(self.max_reply_bytes),
                },
                write,
            };
            self.greet(&mut wire).await?;
            Ok(wire)
        });
        let result = match connected.await {
            Ok(result) => result,
            Err(_) => Err(Trouble::away(format!(
                "no connection in {} ms",
                self.connect_timeout.as_millis()
            ))),
        };
        result.map_err(|trouble: Trouble| trouble.at(address))
    }

    async fn open(&self, address: &Address) -> Result<Box<dyn Stream>, Trouble> {
        let (host, port) = match address {
            Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Tcp { host, port } => (host, *port),
        };
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Trouble::refused("the host is no name that a certificate could have"))?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, stream).await.map_err(|error| {
            match error.kind() {
                // What rustls says of certificates; the rest is the network.
                io::ErrorKind::InvalidData => Trouble::refused(format!("TLS failed: {error}")),
                _ => Trouble::from(error),
            }
        })?;
        Ok(Box::new(stream))
    }

    async fn greet(&self, wire: &mut Wire) -> Result<(), Trouble> {
        let database = self.database.to_string();
        let mut steps: Vec<(&str, Vec<&str>)> = Vec::new();
        match (&self.username, &self.password) {
            (Some(user), Some(password)) => {
                steps.push(("AUTH", vec!["AUTH", user, password.expose()]));
            }
            (_, Some(password)) => steps.push(("AUTH", vec!["AUTH", password.expose()])),
            _ => {}
        }
        if self.database != 0 {
            steps.push(("SELECT", vec!["SELECT", &database]));
        }
        steps.push(("CLIENT", vec!["CLIENT", "SETNAME", CLIENT_NAME]));
        // Says at once what a server does that is loading, or wants a password.
        steps.push(("PING", vec!["PING"]));
        let mut out = BytesMut::new();
        for (_, args) in &steps {
            wire::encode(args, &mut out);
        }
        wire.write.write_all(&out).await?;
        for (step, _) in &steps {
            let frame = wire.read.frame().await?;
            let Some(error) = frame.error() else { continue };
            match *step {
                // The name is only for the operator's eyes; a user may lack the right to set it.
                "CLIENT" => {}
                step => return Err(greeting_failed(step, error)),
            }
        }
        Ok(())
    }
}

fn greeting_failed(step: &str, error: &[u8]) -> Trouble {
    let text = String::from_utf8_lossy(error);
    let code = text.split(' ').next().unwrap_or_default();
    match (step, code) {
        ("PING", "NOPERM") => {
            Trouble::refused("the user may not execute PING, which the host needs (ACL +ping)")
        }
        ("AUTH", _) | (_, "NOAUTH" | "WRONGPASS" | "DENIED") => Trouble::locked_out(format!(
            "Redis refuses this server ({step}), messages wait until it is let in: {text}"
        )),
        ("SELECT", _) => Trouble::refused(format!("Redis refuses this server ({step}): {text}")),
        _ => Trouble::away(format!("Redis is not ready: {text}")),
    }
}

impl Reading {
    /// Waits for more bytes. Loses nothing when dropped.
    ///
    /// # Errors
    /// The connection is broken, or Redis closed it.
    pub(super) async fn fill(&mut self) -> Result<(), Trouble> {
        let spare = self.buffer.capacity() - self.buffer.len();
        // In the middle of a long reply the room is what that still needs, however little.
        if spare < MIN_READ_BYTES && (spare == 0 || self.buffer.len() < READ_BUFFER_BYTES) {
            self.buffer.reserve(READ_BUFFER_BYTES);
        }
        match self.half.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Trouble::away("Redis closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(Trouble::from(error)),
        }
    }

    /// The next reply that has arrived whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Trouble> {
        self.scan
            .next(&mut self.buffer)
            .map_err(|bad| Trouble::away(bad.to_string()))
    }

    /// Waits for the next reply. Loses nothing when dropped.
    pub(super) async fn frame(&mut self) -> Result<Frame, Trouble> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }
}

impl Wire {
    /// One command and its reply, by a deadline; for the host's own questions.
    pub(super) async fn ask(&mut self, args: &[&str], limit: Duration) -> Result<Frame, Trouble> {
        let since = Instant::now();
        let answer = async {
            let mut out = BytesMut::new();
            wire::encode(args, &mut out);
            self.write.write_all(&out).await?;
            self.read.frame().await
        };
        match timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::away(format!(
                "no answer in {} ms",
                since.elapsed().as_millis()
            ))),
        }
    }
}

/// The text of a bulk string or a status.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Bulk(bytes) | Value::Status(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}
