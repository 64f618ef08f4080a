//! The way in: several lines as one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{Barrier, mpsc, oneshot};

use super::super::{
    control,
    machine::{Input, LineId},
    merge::MergeLimits,
    message::{ControlMessage, Version},
    subscriber::{Entered, Order, SwitchSubscriber},
};
use crate::cluster::{
    Body, Event, Failure, Message, Namespace, NodeId, Subscriber,
    testing::{text_broadcast, text_of},
};

const HOME: LineId = LineId(0);
const NEW: LineId = LineId(1);
const SOON: Duration = Duration::from_millis(50);
/// Far more polls than fit into that if there are pauses between them.
const MANY: usize = 1000;

/// Gives what it is given.
#[derive(Default)]
struct Line {
    /// None: never waits, and never has anything.
    events: Option<mpsc::Receiver<Result<Event, Failure>>>,
    /// Whom it has to meet to enter a namespace.
    meeting: Option<Arc<Barrier>>,
    polls: usize,
}

impl Line {
    fn of(events: mpsc::Receiver<Result<Event, Failure>>) -> Box<Self> {
        Box::new(Self {
            events: Some(events),
            ..Self::default()
        })
    }
}

impl Subscriber for Line {
    fn enter(&mut self, _: Namespace) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            if let Some(meeting) = &self.meeting {
                meeting.wait().await;
            }
            Ok(())
        }
        .boxed()
    }

    fn leave<'a>(&'a mut self, _: &'a Namespace) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn poll(&mut self, timeout: Duration, _: usize) -> BoxFuture<'_, Result<Vec<Event>, Failure>> {
        async move {
            let Some(events) = &mut self.events else {
                self.polls += 1;
                assert!(self.polls < MANY, "polled without a pause");
                return Ok(Vec::new());
            };
            match tokio::time::timeout(timeout, events.recv()).await {
                Ok(Some(event)) => event.map(|event| vec![event]),
                Ok(None) | Err(_) => Ok(Vec::new()),
            }
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

#[tokio::test]
async fn a_line_that_never_waits_leaves_the_thread_to_others() {
    let (_orders, given) = mpsc::channel(16);
    let (say, _heard) = mpsc::channel(16);
    let node = NodeId::from("me");
    let mut subscriber = SwitchSubscriber::new(node, HOME, Box::new(Line::default()), given, say);
    let polled = tokio::time::timeout(SOON, subscriber.poll(Duration::from_secs(3600), 10)).await;
    assert!(polled.is_err(), "there was nothing to poll");
}

#[tokio::test]
async fn all_lines_enter_a_namespace_at_the_same_time() {
    let (orders, given) = mpsc::channel(16);
    let (say, _heard) = mpsc::channel(16);
    let meeting = Arc::new(Barrier::new(2));
    let line = || {
        Box::new(Line {
            meeting: Some(Arc::clone(&meeting)),
            ..Line::default()
        })
    };
    let node = NodeId::from("me");
    let mut subscriber = SwitchSubscriber::new(node, HOME, line(), given, say);
    let (reply, taken) = oneshot::channel();
    let entered = Entered {
        subscriber: line(),
        namespaces: BTreeSet::new(),
    };
    let line = NEW;
    let add = Order::Add {
        line,
        entered,
        reply,
    };
    assert!(orders.send(add).await.is_ok());
    assert_eq!(subscriber.poll(SOON, 10).await, Ok(Vec::new()));
    assert!(taken.await.unwrap().is_ok());
    let entered = subscriber.enter(Namespace::from("/"));
    let entered = tokio::time::timeout(Duration::from_secs(5), entered).await;
    assert_eq!(entered, Ok(Ok(())), "one waited for the other");
}

struct Scene {
    subscriber: SwitchSubscriber,
    orders: mpsc::Sender<Order>,
    heard: mpsc::Receiver<Input>,
    home: mpsc::Sender<Result<Event, Failure>>,
    new: mpsc::Sender<Result<Event, Failure>>,
}

impl Scene {
    /// Two lines, and the marks of `a` awaited.
    async fn merging() -> Self {
        let (orders, given) = mpsc::channel(16);
        let (say, heard) = mpsc::channel(16);
        let (home, from_home) = mpsc::channel(16);
        let (new, from_new) = mpsc::channel(16);
        let node = NodeId::from("me");
        let subscriber = SwitchSubscriber::new(node, HOME, Line::of(from_home), given, say);
        let mut scene = Self {
            subscriber,
            orders,
            heard,
            home,
            new,
        };
        let (reply, taken) = oneshot::channel();
        let entered = Entered {
            subscriber: Line::of(from_new),
            namespaces: BTreeSet::new(),
        };
        let line = NEW;
        scene
            .order(Order::Add {
                line,
                entered,
                reply,
            })
            .await;
        assert!(taken.await.unwrap().is_ok());
        scene
            .order(Order::Merge {
                old: HOME,
                new: NEW,
                after: Version::default(),
                awaited: vec![NodeId::from("a")],
                limits: MergeLimits::default(),
            })
            .await;
        scene
    }

    async fn order(&mut self, order: Order) {
        self.orders
            .send(order)
            .await
            .unwrap_or_else(|_| panic!("closed"));
        assert_eq!(self.subscriber.poll(SOON, 10).await, Ok(Vec::new()));
    }

    async fn texts(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let events = self.subscriber.poll(SOON, 10).await.unwrap();
            if events.is_empty() {
                return texts;
            }
            texts.extend(events.iter().map(|event| match event {
                Event::Message(message, _) => text_of(&message.body).unwrap(),
                other => format!("{other:?}"),
            }));
        }
    }
}

fn says(sender: &str, text: &str) -> Result<Event, Failure> {
    let message = Message {
        namespace: Namespace::from("/"),
        sender: NodeId::from(sender),
        recipient: None,
        body: text_broadcast(text),
    };
    Ok(Event::Message(message, None))
}

fn mark(sender: &str) -> Result<Event, Failure> {
    let version = Version {
        epoch: 1,
        id: "a/1".into(),
    };
    let text = control::text(&ControlMessage::Mark { version });
    let message = control::message(&NodeId::from(sender), text);
    Ok(Event::Message(message, None))
}

#[tokio::test(start_paused = true)]
async fn what_comes_over_the_new_line_waits_for_the_mark_on_the_old_one() {
    let mut scene = Scene::merging().await;
    scene.new.send(says("a", "3")).await.unwrap();
    scene.new.send(says("b", "others pass")).await.unwrap();
    assert_eq!(scene.texts().await, ["others pass"]);
    scene.home.send(says("a", "1")).await.unwrap();
    scene.home.send(says("a", "2")).await.unwrap();
    scene.home.send(mark("a")).await.unwrap();
    assert_eq!(scene.texts().await, ["1", "2", "3"]);
    let Ok(Input::Heard { from, line, .. }) = scene.heard.try_recv() else {
        panic!("the mark was not handed on");
    };
    assert_eq!((from.as_str(), line), ("a", HOME));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_senders_mark_has_overtaken_is_not_missed() {
    let mut scene = Scene::merging().await;
    scene.home.send(mark("a")).await.unwrap();
    scene.new.send(says("a", "later")).await.unwrap();
    assert_eq!(scene.texts().await, ["later"]);
    let answer = Message {
        namespace: Namespace::from("/"),
        sender: NodeId::from("a"),
        recipient: Some(NodeId::from("me")),
        body: Body::ClientCount {
            request: "r".into(),
            clients: 1,
        },
    };
    let answer = Event::Message(answer, None);
    scene.home.send(Ok(answer.clone())).await.unwrap();
    let events = scene.subscriber.poll(SOON, 10).await.unwrap();
    assert_eq!(events, [answer]);
    // An event would be out of order.
    scene.home.send(says("a", "earlier")).await.unwrap();
    let texts = scene.texts().await;
    assert!(
        matches!(&texts[..], [told] if told.contains("over the old transport")),
        "{texts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_line_that_fails_does_not_keep_the_other_waiting() {
    let mut scene = Scene::merging().await;
    let away = || Err(Failure::Unavailable("away".to_owned()));
    for _ in 0..3 {
        scene.home.send(away()).await.unwrap();
    }
    scene.new.send(says("b", "1")).await.unwrap();
    scene
        .home
        .send(says("a", "after it is back"))
        .await
        .unwrap();
    let mut texts = scene.texts().await;
    texts.extend(scene.texts().await);
    while texts.len() < 2 {
        texts.extend(scene.texts().await);
    }
    texts.sort();
    assert_eq!(texts, ["1", "after it is back"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_a_line_is_not_taken_for_dead() {
    let mut scene = Scene::merging().await;
    let left = |node: &str| Ok(Event::NodeLeft(NodeId::from(node)));
    scene.new.send(left("a")).await.unwrap();
    assert_eq!(
        scene.texts().await,
        Vec::<String>::new(),
        "it has gone back"
    );
    scene.home.send(mark("a")).await.unwrap();
    scene.home.send(left("a")).await.unwrap();
    assert_eq!(
        scene.texts().await,
        Vec::<String>::new(),
        "it has gone over"
    );
    scene.home.send(left("b")).await.unwrap();
    assert_eq!(scene.texts().await.len(), 1, "it is dead");
}

#[tokio::test(start_paused = true)]
async fn a_gap_and_the_end_of_the_wait_are_told() {
    let mut scene = Scene::merging().await;
    scene.new.send(says("a", "held")).await.unwrap();
    assert_eq!(scene.texts().await, Vec::<String>::new());
    let (sender, forced) = (NodeId::from("a"), true);
    scene
        .orders
        .send(Order::Gap("why".to_owned()))
        .await
        .unwrap_or_else(|_| panic!("closed"));
    scene
        .orders
        .send(Order::Ended { sender, forced })
        .await
        .unwrap_or_else(|_| panic!("closed"));
    let texts = scene.texts().await;
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("why"), "{texts:?}");
    assert_eq!(texts[1], "held");
    scene.home.send(says("a", "too late")).await.unwrap();
    let texts = scene.texts().await;
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts[0].contains("missed: Some(1)"),
        "it is dropped and counted: {texts:?}"
    );
}
