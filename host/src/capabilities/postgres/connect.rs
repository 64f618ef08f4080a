//! Makes connections: who this server is, whom it trusts, how long it waits.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_postgres::{
    CancelToken, Client, Config, Connection, Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::{
    TlsConnector, client,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{
    options::PostgresOptions,
    trouble::Trouble,
    url::{PostgresUrl, SslMode},
};
use crate::capabilities::tls::{TlsOptions, client_config};

/// The kernel asks for signs of life on a connection without traffic after so long...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// ...so often...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// ...and gives up after so many that were not answered.
const KEEPALIVE_RETRIES: u32 = 3;

/// The half of a connection that moves bytes. Nothing happens unless it is polled.
pub(super) type Wire = Connection<Socket, Encrypted>;

/// Connects to one URL.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Tls,
    timeout: Duration,
    /// For messages.
    hosts: String,
}

impl Connector {
    /// Reads the certificates to trust.
    ///
    /// # Errors
    /// Says which key is wrong and why.
    pub(super) fn new(url: &PostgresUrl, options: &PostgresOptions) -> Result<Self, String> {
        let mut config = url.config.clone();
        let given = options.username.as_ref().filter(|name| !name.is_empty());
        if let Some(username) = given {
            config.user(username);
        }
        let given = options.password.as_ref().map(|secret| secret.expose());
        if let Some(password) = given.filter(|text| !text.is_empty()) {
            config.password(password);
        }
        config
            .connect_timeout(options.connect_timeout)
            .tcp_user_timeout(options.command_timeout)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        let trust = match url.ssl_mode {
            SslMode::Disable => None,
            SslMode::Prefer => Some(client_config(&TlsOptions {
                insecure: true,
                ..TlsOptions::default()
            })?),
            SslMode::Require => Some(client_config(&options.tls)?),
        };
        Ok(Self {
            config,
            tls: Tls {
                trust,
                server_name: options.tls.server_name.clone(),
            },
            timeout: options.connect_timeout,
            hosts: url.hosts(),
        })
    }

    /// Connects and introduces itself.
    pub(super) async fn connect(&self) -> Result<(Client, Wire), Trouble> {
        // The library's own timeout is for the TCP handshake only.
        match timeout(
            self.timeout,
            Box::pin(self.config.connect(self.tls.clone())),
        )
        .await
        {
            Ok(Ok(pair)) => Ok(pair),
            Ok(Err(error)) => Err(Trouble::from(&error).at(&self.hosts)),
            Err(_) => Err(Trouble::away("it does not answer in time").at(&self.hosts)),
        }
    }

    /// Asks the server to stop what a connection is doing. Whether it did, only the connection
    /// tells.
    pub(super) async fn cancel(&self, token: CancelToken, wait: Duration) {
        let cancelling = Box::pin(token.cancel_query(self.tls.clone()));
        match timeout(wait, cancelling).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(
                    "a statement could not be cancelled: {}",
                    Trouble::from(&error)
                );
            }
            Err(_) => tracing::debug!("a statement could not be cancelled in time"),
        }
    }

    /// A lost connection, with the address.
    pub(super) fn trouble(&self, error: &tokio_postgres::Error) -> Trouble {
        Trouble::from(error).at(&self.hosts)
    }

    /// Adds the address.
    pub(super) fn at(&self, trouble: Trouble) -> Trouble {
        trouble.at(&self.hosts)
    }
}

#[derive(Clone)]
struct Tls {
    /// None: no TLS.
    trust: Option<Arc<ClientConfig>>,
    /// Instead of the host's name.
    server_name: Option<String>,
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(Handshake {
            trust: self.trust.clone(),
            name: self.server_name.clone().unwrap_or_else(|| host.to_owned()),
        })
    }
}

/// TLS that is about to begin, if the server has it.
struct Handshake {
    trust: Option<Arc<ClientConfig>>,
    name: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    /// The library looks for the reason in it, so it is not wrapped further.
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, Self::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let trust = self.trust.ok_or("TLS is switched off")?;
            let name = ServerName::try_from(self.name)?;
            let stream = TlsConnector::from(trust).connect(name, socket).await?;
            Ok(Encrypted(Box::new(stream)))
        })
    }
}

/// A connection under TLS.
pub(super) struct Encrypted(Box<client::TlsStream<Socket>>);

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encrypted")
    }
}

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        // The password is proven by SCRAM without it; the certificate says who the server is.
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
