//! What is asked of the applications on the other servers: server events, with and without
//! answers, and custom queries.
//!
//! The other side of it, this server's own handlers, is `handlers.rs` and `calls.rs`.

use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use tokio::time::{Instant, timeout_at};

use super::{
    ask::{Asked, half_until},
    error::SendError,
    event_data::query_event,
    handle::Cluster,
    message::{Body, Namespace, NodeId, Payload},
    partial::Partial,
    requests::{Answers, Wanted},
};

/// What one server's handler answered: a value, nothing, or why it could not answer.
pub type Answer = Result<Option<Payload>, Arc<str>>;

/// Bytes of a kind's name, by the contract with transports.
const MAX_KIND_BYTES: usize = 128;

impl Cluster {
    /// Sends an event to the handlers of the other servers in a namespace. `data` is the JSON
    /// array of its name and its arguments.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn server_event(
        &self,
        namespace: &Namespace,
        data: Payload,
    ) -> Result<(), SendError> {
        let request = None;
        self.send(namespace, Body::ServerEvent { data, request })
            .await
    }

    /// Sends an event to the handlers of the other servers and waits for their answers, one for
    /// each node; as in Node.js, this node's own handlers are not called. Ends when all have
    /// answered or are gone, or after `timeout` (default: `request_timeout`) with what has
    /// arrived.
    ///
    /// A server of ours without a handler of that name answers with an error at once, if the wire
    /// can carry one. A Node.js server without a handler never answers, and is missing then.
    ///
    /// The event is sent also when no other node is known; then nothing is waited for but room in
    /// the outbox, and the result is empty and complete. When there was no room before the time was
    /// over, the nodes that are known are all missing.
    ///
    /// # Errors
    ///
    /// [`SendError`] when the event could not be sent, [`SendError::NotServed`] among them, and
    /// [`SendError::NoRoomInTime`] when no other node is known; never because of an answer.
    pub async fn server_event_with_ack(
        &self,
        namespace: &Namespace,
        data: Payload,
        timeout: Option<Duration>,
    ) -> Result<Partial<(NodeId, Answer)>, SendError> {
        let deadline = self.deadline(timeout);
        let expected = self.expected(namespace, half_until(deadline)).await?;
        if expected.is_complete() {
            let body = Body::ServerEvent {
                data,
                request: None,
            };
            self.send_until(deadline, namespace, body).await?;
            return Ok(Partial::of(Answers::default(), answer_of));
        }
        let question = |request| Body::ServerEvent {
            data,
            request: Some(request),
        };
        let wanted = Wanted::all(are_event_answers);
        let asked = self
            .put_to(namespace, expected, question, wanted, deadline)
            .await?;
        Ok(Partial::of(asked.answers().await?, answer_of))
    }

    /// Asks every server in a namespace, this one included, a question of a kind of the
    /// application's own, and waits for the answers as
    /// [`server_event_with_ack`](Self::server_event_with_ack) does. This node's answer is the
    /// first in `items`; when its handler has not answered in time, it is `missing`. Its handler is
    /// called once the question is on its way to the others.
    ///
    /// A server without a handler for the kind answers with an error. Where no other node is known
    /// only this node is asked. Over a transport that cannot carry custom queries they travel as
    /// server events of the name [`QUERY_EVENT`](super::QUERY_EVENT).
    ///
    /// # Errors
    ///
    /// [`SendError::BadKind`] unless `kind` has 1 to 128 bytes; else as
    /// [`server_event_with_ack`](Self::server_event_with_ack).
    pub async fn query(
        &self,
        namespace: &Namespace,
        kind: &str,
        data: Payload,
        timeout: Option<Duration>,
    ) -> Result<Partial<(NodeId, Answer)>, SendError> {
        if kind.is_empty() || kind.len() > MAX_KIND_BYTES {
            return Err(SendError::BadKind {
                len: kind.len(),
                max: MAX_KIND_BYTES,
            });
        }
        let deadline = self.deadline(timeout);
        let asked = self
            .put_query(namespace, kind, data.clone(), deadline)
            .await?;
        // Only now: an error must mean that no handler was called, this node's own included.
        let own = async {
            // The time may be over before there was room for the question.
            if Instant::now() >= deadline {
                return None;
            }
            let own = self.0.calls.own_query(namespace, kind, data);
            timeout_at(deadline, own).await.ok()?.ok()
        };
        let (own, others) = join(own, asked.answers()).await;
        let others = others?;

        let mut answers = Partial::of(others, answer_of);
        let node = self.node().clone();
        match own {
            Some(answer) => answers.items.insert(0, (node, answer)),
            // Not in time, or a handler that does not answer.
            None => {
                answers.missing.push(node);
                answers.missing.sort();
            }
        }
        Ok(answers)
    }

    async fn put_query(
        &self,
        namespace: &Namespace,
        kind: &str,
        data: Payload,
        deadline: Instant,
    ) -> Result<Asked, SendError> {
        if !self.transport_info(half_until(deadline)).await.custom_query {
            let question = |request| Body::ServerEvent {
                data: query_event(kind, data),
                request: Some(request),
            };
            let wanted = Wanted::all(are_event_answers);
            return self.put(namespace, question, wanted, deadline).await;
        }
        let question = |request| Body::CustomQuery {
            request,
            kind: kind.into(),
            data,
        };
        let wanted = Wanted::all(are_custom_answers);
        self.put(namespace, question, wanted, deadline).await
    }
}

fn are_event_answers(body: &Body) -> bool {
    matches!(body, Body::ServerEventAnswer { .. })
}

fn are_custom_answers(body: &Body) -> bool {
    matches!(body, Body::CustomAnswer { .. })
}

fn answer_of(node: NodeId, body: Body) -> (NodeId, Answer) {
    match body {
        Body::ServerEventAnswer { data, error, .. } | Body::CustomAnswer { data, error, .. } => {
            (node, error.map_or(Ok(data), Err))
        }
        _ => (node, Ok(None)),
    }
}
