//! The transport of the tests: a hub in memory, and the switches for trouble.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{FakeLocal, eventually, root, text_broadcast, text_of};
use crate::cluster::{
    Body, Cluster, ClusterOptions, Event, Failure, Message, Namespace, NodeId, Offset,
    PublishFailure, Publisher, Subscriber, TransportInfo,
};

/// The backend: gives every message to every member, its sender included.
#[derive(Clone, Default)]
pub(crate) struct Hub(Arc<HubState>);

#[derive(Default)]
struct HubState {
    members: Mutex<Vec<Arc<Wire>>>,
    info: Mutex<TransportInfo>,
    count: Mutex<Option<u32>>,
    keeps_log: AtomicBool,
    /// How many entries the log has.
    logged: AtomicU64,
}

/// One member's connection to the hub, and its switches.
#[derive(Default)]
pub(crate) struct Wire {
    mailbox: Mutex<VecDeque<Event>>,
    filled: Notify,
    /// Neither sends nor receives, and does not know it: a node that died.
    cut: AtomicBool,
    held: watch::Sender<bool>,
    /// Tells one offset less than there are.
    loses_offsets: AtomicBool,
    /// One for each publish, in order; then all goes well.
    failures: Mutex<VecDeque<PublishFailure>>,
    poll_failures: Mutex<VecDeque<Failure>>,
    enter_failures: Mutex<VecDeque<Failure>>,
    /// A message with this text in it kills the plugin.
    poison: Mutex<Option<&'static str>>,
    published: Mutex<Vec<Message>>,
    batches: Mutex<Vec<usize>>,
    /// The texts of the broadcasts of each batch that was tried, with their numbers.
    numbered: Mutex<Vec<Vec<(u64, String)>>>,
    commands: Mutex<Vec<String>>,
}

/// A cluster on the hub.
pub(crate) struct Member {
    pub(crate) cluster: Cluster,
    pub(crate) wire: Arc<Wire>,
}

impl Hub {
    pub(crate) fn join(&self, node: &str, options: ClusterOptions) -> Member {
        let wire = Arc::new(Wire::default());
        self.0.members.lock().unwrap().push(wire.clone());
        let way_out = WayOut {
            hub: self.clone(),
            wire: wire.clone(),
        };
        let way_in = WayIn(wire.clone());
        let (way_out, way_in) = (Box::new(way_out), Box::new(way_in));
        Member {
            cluster: Cluster::start(NodeId::from(node), options, way_out, way_in),
            wire,
        }
    }

    /// Members `a`, `b`, `c`, … that serve `/` with nothing in it, and know each other.
    pub(crate) async fn members<const N: usize>(&self, options: &ClusterOptions) -> [Member; N] {
        let names = ["a", "b", "c", "d"];
        let members: [Member; N] = std::array::from_fn(|i| self.join(names[i], options.clone()));
        for member in &members {
            member.enter(FakeLocal::new("/"));
        }
        for member in &members {
            eventually("the nodes know each other", || {
                member.cluster.server_count(&root()) == N
            })
            .await;
        }
        members
    }

    pub(crate) fn set_info(&self, info: TransportInfo) {
        *self.0.info.lock().unwrap() = info;
    }

    /// What the backend says when it is asked how many nodes there are.
    pub(crate) fn set_count(&self, count: Option<u32>) {
        *self.0.count.lock().unwrap() = count;
    }

    /// From now on broadcasts have offsets: `1-0`, `2-0`, …
    pub(crate) fn keep_log(&self) {
        self.0.keeps_log.store(true, Ordering::SeqCst);
    }

    fn log(&self, message: &Message) -> Option<Offset> {
        if !self.0.keeps_log.load(Ordering::SeqCst) {
            return None;
        }
        // What has no place in the log has an empty one, as the contract says.
        let Body::Broadcast(_) = message.body else {
            return Some(Offset::from(""));
        };
        let entry = 1 + self.0.logged.fetch_add(1, Ordering::SeqCst);
        Some(Offset::from(format!("{entry}-0")))
    }

    /// Gives an event to every member.
    pub(crate) fn deliver(&self, event: &Event) {
        for wire in &*self.0.members.lock().unwrap() {
            wire.receive(event.clone());
        }
    }

    /// Gives every member a message of a node that is not on the hub.
    pub(crate) fn say(&self, sender: &str, body: Body) {
        let (namespace, sender) = (root(), NodeId::from(sender));
        let message = Message {
            namespace,
            sender,
            recipient: None,
            body,
        };
        self.deliver(&Event::Message(message, None));
    }
}

impl Wire {
    fn receive(&self, event: Event) {
        if !self.cut.load(Ordering::SeqCst) {
            self.mailbox.lock().unwrap().push_back(event);
            self.filled.notify_one();
        }
    }

