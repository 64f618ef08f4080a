//! The way in of a server that may change its transport: one subscriber over all the lines that
//! are open, usually one.
//!
//! While two lines are open, what arrives goes through the merge (`merge.rs`), which keeps the order
//! of each sender across the change. What the servers tell each other about switches is taken out
//! here and given to the task of the switch.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::coop::consume_budget,
    time::{Instant, sleep},
};

use super::{
    control,
    line_in::{LineIn, Polled, poll},
    machine::{Input, LineId},
    merge::{Merge, MergeLimits},
    message::{ControlMessage, Version},
};
use crate::cluster::{
    link::{Event, Failure, Subscriber},
    message::{Message, Namespace, NodeId},
};

/// A poll that comes back so soon with nothing has not waited.
const HASTY: Duration = Duration::from_micros(100);
/// After so many of them in a row each is followed by a pause.
const MAX_HASTY_POLLS: u32 = 64;
const HASTY_PAUSE: Duration = Duration::from_millis(1);

/// A line's way in and the namespaces that were entered on it.
pub(super) struct Entered {
    pub(super) subscriber: Box<dyn Subscriber>,
    pub(super) namespaces: BTreeSet<Namespace>,
}

/// What the task of the switch asks for.
pub(super) enum Order {
    /// Takes a line in. If a namespace is missing on it, it comes back with all that are wanted.
    Add {
        line: LineId,
        entered: Entered,
        reply: oneshot::Sender<Result<(), (Entered, BTreeSet<Namespace>)>>,
    },
    /// Gives a line back.
    Remove {
        line: LineId,
        reply: oneshot::Sender<Option<Box<dyn Subscriber>>>,
    },
    /// This server publishes on it now.
    Home(LineId),
    /// From now on messages of the new line wait for their senders' marks on the old one.
    Merge {
        old: LineId,
        new: LineId,
        after: Version,
        awaited: Vec<NodeId>,
        limits: MergeLimits,
    },
    /// One more is waited for.
    Expect { node: NodeId, version: Version },
    /// This sender is not waited for any more.
    Ended { sender: NodeId, forced: bool },
    /// No more marks are waited for.
    MergeEnd,
    /// Something was missed.
    Gap(String),
}

struct Merging {
    old: LineId,
    new: LineId,
    merge: Merge<Event>,
    /// Who has ended on the old line, for what its transport says of it later.
    ended: BTreeSet<NodeId>,
    /// How many messages the merge had dropped when that was last told.
    dropped: u64,
}

impl Merging {
    /// Messages that the merge has dropped since this was last asked.
    fn tell_dropped(&mut self) -> Option<Event> {
        let dropped = self.merge.dropped() - self.dropped;
        self.dropped += dropped;
        (dropped > 0).then(|| Event::Lagged {
            missed: Some(u32::try_from(dropped).unwrap_or(u32::MAX)),
            reason: "they came over the old transport, after later ones of their senders had come \
                     over the new one"
                .to_owned(),
        })
    }
}

/// See the module.
pub(super) struct SwitchSubscriber {
    node: NodeId,
    lines: Vec<LineIn>,
    home: LineId,
    wanted: BTreeSet<Namespace>,
    merging: Option<Merging>,
    /// What comes next, in order.
    ready: VecDeque<Event>,
    orders: mpsc::Receiver<Order>,
    heard: mpsc::Sender<Input>,
    /// Which line is asked first, so that a busy one does not keep the others waiting.
    turn: usize,
}

