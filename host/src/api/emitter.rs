//! A process that is no Socket.IO server and sends into the cluster all the same: the counterpart
//! of `@socket.io/redis-emitter` and `@socket.io/postgres-emitter`.

use std::sync::Arc;

use serde::Serialize;

use super::{ApiError, IntoRooms, Operators};
use crate::{
    Error,
    cluster::{Cluster, EMITTER, NodeId, Stats},
    config::{Config, Transport},
    transport::{NoTransport, OpenTransport, TransportHandle},
};

/// Sends events, and orders to join, leave and disconnect, from a process that is no server: a job,
/// a script, another service. It loads the same plugin with the same configuration as the servers,
/// but only its way out, and is never counted as one of them. Cheap to clone.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let emitter = switchboard::Emitter::open(switchboard::Config::load()?).await?;
/// emitter.of("/").to("lobby").emit("news", &"the job is done").await?;
/// emitter.of("/chat").to("Kx7bM0aVhz6OBsFTAAAB").disconnect(true).await?;
/// emitter.of("/").server_side_emit("reload", &()).await?;
/// // What is still in the queue goes out now.
/// emitter.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Emitter(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    transport: TransportHandle,
}

impl Emitter {
    /// Loads the transport and opens its way out. A backend that cannot be reached is no error:
    /// what is sent waits in the outbox until it can be, or until [`close`](Self::close).
    ///
    /// # Errors
    /// When the configuration or the plugin is wrong, or there is none
    /// (`transport = "none"`); see [`Error::fault`].
    pub async fn open(mut config: Config) -> Result<Self, Error> {
        if matches!(config.transport, Transport::None) {
            return Err(Error::NoTransport);
        }
        // It has no sockets that could wait for offsets.
        config.cluster.connection_state_recovery = false;
        let options = config.cluster.clone();
        let (publisher, transport) = OpenTransport::open_way_out(config).await?;
        let node = NodeId::from(EMITTER);
        let cluster = Cluster::start(node, options, publisher, Box::new(NoTransport));
        Ok(Self(Arc::new(Inner { cluster, transport })))
    }

    /// A namespace.
    pub fn of(&self, namespace: impl AsRef<str>) -> EmitterOperators {
        EmitterOperators(Operators::new(
            self.0.cluster.clone(),
            namespace.as_ref().to_owned(),
        ))
    }

    /// What it has sent, and what waits.
    pub fn stats(&self) -> Stats {
        self.0.cluster.stats()
    }

    /// Sends what is queued (for at most `cluster.close_timeout_ms`) and closes the plugin and its
    /// connections. [`stats`](Self::stats) then says whether all has gone out: `unsent` and
    /// `rejected` are what has not.
    pub async fn close(&self) {
        self.0.cluster.close().await;
        self.0.transport.close().await;
    }
}

/// A namespace as an [`Emitter`] sees it: which sockets, and what to do with them. See
/// [`Operators`] for a server's.
#[derive(Clone, Debug)]
#[must_use = "selecting sockets does nothing with them"]
pub struct EmitterOperators(Operators);

impl EmitterOperators {
    /// Sockets in any of these rooms, or in those named before. A socket's id is a room too. An
    /// empty list, with none named before, selects **all sockets**, as in Node.js.
    pub fn to(&self, rooms: impl IntoRooms) -> Self {
        Self(self.0.to(rooms))
    }

    /// But none that is in any of these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> Self {
        Self(self.0.except(rooms))
    }

    /// Clients that cannot take the event now may miss it.
    pub fn volatile(&self) -> Self {
        Self(self.0.volatile())
    }

    /// Sends an event to the clients. Returns when it is in the outbox.
    ///
    /// # Errors
    /// [`ApiError::Payload`], [`ApiError::ReservedEvent`] and [`ApiError::Cluster`]: nothing was
    /// sent.
    pub async fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Result<(), ApiError> {
        self.0.emit(event, data).await
    }

    /// Makes the sockets join rooms.
    ///
    /// # Errors
    /// [`ApiError::Cluster`]: nothing was sent.
    pub async fn join(&self, rooms: impl IntoRooms) -> Result<(), ApiError> {
        self.0.join(rooms).await
    }

    /// Makes the sockets leave rooms.
    ///
    /// # Errors
    /// [`ApiError::Cluster`]: nothing was sent.
    pub async fn leave(&self, rooms: impl IntoRooms) -> Result<(), ApiError> {
        self.0.leave(rooms).await
    }

    /// Disconnects the sockets from the namespace; with `close` from their whole connection (a Rust
    /// server that is not attached to its board leaves it at the namespace).
    ///
    /// # Errors
    /// [`ApiError::Cluster`]: nothing was sent.
    pub async fn disconnect(&self, close: bool) -> Result<(), ApiError> {
        self.0.disconnect(close).await
    }

    /// Sends an event to all servers of the namespace.
    ///
    /// # Errors
    /// [`ApiError::Payload`], [`ApiError::ReservedEvent`] and [`ApiError::Cluster`]: nothing was
    /// sent.
    pub async fn server_side_emit<T>(&self, event: &str, data: &T) -> Result<(), ApiError>
    where
        T: Serialize + ?Sized,
    {
        self.0.server_side_emit(event, data).await
    }
}
