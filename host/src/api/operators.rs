//! Which sockets of a namespace, on all servers, and what to do with them.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{Acks, ApiError, IntoRooms, RemoteSocket, SocketId, answers::AckBox};
use crate::{
    cluster::{
        Body, Broadcast, Cluster, LocalAck, Namespace, NodeInfo, Partial, Payload, RemoteAck, Room,
        Target, message::Str,
    },
    payload,
};

/// Events that Socket.IO itself gives to clients; Node.js refuses to send them as well.
const RESERVED_FOR_CLIENTS: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// One namespace of the whole cluster: what Node.js has as `io.of("/chat")`. From
/// [`Board::of`](crate::Board::of). Cheap to clone.
///
/// The methods that select narrow down the sockets that the others concern; without any of them
/// these are all sockets of the namespace, on every server, this one included.
///
/// ```no_run
/// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
/// let chat = board.of("/chat");
/// chat.to(["lobby", "kitchen"]).except("muted").emit("news", &("tea", 4)).await?;
/// chat.to("lobby").join("party").await?;
/// for socket in chat.to("party").fetch_sockets().await?.items {
///     println!("{} on {}", socket.id(), socket.node());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "selecting sockets does nothing with them"]
pub struct Operators {
    pub(super) cluster: Cluster,
    pub(super) namespace: Namespace,
    pub(super) target: Target,
    local_only: bool,
    pub(super) timeout: Option<Duration>,
}

