//! socketioxide's adapter: what the operators of one namespace do on all servers of the cluster.
//!
//! Each operation is applied to the sockets of this server first and at once, then handed to the
//! cluster; with connection state recovery the cluster says when (`in_order`). The files in the
//! order in which a packet meets them: `target` (whom the operators mean), `select` and `apply`
//! (which local sockets that is, and what happens to them), `acks` (what clients answer), `local`
//! (the same from the other side: what other servers may do here), `describe` (how sockets look from
//! there) with `handshake_layer` (what it knows of requests).
//!
//! Nothing here knows a backend, waits for a plugin or keeps rooms: those live in socketioxide's
//! own local adapter, and the cluster protocol in `cluster/`.

mod acks;
mod apply;
mod describe;
mod drops;
mod error;
mod handshake_layer;
mod in_order;
mod local;
mod select;
mod server_id;
mod target;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use futures_util::stream::{self, StreamExt as _};
use socketioxide_core::{
    Uid, Value,
    adapter::{
        BroadcastFlags, BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter,
        RemoteSocketData, Room as LocalRoom, RoomParam, SocketEmitter,
        errors::{BroadcastError, SocketError},
    },
    packet::{Packet, PacketData},
};
use tracing::{debug, warn};

pub(crate) use self::describe::Attachment;
pub use self::{
    acks::AckStream,
    describe::{BoardLayer, KeepAuth},
    error::Error,
    handshake_layer::{HandshakeLayer, HandshakeService, PeerAddr, Secure},
};
use self::{drops::Drops, select::Selection};
pub use crate::payload::PayloadError;
use crate::{
    Board,
    cluster::{
        Admission, Cluster, Partial,
        message::{Body, Broadcast, Namespace, NodeId, Room, SocketInfo, Target},
    },
    payload::{self, Codec},
};

/// Joins the namespaces of a socketioxide server to the cluster of a [`Board`].
///
/// [`Board::layer`] gives it to a builder; handlers and emitters stay as they are. By hand, that is
/// the following, and [`HandshakeLayer`] around the layer:
///
/// ```no_run
/// # fn build(board: switchboard::Board) {
/// let (layer, io) = socketioxide::SocketIo::builder()
///     .with_adapter::<switchboard::Adapter<_>>(board.clone())
///     .build_layer();
/// board.attach(&io);
/// # let _ = layer;
/// # }
/// ```
///
/// A socket's id is a room on every server, as in Node.js: `io.to(id)` reaches that socket
/// wherever it is connected. A broadcast with acknowledgements and a request (`rooms`,
/// `fetch_sockets`) end at their deadline with what has arrived; the log names the servers that
/// were missing.
///
/// [`RemoteSocketData`] holds ids of socketioxide's form only, so `fetch_sockets` leaves out the
/// sockets of Node.js servers, and `rooms` leaves out rooms with numbers for names.
pub struct Adapter<E: SocketEmitter> {
    local: CoreLocalAdapter<E>,
    cluster: Cluster,
    /// The server that this is a part of, if the application has attached it.
    attachment: Attachment,
    namespace: Namespace,
    codec: Codec,
    /// This server as other nodes name it in `fetch_sockets`.
    uid: Uid,
    unreadable: Arc<Drops>,
    foreign_sockets: Drops,
    /// Sockets that could not be disconnected.
    still_connected: Drops,
    /// Sockets whose descriptions did not fit into an answer.
    undescribed: Drops,
}

impl<E: SocketEmitter> fmt::Debug for Adapter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl<E: SocketEmitter> DefinedAdapter for Adapter<E> {}

impl<E: SocketEmitter> CoreAdapter<E> for Adapter<E> {
    type Error = Error;
    type State = Board;
    type AckStream = AckStream<E>;
    type InitRes = ();

    fn new(board: &Board, local: CoreLocalAdapter<E>) -> Self {
        Self::over(board.cluster().clone(), board.attachment().clone(), local)
    }