    /// From now on the node is dead to the others.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.mailbox.lock().unwrap().clear();
    }

    /// Publishes do not return until `let_go`.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn let_go(&self) {
        self.held.send_replace(false);
    }

    /// From now on a publish says one offset too few.
    pub(crate) fn lose_offsets(&self) {
        self.loses_offsets.store(true, Ordering::SeqCst);
    }

    /// The next publish accepts so many and then fails for this reason.
    pub(crate) fn fail_once(&self, accepted: usize, reason: Failure) {
        let failure = PublishFailure {
            accepted,
            offsets: Vec::new(),
            reason,
        };
        self.failures.lock().unwrap().push_back(failure);
    }

    pub(crate) fn fail_poll_once(&self, reason: Failure) {
        self.poll_failures.lock().unwrap().push_back(reason);
    }

    pub(crate) fn fail_enter_once(&self, reason: Failure) {
        self.enter_failures.lock().unwrap().push_back(reason);
    }

    pub(crate) fn set_poison(&self, text: &'static str) {
        *self.poison.lock().unwrap() = Some(text);
    }

    /// The texts of the broadcasts that went out.
    pub(crate) fn sent_texts(&self) -> Vec<String> {
        self.published
            .lock()
            .unwrap()
            .iter()
            .filter_map(|m| text_of(&m.body))
            .collect()
    }

    /// All messages that went out.
    pub(crate) fn sent(&self) -> Vec<Message> {
        self.published.lock().unwrap().clone()
    }

    /// The kinds of all messages that went out.
    pub(crate) fn sent_kinds(&self) -> Vec<&'static str> {
        self.published
            .lock()
            .unwrap()
            .iter()
            .map(|message| message.body.name())
            .collect()
    }

    /// The sizes of the batches that were tried.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }

    /// The texts of the broadcasts in each batch that was tried, with their numbers.
    pub(crate) fn numbered(&self) -> Vec<Vec<(u64, String)>> {
        self.numbered.lock().unwrap().clone()
    }

    /// What the subscriber was told, and the closing of both.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap().clone()
    }

    fn note(&self, command: String) {
        self.commands.lock().unwrap().push(command);
    }
}

impl Member {
    pub(crate) fn enter(&self, local: FakeLocal) -> Arc<FakeLocal> {
        let local = Arc::new(local);
        self.cluster.enter(local.clone());
        local
    }

    pub(crate) async fn send_text(&self, text: &str) {
        self.cluster
            .send(&root(), text_broadcast(text))
            .await
            .unwrap();
    }
}

struct WayOut {
    hub: Hub,
    wire: Arc<Wire>,
}

impl WayOut {
    /// The batch has failed before anything was said about it: by script, or by poison.
    fn failure(&self, batch: &[Message]) -> Option<PublishFailure> {
        let poison = *self.wire.poison.lock().unwrap();
        let deadly = |m: &Message| poison.is_some() && text_of(&m.body).as_deref() == poison;
        if batch.iter().any(deadly) {
            let reason = Failure::Faulted("out of memory".into());
            return Some(PublishFailure {
                accepted: 0,
                offsets: Vec::new(),
                reason,
            });
        }
        self.wire.failures.lock().unwrap().pop_front()
    }
}

impl Publisher for WayOut {
    fn publish<'a>(
        &'a mut self,
        batch: &'a [Message],
        first: u64,
    ) -> BoxFuture<'a, Result<Vec<Offset>, PublishFailure>> {
        async move {
            self.wire.batches.lock().unwrap().push(batch.len());
            let texts = (first..).zip(batch);
            let texts = texts.filter_map(|(number, m)| Some((number, text_of(&m.body)?)));
            self.wire.numbered.lock().unwrap().push(texts.collect());
            let mut held = self.wire.held.subscribe();
            held.wait_for(|held| !held).await.unwrap();
            let failure = self.failure(batch);
            let accepted = failure
                .as_ref()
                .map_or(batch.len(), |f| f.accepted.min(batch.len()));
            let mut offsets = Vec::new();
            for message in &batch[..accepted] {
                self.wire.published.lock().unwrap().push(message.clone());
                let offset = self.hub.log(message);
                offsets.extend(offset.clone());
                if !self.wire.cut.load(Ordering::SeqCst) {
                    self.hub.deliver(&Event::Message(message.clone(), offset));
                }
            }
            if self.wire.loses_offsets.load(Ordering::SeqCst) {
                offsets.pop();
            }
            match failure {
                None => Ok(offsets),
                Some(failure) => Err(PublishFailure { offsets, ..failure }),
            }
        }
        .boxed()
    }

    fn count_nodes<'a>(
        &'a mut self,
        _namespace: &'a Namespace,
    ) -> BoxFuture<'a, Result<Option<u32>, Failure>> {
        let count = *self.hub.0.count.lock().unwrap();
        async move { Ok(count) }.boxed()
    }

    fn info(&self) -> TransportInfo {
        *self.hub.0.info.lock().unwrap()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.wire.note("close out".into());
        async {}.boxed()
    }
}

struct WayIn(Arc<Wire>);

impl Subscriber for WayIn {
    fn enter(&mut self, namespace: Namespace) -> BoxFuture<'_, Result<(), Failure>> {
        self.0.note(format!("enter {namespace}"));
        let failure = self.0.enter_failures.lock().unwrap().pop_front();
        async { failure.map_or(Ok(()), Err) }.boxed()
    }

    fn leave<'a>(&'a mut self, namespace: &'a Namespace) -> BoxFuture<'a, ()> {
        self.0.note(format!("leave {namespace}"));
        async {}.boxed()
    }

    fn poll(
        &mut self,
        wait: Duration,
        max_events: usize,
    ) -> BoxFuture<'_, Result<Vec<Event>, Failure>> {
        async move {
            if let Some(failure) = self.0.poll_failures.lock().unwrap().pop_front() {
                return Err(failure);
            }
            loop {
                {
                    let mut mailbox = self.0.mailbox.lock().unwrap();
                    if !mailbox.is_empty() {
                        let n = mailbox.len().min(max_events);
                        return Ok(mailbox.drain(..n).collect());
                    }
                }
                if timeout(wait, self.0.filled.notified()).await.is_err() {
                    return Ok(Vec::new());
                }
            }
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.0.note("close in".into());
        async {}.boxed()
    }
}
