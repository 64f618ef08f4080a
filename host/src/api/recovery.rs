//! Connection state recovery: keeping the session of a client that was cut off, and giving it back
//! with what was missed, on this server or another.

use std::time::Duration;

use socketioxide::{adapter::Emitter, extract::SocketRef};

use super::{MissedPacket, PrivateId, RestoredSession, Session, SocketId};
use crate::{
    Adapter, Board,
    cluster::{Namespace, Offset, Room},
    transport::{self, RecoveryError, Restored},
};

/// A longer text is not an offset of any log. Clients send them.
const MAX_OFFSET_BYTES: usize = 128;

impl Board {
    /// Does the transport keep sessions?
    pub fn supports_recovery(&self) -> bool {
        self.session_store().is_some()
    }

    /// What there is to keep of a socket of this server: its id, its rooms, and its data as
    /// [`socket_data`](Self::socket_data) has it. It has its rooms until the handler of
    /// `on_disconnect` has ended. `pid` is the client's: chosen when it came, told to no other.
    pub fn session_of(&self, socket: &SocketRef<Adapter<Emitter>>, pid: &PrivateId) -> Session {
        let rooms = socket.rooms();
        let rooms: Vec<Room> = rooms.iter().map(|room| Room::from(&**room)).collect();
        let data = self.attachment().data_of(socket);
        Session {
            data,
            ..Session::new(pid.clone(), SocketId::from(socket.id), rooms)
        }
    }

    /// Keeps a session for `ttl` (at most 49 days; Node.js keeps them for two minutes unless
    /// configured), so that this or any other server can
    /// [take it back](Self::restore_session). Replaces an earlier one of this `pid`.
    ///
    /// Sessions are kept one after the other, each in a round trip to the backend.
    ///
    /// # Errors
    /// [`RecoveryError`]: it is not kept.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use socketioxide::{SocketIo, extract::SocketRef, socket::DisconnectReason};
    /// # use switchboard::{Adapter, PrivateId, Session};
    /// # fn run(board: switchboard::Board) {
    /// let (layer, io) = board.layer(SocketIo::builder());
    /// io.ns("/", async move |socket: SocketRef<Adapter<_>>| {
    ///     let Ok(pid) = PrivateId::random() else { return };
    ///     socket.emit("session", pid.as_str()).ok();
    ///     let board = board.clone();
    ///     let saved = async move |socket: SocketRef<Adapter<_>>, reason: DisconnectReason| {
    ///         if Session::is_recoverable(reason) {
    ///             let session = board.session_of(&socket, &pid);
    ///             if let Err(error) = board.persist_session(&session, Duration::from_secs(120)).await {
    ///                 println!("the client starts anew when it comes back: {error}");
    ///             }
    ///         }
    ///     };
    ///     socket.on_disconnect(saved);
    /// });
    /// # let _ = layer;
    /// # }
    /// ```
    pub async fn persist_session(
        &self,
        session: &Session,
        ttl: Duration,
    ) -> Result<(), RecoveryError> {
        let store = self.session_store().ok_or(RecoveryError::Unsupported)?;
        let session = transport::Session {
            pid: session.pid.as_str().to_owned(),
            sid: session.sid.as_str().to_owned(),
            rooms: session.rooms.clone(),
            data: session.data.clone(),
        };
        store.persist(&session, ttl).await
    }

    /// Takes a session back, with the events that its rooms got in the namespace after `offset`,
    /// the last one that the client has got: at most `max_missed`, and never more than
    /// [`MAX_MISSED`](transport::MAX_MISSED). A session is given back once. None: it is unknown or
    /// expired, or the log no longer reaches back to the offset; then the client starts anew.
    ///
    /// Events have offsets when
    /// [`cluster.connection_state_recovery`](crate::cluster::ClusterOptions::connection_state_recovery)
    /// is on.
    ///
    /// # Errors
    /// [`RecoveryError`]: it is not known whether there is one. If it was not given back, it is
    /// still kept.
    ///
    /// ```no_run
    /// # use socketioxide::extract::SocketRef;
    /// # use switchboard::{Adapter, PrivateId};
    /// # async fn run(
    /// #     board: switchboard::Board, socket: SocketRef<Adapter<socketioxide::adapter::Emitter>>,
    /// #     pid: &str, offset: &str,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let pid: PrivateId = pid.parse()?;
    /// if let Some(restored) = board.restore_session("/", &pid, offset, 1_000).await? {
    ///     socket.join(restored.session.room_names());
    ///     for packet in restored.missed.iter().filter(|packet| packet.event() == "news") {
    ///         let text: String = packet.args()?;
    ///         socket.emit("news", &(text, packet.offset().as_str()))?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn restore_session(
        &self,
        namespace: &str,
        pid: &PrivateId,
        offset: impl Into<Offset>,
        max_missed: u32,
    ) -> Result<Option<RestoredSession>, RecoveryError> {
        let store = self.session_store().ok_or(RecoveryError::Unsupported)?;
        let (namespace, offset) = (Namespace::of(namespace), offset.into());
        if !(1..=MAX_OFFSET_BYTES).contains(&offset.as_str().len()) {
            return Ok(None);
        }
        let restored = store
            .restore(&namespace, pid.as_str(), &offset, max_missed)
            .await?;
        Ok(restored.map(|restored| restored_session(pid, &namespace, restored)))
    }
}

fn restored_session(
    pid: &PrivateId,
    namespace: &Namespace,
    Restored { session, missed }: Restored,
) -> RestoredSession {
    let total = missed.len();
    let missed: Vec<_> = missed.into_iter().filter_map(MissedPacket::new).collect();
    if missed.len() < total {
        tracing::warn!(
            %namespace,
            left_out = total - missed.len(),
            "packets that a client missed are left out: they have no event name, so their sender \
             is at fault"
        );
    }
    RestoredSession {
        session: Session {
            pid: pid.clone(),
            sid: session.sid.into(),
            rooms: session.rooms,
            data: session.data,
        },
        missed,
    }
}
