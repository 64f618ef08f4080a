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
//! Taking messages out and publishing them is `publish.rs`.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};

use super::{
    batch::{Batch, Kind, Share},
    error::SendError,
    health::Throttle,
    local::Local,
    message::{Body, Message, Namespace, NodeId},
    namespaces::Namespaces,
    nodes::EMITTER,
    options::{OutboxFull, OutboxOptions},
    stats::Counters,
};

/// Farewells and first heartbeats that may wait. Namespaces that come and go while the backend is
/// away add two each time.
const MAX_CONTROL: usize = 65_536;

/// The queue.
pub(super) struct Outbox {
    node: NodeId,
    emitter: NodeId,
    /// Its lock is taken under the queue's, never the other way round.
    namespaces: Arc<Namespaces>,
    options: OutboxOptions,
    /// Share in messages and in bytes; a tokio semaphore serves in the order of arrival.
    messages: Semaphore,
    bytes: Semaphore,
    /// Held by the sender that waits for room: those who come later stay behind it, also when room
    /// appears before it has run again.
    turn: Semaphore,
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
    /// These count what is on its way, too, until it is accepted.
    bytes: usize,
    on_the_way: usize,
    waited_for_here: usize,
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
            turn: Semaphore::new(1),
            messages: Semaphore::new(options.max_messages.min(Semaphore::MAX_PERMITS)),
            bytes: Semaphore::new(options.max_bytes.min(Semaphore::MAX_PERMITS)),
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
    /// Dropping the future takes nothing in.
    pub(super) async fn send(&self, namespace: &Namespace, body: Body) -> Result<(), SendError> {
        match self.send_now(namespace, body) {
            Ok(sent) => sent,
            Err(later) => later.await,
        }
    }