    /// Enters the namespace and calls `on_success` at once: a server is of use before its cluster.
    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        self.cluster
            .enter(Arc::new(local::LocalNamespace::new(&self)));
        on_success();
    }

    async fn close(&self) -> Result<(), Error> {
        self.cluster.leave(&self.namespace).await;
        Ok(())
    }

    async fn server_count(&self) -> Result<u16, Error> {
        let servers = self.cluster.count_servers(&self.namespace).await;
        Ok(u16::try_from(servers).unwrap_or(u16::MAX))
    }

    /// Local sockets that could not take the packet are reported as without a cluster, after the
    /// packet went to the others; with connection state recovery they are counted only, because
    /// the packet reaches them later.
    async fn broadcast(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
    ) -> Result<(), BroadcastError> {
        // What is seldom stands in a box: each event under way has a future of this size.
        if self.keeps_order()
            && let Some(sent) = Box::pin(self.event_in_order(&packet, &opts)).await
        {
            return sent;
        }
        let (delivered, waits) = self.broadcast_now(packet, opts)?;
        if let Some(later) = waits {
            let sent = later.await.map_err(Error::from);
            sent.inspect_err(|_| self.failed_here(&delivered))?;
        }
        delivered.map_err(BroadcastError::Socket)
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<AckStream<E>, Error> {
        let timeout = timeout.unwrap_or_else(|| self.local.ack_timeout());
        let outgoing = self.outgoing(&opts).zip(event_data(&packet).cloned());
        let (_, local) = Selection::of_options(&self.local, opts).broadcast_with_ack(
            &self.local,
            packet,
            timeout,
        );
        let remote = match outgoing {
            Some((target, data)) => {
                let broadcast = event(target, data)?;
                let acks = self
                    .cluster
                    .broadcast_with_ack(&self.namespace, broadcast, timeout)
                    .await?;
                acks::with_report(acks, self.namespace.clone())
            }
            None => stream::empty().boxed(),
        };
        let reader = acks::AckReader {
            namespace: self.namespace.clone(),
            codec: self.codec,
            unreadable: self.unreadable.clone(),
        };
        Ok(AckStream::new(local, remote, reader))
    }

    async fn add_sockets(
        &self,
        opts: BroadcastOptions,
        rooms: impl RoomParam,
    ) -> Result<(), Error> {
        let rooms: Vec<LocalRoom> = rooms.into_room_iter().collect();
        let order = |target| Body::SocketsJoin {
            target,
            rooms: target::rooms(&rooms),
        };
        if let Some(sent) = self.order(&opts, order).await {
            return sent;
        }
        let outgoing = self.outgoing(&opts);
        Selection::of_options(&self.local, opts).join(&self.local, &rooms);
        if let Some(target) = outgoing {
            self.cluster.send(&self.namespace, order(target)).await?;
        }
        Ok(())
    }

    async fn del_sockets(
        &self,
        opts: BroadcastOptions,
        rooms: impl RoomParam,
    ) -> Result<(), Error> {
        let rooms: Vec<LocalRoom> = rooms.into_room_iter().collect();
        let order = |target| Body::SocketsLeave {
            target,
            rooms: target::rooms(&rooms),
        };
        if let Some(sent) = self.order(&opts, order).await {
            return sent;
        }
        let outgoing = self.outgoing(&opts);
        Selection::of_options(&self.local, opts).leave(&self.local, &rooms);
        if let Some(target) = outgoing {
            self.cluster.send(&self.namespace, order(target)).await?;
        }
        Ok(())
    }

    /// Disconnects from the namespace and leaves the connection open, as socketioxide's own
    /// `disconnect` does; Node.js calls that `disconnectSockets(false)`.
    async fn disconnect_socket(&self, opts: BroadcastOptions) -> Result<(), BroadcastError> {
        let order = |target| Body::DisconnectSockets {
            target,
            close: false,
        };
        if let Some(sent) = self.order(&opts, order).await {
            return sent.map_err(BroadcastError::from);
        }
        let outgoing = self.outgoing(&opts);
        let disconnected = Selection::of_options(&self.local, opts).disconnect(&self.local);
        if let Some(target) = outgoing {
            self.cluster
                .send(&self.namespace, order(target))
                .await
                .map_err(Error::from)?;
        }
        disconnected.map_err(BroadcastError::Socket)
    }

    async fn rooms(&self, opts: BroadcastOptions) -> Result<Vec<LocalRoom>, Error> {
        let outgoing = self.outgoing(&opts);
        let mut rooms = Selection::of_options(&self.local, opts).rooms(&self.local);
        if let Some(target) = outgoing {
            let answers = self
                .cluster
                .fetch_rooms(&self.namespace, target, None)
                .await?;
            self.report_missing("rooms", &answers);
            let remote = answers.items.into_iter().flat_map(|(_, rooms)| rooms);
            rooms.extend(remote.filter_map(|room| match room {
                Room::Text(name) => Some(LocalRoom::Owned(String::from(&*name))),
                Room::Number(_) => None,
            }));
        }
        Ok(rooms.into_iter().collect())
    }

    async fn fetch_sockets(&self, opts: BroadcastOptions) -> Result<Vec<RemoteSocketData>, Error> {
        let outgoing = self.outgoing(&opts);
        let mut sockets = Selection::of_options(&self.local, opts).sockets(&self.local);
        if let Some(target) = outgoing {
            let answers = self
                .cluster
                .fetch_sockets(&self.namespace, target, None)
                .await?;
            self.report_missing("sockets", &answers);
            self.add_remote_sockets(&mut sockets, answers.items);
        }
        Ok(sockets)
    }

    fn get_local(&self) -> &CoreLocalAdapter<E> {
        &self.local
    }
}

