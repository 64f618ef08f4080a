//! TCP: byte streams for plugins that speak a protocol themselves. `wit/tcp/tcp.wit` holds the
//! promises; this is how they are kept.
//!
//! * A plugin's `socket` outlives its instances. It has one connection at a time.
//! * A connection is a `flow`, which the plugin's calls and the connection's task (`session`) share;
//!   what has arrived, and which part of it is done with, is `incoming`.
//! * Where to (`endpoint`), how (`connector`, the capabilities' `tls`), and whether a plugin may go there
//!   (`grants`).
//!
//! What TCP means to plugins is in `link`; the rest knows nothing of Wasm.

mod connector;
mod endpoint;
mod flow;
mod grants;
mod incoming;
pub(crate) mod link;
mod options;
mod session;
mod socket;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::{connector::Connector, status::Health};
pub use self::{
    endpoint::{Endpoint, EndpointPattern, InvalidEndpoint},
    grants::{TcpPermit, TcpRights},
    link::SocketHandle,
    options::{Encryption, TcpOptions},
    status::{SocketState, SocketStatus, TcpStatus},
};
pub(crate) use self::{flow::Flow, socket::Socket};

/// Sockets of one role of a plugin, for one connection.
const MAX_SOCKETS: usize = 16;
/// Longest name of a socket, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// Longest note to a successor.
const MAX_NOTE_BYTES: usize = 64 << 10;
/// Instances that die over the same bytes before a connection is given up.
const MAX_FAULTS: u32 = 3;

/// Why a call failed. Nothing of it was done, if it does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The operator's fault: a setting. Says what to change.
    #[error("{0}")]
    Config(String),
    /// The plugin may not do this, or it makes no sense.
    #[error("{0}")]
    Denied(String),
    /// Nobody's fault: there is no connection now.
    #[error("{0}")]
    Unavailable(String),
    /// The plugin's fault: over a limit.
    #[error("over the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

/// One `[connections.tcp.NAME]`. Clones share it; it ends with [`Tcp::close`], or when the last clone
/// is dropped.
#[derive(Clone)]
pub struct Tcp(Arc<Inner>);

struct Inner {
    name: String,
    connector: Arc<Connector>,
    options: Arc<TcpOptions>,
    sockets: Mutex<BTreeMap<Key, Socket>>,
}

/// Whose socket it is: the plugin, its role, and its name for it.
type Key = (String, &'static str, String);

impl Drop for Inner {
    fn drop(&mut self) {
        let sockets = self.sockets.get_mut();
        for socket in sockets.unwrap_or_else(PoisonError::into_inner).values() {
            socket.abort();
        }
    }
}

impl Tcp {
    /// Prepares connections; they are made when a plugin wants them.
    ///
    /// # Errors
    /// [`TcpError::Config`]: the options are wrong, or the file with the certificates.
    pub fn new(name: &str, options: TcpOptions) -> Result<Self, TcpError> {
        if let Some((key, problem)) = options.problems().into_iter().next() {
            return Err(TcpError::Config(format!("`{key}` {problem}")));
        }
        let connector = Connector::new(&options).map_err(TcpError::Config)?;
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            connector: Arc::new(connector),
            options: Arc::new(options),
            sockets: Mutex::default(),
        })))
    }

    /// The plugin's socket of this name, new or as it was left.
    ///
    /// # Errors
    /// [`TcpError::Denied`]: the name, or the plugin has too many.
    pub(crate) fn socket(
        &self,
        permit: &TcpPermit,
        role: &'static str,
        name: &str,
    ) -> Result<Socket, TcpError> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(TcpError::Denied(format!(
                "the name of a socket has 1 to {MAX_NAME_BYTES} bytes"
            )));
        }
        let plugin = permit.plugin();
        let mut sockets = self.lock();
        let key = (plugin.to_owned(), role, name.to_owned());
        if let Some(socket) = sockets.get(&key) {
            return Ok(socket.clone());
        }
        let count = sockets
            .keys()
            .filter(|(of, its, _)| of == plugin && *its == role)
            .count();
        if count >= MAX_SOCKETS {
            return Err(TcpError::Denied(format!(
                "a {role} may have {MAX_SOCKETS} sockets of one connection: use a name again"
            )));
        }
        let health = Health::new(&self.0.name, format!("{plugin}/{role}/{name}"));
        let socket = Socket::new(
            Arc::clone(&self.0.connector),
            Arc::clone(&self.0.options),
            Arc::new(health),
        );
        sockets.insert(key, socket.clone());
        Ok(socket)
    }

    /// Where a plugin wants to go, if it may.
    ///
    /// # Errors
    /// [`TcpError::Denied`]: names the grant that is missing.
    pub(crate) fn endpoint(&self, permit: &TcpPermit, text: &str) -> Result<Endpoint, TcpError> {
        let endpoint: Endpoint = text.parse().map_err(|error| {
            let shown: String = text.chars().take(64).collect();
            TcpError::Denied(format!("{shown:?} {error}"))
        })?;
        if !self.0.options.addresses.contains(&endpoint) {
            permit.check(&endpoint).map_err(TcpError::Denied)?;
        }
        Ok(endpoint)
    }

    /// How it is doing.
    pub fn status(&self) -> TcpStatus {
        let sockets = self.lock();
        TcpStatus {
            sockets: sockets.values().map(Socket::status).collect(),
        }
    }

    /// Ends all connections. What was written is sent, for a second at most.
    pub async fn close(&self) {
        let sockets = std::mem::take(&mut *self.lock());
        for socket in sockets.into_values() {
            socket.end().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Socket>> {
        self.0
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
