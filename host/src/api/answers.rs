//! What comes back: from servers, and from clients.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::SocketId;
use crate::{
    cluster::{NodeId, Payload},
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
    /// Answers that came, but were dropped because too many had not been read
    /// (`cluster.max_buffered_acks`, `cluster.max_reply_bytes`).
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

/// A client's acknowledgement as the type that the caller wants. Errors are JSON text.
pub(super) fn client_answer<T: DeserializeOwned>(
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
