//! Requests of this node that wait for answers of others: the table, and how each one ends.
//!
//! A request ends when everybody has answered or is gone, when its caller says so (the deadline),
//! or when its caller drops it. What is asked, and of whom, is `ask.rs`; the acknowledgements of a
//! broadcast are counted in `acks.rs`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    acks::AckWait,
    error::SendError,
    expected::Expected,
    health::Throttle,
    message::{Body, Message, Namespace, NodeId, RequestId},
    random::Random,
    stats::Counters,
};

/// The table.
#[derive(Debug)]
pub(super) struct Requests {
    limit: usize,
    max_reply_bytes: usize,
    table: Mutex<Table>,
    random: Random,
    counters: Arc<Counters>,
    drops: Throttle,
}

#[derive(Debug, Default)]
struct Table {
    pending: HashMap<RequestId, Pending>,
    closed: bool,
}

#[derive(Debug)]
struct Pending {
    namespace: Namespace,
    wait: Wait,
}

#[derive(Debug)]
enum Wait {
    Fetch(FetchWait),
    Acks(AckWait),
}

/// Which answers a request is for, and when it has enough of them.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Others are ignored.
    accepts: fn(&Body) -> bool,
    /// The answer that holds the socket of this id ends the request at once, with nobody missing.
    socket: Option<Arc<str>>,
}

impl Wanted {
    /// Each node's answer.
    pub(super) fn all(accepts: fn(&Body) -> bool) -> Self {
        Self {
            accepts,
            socket: None,
        }
    }

    /// Each node's answer, until one comes that holds the socket of this id.
    pub(super) fn socket(accepts: fn(&Body) -> bool, id: Arc<str>) -> Self {
        Self {
            accepts,
            socket: Some(id),
        }
    }

    fn suffices(&self, answer: &Body) -> bool {
        match (&self.socket, answer) {
            (Some(id), Body::SocketsAnswer { sockets, .. }) => {
                sockets.iter().any(|socket| socket.id == *id)
            }
            _ => false,
        }
    }
}

/// A request with one answer from each node.
#[derive(Debug)]
struct FetchWait {
    expected: Expected,
    wanted: Wanted,
    answers: Vec<(NodeId, Body)>,
    bytes: usize,
    /// One answer said all that was asked.
    satisfied: bool,
    end: oneshot::Sender<Answers>,
}

/// What a request with one answer from each node has brought.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) items: Vec<(NodeId, Body)>,
    pub(super) missing: Vec<NodeId>,
    pub(super) missing_unknown: usize,
}

/// What to do with a request after something has happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    GoOn,
    /// An answer found no room and was dropped; go on.
    Dropped,
    End,
}

/// A place in the table. Dropping it forgets the request.
#[derive(Debug)]
pub(super) struct Ticket {
    id: RequestId,
    requests: Arc<Requests>,
}

impl Ticket {
    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    /// Ends the request with what has arrived, if it has not ended before.
    pub(super) fn end(&self) {
        self.requests.end(&self.id);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.requests.forget(&self.id);
    }
}

impl Requests {
    pub(super) fn new(limit: usize, max_reply_bytes: usize, counters: Arc<Counters>) -> Self {
        Self {
            limit,
            max_reply_bytes,
            table: Mutex::default(),
            random: Random::new(),
            counters,
            drops: Throttle::default(),
        }
    }

    /// Opens a request with one answer from each node.
    pub(super) fn fetch(
        self: &Arc<Self>,
        namespace: &Namespace,
        expected: Expected,
        wanted: Wanted,
    ) -> Result<(Ticket, oneshot::Receiver<Answers>), SendError> {
        let (end, answers) = oneshot::channel();
        let wait = FetchWait {
            expected,
            wanted,
            answers: Vec::new(),
            bytes: 0,
            satisfied: false,
            end,
        };
        Ok((self.open(namespace, Wait::Fetch(wait))?, answers))
    }

    /// Opens a broadcast that waits for acknowledgements.
    pub(super) fn acks(
        self: &Arc<Self>,
        namespace: &Namespace,
        wait: AckWait,
    ) -> Result<Ticket, SendError> {
        self.open(namespace, Wait::Acks(wait))
    }

    fn open(self: &Arc<Self>, namespace: &Namespace, wait: Wait) -> Result<Ticket, SendError> {
        let id = self.random.request_id();
        let mut table = self.lock();
        if table.closed {
            return Err(SendError::Closed);
        }
        if table.pending.len() >= self.limit {
            return Err(SendError::TooManyRequests { limit: self.limit });
        }
        table.pending.insert(
            id.clone(),
            Pending {
                namespace: namespace.clone(),
                wait,
            },
        );
        Ok(Ticket {
            id,
            requests: self.clone(),
        })
    }

