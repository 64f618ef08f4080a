//! The one ordered queue towards the transport: who may put a message in, and who has to wait.
//!
//! Three kinds of messages share the order but not the room, so that none can starve or block
//! another:
//!
//! * what this server sends waits for room (or fails), first come, first served;
//! * answers to other nodes never wait, because the inbox gives them: if the inbox of every node
//!   waited for the outbox of every node, none would move again. Over their allowance they are
//!   dropped and counted;
//! * heartbeats and farewells are few: one waiting heartbeat per namespace says it all.
//!
//! Under which name a message goes is decided at the moment it is put in, under the queue's lock.
//! Whoever is heard in a namespace under its own name is a member of it until its farewell, so in
//! a namespace that this server does not serve it says nothing under its own name, and nothing
//! after its farewell: events go as those of an emitter, questions are refused, answers and
//! heartbeats come too late.
//!
//! Who waits for room is in `parked.rs`; taking messages out and publishing them is `publish.rs`.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use tokio::sync::Notify;

use super::{
    batch::{Batch, Kind, Share},
    error::SendError,
    health::Throttle,
    local::Local,
    message::{Body, Message, Namespace, NodeId},
    namespaces::Namespaces,
    nodes::EMITTER,
    options::{OutboxFull, OutboxOptions},
    parked::{Admission, Letter, Line, Parked},
    stats::Counters,
};

/// Farewells and first heartbeats that may wait. Namespaces that come and go while the backend is
/// away add two each time.
const MAX_CONTROL: usize = 65_536;

/// The limits of senders, as they stand in the configuration.
const MAX_MESSAGES: &str = "outbox.max_messages";
const MAX_BYTES: &str = "outbox.max_bytes";