impl SwitchSubscriber {
    pub(super) fn new(
        node: NodeId,
        home: LineId,
        subscriber: Box<dyn Subscriber>,
        orders: mpsc::Receiver<Order>,
        heard: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            node,
            lines: vec![LineIn::new(home, subscriber)],
            home,
            wanted: BTreeSet::new(),
            merging: None,
            ready: VecDeque::new(),
            orders,
            heard,
            turn: 0,
        }
    }

    async fn next(&mut self, wait: Duration, max_events: usize) -> Result<Vec<Event>, Failure> {
        let until = Instant::now() + wait;
        let mut hasty_polls = 0;
        loop {
            // A plugin that never waits must not keep the thread to itself.
            consume_budget().await;
            if !self.ready.is_empty() {
                let n = self.ready.len().min(max_events.max(1));
                return Ok(self.ready.drain(..n).collect());
            }
            // What comes over the new line cannot be kept any longer.
            let full = self
                .merging
                .as_ref()
                .filter(|merging| merging.merge.is_full());
            let blocked = full.map(|merging| merging.new);
            let began = Instant::now();
            let left = until.saturating_duration_since(began);
            let polled = tokio::select! {
                biased;
                Some(order) = self.orders.recv() => {
                    self.obey(order);
                    continue;
                }
                polled = poll(&mut self.lines, blocked, self.turn, left, max_events) => polled,
            };
            self.turn = self.turn.wrapping_add(1);
            match polled {
                // Usually all of it, as it is.
                Polled::Events(line, events)
                    if (1..=max_events).contains(&events.len()) && self.is_plain(line, &events) =>
                {
                    return Ok(events);
                }
                Polled::Events(line, events) => self.take(line, events),
                Polled::Failed(failure) => return Err(failure),
                Polled::Nothing => {}
            }
            if !self.ready.is_empty() {
                continue;
            }
            let now = Instant::now();
            if now >= until {
                return Ok(Vec::new());
            }
            match now.duration_since(began) < HASTY {
                true => hasty_polls += 1,
                false => hasty_polls = 0,
            }
            if hasty_polls > MAX_HASTY_POLLS {
                sleep(HASTY_PAUSE).await;
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Add {
                line,
                entered,
                reply,
            } => {
                let missing = !self.wanted.is_subset(&entered.namespaces);
                let taken = if missing {
                    Err((entered, self.wanted.clone()))
                } else {
                    let mut line = LineIn::new(line, entered.subscriber);
                    line.is_silent = true;
                    self.lines.push(line);
                    Ok(())
                };
                // Unanswered only when the cluster ends.
                let _ = reply.send(taken);
            }
            Order::Remove { line, reply } => {
                let at = self.lines.iter().position(|known| known.id == line);
                let _ = reply.send(at.map(|at| self.lines.remove(at).subscriber));
            }
            Order::Home(line) => {
                self.home = line;
                self.listen_to(line);
            }
            Order::Merge {
                old,
                new,
                after,
                awaited,
                limits,
            } => {
                let ended = BTreeSet::new();
                let merge = Merge::new(after, awaited, limits);
                self.listen_to(new);
                self.merging = Some(Merging {
                    old,
                    new,
                    merge,
                    ended,
                    dropped: 0,
                });
            }
            Order::Expect { node, version } => {
                if let Some(merging) = &mut self.merging {
                    merging.merge.wait_for(node, &version);
                }
            }
            Order::Ended { sender, forced } => {
                if let Some(merging) = &mut self.merging {
                    let ready = &mut self.ready;
                    merging
                        .merge
                        .ended(&sender, forced, &mut |event| ready.push_back(event));
                    merging.ended.insert(sender);
                }
            }
            Order::MergeEnd => {
                if let Some(mut merging) = self.merging.take() {
                    let ready = &mut self.ready;
                    merging.merge.finish(&mut |event| ready.push_back(event));
                    ready.extend(merging.tell_dropped());
                }
            }
            Order::Gap(reason) => self.ready.push_back(Event::Lagged {
                missed: None,
                reason,
            }),
        }
    }

    fn listen_to(&mut self, line: LineId) {
        let mut lines = self.lines.iter_mut();
        if let Some(line) = lines.find(|known| known.id == line) {
            line.is_silent = false;
        }
    }

    /// Nothing of it concerns a switch.
    fn is_plain(&self, line: LineId, events: &[Event]) -> bool {
        self.merging.is_none() && line == self.home && !events.iter().any(is_control)
    }

    fn take(&mut self, line: LineId, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Message(message, offset) => {
                    if let Some(said) = control::read(&message) {
                        self.control(line, message, said);
                        continue;
                    }
                    let sender = message.sender.clone();
                    let bytes = message.size();
                    self.pass(line, &sender, Event::Message(message, offset), bytes);
                }
                Event::NodeLeft(node) => {
                    if self.believes(line, &node) {
                        self.ready.push_back(Event::NodeLeft(node));
                    }
                }
                lagged @ Event::Lagged { .. } => self.ready.push_back(lagged),
            }
        }
        let dropped = self.merging.as_mut().and_then(Merging::tell_dropped);
        self.ready.extend(dropped);
    }

    fn pass(&mut self, line: LineId, sender: &NodeId, event: Event, bytes: usize) {
        let event = match &mut self.merging {
            // Its mark has overtaken it, on another way of the same transport.
            Some(merging)
                if line == merging.old
                    && merging.ended.contains(sender)
                    && stands_alone(&event) =>
            {
                Some(event)
            }
            Some(merging) if line == merging.old => merging.merge.on_old(sender, event),
            Some(merging) if line == merging.new => merging.merge.on_new(sender, event, bytes),
            _ => Some(event),
        };
        self.ready.extend(event);
    }

    fn control(&mut self, line: LineId, message: Message, said: Option<ControlMessage>) {
        let from = message.sender;
        if from == self.node {
            return;
        }
        let Some(said) = said else {
            tracing::debug!(node = %from, "switch: a message of another node cannot be understood");
            return;
        };
        match &mut self.merging {
            Some(merging) if line == merging.new => merging.merge.heard_on_new(&from, &said),
            Some(merging) if line == merging.old => {
                let ready = &mut self.ready;
                let take = &mut |event| ready.push_back(event);
                if merging.merge.heard_on_old(&from, &said, take) {
                    merging.ended.insert(from.clone());
                }
            }
            _ => {}
        }
        // All of it is told again, so nothing is lost if there is no room now.
        let _ = self.heard.try_send(Input::Heard {
            from,
            line,
            said: Arc::new(said),
        });
    }

    /// A node that closes a line after it has left it, or before it has come, is not gone.
    fn believes(&self, line: LineId, node: &NodeId) -> bool {
        match &self.merging {
            Some(merging) if line == merging.old => !merging.ended.contains(node),
            Some(merging) if line == merging.new && line != self.home => false,
            _ => line == self.home,
        }
    }
}

