//! The handle's requests about sockets: what is asked of the other nodes, of whom, and for how
//! long.
//!
//! The table of those that wait is `requests.rs`; what is asked of the applications on the other
//! nodes is `servers.rs`.

use std::{collections::HashSet, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{
    acks::{AckWait, RemoteAcks},
    error::SendError,
    expected::Expected,
    flags::with_timeout,
    handle::Cluster,
    link::{Membership, TransportInfo},
    message::{Body, Broadcast, Namespace, NodeId, RequestId, Room, SocketInfo, Target},
    options::bounded_wait,
    partial::Partial,
    publish::CountQuery,
    requests::{Answers, Ticket, Wanted},
};

impl Cluster {
    /// How many servers are in a namespace, this one included: those that the backend counts if
    /// it does, otherwise those that were heard.
    ///
    /// Waits for the backend for at most half of `request_timeout`, then answers with those that
    /// were heard.
    pub async fn count_servers(&self, namespace: &Namespace) -> usize {
        let others = match self
            .counted_others(namespace, self.options().request_timeout / 2)
            .await
        {
            Some(others) => others,
            None => self.shared().nodes.count(namespace),
        };
        1 + others
    }

    /// The sockets of the other nodes that match, by node. Ends when all have answered or are
    /// gone, or after `timeout` (default: `request_timeout`) with what has arrived.
    ///
    /// Where no other node is known nothing is sent, and the result is empty and complete. Right
    /// after this server has entered the namespace nobody is known yet.
    ///
    /// # Errors
    ///
    /// [`SendError`] when the request could not be made, [`SendError::NotServed`] among them; never
    /// because of an answer.
    pub async fn fetch_sockets(
        &self,
        namespace: &Namespace,
        target: Target,
        timeout: Option<Duration>,
    ) -> Result<Partial<(NodeId, Vec<SocketInfo>)>, SendError> {
        let deadline = self.deadline(timeout);
        let question = |request| Body::FetchSockets { request, target };
        let wanted = Wanted::all(are_sockets);
        let answers = self.ask(namespace, question, wanted, deadline).await?;
        Ok(Partial::of(answers, sockets_of))
    }

    /// The socket of an id, if another node has it, as the only one of the items. Ends as soon as a
    /// node describes this very socket (others may have joined a room of that name), and then nobody
    /// is missing. Otherwise it ends as [`fetch_sockets`](Self::fetch_sockets) does, so that
    /// `missing` tells whether the socket is nowhere or was not found in time.
    ///
    /// # Errors
    ///
    /// As [`fetch_sockets`](Self::fetch_sockets).
    pub async fn find_socket(
        &self,
        namespace: &Namespace,
        id: &str,
        timeout: Option<Duration>,
    ) -> Result<Partial<(NodeId, SocketInfo)>, SendError> {
        let deadline = self.deadline(timeout);
        let target = Target {
            rooms: [Room::from(id)].into(),
            ..Target::default()
        };
        let question = |request| Body::FetchSockets { request, target };
        let wanted = Wanted::socket(are_sockets, id.into());
        let answers = self.ask(namespace, question, wanted, deadline).await?;
        let mut found = Partial::of(answers, |node, body| {
            let (node, sockets) = sockets_of(node, body);
            let mut sockets = sockets.into_iter();
            Some((node, sockets.find(|socket| *socket.id == *id)?))
        });
        // One answer ends the search, so there is one at most.
        let item = found.items.drain(..).flatten().next();
        Ok(Partial {
            items: item.into_iter().collect(),
            missing: found.missing,
            missing_unknown: found.missing_unknown,
        })
    }

    /// The rooms of the other nodes' sockets that match, by node and without repeats within one.
    /// Ends as [`fetch_sockets`](Self::fetch_sockets) does.
    ///
    /// The rooms of the sockets' own ids are left out, with one exception: over a transport that asks
    /// for rooms directly (`rooms_query`) a Node.js server lists them too, and nothing tells them
    /// from others.
    ///
    /// # Errors
    ///
    /// As [`fetch_sockets`](Self::fetch_sockets).
    pub async fn fetch_rooms(
        &self,
        namespace: &Namespace,
        target: Target,
        timeout: Option<Duration>,
    ) -> Result<Partial<(NodeId, Vec<Room>)>, SendError> {
        let deadline = self.deadline(timeout);
        if !self.transport_info(half_until(deadline)).await.rooms_query {
            let question = |request| Body::FetchSockets { request, target };
            let wanted = Wanted::all(are_sockets);
            let answers = self.ask(namespace, question, wanted, deadline).await?;
            return Ok(Partial::of(answers, |node, body| match body {
                Body::SocketsAnswer { sockets, .. } => {
                    (node, distinct(sockets.into_iter().flat_map(joined_rooms)))
                }
                _ => (node, Vec::new()),
            }));
        }
        let question = |request| Body::FetchRooms { request, target };
        let wanted = Wanted::all(are_rooms);
        let answers = self.ask(namespace, question, wanted, deadline).await?;
        Ok(Partial::of(answers, |node, body| match body {
            Body::RoomsAnswer { rooms, .. } => (node, distinct(rooms)),
            _ => (node, Vec::new()),
        }))
    }

    /// Sends an event to the clients of the other nodes and gives their acknowledgements as they
    /// come, for `timeout` from now. The caller has already delivered it to the local ones.
    ///
    /// Fills in `broadcast.request`, and the flag `timeout` if it is not there. It is sent also
    /// when no other node is known. When it could not be sent within `timeout`, because the outbox
    /// was full, all nodes that are known are missing.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), [`SendError::TooManyRequests`], and [`SendError::NoRoomInTime`] when
    /// it could not be sent and no other node is known.
    pub async fn broadcast_with_ack(
        &self,
        namespace: &Namespace,
        mut broadcast: Broadcast,
        timeout: Duration,
    ) -> Result<RemoteAcks, SendError> {
        let deadline = self.deadline(Some(timeout));
        let expected = self.expected(namespace, half_until(deadline)).await?;
        let nobody_known = expected.is_complete();
        let (wait, reader) = AckWait::new(expected, self.options().max_buffered_acks);
        let ticket = self.shared().requests.acks(namespace, wait)?;
        self.recheck(&ticket, namespace);

        broadcast.request = Some(ticket.id().clone());
        let flags = broadcast.target.flags.take();
        broadcast.target.flags = with_timeout(flags, bounded_wait(timeout));
        let sent = self.send_until(deadline, namespace, Body::Broadcast(broadcast));
        match sent.await {
            // The stream is past its deadline and says who is missing.
            Err(SendError::NoRoomInTime) if !nobody_known => {}
            sent => sent?,
        }
        Ok(RemoteAcks::new(ticket, reader, deadline))
    }

    /// Asks a question that each node answers once; where nobody else is, nothing is sent.
    pub(super) async fn ask(
        &self,
        namespace: &Namespace,
        question: impl FnOnce(RequestId) -> Body,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Answers, SendError> {
        let asked = self.put(namespace, question, wanted, deadline).await?;
        asked.answers().await
    }

    /// The first half of it: ends when the question is on its way, and nothing can fail any more but
    /// answers that do not come.
    pub(super) async fn put(
        &self,
        namespace: &Namespace,
        question: impl FnOnce(RequestId) -> Body,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Asked, SendError> {
        let expected = self.expected(namespace, half_until(deadline)).await?;
        if expected.is_complete() {
            return Ok(Asked::Nobody);
        }
        self.put_to(namespace, expected, question, wanted, deadline)
            .await
    }

    /// The same when it is known whom to wait for.
    pub(super) async fn put_to(
        &self,
        namespace: &Namespace,
        expected: Expected,
        question: impl FnOnce(RequestId) -> Body,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Asked, SendError> {
        let (ticket, answers) = self.shared().requests.fetch(namespace, expected, wanted)?;
        self.recheck(&ticket, namespace);

        let question = question(ticket.id().clone());
        match self.send_until(deadline, namespace, question).await {
            // Nobody can answer, all are missing.
            Err(SendError::NoRoomInTime) => {}
            sent => sent?,
        }
        Ok(Asked::These {
            ticket,
            answers,
            deadline,
        })
    }

    /// Whom to wait for. `wait`: how long the backend may take to say how many they are.
    ///
    /// Everything that waits for answers begins here, and so is refused where none would arrive.
    pub(super) async fn expected(
        &self,
        namespace: &Namespace,
        wait: Duration,
    ) -> Result<Expected, SendError> {
        self.shared().namespaces.check_served(namespace)?;
        let counted = self.counted_others(namespace, wait).await;
        let named = self.shared().nodes.ids(namespace);
        Ok(match counted {
            Some(others) => Expected::counted(others, named),
            None => Expected::named(named),
        })
    }

    /// A node that left between the making of the list and its entry in the table was not taken
    /// out of it.
    fn recheck(&self, ticket: &Ticket, namespace: &Namespace) {
        let present: HashSet<NodeId> = self.shared().nodes.ids(namespace).into_iter().collect();
        self.shared()
            .requests
            .keep_waiting_for(ticket.id(), |node| present.contains(node));
    }

    /// The number of other nodes if this transport counts them and could do it now.
    pub(super) async fn counted_others(
        &self,
        namespace: &Namespace,
        wait: Duration,
    ) -> Option<usize> {
        let deadline = Instant::now() + wait;
        if self.transport_info(wait).await.membership != Membership::Counted {
            return None;
        }
        let (answer, count) = oneshot::channel();
        let query = CountQuery {
            namespace: namespace.clone(),
            answer,
        };
        let counting = async {
            self.0.counts.send(query).await.ok()?;
            count.await.ok().flatten()
        };
        let count = timeout_at(deadline, counting).await.ok().flatten()?;
        Some(
            usize::try_from(count)
                .unwrap_or(usize::MAX)
                .saturating_sub(1),
        )
    }

    /// What the transport can carry; the least, if that does not turn out within `wait`.
    pub(super) async fn transport_info(&self, wait: Duration) -> TransportInfo {
        let mut info = self.0.info.clone();
        let known = timeout(wait, info.wait_for(Option::is_some)).await;
        known
            .ok()
            .and_then(Result::ok)
            .and_then(|info| *info)
            .unwrap_or_default()
    }
}

/// A question that was asked.
#[derive(Debug)]
pub(super) enum Asked {
    /// No other node is known.
    Nobody,
    /// Some are, and have until the deadline.
    These {
        ticket: Ticket,
        answers: oneshot::Receiver<Answers>,
        deadline: Instant,
    },
}

impl Asked {
    /// What arrives until the deadline.
    pub(super) async fn answers(self) -> Result<Answers, SendError> {
        let Self::These {
            ticket,
            mut answers,
            deadline,
        } = self
        else {
            return Ok(Answers::default());
        };
        let arrived = match timeout_at(deadline, &mut answers).await {
            Ok(arrived) => arrived,
            Err(_) => {
                ticket.end();
                answers.await
            }
        };
        arrived.map_err(|_| SendError::Closed)
    }
}

/// For what must leave time for the answers.
pub(super) fn half_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()) / 2
}

fn are_sockets(body: &Body) -> bool {
    matches!(body, Body::SocketsAnswer { .. })
}

fn sockets_of(node: NodeId, body: Body) -> (NodeId, Vec<SocketInfo>) {
    match body {
        Body::SocketsAnswer { sockets, .. } => (node, sockets),
        _ => (node, Vec::new()),
    }
}

fn are_rooms(body: &Body) -> bool {
    matches!(body, Body::RoomsAnswer { .. })
}

/// The rooms that a socket has joined: its own id, which is a room too, is not one of them.
fn joined_rooms(socket: SocketInfo) -> impl Iterator<Item = Room> {
    let SocketInfo { id, rooms, .. } = socket;
    rooms
        .into_iter()
        .filter(move |room| !matches!(room, Room::Text(text) if **text == *id))
}

/// Each room once, in the order of its first appearance.
fn distinct(rooms: impl IntoIterator<Item = Room>) -> Vec<Room> {
    let mut texts = HashSet::new();
    let mut numbers = HashSet::new();
    let first = |room: &Room| match room {
        Room::Text(text) => texts.insert(text.clone()),
        // By bits, as numbers have no total equality; JSON has neither NaN nor a second zero.
        Room::Number(number) => numbers.insert(number.to_bits()),
    };
    rooms.into_iter().filter(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_listed_once_and_a_number_is_not_its_text() {
        let rooms = [
            Room::from("42"),
            Room::Number(42.0),
            Room::from("42"),
            Room::Number(42.0),
        ];
        assert_eq!(distinct(rooms), [Room::from("42"), Room::Number(42.0)]);
    }
}
