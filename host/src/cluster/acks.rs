//! The asking side of a broadcast with acknowledgements: what came, what is still to come, and
//! the stream on which the caller reads it.
//!
//! Each node first says how many of its clients got the event, then sends one acknowledgement for
//! each. The answering side is `collect.rs`.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    expected::Expected,
    message::{Body, NodeId, Payload},
    requests::{Step, Ticket},
};

/// One acknowledgement of a client of another node.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteAck {
    /// Whose client it is; empty if the wire does not say.
    pub node: NodeId,
    /// Which socket, if the wire says.
    pub socket: Option<Arc<str>>,
    /// JSON array of the acknowledgement's arguments, or why there is none (JSON text). An error
    /// without a socket speaks for all clients of that node.
    pub data: Result<Payload, Arc<str>>,
}

/// The acknowledgements of the other nodes' clients, as they come.
///
/// Ends when all are there, when the nodes that did not finish are gone, or at the deadline.
/// Dropping it forgets the request; acknowledgements that come later are ignored.
#[derive(Debug)]
pub struct RemoteAcks {
    arriving: mpsc::Receiver<Arrived>,
    account: Arc<Account>,
    deadline: Pin<Box<Sleep>>,
    ticket: Ticket,
}

/// What both sides of the stream see.
#[derive(Debug, Default)]
struct Account {
    /// Bytes that the caller has not taken yet.
    buffered: AtomicUsize,
    outcome: Mutex<Outcome>,
}

#[derive(Clone, Debug, Default)]
struct Outcome {
    missing: Vec<NodeId>,
    missing_unknown: usize,
    unacknowledged: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Arrived {
    ack: RemoteAck,
    size: usize,
}

impl RemoteAcks {
    pub(super) fn new(ticket: Ticket, reading: AckReader, deadline: Instant) -> Self {
        let AckReader { arriving, account } = reading;
        Self {
            arriving,
            account,
            deadline: Box::pin(sleep_until(deadline)),
            ticket,
        }
    }

    /// After the end: the nodes that never said how many of their clients got the event, or that
    /// were gone before all those had answered. Empty before the end.
    pub fn missing(&self) -> Vec<NodeId> {
        self.account.outcome().missing
    }

    /// After the end: how many nodes did not answer whose names are not known.
    pub fn missing_unknown(&self) -> usize {
        self.account.outcome().missing_unknown
    }

    /// After the end: how many clients got the event on nodes that are still there, and did not
    /// acknowledge it before the deadline.
    pub fn unacknowledged(&self) -> u64 {
        self.account.outcome().unacknowledged
    }

