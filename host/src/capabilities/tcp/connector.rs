//! From an endpoint to a stream: open, and encrypted where the operator wants it.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{
    endpoint::Endpoint,
    options::{Encryption, TcpOptions},
};
use crate::capabilities::tls;

/// A stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How to connect; where to, comes with each call.
#[derive(Debug)]
pub(super) struct Connector {
    tls: Option<Arc<ClientConfig>>,
    server_name: Option<String>,
    pub(super) encryption: Encryption,
    connect_timeout: Duration,
}

/// Why there is no connection. Holds no address, so plugins may see it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Trouble(pub(super) String);

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Connector {
    /// # Errors
    /// A setting is wrong: names the key.
    pub(super) fn new(options: &TcpOptions) -> Result<Self, String> {
        let tls = match options.encryption {
            Encryption::Off => None,
            Encryption::On | Encryption::Start => Some(tls::client_config(&options.tls)?),
        };
        Ok(Self {
            tls,
            server_name: options.tls.server_name.clone(),
            encryption: options.encryption,
            connect_timeout: options.connect_timeout,
        })
    }

    /// Connects, in `connect_timeout` at most.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, Trouble> {
        let connecting = async {
            let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
            // What a plugin writes at once should leave at once.
            stream.set_nodelay(true)?;
            match self.encryption {
                Encryption::Off | Encryption::Start => Ok(Box::new(stream) as Box<dyn Stream>),
                Encryption::On => self.handshake(Box::new(stream), endpoint).await,
            }
        };
        self.in_time(connecting).await
    }

    /// Speaks TLS over a stream that stands, in `connect_timeout` at most.
    pub(super) async fn encrypt(
        &self,
        stream: Box<dyn Stream>,
        endpoint: &Endpoint,
    ) -> Result<Box<dyn Stream>, Trouble> {
        self.in_time(self.handshake(stream, endpoint)).await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        match timeout(self.connect_timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(Trouble(format!(
                "no connection in {} ms",
                self.connect_timeout.as_millis()
            ))),
        }
    }

    async fn handshake(
        &self,
        stream: Box<dyn Stream>,
        endpoint: &Endpoint,
    ) -> Result<Box<dyn Stream>, Trouble> {
        let Some(config) = &self.tls else {
            return Err(Trouble("TLS is not configured".to_owned()));
        };
        let name = self.server_name.as_deref().unwrap_or(&endpoint.host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Trouble("the host is no name that a certificate could have".to_owned()))?;
        let connector = TlsConnector::from(Arc::clone(config));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(Trouble(format!("TLS failed: {error}"))),
        }
    }
}