/// The queue.
pub(super) struct Outbox {
    node: NodeId,
    emitter: NodeId,
    /// Its lock is taken under the queue's, never the other way round.
    namespaces: Arc<Namespaces>,
    options: OutboxOptions,
    queue: Mutex<Queue>,
    /// Wakes the publishing task when the queue stops being empty or is closed.
    filled: Notify,
    counters: Arc<Counters>,
    answers_dropped: Throttle,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Message, Share)>,
    /// Whose sockets wait for the fate of those messages that say so, in the same order.
    waiting_here: VecDeque<Arc<dyn Local>>,
    /// Senders for whom there is no room, or who came after such.
    parked: Line,
    /// These count what is on its way, too, until it is accepted.
    bytes: usize,
    on_the_way: usize,
    waited_for_here: usize,
    /// Of senders, and their shares of the limit in bytes.
    sent: usize,
    sent_room: usize,
    answers: usize,
    answer_bytes: usize,
    control: usize,
    heartbeats: HashSet<Namespace>,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(
        node: NodeId,
        options: OutboxOptions,
        namespaces: Arc<Namespaces>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            node,
            emitter: NodeId::from(EMITTER),
            namespaces,
            queue: Mutex::default(),
            filled: Notify::new(),
            options,
            counters,
            answers_dropped: Throttle::default(),
        }
    }

    /// Puts a message in; waits for room or fails, as the policy says. In a namespace that this
    /// server does not serve a question is refused.
    ///
    /// Dropping the future takes nothing in, unless there was room just then.
    pub(super) async fn send(&self, namespace: &Namespace, body: Body) -> Result<(), SendError> {
        match self.send_now(namespace, body) {
            Ok(sent) => sent,
            Err(later) => later.await.map(|_| ()),
        }
    }

    /// The same in two steps: if there is no room, or others wait for it, what has to be waited for.
    pub(super) fn send_now(
        &self,
        namespace: &Namespace,
        body: Body,
    ) -> Result<Result<(), SendError>, Admission<'_>> {
        let message = self.message(namespace, None, body);
        let sent = self.offer(message, self.options.when_full, None)?;
        Ok(sent.map(|_| ()))
    }

    /// Puts a message in that is for the sockets of this server, too, with
    /// `connection_state_recovery`: an event, or what must not overtake events. True: it acts
    /// there when its fate is known; false: it overtakes nothing, and the caller lets it act.
    pub(super) async fn send_here(
        &self,
        local: &Arc<dyn Local>,
        body: Body,
    ) -> Result<bool, SendError> {
        let message = self.message(local.namespace(), None, body);
        match self.offer(message, self.options.when_full, Some(local)) {
            Ok(sent) => sent,
            Err(later) => later.await,
        }
    }

    /// Puts an answer in from a task of its own, which can wait whatever the policy. An error says
    /// that nobody waits for it any more: the cluster is closed, or its namespace left.
    pub(super) async fn send_answer(
        &self,
        namespace: &Namespace,
        recipient: Option<NodeId>,
        body: Body,
    ) -> Result<(), SendError> {
        let message = self.message(namespace, recipient, body);
        let sent = match self.offer(message, OutboxFull::Wait, None) {
            Ok(sent) => sent,
            Err(later) => later.await,
        };
        sent.map(|_| ())
    }

    fn offer(
        &self,
        message: Message,
        when_full: OutboxFull,
        here: Option<&Arc<dyn Local>>,
    ) -> Result<Result<bool, SendError>, Admission<'_>> {
        let letter = Letter {
            size: message.size(),
            message,
            here: here.cloned(),
        };
        let room = self.room_for(letter.size);
        let mut queue = self.lock();
        if queue.closed {
            return Ok(Err(SendError::Closed));
        }
        let lacking = self.lacking(&queue, room);
        if lacking.is_none() && queue.parked.is_empty() {
            return Ok(self.put(&mut queue, letter, room, false));
        }
        self.counters.full.add(1);
        match when_full {
            // Who waits although a message more is allowed waits for bytes.
            OutboxFull::Fail => {
                let option = lacking.unwrap_or(MAX_BYTES);
                Ok(Err(SendError::Full { option }))
            }
            OutboxFull::Wait => {
                let parked = queue.parked.join(letter, room);
                Err(Admission::new(self, parked))
            }
        }
    }

    /// A message larger than the whole queue takes all of it, and so waits until it is alone.
    fn room_for(&self, size: usize) -> usize {
        size.min(self.options.max_bytes)
    }

    /// The limit that keeps a message with this share out, if one does.
    fn lacking(&self, queue: &Queue, room: usize) -> Option<&'static str> {
        if queue.sent >= self.options.max_messages {
            return Some(MAX_MESSAGES);
        }
        (queue.sent_room + room > self.options.max_bytes).then_some(MAX_BYTES)
    }

    /// `parked`: its sender waits, and may run again long after it was sent, or never.
    fn put(
        &self,
        queue: &mut Queue,
        letter: Letter,
        room: usize,
        parked: bool,
    ) -> Result<bool, SendError> {
        let Letter {
            mut message,
            size,
            here,
        } = letter;
        if let Err(not_served) = self.namespaces.check_served(&message.namespace) {
            if message.body.asks() || message.body.answers().is_some() {
                return Err(not_served);
            }
            message.sender = self.emitter.clone();
        }
        queue.sent += 1;
        queue.sent_room += room;
        // What is no event waits only so that it does not overtake events, nor they it.
        let is_event = matches!(message.body, Body::Broadcast(_));
        let waits_here = match here {
            Some(local) if is_event || parked || queue.waited_for_here > 0 => {
                queue.waiting_here.push_back(local);
                queue.waited_for_here += 1;
                true
            }
            _ => false,
        };
        self.push(
            queue,
            message,
            Share {
                kind: Kind::Sent,
                room,
                size,
                waits_here,
            },
        );
        Ok(waits_here)
    }

    /// Lets those in who have waited for the room that there is now. Returns whom to wake, when the
    /// queue is not locked any more.
    fn let_in(&self, queue: &mut Queue) -> Vec<Waker> {
        let mut line = std::mem::take(&mut queue.parked);
        let mut wakers = Vec::new();
        while let Some(room) = line.next()
            && self.lacking(queue, room).is_none()
        {
            wakers.extend(line.settle_next(|letter| self.put(queue, letter, room, true)));
        }
        queue.parked = line;
        wakers
    }

    /// A sender waits no more.
    pub(super) fn give_up(&self, parked: &Parked) {
        let mut queue = self.lock();
        let left = parked.leave();
        let wakers = match &left {
            Some(_) => {
                queue.parked.note_gone();
                // Those behind it may need less.
                self.let_in(&mut queue)
            }
            None => Vec::new(),
        };
        drop(queue);
        drop(left);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Puts an answer in without waiting; drops it if there is no room for answers.
    pub(super) fn answer(&self, namespace: &Namespace, recipient: Option<NodeId>, body: Body) {
        let message = self.message(namespace, recipient, body);
        let size = message.size();
        let mut queue = self.lock();
        let fits = queue.answers < self.options.max_answers
            && (queue.answers == 0 || queue.answer_bytes + size <= self.options.max_answer_bytes);
        if queue.closed || !fits {
            drop(queue);
            self.answer_dropped();
            return;
        }
        // Nobody waits for it: with the farewell, this server was taken out of all waits.
        if !self.namespaces.contains(namespace) {
            return;
        }
        queue.answers += 1;
        queue.answer_bytes += size;
        self.push(
            &mut queue,
            message,
            Share {
                kind: Kind::Answer,
                room: 0,
                size,
                waits_here: false,
            },
        );
    }

    fn answer_dropped(&self) {
        self.counters.dropped_answers.add(1);
        if let Some(more) = self.answers_dropped.pass() {
            tracing::warn!(
                more,
                "cluster: an answer to another node was dropped, because the answers that wait \
                 have reached outbox.max_answers or outbox.max_answer_bytes; its request ends at \
                 its deadline without this node"
            );
        }
    }

    /// Says that this node lives in a namespace, unless that already waits to be said.
    pub(super) fn heartbeat(&self, namespace: &Namespace) {
        let mut queue = self.lock();
        if queue.heartbeats.insert(namespace.clone())
            && !self.control(&mut queue, namespace, Body::Heartbeat)
        {
            queue.heartbeats.remove(namespace);
        }
    }

    /// Says that this node has come to a namespace.
    pub(super) fn hello(&self, namespace: &Namespace) {
        self.control(&mut self.lock(), namespace, Body::InitialHeartbeat);
    }

    /// Says that this node leaves a namespace.
    pub(super) fn farewell(&self, namespace: &Namespace) {
        self.control(&mut self.lock(), namespace, Body::AdapterClose);
    }

    /// Says something of the servers' own, in its place among all that is sent. Without waiting for
    /// room; false: there is none, or the namespace is not served.
    pub(super) fn notice(&self, namespace: &Namespace, body: Body) -> bool {
        self.control(&mut self.lock(), namespace, body)
    }

    fn control(&self, queue: &mut Queue, namespace: &Namespace, body: Body) -> bool {
        if body != Body::AdapterClose && !self.namespaces.contains(namespace) {
            return false;
        }
        if queue.closed || queue.control >= MAX_CONTROL {
            self.counters.dropped_control.add(1);
            return false;
        }
        let message = self.message(namespace, None, body);
        let size = message.size();
        queue.control += 1;
        self.push(
            queue,
            message,
            Share {
                kind: Kind::Control,
                room: 0,
                size,
                waits_here: false,
            },
        );
        true
    }

    fn message(&self, namespace: &Namespace, recipient: Option<NodeId>, body: Body) -> Message {
        Message {
            namespace: namespace.clone(),
            sender: self.node.clone(),
            recipient,
            body,
        }
    }

    fn push(&self, queue: &mut Queue, message: Message, share: Share) {
        queue.bytes += share.size;
        queue.waiting.push_back((message, share));
        // Only the first one finds the publishing task asleep.
        if queue.waiting.len() == 1 {
            self.filled.notify_one();
        }
    }

    /// Fills a batch up to its limits with what is there, in order, without waiting.
    pub(super) fn top_up(&self, batch: &mut Batch) {
        let mut queue = self.lock();
        while batch.len() < self.options.batch_max_messages {
            let Some((_, room)) = queue.waiting.front() else {
                break;
            };
            let bytes = batch.bytes + room.size;
            if !batch.is_empty() && bytes > self.options.batch_max_bytes {
                break;
            }
            let Some((message, room)) = queue.waiting.pop_front() else {
                break;
            };
            if room.kind == Kind::Control && message.body == Body::Heartbeat {
                queue.heartbeats.remove(&message.namespace);
            }
            if room.waits_here {
                batch.waiting_here.extend(queue.waiting_here.pop_front());
            }
            queue.on_the_way += 1;
            batch.bytes = bytes;
            batch.messages.push(message);
            batch.shares.push(room);
        }
    }

    /// The first `n` messages of a batch are done with: gives their room to those who wait for it.
    pub(super) fn release(&self, batch: &mut Batch, n: usize) {
        let n = n.min(batch.len());
        let wakers = {
            let mut queue = self.lock();
            queue.on_the_way -= n;
            // Those that have acted here are not waited for any more.
            queue.waited_for_here = queue.waiting_here.len() + batch.waiting_here.len();
            for share in batch.shares.drain(..n) {
                batch.bytes -= share.size;
                queue.bytes -= share.size;
                match share.kind {
                    Kind::Sent => {
                        queue.sent -= 1;
                        queue.sent_room -= share.room;
                    }
                    Kind::Answer => {
                        queue.answers -= 1;
                        queue.answer_bytes -= share.size;
                    }
                    Kind::Control => queue.control -= 1,
                }
            }
            self.let_in(&mut queue)
        };
        wakers.into_iter().for_each(Waker::wake);
        batch.messages.drain(..n);
    }

    /// Ends when there is something to take, or nothing will come any more.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Refuses what comes from now on, and those who wait. What is in stays in.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let mut wakers = Vec::new();
        while queue.parked.next().is_some() {
            let refused = |_| Err(SendError::Closed);
            wakers.extend(queue.parked.settle_next(refused));
        }
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
        self.filled.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Messages (waiting and on their way), their bytes, and how many of them are answers.
    pub(super) fn depth(&self) -> (usize, usize, usize) {
        let queue = self.lock();
        (
            queue.waiting.len() + queue.on_the_way,
            queue.bytes,
            queue.answers,
        )
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here panics half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