fn stands_alone(event: &Event) -> bool {
    matches!(event, Event::Message(message, _) if message.body.stands_alone())
}

fn is_control(event: &Event) -> bool {
    matches!(event, Event::Message(message, _) if control::is_control(&message.namespace))
}

impl Subscriber for SwitchSubscriber {
    fn enter(&mut self, namespace: Namespace) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            self.wanted.insert(namespace.clone());
            let mut entered = Ok(());
            let merging = self
                .merging
                .as_ref()
                .map(|merging| [merging.old, merging.new]);
            // Side by side: on one of them it may take long, and the others' plugins wait for nothing
            // but to be polled.
            let entering = self.lines.iter_mut().map(|line| {
                let entered = line.subscriber.enter(namespace.clone());
                entered.map(|result| (line.id, result))
            });
            for (id, result) in join_all(entering).await {
                // A line that was left matters only as long as its last messages are awaited.
                if id == self.home || merging.is_some_and(|lines| lines.contains(&id)) {
                    entered = entered.and(result);
                }
            }
            entered
        }
        .boxed()
    }

    fn leave<'a>(&'a mut self, namespace: &'a Namespace) -> BoxFuture<'a, ()> {
        async move {
            self.wanted.remove(namespace);
            let lines = self.lines.iter_mut();
            join_all(lines.map(|line| line.subscriber.leave(namespace))).await;
        }
        .boxed()
    }

    fn poll(
        &mut self,
        timeout: Duration,
        max_events: usize,
    ) -> BoxFuture<'_, Result<Vec<Event>, Failure>> {
        self.next(timeout, max_events).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async move {
            for line in &mut self.lines {
                line.subscriber.close().await;
            }
        }
        .boxed()
    }
}