    /// The same in two steps: if there is no room, or others wait for it, what has to be waited for.
    /// It stands in a box, so that whoever need not wait carries no room for it.
    pub(super) fn send_now<'a>(
        &'a self,
        namespace: &Namespace,
        body: Body,
    ) -> Result<Result<(), SendError>, BoxFuture<'a, Result<(), SendError>>> {
        let later = |body| {
            let sent = self.send_in_turn(namespace, body, None);
            sent.map(|sent| sent.map(|_| ())).boxed()
        };
        if self.turn.available_permits() == 0 {
            return Err(later(body));
        }
        let message = self.message(namespace, None, body);
        let size = message.size();
        let room = match self.try_take(self.permits(size)) {
            Ok(room) => room,
            Err(Refused::Closed) => return Ok(Err(SendError::Closed)),
            Err(Refused::Full(_)) => return Err(later(message.body)),
        };
        Ok(self.put(message, size, room, None).map(|_| ()))
    }

    /// Puts a message in that is for the sockets of this server, too, with
    /// `connection_state_recovery`: an event, or what must not overtake events. True: it acts
    /// there when its fate is known; false: it overtakes nothing, and the caller lets it act.
    pub(super) async fn send_here(
        &self,
        local: &Arc<dyn Local>,
        body: Body,
    ) -> Result<bool, SendError> {
        self.send_in_turn(local.namespace(), body, Some(local))
            .await
    }

    /// Puts a message in when it is its turn. Many may wait, so the future holds the message once: an
    /// `async fn` would keep a second place for the body.
    fn send_in_turn<'a>(
        &'a self,
        namespace: &Namespace,
        body: Body,
        here: Option<&'a Arc<dyn Local>>,
    ) -> impl Future<Output = Result<bool, SendError>> + Send + use<'a> {
        let message = self.message(namespace, None, body);
        let size = message.size();
        async move {
            let _turn = self.turn().await?;
            let room = self.room(self.options.when_full, self.permits(size));
            self.put(message, size, room.await?, here)
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
        let size = message.size();
        let room = self.room(OutboxFull::Wait, self.permits(size));
        self.put(message, size, room.await?, None).map(|_| ())
    }

    /// Waits until it is this sender's turn to wait for room. None: nobody waits here.
    async fn turn(&self) -> Result<Option<SemaphorePermit<'_>>, SendError> {
        match self.turn.try_acquire() {
            Ok(turn) => Ok(Some(turn)),
            Err(_) if self.options.when_full == OutboxFull::Fail => Ok(None),
            Err(_) => {
                // Else another thread is just putting its message in.
                if self.messages.available_permits() == 0 || self.bytes.available_permits() == 0 {
                    self.counters.full.add(1);
                }
                let turn = self.turn.acquire().await;
                turn.map(Some).map_err(|_| SendError::Closed)
            }
        }
    }

    /// Room for one message. Knows nothing of it, so that who waits is small.
    async fn room(&self, when_full: OutboxFull, permits: u32) -> Result<Taken<'_>, SendError> {
        match self.try_take(permits) {
            Ok(room) => Ok(room),
            Err(Refused::Closed) => Err(SendError::Closed),
            Err(Refused::Full(option)) => {
                self.counters.full.add(1);
                match when_full {
                    OutboxFull::Fail => Err(SendError::Full { option }),
                    OutboxFull::Wait => {
                        let closed = |_| SendError::Closed;
                        let one = self.messages.acquire().await.map_err(closed)?;
                        let bytes = self.bytes.acquire_many(permits).await.map_err(closed)?;
                        Ok((one, bytes))
                    }
                }
            }
        }
    }

    /// A message larger than the whole queue takes all of it, and so waits until it is alone.
    fn permits(&self, size: usize) -> u32 {
        u32::try_from(size.min(self.options.max_bytes)).unwrap_or(u32::MAX)
    }

    fn put(
        &self,
        mut message: Message,
        size: usize,
        (one, bytes): Taken<'_>,
        here: Option<&Arc<dyn Local>>,
    ) -> Result<bool, SendError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(SendError::Closed);
        }
        if let Err(not_served) = self.namespaces.check_served(&message.namespace) {
            if message.body.asks() || message.body.answers().is_some() {
                return Err(not_served);
            }
            message.sender = self.emitter.clone();
        }
        let permits = u32::try_from(bytes.num_permits()).unwrap_or(u32::MAX);
        one.forget();
        bytes.forget();
        // What is no event waits only so that it does not overtake events.
        let is_event = matches!(message.body, Body::Broadcast(_));
        let waits_here = match here {
            Some(local) if is_event || queue.waited_for_here > 0 => {
                queue.waiting_here.push_back(local.clone());
                queue.waited_for_here += 1;
                true
            }
            _ => false,
        };
        self.push(
            &mut queue,
            message,
            Share {
                kind: Kind::Sent,
                permits,
                size,
                waits_here,
            },
        );
        Ok(waits_here)
    }

    fn try_take(&self, permits: u32) -> Result<Taken<'_>, Refused> {
        let one = self
            .messages
            .try_acquire()
            .map_err(Refused::by("outbox.max_messages"))?;
        let room = self
            .bytes
            .try_acquire_many(permits)
            .map_err(Refused::by("outbox.max_bytes"))?;
        Ok((one, room))
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
                permits: 0,
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
                permits: 0,
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

    fn push(&self, queue: &mut Queue, message: Message, room: Share) {
        queue.bytes += room.size;
        queue.waiting.push_back((message, room));
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

    /// The first `n` messages of a batch are done with: gives their room back.
    pub(super) fn release(&self, batch: &mut Batch, n: usize) {
        let n = n.min(batch.len());
        let (mut sent, mut permits) = (0, 0);
        {
            let mut queue = self.lock();
            queue.on_the_way -= n;
            // Those that have acted here are not waited for any more.
            queue.waited_for_here = queue.waiting_here.len() + batch.waiting_here.len();
            for room in batch.shares.drain(..n) {
                batch.bytes -= room.size;
                queue.bytes -= room.size;
                match room.kind {
                    Kind::Sent => {
                        sent += 1;
                        permits += room.permits as usize;
                    }
                    Kind::Answer => {
                        queue.answers -= 1;
                        queue.answer_bytes -= room.size;
                    }
                    Kind::Control => queue.control -= 1,
                }
            }
        }
        batch.messages.drain(..n);
        self.messages.add_permits(sent);
        self.bytes.add_permits(permits);
    }

    /// Ends when there is something to take, or nothing will come any more.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Refuses what comes from now on, and those who wait. What is in stays in.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.turn.close();
        self.messages.close();
        self.bytes.close();
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

/// Room for one message: a share in messages, and one in bytes.
type Taken<'a> = (SemaphorePermit<'a>, SemaphorePermit<'a>);

enum Refused {
    Full(&'static str),
    Closed,
}

impl Refused {
    fn by(option: &'static str) -> impl Fn(TryAcquireError) -> Self {
        move |error| match error {
            TryAcquireError::NoPermits => Self::Full(option),
            TryAcquireError::Closed => Self::Closed,
        }
    }
}
