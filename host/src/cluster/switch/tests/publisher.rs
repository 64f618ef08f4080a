//! The way out: where it changes the line, and under which numbers.

use std::sync::{Arc, Mutex};

use futures_util::{FutureExt, future::BoxFuture};

use super::super::{
    control,
    machine::LineId,
    message::{ControlMessage, Version},
    publisher::{Leave, Numbered, SwitchPublisher, WayOut},
};
use crate::cluster::{
    Failure, Message, Namespace, NodeId, Offset, PublishFailure, Publisher, TransportInfo,
    testing::text_broadcast,
};

/// What one line got: texts and numbers.
type Got = Arc<Mutex<Vec<(String, u64)>>>;

/// Takes everything, except that the next call fails in this way.
struct Line {
    got: Got,
    has_log: bool,
    fails: Arc<Mutex<Option<PublishFailure>>>,
}

impl Publisher for Line {
    fn publish<'a>(
        &'a mut self,
        batch: &'a [Message],
        first: u64,
    ) -> BoxFuture<'a, Result<Vec<Offset>, PublishFailure>> {
        let failure = self.fails.lock().unwrap().take();
        let taken = failure.as_ref().map_or(batch.len(), |it| it.accepted);
        let mut got = self.got.lock().unwrap();
        for (message, number) in batch.iter().zip(first..).take(taken) {
            got.push((text(message), number));
        }
        let offsets = match self.has_log {
            true => batch.iter().map(|m| Offset::from(text(m))).collect(),
            false => Vec::new(),
        };
        async move { failure.map_or(Ok(offsets), Err) }.boxed()
    }

    fn count_nodes<'a>(
        &'a mut self,
        _: &'a Namespace,
    ) -> BoxFuture<'a, Result<Option<u32>, Failure>> {
        async { Ok(None) }.boxed()
    }

    fn info(&self) -> TransportInfo {
        TransportInfo::default()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

fn text(message: &Message) -> String {
    match &message.body {
        crate::cluster::Body::Broadcast(event) => event.data.json.as_str().to_owned(),
        _ => "mark".to_owned(),
    }
}

fn events(texts: &[&str]) -> Vec<Message> {
    let event = |text: &&str| Message {
        namespace: Namespace::from("/"),
        sender: NodeId::from("me"),
        recipient: None,
        body: text_broadcast(text),
    };
    texts.iter().map(event).collect()
}

/// A publisher on an old line, about to go over to a new one whose next number is 100.
struct Scene {
    publisher: SwitchPublisher,
    way: Arc<WayOut>,
    old: Got,
    new: Got,
    old_fails: Arc<Mutex<Option<PublishFailure>>>,
    mark: Message,
    leave: Option<Leave>,
}

impl Scene {
    fn new(old_has_log: bool) -> Self {
        let way = Arc::<WayOut>::default();
        let (old, new, old_fails) = (Got::default(), Got::default(), Arc::default());
        let line = |got: &Got, has_log, fails: &Arc<_>| {
            Box::new(Line {
                got: Arc::clone(got),
                has_log,
                fails: Arc::clone(fails),
            })
        };
        let home = line(&old, old_has_log, &old_fails);
        let text = control::text(&ControlMessage::Mark {
            version: Version::default(),
        });
        let leave = Leave {
            mark: text.clone(),
            to: Numbered {
                line: LineId(1),
                publisher: line(&new, false, &Arc::default()),
                next: 100,
            },
            now: false,
        };
        Self {
            publisher: SwitchPublisher::new(LineId(0), home, Arc::clone(&way)),
            mark: control::message(&NodeId::from("me"), text),
            way,
            old,
            new,
            old_fails,
            leave: Some(leave),
        }
    }

    fn leave(&mut self) {
        self.way.leave(self.leave.take().unwrap());
    }

    async fn publish(
        &mut self,
        batch: &[Message],
        first: u64,
    ) -> Result<Vec<Offset>, PublishFailure> {
        self.publisher.publish(batch, first).await
    }

    /// `[a, b, mark, c]`.
    fn batch_with_mark(&self) -> Vec<Message> {
        let mut batch = events(&["a", "b"]);
        batch.push(self.mark.clone());
        batch.extend(events(&["c"]));
        batch
    }
}

fn got(line: &Got) -> Vec<(String, u64)> {
    line.lock().unwrap().clone()
}

fn numbered(texts: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = texts
        .iter()
        .map(|(text, number)| (text.to_string(), *number));
    owned.collect()
}

#[tokio::test]
async fn what_follows_the_mark_goes_over_the_new_line() {
    let mut scene = Scene::new(false);
    scene.publish(&events(&["x"]), 0).await.unwrap();
    scene.leave();
    let batch = scene.batch_with_mark();
    let offsets = scene.publish(&batch, 1).await.unwrap();
    assert_eq!(offsets, vec![Offset::from(""); 4]);
    scene.publish(&events(&["d"]), 5).await.unwrap();
    assert_eq!(
        got(&scene.old),
        numbered(&[("x", 0), ("a", 1), ("b", 2), ("mark", 3)])
    );
    assert_eq!(got(&scene.new), numbered(&[("c", 100), ("d", 101)]));
    let left = scene.way.left().await;
    assert_eq!(
        (left.old.line, left.old.next, left.forced),
        (LineId(0), 4, false)
    );
    assert_eq!(scene.way.fresh_number(), 102);
}

#[tokio::test]
async fn a_mark_that_the_old_line_did_not_take_is_tried_again_there() {
    let mut scene = Scene::new(true);
    scene.leave();
    *scene.old_fails.lock().unwrap() = Some(PublishFailure {
        accepted: 1,
        offsets: vec![Offset::from("a")],
        reason: Failure::Unavailable("away".to_owned()),
    });
    let batch = scene.batch_with_mark();
    let failure = scene.publish(&batch, 0).await.unwrap_err();
    assert_eq!(failure.accepted, 1);
    let offsets = scene.publish(&batch[1..], 1).await.unwrap();
    // The one of the line without a log is empty.
    assert_eq!(offsets, ["b", "mark", ""].map(Offset::from));
    assert_eq!(
        got(&scene.old),
        numbered(&[("a", 0), ("b", 1), ("mark", 2)])
    );
    assert_eq!(got(&scene.new), numbered(&[("c", 100)]));
}

#[tokio::test]
async fn pressed_it_goes_over_before_anything_else_is_sent() {
    let mut scene = Scene::new(false);
    scene.leave();
    assert!(scene.way.leave_now());
    scene.publish(&scene.batch_with_mark(), 7).await.unwrap();
    assert_eq!(got(&scene.old), []);
    assert_eq!(got(&scene.new).len(), 4);
    assert!(scene.way.left().await.forced);
    assert!(!scene.way.leave_now(), "it has gone over");
}

#[tokio::test]
async fn a_transport_that_was_given_up_is_left_without_losing_what_waits() {
    let mut scene = Scene::new(false);
    scene.leave();
    *scene.old_fails.lock().unwrap() = Some(PublishFailure {
        accepted: 0,
        offsets: Vec::new(),
        reason: Failure::GivenUp("dead".to_owned()),
    });
    let batch = scene.batch_with_mark();
    let failure = scene.publish(&batch, 0).await.unwrap_err();
    assert!(
        matches!(failure.reason, Failure::Unavailable(_)),
        "{failure:?}"
    );
    scene.publish(&batch, 0).await.unwrap();
    assert_eq!(got(&scene.new).len(), 4);
}
