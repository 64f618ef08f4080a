//! The network of the tests: what one member publishes, every other one gets. Members are whole
//! clusters, or peers that say what a test makes them say.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{sync::mpsc, time::timeout};

use crate::cluster::{
    Event, Failure, Membership, PublishFailure, Publisher, Subscriber, TransportInfo,
    message::{Body, Message, Namespace, NodeId, Offset},
};

/// Where all servers of a test meet. Publishing gives a message to every other member.
#[derive(Clone, Default)]
pub(super) struct Hub(Arc<State>);

#[derive(Default)]
struct State {
    members: Mutex<Vec<mpsc::Sender<Event>>>,
    keeps_log: AtomicBool,
    logged: AtomicU64,
}

/// Messages that a member of a test leaves unread at most.
pub(super) const HUB_CAPACITY: usize = 1024;

impl Hub {
    pub(super) fn join(&self) -> (HubPublisher, HubSubscriber) {
        let (sender, receiver) = mpsc::channel(HUB_CAPACITY);
        let mut members = self.0.members.lock().unwrap();
        let me = members.len();
        members.push(sender);
        (
            HubPublisher {
                me,
                hub: self.clone(),
            },
            HubSubscriber(receiver),
        )
    }

    /// From now on broadcasts have offsets: `1-0`, `2-0`, …
    pub(super) fn keep_log(&self) {
        self.0.keeps_log.store(true, Ordering::SeqCst);
    }

    fn log(&self, message: &Message) -> Option<Offset> {
        if !self.0.keeps_log.load(Ordering::SeqCst) {
            return None;
        }
        let Body::Broadcast(_) = message.body else {
            return Some(Offset::from(""));
        };
        let entry = 1 + self.0.logged.fetch_add(1, Ordering::SeqCst);
        Some(Offset::from(format!("{entry}-0")))
    }
}

pub(super) struct HubPublisher {
    me: usize,
    hub: Hub,
}

impl HubPublisher {
    pub(super) async fn send(&self, message: &Message) -> Option<Offset> {
        let offset = self.hub.log(message);
        let others: Vec<_> = {
            let members = self.hub.0.members.lock().unwrap();
            let others = members.iter().enumerate().filter(|(id, _)| *id != self.me);
            others.map(|(_, sender)| sender.clone()).collect()
        };
        for other in others {
            let event = Event::Message(message.clone(), offset.clone());
            other.send(event).await.ok();
        }
        offset
    }
}

impl Publisher for HubPublisher {
    fn publish<'a>(
        &'a mut self,
        batch: &'a [Message],
        _: u64,
    ) -> BoxFuture<'a, Result<Vec<Offset>, PublishFailure>> {
        Box::pin(async move {
            let mut offsets = Vec::new();
            for message in batch {
                offsets.extend(self.send(message).await);
            }
            Ok(offsets)
        })
    }

    fn count_nodes<'a>(
        &'a mut self,
        _: &'a Namespace,
    ) -> BoxFuture<'a, Result<Option<u32>, Failure>> {
        Box::pin(async { Ok(None) })
    }

    fn info(&self) -> TransportInfo {
        TransportInfo {
            membership: Membership::Heartbeats,
            rooms_query: true,
            custom_query: false,
            reports_leaving: false,
        }
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

pub(super) struct HubSubscriber(mpsc::Receiver<Event>);

impl Subscriber for HubSubscriber {
    fn enter(&mut self, _: Namespace) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn leave<'a>(&'a mut self, _: &'a Namespace) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn poll(
        &mut self,
        wait: Duration,
        max_events: usize,
    ) -> BoxFuture<'_, Result<Vec<Event>, Failure>> {
        Box::pin(async move {
            let mut events = Vec::new();
            timeout(wait, self.0.recv_many(&mut events, max_events))
                .await
                .ok();
            Ok(events)
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A server of another kind: it says that it is there, and what a test makes it say.
pub(super) struct Peer {
    pub(super) node: NodeId,
    publisher: HubPublisher,
    events: HubSubscriber,
}

impl Peer {
    pub(super) async fn join(hub: &Hub, node: &str) -> Self {
        let (publisher, events) = hub.join();
        let peer = Self {
            node: NodeId::from(node),
            publisher,
            events,
        };
        peer.say(Body::InitialHeartbeat).await;
        peer
    }

    pub(super) async fn say(&self, body: Body) {
        let message = Message {
            namespace: Namespace::from("/chat"),
            sender: self.node.clone(),
            recipient: None,
            body,
        };
        self.publisher.send(&message).await;
    }

    /// The next message that is not about who is there.
    pub(super) async fn hear(&mut self) -> Body {
        loop {
            match self.events.0.recv().await.expect("the hub is there") {
                Event::Message(
                    Message {
                        body: Body::Heartbeat | Body::InitialHeartbeat,
                        ..
                    },
                    _,
                ) => {}
                Event::Message(message, _) => return message.body,
                other => panic!("{other:?}"),
            }
        }
    }
}