    /// After the end: how many acknowledgements came, but were dropped, because the caller had
    /// left too many unread (`max_buffered_acks`, `max_reply_bytes`).
    pub fn dropped(&self) -> u64 {
        self.account.outcome().dropped
    }
}

impl Stream for RemoteAcks {
    type Item = RemoteAck;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RemoteAck>> {
        loop {
            if let Poll::Ready(arrived) = self.arriving.poll_recv(cx) {
                return Poll::Ready(arrived.map(|Arrived { ack, size }| {
                    self.account.buffered.fetch_sub(size, Ordering::Relaxed);
                    ack
                }));
            }
            // Once over, the request is out of the table and the channel ends; so the timer is
            // not polled again after it has fired.
            if self.arriving.is_closed() || self.deadline.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.ticket.end();
        }
    }
}

impl Account {
    fn outcome(&self) -> Outcome {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What is known about the acknowledgements of one broadcast so far.
#[derive(Debug)]
pub(super) struct AckWait {
    expected: Expected,
    progress: HashMap<NodeId, Progress>,
    /// Who has acknowledged, as far as they have names: a transport whose plugin died over a batch may
    /// bring an answer again.
    named: HashSet<(NodeId, Arc<str>)>,
    /// How many nodes have announced more clients than acknowledged.
    unfinished: usize,
    dropped: u64,
    arrived: mpsc::Sender<Arrived>,
    account: Arc<Account>,
}

/// The caller's end of an [`AckWait`].
#[derive(Debug)]
pub(super) struct AckReader {
    arriving: mpsc::Receiver<Arrived>,
    account: Arc<Account>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    clients: u64,
    acks: u64,
}

impl Progress {
    fn is_unfinished(self) -> bool {
        self.acks < self.clients
    }
}

impl AckWait {
    /// A wait for these nodes, whose caller may leave `max_buffered` acknowledgements unread.
    pub(super) fn new(expected: Expected, max_buffered: usize) -> (Self, AckReader) {
        let (arrived, arriving) = mpsc::channel(max_buffered);
        let account = Arc::new(Account::default());
        let reader = AckReader {
            arriving,
            account: account.clone(),
        };
        (
            Self {
                expected,
                progress: HashMap::new(),
                named: HashSet::new(),
                unfinished: 0,
                dropped: 0,
                arrived,
                account,
            },
            reader,
        )
    }

    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Every node has counted, and every client that was counted has answered.
    pub(super) fn is_complete(&self) -> bool {
        self.unfinished == 0 && self.expected.is_complete()
    }

    pub(super) fn answer(
        &mut self,
        sender: &NodeId,
        body: Body,
        size: usize,
        max_bytes: usize,
    ) -> Step {
        let kept = match body {
            Body::ClientCount { clients, .. } => {
                if !self.expected.answered(sender) {
                    return Step::GoOn;
                }
                self.advance(sender, |progress| progress.clients += u64::from(clients));
                true
            }
            Body::ClientAck {
                socket,
                data,
                error,
                ..
            } => {
                if let Some(socket) = &socket
                    && !self.is_first(sender, socket)
                {
                    return Step::GoOn;
                }
                if !self.advance(sender, |progress| progress.acks += 1) {
                    return Step::GoOn;
                }
                let data = error.map_or(Ok(data), Err);
                let ack = RemoteAck {
                    node: sender.clone(),
                    socket,
                    data,
                };
                self.give(Arrived { ack, size }, max_bytes)
            }
            _ => return Step::GoOn,
        };
        match (self.is_complete(), kept) {
            (_, false) => Step::Dropped,
            (true, true) => Step::End,
            (false, true) => Step::GoOn,
        }
    }

    /// False: this socket has acknowledged already.
    fn is_first(&mut self, node: &NodeId, socket: &Arc<str>) -> bool {
        let named = (node.clone(), Arc::clone(socket));
        if self.named.len() < MAX_NAMED_ACKS {
            return self.named.insert(named);
        }
        !self.named.contains(&named)
    }

    /// Books something of one node. False: there are too many nodes.
    fn advance(&mut self, node: &NodeId, book: impl FnOnce(&mut Progress)) -> bool {
        if self.progress.len() >= MAX_NODES_IN_PROGRESS && !self.progress.contains_key(node) {
            return false;
        }
        let progress = self.progress.entry(node.clone()).or_default();
        let before = progress.is_unfinished();
        book(progress);
        match (before, progress.is_unfinished()) {
            (false, true) => self.unfinished += 1,
            (true, false) => self.unfinished -= 1,
            _ => {}
        }
        true
    }

    /// False: the caller has left too much unread.
    fn give(&mut self, arrived: Arrived, max_bytes: usize) -> bool {
        let size = arrived.size;
        let buffered = self.account.buffered.load(Ordering::Relaxed);
        let fits = buffered == 0 || buffered + size <= max_bytes;
        // Counted before it is given: the reader subtracts as soon as it has it.
        self.account.buffered.fetch_add(size, Ordering::Relaxed);
        if fits && self.arrived.try_send(arrived).is_ok() {
            return true;
        }
        self.account.buffered.fetch_sub(size, Ordering::Relaxed);
        self.dropped += 1;
        false
    }

    /// A node is gone: its clients will not answer.
    pub(super) fn gone(&mut self, node: &NodeId) {
        self.expected.gone(node);
        if let Some(progress) = self.progress.get_mut(node)
            && progress.is_unfinished()
        {
            progress.clients = progress.acks;
            self.unfinished -= 1;
            self.expected.left_unfinished(node);
        }
    }

    /// Writes the account; the stream ends after what it still holds.
    pub(super) fn finish(self) {
        let (missing, missing_unknown) = self.expected.missing();
        let unacknowledged = self
            .progress
            .values()
            .map(|p| p.clients.saturating_sub(p.acks))
            .sum();
        let mut outcome = self
            .account
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *outcome = Outcome {
            missing,
            missing_unknown,
            unacknowledged,
            dropped: self.dropped,
        };
    }
}

/// Nodes whose acknowledgements for one broadcast are told apart; those of more are dropped.
const MAX_NODES_IN_PROGRESS: usize = 65_536;

/// Sockets whose acknowledgements of one broadcast are told apart; of more, one that comes again counts
/// again.
const MAX_NAMED_ACKS: usize = 100_000;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cluster::message::RequestId;

    #[test]
    fn an_acknowledgement_that_a_transport_brings_again_counts_once() {
        let b = NodeId::from("b");
        let (mut wait, mut reader) = AckWait::new(Expected::named([b.clone()]), 10);
        let request = || RequestId::from("1");
        let ack = |socket: &str| Body::ClientAck {
            request: request(),
            socket: Some(socket.into()),
            data: Payload::text("[]"),
            error: None,
        };
        let count = Body::ClientCount {
            request: request(),
            clients: 2,
        };
        for body in [count, ack("b1"), ack("b1")] {
            wait.answer(&b, body, 1, 1_000);
        }
        assert!(!wait.is_complete(), "the other one has not answered");
        assert!(matches!(wait.answer(&b, ack("b2"), 1, 1_000), Step::End));
        let mut got = Vec::new();
        while let Ok(arrived) = reader.arriving.try_recv() {
            got.push(arrived.ack.socket.unwrap().to_string());
        }
        assert_eq!(got, ["b1", "b2"]);
    }
}
