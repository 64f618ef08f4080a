//! What comes back: from servers, and from clients.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::SocketId;
use crate::{
    cluster::{NodeId, Payload, RemoteAck},
    payload,
};

/// What one server answered.
#[derive(Clone, Debug)]
pub struct NodeAnswer<T> {
    /// Which server; empty over a transport whose answers do not say.
    pub node: NodeId,
    /// Its answer.
    pub answer: Result<T, AnswerError>,
}

/// What one client acknowledged.
#[derive(Clone, Debug)]
pub struct ClientAnswer<T> {
    /// The server that it is connected to; empty over a transport whose answers do not say.
    pub node: NodeId,
    /// Which socket, if the answer says: Node.js servers do not.
    pub socket: Option<SocketId>,
    /// Its acknowledgement.
    pub answer: Result<T, AnswerError>,
}

/// What clients acknowledged before the deadline, and what is not there.
#[derive(Clone, Debug)]
pub struct Acks<T> {
    /// What came.
    pub answers: Vec<ClientAnswer<T>>,
    /// Servers whose clients' answers are not, or not all, there: they did not answer in time, or
    /// left.
    pub missing: Vec<NodeId>,
    /// How many more servers did not answer, whose names are not known.
    pub missing_unknown: usize,
    /// Clients of other servers that got the event and did not acknowledge it in time. Clients of
    /// this server that did not are among the answers, with an error.
    pub unacknowledged: u64,
    /// Answers that came, but were dropped because the others already held as much as
    /// `cluster.max_reply_bytes` allows, or came faster than they could be read
    /// (`cluster.max_buffered_acks`).
    pub dropped: u64,
}

impl<T> Acks<T> {
    /// Every client of every server has acknowledged.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
            && self.missing_unknown == 0
            && self.unacknowledged == 0
            && self.dropped == 0
            && self.answers.iter().all(|answer| answer.answer.is_ok())
    }
}

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The other side could not answer, in its own words: it has no handler, its handler failed, a
    /// client did not acknowledge in time.
    #[error("{0}")]
    Failed(Arc<str>),
    /// The answer came, but is not of the type that was asked for.
    #[error("the answer is of another type: {0}")]
    Unreadable(String),
}

/// A server's answer as the type that the caller wants. No value reads as JSON's `null`.
pub(super) fn node_answer<T: DeserializeOwned>(
    node: NodeId,
    answer: Result<Option<Payload>, Arc<str>>,
) -> NodeAnswer<T> {
    let answer = answer.map_err(AnswerError::Failed).and_then(|value| {
        let value = value.unwrap_or_else(|| Payload::text("null"));
        payload::to_value(&value).map_err(|error| AnswerError::Unreadable(error.to_string()))
    });
    NodeAnswer { node, answer }
}

/// Collects what clients acknowledge, within a limit: another node decides how many clients it
/// speaks for, so their number alone must not fill this server's memory.
pub(super) struct AckBox<T> {
    answers: Vec<ClientAnswer<T>>,
    bytes: usize,
    max_bytes: usize,
    dropped: u64,
}

impl<T: DeserializeOwned> AckBox<T> {
    /// `max_bytes`: of the acknowledgements as they came, and of their places in the list.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            answers: Vec::new(),
            bytes: 0,
            max_bytes,
            dropped: 0,
        }
    }

    /// Keeps one, or counts it as dropped.
    pub(super) fn add(&mut self, ack: RemoteAck) {
        let RemoteAck { node, socket, data } = ack;
        let said = match &data {
            Ok(data) => data.len(),
            Err(error) => error.len(),
        };
        let bytes = size_of::<ClientAnswer<T>>() + said + socket.as_ref().map_or(0, |id| id.len());
        // A first one is always kept, however large: a limit below it would never be met.
        if self.bytes > 0 && self.bytes + bytes > self.max_bytes {
            self.dropped += 1;
            return;
        }
        self.bytes += bytes;
        self.answers.push(client_answer(node, socket, data));
    }

    /// What was kept, and how many were dropped.
    pub(super) fn into_parts(self) -> (Vec<ClientAnswer<T>>, u64) {
        (self.answers, self.dropped)
    }
}

/// A client's acknowledgement as the type that the caller wants. Errors are JSON text.
fn client_answer<T: DeserializeOwned>(
    node: NodeId,
    socket: Option<Arc<str>>,
    data: Result<Payload, Arc<str>>,
) -> ClientAnswer<T> {
    let answer = match data {
        Ok(arguments) => {
            payload::to_ack(&arguments).map_err(|error| AnswerError::Unreadable(error.to_string()))
        }
        Err(json) => Err(AnswerError::Failed(
            serde_json::from_str::<String>(&json).map_or(json, Arc::from),
        )),
    };
    ClientAnswer {
        node,
        socket: socket.map(SocketId::from),
        answer,
    }
}