impl<E: SocketEmitter> Adapter<E> {
    fn over(cluster: Cluster, attachment: Attachment, local: CoreLocalAdapter<E>) -> Self {
        Self {
            namespace: Namespace::from(local.path().as_str()),
            codec: Codec::of(local.parser()),
            uid: server_id::of(cluster.node()),
            local,
            cluster,
            attachment,
            unreadable: Arc::default(),
            foreign_sockets: Drops::default(),
            still_connected: Drops::default(),
            undescribed: Drops::default(),
        }
    }

    /// Whom an operation concerns on other servers; none if it stays on this one.
    fn outgoing(&self, opts: &BroadcastOptions) -> Option<Target> {
        if opts.is_local(self.local.server_id()) || opts.is_local(self.uid) {
            return None;
        }
        let only_socket = opts
            .sid
            .filter(|_| opts.rooms.is_empty() && !opts.has_flag(BroadcastFlags::Broadcast));
        if only_socket.is_some_and(|sid| select::is_connected(&self.local, sid)) {
            return None;
        }
        target::target(opts)
    }

    /// Sends a packet to the sockets here and to the cluster: what became of it here, and if there is no
    /// room in the outbox, what has to be waited for.
    fn broadcast_now(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
    ) -> Result<(Delivered, Option<Admission<'_>>), Error> {
        let outgoing = self
            .outgoing(&opts)
            .zip(event_data(&packet).map(to_be_kept));
        let volatile = opts.has_flag(BroadcastFlags::Volatile);
        let delivered =
            Selection::of_options(&self.local, opts).broadcast(&self.local, packet, volatile);
        let Some((target, data)) = outgoing else {
            return Ok((delivered, None));
        };
        let sent = event(target, data).map_err(Error::from).and_then(|event| {
            match self
                .cluster
                .send_now(&self.namespace, Body::Broadcast(event))
            {
                Ok(sent) => Ok(sent.map(|()| None)?),
                Err(later) => Ok(Some(later)),
            }
        });
        match sent {
            Ok(later) => Ok((delivered, later)),
            Err(error) => {
                self.failed_here(&delivered);
                Err(error)
            }
        }
    }

    /// The error of the cluster is the one that the caller gets.
    fn failed_here(&self, delivered: &Delivered) {
        if let Err(errors) = delivered {
            debug!(namespace = %self.namespace, ?errors, "local sockets failed too");
        }
    }

    fn add_remote_sockets(
        &self,
        sockets: &mut Vec<RemoteSocketData>,
        answers: Vec<(NodeId, Vec<SocketInfo>)>,
    ) {
        let mut seen: HashSet<_> = sockets.iter().map(|socket| socket.id).collect();
        let mut left_out = 0;
        for (node, remote) in answers {
            let server_id = server_id::of(&node);
            for socket in remote {
                match socket.id.parse() {
                    Ok(id) if seen.insert(id) => {
                        let ns = self.local.path().clone();
                        sockets.push(RemoteSocketData { id, server_id, ns });
                    }
                    Ok(_) => {}
                    Err(_) => left_out += 1,
                }
            }
        }
        if left_out > 0
            && let Some(total) = self.foreign_sockets.add(left_out)
        {
            debug!(
                namespace = %self.namespace,
                total,
                "sockets were left out of fetch_sockets: their ids do not fit socketioxide's"
            );
        }
    }

    fn report_missing<T>(&self, what: &str, answers: &Partial<T>) {
        if !answers.missing.is_empty() || answers.missing_unknown > 0 {
            warn!(
                namespace = %self.namespace,
                missing = ?answers.missing,
                missing_unknown = answers.missing_unknown,
                "some servers did not say in time which {what} they have: the result lacks theirs"
            );
        }
    }
}

/// Texts of events up to this are copied for the outbox.
const MAX_COPIED_BYTES: usize = 4096;

/// What became of a packet on this server: one error for each socket that did not take it.
type Delivered = Result<(), Vec<SocketError>>;

/// The data of an event. Other packets concern one connection and stay on this server.
fn event_data(packet: &Packet) -> Option<&Value> {
    match &packet.inner {
        PacketData::Event(data, _) | PacketData::BinaryEvent(data, _) => Some(data),
        _ => None,
    }
}

/// A value for the outbox. A short text is copied, and not shared: the parser's buffer has room to
/// spare, and is freed here, by the thread that allocated it, instead of by the one that publishes;
/// that is the larger part of what the allocator costs.
fn to_be_kept(value: &Value) -> Value {
    match value {
        Value::Str(json, attachments) if json.len() <= MAX_COPIED_BYTES => {
            Value::Str(json.as_str().to_owned().into(), attachments.clone())
        }
        other => other.clone(),
    }
}

fn event(target: Target, data: Value) -> Result<Broadcast, PayloadError> {
    Ok(Broadcast {
        target,
        data: payload::encode(data)?,
        packet_id: None,
        request: None,
    })
}