    /// Gives an answer to the request that it names; one that nobody waits for is ignored.
    pub(super) fn answer(&self, message: Message) {
        let size = message.size();
        let Message {
            namespace,
            sender,
            body,
            ..
        } = message;
        let Some(id) = body.answers() else { return };
        let id = id.clone();
        let ended = {
            let mut table = self.lock();
            let Some(pending) = table.pending.get_mut(&id) else {
                return;
            };
            if pending.namespace != namespace {
                return;
            }
            let step = match &mut pending.wait {
                Wait::Fetch(wait) => wait.answer(&sender, body, size, self.max_reply_bytes),
                Wait::Acks(wait) => wait.answer(&sender, body, size, self.max_reply_bytes),
            };
            match step {
                Step::GoOn => return,
                Step::End => table.pending.remove(&id),
                Step::Dropped => {
                    let complete = pending.wait.is_complete();
                    let ended = complete.then(|| table.pending.remove(&id)).flatten();
                    drop(table);
                    self.answer_dropped(&sender);
                    ended
                }
            }
        };
        ended.into_iter().for_each(Pending::finish);
    }

    fn answer_dropped(&self, sender: &NodeId) {
        self.counters.dropped_replies.add(1);
        if let Some(more) = self.drops.pass() {
            tracing::warn!(
                node = %sender, more,
                "cluster: an answer was dropped, because its request already holds as much as \
                 max_reply_bytes or max_buffered_acks allow"
            );
        }
    }

    /// A node is gone from one namespace, or (None) from all: nobody waits for it any more.
    pub(super) fn node_gone(&self, node: &NodeId, namespace: Option<&Namespace>) {
        self.end_where(|pending| {
            if namespace.is_some_and(|namespace| *namespace != pending.namespace) {
                return false;
            }
            pending.wait.gone(node);
            pending.wait.is_complete()
        });
    }

    /// Takes those out of one request's wait who are gone since its list was made.
    pub(super) fn keep_waiting_for(&self, id: &RequestId, present: impl Fn(&NodeId) -> bool) {
        let ended = {
            let mut table = self.lock();
            let Some(pending) = table.pending.get_mut(id) else {
                return;
            };
            let waiting = pending.wait.expected().waiting();
            let gone: Vec<NodeId> = waiting.filter(|node| !present(node)).cloned().collect();
            for node in &gone {
                pending.wait.gone(node);
            }
            if !pending.wait.is_complete() {
                return;
            }
            table.pending.remove(id)
        };
        ended.into_iter().for_each(Pending::finish);
    }

    /// Ends every request of a namespace with what has arrived.
    pub(super) fn end_namespace(&self, namespace: &Namespace) {
        self.end_where(|pending| pending.namespace == *namespace);
    }

    /// Ends every request with what has arrived, and takes no more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.end_where(|_| true);
    }

    fn end_where(&self, mut ends: impl FnMut(&mut Pending) -> bool) {
        let ended: Vec<Pending> = {
            let mut table = self.lock();
            table
                .pending
                .extract_if(|_, pending| ends(pending))
                .map(|(_, p)| p)
                .collect()
        };
        ended.into_iter().for_each(Pending::finish);
    }

    fn end(&self, id: &RequestId) {
        let ended = self.lock().pending.remove(id);
        ended.into_iter().for_each(Pending::finish);
    }

    fn forget(&self, id: &RequestId) {
        let forgotten = self.lock().pending.remove(id);
        // Outside the lock: it may hold much.
        drop(forgotten);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().pending.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn finish(self) {
        match self.wait {
            Wait::Fetch(wait) => wait.finish(),
            Wait::Acks(wait) => wait.finish(),
        }
    }
}

impl Wait {
    fn expected(&self) -> &Expected {
        match self {
            Self::Fetch(wait) => &wait.expected,
            Self::Acks(wait) => wait.expected(),
        }
    }

    fn gone(&mut self, node: &NodeId) {
        match self {
            Self::Fetch(wait) => wait.expected.gone(node),
            Self::Acks(wait) => wait.gone(node),
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Fetch(wait) => wait.expected.is_complete(),
            Self::Acks(wait) => wait.is_complete(),
        }
    }
}

impl FetchWait {
    fn answer(&mut self, sender: &NodeId, body: Body, size: usize, max_bytes: usize) -> Step {
        if !(self.wanted.accepts)(&body) {
            return Step::GoOn;
        }
        // A first answer is always taken, however large: a limit below it would never be met.
        if self.bytes > 0 && self.bytes + size > max_bytes {
            self.expected.gone(sender);
            return Step::Dropped;
        }
        if !self.expected.answered(sender) {
            return Step::GoOn;
        }
        self.bytes += size;
        self.satisfied = self.wanted.suffices(&body);
        self.answers.push((sender.clone(), body));
        if self.satisfied || self.expected.is_complete() {
            Step::End
        } else {
            Step::GoOn
        }
    }

    fn finish(self) {
        let (missing, missing_unknown) = match self.satisfied {
            true => (Vec::new(), 0),
            false => self.expected.missing(),
        };
        // The asker may have dropped its request meanwhile.
        let _ = self.end.send(Answers {
            items: self.answers,
            missing,
            missing_unknown,
        });
    }
}