impl std::fmt::Debug for Operators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operators")
            .field("namespace", &self.namespace)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Operators {
    /// A leading slash is added to the namespace's name where it is missing, as in Node.js.
    pub(crate) fn new(cluster: Cluster, namespace: impl Into<Namespace>) -> Self {
        Self {
            cluster,
            namespace: Namespace::of(namespace),
            target: Target::default(),
            local_only: false,
            timeout: None,
        }
    }

    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        self.namespace.as_str()
    }

    /// Sockets in any of these rooms, or in those named before. A socket's id is a room too. An
    /// empty list, with none named before, selects **all sockets**, as in Node.js.
    pub fn to(&self, rooms: impl IntoRooms) -> Self {
        let mut selected = self.clone();
        selected.target.rooms.extend(rooms.into_rooms());
        selected
    }

    /// The same as [`to`](Self::to), for sentences about sockets that are in a room already.
    pub fn within(&self, rooms: impl IntoRooms) -> Self {
        self.to(rooms)
    }

    /// But none that is in any of these rooms. A socket's id is a room too.
    pub fn except(&self, rooms: impl IntoRooms) -> Self {
        let mut selected = self.clone();
        selected.target.except.extend(rooms.into_rooms());
        selected
    }

    /// Only sockets of this server.
    pub fn local(&self) -> Self {
        let mut selected = self.clone();
        selected.local_only = true;
        selected
    }

    /// Clients that cannot take the event now may miss it.
    pub fn volatile(&self) -> Self {
        let mut selected = self.clone();
        selected.target.volatile = true;
        selected
    }

    /// How long to wait for answers, from the call that asks to its end. Default:
    /// `cluster.request_timeout_ms`.
    pub fn timeout(&self, timeout: Duration) -> Self {
        let mut selected = self.clone();
        selected.timeout = Some(timeout);
        selected
    }

    /// Sends an event to the clients. A tuple (also an array of fixed length, or a tuple struct) is
    /// several arguments, `()` none, anything else one; bytes
    /// (as serde knows them) travel as binary. Waits for room in the outbox at most, never for
    /// the backend or another server. It has gone to the sockets of this server by then: a future
    /// that is dropped while it waits has reached these and no others. In a namespace that this
    /// server does not serve it goes to the others as from an [`Emitter`](super::Emitter).
    ///
    /// With [connection state recovery](crate::cluster::ClusterOptions::connection_state_recovery)
    /// it goes to the sockets of this server when the backend has it, unless it is volatile or for
    /// this server only; a future that is dropped while it waits for room has then reached nobody.
    ///
    /// # Errors
    /// [`ApiError::Payload`] and [`ApiError::ReservedEvent`] when nothing was sent;
    /// [`ApiError::Cluster`] when only the sockets of this server got it;
    /// [`ApiError::SocketsFull`] when all servers got it, and some sockets of this one did not (if it
    /// reached them later, that is only counted).
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// board.of("/").to("lobby").emit("message", &("ada", "hello")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Result<(), ApiError> {
        let broadcast = self.event(event, data)?;
        match self.send_to_all(Body::Broadcast(broadcast)).await? {
            0 => Ok(()),
            dropped => Err(ApiError::SocketsFull { dropped }),
        }
    }

    /// Sends an event to the clients and collects what they acknowledge, until all have, or the
    /// time is over. A client that acknowledges with several arguments reads as a tuple.
    ///
    /// Keeps at most `cluster.max_reply_bytes` (64 MiB unless configured) of what came, and counts
    /// the rest as [`dropped`](Acks::dropped).
    ///
    /// # Errors
    /// [`ApiError::Payload`], [`ApiError::ReservedEvent`] and [`ApiError::NotServed`] when nothing
    /// was sent; [`ApiError::Cluster`] when at most the sockets of this server got it. Never because
    /// of an answer that is missing.
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// let ready = board.of("/").to("players").emit_with_ack::<bool, _>("ready?", &()).await?;
    /// let yes = ready.answers.iter().filter(|client| client.answer == Ok(true)).count();
    /// println!("{yes} are ready; no word from the servers {:?}", ready.missing);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn emit_with_ack<A, T>(&self, event: &str, data: &T) -> Result<Acks<A>, ApiError>
    where
        A: DeserializeOwned,
        T: Serialize + ?Sized,
    {
        let broadcast = self.event(event, data)?;
        let timeout = self.wait();
        let local = match self.cluster.local(&self.namespace) {
            Some(local) => local.broadcast_with_ack(&broadcast, timeout).1,
            None => futures_util::stream::empty().boxed(),
        };
        let node = self.cluster.node().clone();
        let mut local = local.map(|LocalAck { socket, data }| RemoteAck {
            node: node.clone(),
            socket: Some(socket),
            data,
        });
        let mut kept = AckBox::new(self.cluster.options().max_reply_bytes);
        if self.local_only {
            while let Some(ack) = local.next().await {
                kept.add(ack);
            }
            let (answers, dropped) = kept.into_parts();
            return Ok(Acks {
                answers,
                missing: Vec::new(),
                missing_unknown: 0,
                unacknowledged: 0,
                dropped,
            });
        }
        let mut remote = self
            .cluster
            .broadcast_with_ack(&self.namespace, broadcast, timeout)
            .await?;
        let mut both = futures_util::stream::select(local, remote.by_ref());
        while let Some(ack) = both.next().await {
            kept.add(ack);
        }
        drop(both);
        let (answers, dropped) = kept.into_parts();
        Ok(Acks {
            answers,
            missing: remote.missing(),
            missing_unknown: remote.missing_unknown(),
            unacknowledged: remote.unacknowledged(),
            dropped: dropped + remote.dropped(),
        })
    }

    /// Makes the sockets join rooms.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when only the sockets of this server were reached.
    pub async fn join(&self, rooms: impl IntoRooms) -> Result<(), ApiError> {
        let (target, rooms) = (self.target.clone(), rooms.into_rooms());
        self.send_to_all(Body::SocketsJoin { target, rooms })
            .await?;
        Ok(())
    }

    /// Makes the sockets leave rooms.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when only the sockets of this server were reached.
    pub async fn leave(&self, rooms: impl IntoRooms) -> Result<(), ApiError> {
        let (target, rooms) = (self.target.clone(), rooms.into_rooms());
        self.send_to_all(Body::SocketsLeave { target, rooms })
            .await?;
        Ok(())
    }

    /// Disconnects the sockets from the namespace; with `close` from their whole connection.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when only the sockets of this server were reached.
    pub async fn disconnect(&self, close: bool) -> Result<(), ApiError> {
        let target = self.target.clone();
        self.send_to_all(Body::DisconnectSockets { target, close })
            .await?;
        Ok(())
    }

    /// The sockets, of Rust and Node.js servers alike, as far as their servers answered in time.
    ///
    /// # Errors
    /// [`ApiError::NotServed`] and [`ApiError::Cluster`] when the question could not be asked; never
    /// because of an answer.
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// let found = board.of("/").to("lobby").fetch_sockets().await?;
    /// for socket in &found.items {
    ///     let name: String = socket.data().unwrap_or_default();
    ///     println!("{name}, from {:?}", socket.handshake().address());
    /// }
    /// if !found.is_complete() {
    ///     println!("these servers did not answer: {:?}", found.missing);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch_sockets(&self) -> Result<Partial<RemoteSocket>, ApiError> {
        let node = self.cluster.node().clone();
        let local = self.cluster.local(&self.namespace);
        let local = local.map_or_else(Vec::new, |local| local.sockets(&self.target));
        let mut answers = self
            .ask(async |target| {
                self.cluster
                    .fetch_sockets(&self.namespace, target, self.timeout)
                    .await
            })
            .await?;
        answers.items.insert(0, (node, local));
        let whole = Self::new(self.cluster.clone(), self.namespace.clone());
        Ok(flatten(answers, |node, socket| {
            RemoteSocket::new(whole.clone(), node.clone(), socket)
        }))
    }

    /// The ids of the sockets. (`clients` in `socket.io-adapter-postgres`.)
    ///
    /// # Errors
    /// As [`fetch_sockets`](Self::fetch_sockets).
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// let ids = board.of("/").to("lobby").socket_ids().await?;
    /// println!("{} sockets are in the lobby", ids.items.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn socket_ids(&self) -> Result<Partial<SocketId>, ApiError> {
        let local = self.cluster.local(&self.namespace);
        let here = local.map_or_else(Vec::new, |local| local.socket_ids(&self.target));
        let Partial {
            items,
            missing,
            missing_unknown,
        } = self
            .ask(async |target| {
                self.cluster
                    .fetch_sockets(&self.namespace, target, self.timeout)
                    .await
            })
            .await?;
        let there = items.into_iter().flat_map(|(_, sockets)| sockets);
        let items = here.into_iter().chain(there.map(|socket| socket.id));
        Ok(Partial {
            items: items.map(SocketId::from).collect(),
            missing,
            missing_unknown,
        })
    }

    /// The rooms that the sockets are in, each once; without a selection: all rooms of the
    /// namespace. (`allRooms` in `socket.io-adapter-postgres`.)
    ///
    /// A socket's own id, which is a room too, is left out, with one exception: over the classic
    /// Redis adapter, which asks for rooms and not for sockets, Node.js servers list the ids of
    /// theirs, and nothing tells them from other rooms.
    ///
    /// # Errors
    /// As [`fetch_sockets`](Self::fetch_sockets).
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// let rooms = board.of("/chat").rooms().await?;
    /// println!("{:?}", rooms.items);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rooms(&self) -> Result<Partial<Room>, ApiError> {
        let node = self.cluster.node().clone();
        let local = self.cluster.local(&self.namespace);
        let local = local.map_or_else(Vec::new, |local| local.rooms(&self.target));
        let mut answers = self
            .ask(async |target| {
                self.cluster
                    .fetch_rooms(&self.namespace, target, self.timeout)
                    .await
            })
            .await?;
        answers.items.insert(0, (node, local));
        let mut seen = std::collections::HashSet::new();
        let mut rooms = flatten(answers, |_, room| room);
        rooms.items.retain(|room| seen.insert(room_key(room)));
        Ok(rooms)
    }

    /// The other servers that were heard in this namespace. A Node.js server has one id for each
    /// namespace; over the classic Redis adapter its servers are counted
    /// ([`server_count`](Self::server_count)) and not named.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        self.cluster.nodes(&self.namespace)
    }

    /// How many servers serve this namespace, this one included, as far as is known now.
    pub async fn server_count(&self) -> usize {
        self.cluster.count_servers(&self.namespace).await
    }

    fn event<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<Broadcast, ApiError> {
        if RESERVED_FOR_CLIENTS.contains(&name) {
            return Err(ApiError::ReservedEvent {
                name: name.to_owned(),
                why: "Socket.IO itself gives it to clients",
            });
        }
        Ok(Broadcast {
            target: self.target.clone(),
            data: payload::from_event(name, data)?,
            packet_id: None,
            request: None,
        })
    }

    /// Returns how many packets sockets of this server lost, as far as it reached them at once.
    async fn send_to_all(&self, body: Body) -> Result<usize, ApiError> {
        if self.local_only {
            return Ok(self.cluster.act_here(&self.namespace, &body));
        }
        Ok(self.cluster.send_to_all(&self.namespace, body).await?)
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(Target) -> Result<Partial<T>, crate::cluster::SendError>,
    ) -> Result<Partial<T>, ApiError> {
        if self.local_only {
            return Ok(Partial {
                items: Vec::new(),
                missing: Vec::new(),
                missing_unknown: 0,
            });
        }
        Ok(question(self.target.clone()).await?)
    }

    pub(super) fn wait(&self) -> Duration {
        self.timeout
            .unwrap_or(self.cluster.options().request_timeout)
    }
}

/// The payload of a server event whose name Node.js servers can take.
pub(super) fn server_event<T: Serialize + ?Sized>(
    name: &str,
    data: &T,
) -> Result<Payload, ApiError> {
    let why = match name {
        "connect" | "connection" | "new_namespace" => {
            "Socket.IO itself gives it to servers, and a Node.js server's handler would be called \
             with something else"
        }
        "error" => "a Node.js server without a handler for it would stop",
        crate::cluster::QUERY_EVENT => "custom requests travel under this name",
        _ => return Ok(payload::from_event(name, data)?),
    };
    Err(ApiError::ReservedEvent {
        name: name.to_owned(),
        why,
    })
}

fn flatten<N, T, R>(answers: Partial<(N, Vec<T>)>, mut item: impl FnMut(&N, T) -> R) -> Partial<R> {
    let Partial {
        items,
        missing,
        missing_unknown,
    } = answers;
    let items = items
        .into_iter()
        .flat_map(|(node, list)| {
            list.into_iter()
                .map(|one| item(&node, one))
                .collect::<Vec<_>>()
        })
        .collect();
    Partial {
        items,
        missing,
        missing_unknown,
    }
}

/// Rooms are compared as Node.js does: by type and value.
fn room_key(room: &Room) -> (bool, Str) {
    match room {
        Room::Text(text) => (false, text.clone()),
        Room::Number(number) => (true, number.to_string().into()),
    }
}
