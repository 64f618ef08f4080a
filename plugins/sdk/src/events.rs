//! What has arrived: events one by one, as plugins make and tests see them, and together, as they
//! cross the border.

use std::{borrow::Cow, sync::Arc};

use crate::batch::in_full;
use crate::bindings::exports::switchboard::transport::subscriber as border;
use crate::bindings::switchboard::transport::messages as wit;
use crate::types::{Body, Broadcast, Lag, Payload, Run, Target};
use crate::wire::is_same;

/// One message of one node.
#[derive(Debug, Clone)]
pub struct Message {
    /// For which namespace.
    pub namespace: String,
    /// Who sent it, empty if the wire does not say. The host drops what it sent itself.
    pub sender: String,
    /// Answers only: the node that asked.
    pub recipient: Option<String>,
    /// What it says.
    pub body: Body,
}

/// A message that has arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// Where the backend's log stands after it; what `resume_from` gets later. None if the backend
    /// keeps no log.
    pub offset: Option<String>,
}

/// One thing that a poll brings.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "most are messages")]
pub enum Event {
    /// A message.
    Message(Received),
    /// The backend knows that this node is gone.
    NodeLeft(String),
    /// A gap. Stands where the gap is.
    Lagged(Lag),
}

/// A [`Message`] that may share with others what it has in common with them: there are many messages, and
/// their names and clients are mostly those of the message before.
#[derive(Debug, Clone)]
pub struct Heard<'a> {
    /// For which namespace.
    pub namespace: Cow<'a, str>,
    /// Who sent it, empty if the wire does not say.
    pub sender: Cow<'a, str>,
    /// Answers only: the node that asked.
    pub recipient: Option<String>,
    /// What it says.
    pub body: Said,
}

/// What a [`Heard`] says.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "made for one call and never kept"
)]
pub enum Said {
    /// An event for clients, without a packet id or acknowledgements. Those that follow each other and
    /// share their target (the same `Arc`, not an equal one) say it once.
    Event {
        /// For whom.
        target: Arc<Target>,
        /// The event's name and arguments.
        data: Payload,
    },
    /// Anything that says all it means: no [`Body::Again`].
    Whole(Body),
}

impl From<Body> for Said {
    fn from(body: Body) -> Self {
        Self::Whole(body)
    }
}

impl From<Said> for Body {
    fn from(said: Said) -> Self {
        match said {
            Said::Event { target, data } => Self::Broadcast(Broadcast {
                target: Arc::unwrap_or_clone(target),
                data,
                packet_id: None,
                request: None,
            }),
            Said::Whole(body) => body,
        }
    }
}

/// What a poll brings, oldest first. Collect [`Event`]s, or add them one by one.
#[derive(Debug, Clone, Default)]
pub struct Events {
    events: Vec<border::Event>,
    /// Whom the last broadcast of the last run is for, if others may share that.
    shared: Option<Arc<Target>>,
}

impl Events {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Message(Received { message, offset }) => self.push_message(message, offset),
            Event::NodeLeft(node) => self.events.push(border::Event::NodeLeft(node)),
            Event::Lagged(lag) => self.events.push(border::Event::Lagged(lag)),
        }
    }

    /// Adds a message, see [`Received`]. What it has in common with the one before is not kept twice.
    pub fn push_message<'a>(&mut self, message: impl Into<Heard<'a>>, offset: Option<String>) {
        let Heard {
            namespace,
            sender,
            recipient,
            body,
        } = message.into();
        if matches!(body, Said::Whole(Body::Again(_))) {
            // Whatever stands before it here, it may have been meant for others.
            self.events.push(border::Event::Lagged(Lag {
                missed: Some(1),
                reason: "the transport plugin gave a `Body::Again` alone, so nobody knows for whom it is; \
                         it has to keep messages as `MessageRef::to_message`"
                    .to_owned(),
            }));
            return;
        }
        match self.events.last_mut() {
            Some(border::Event::Messages(border::Received { run, offsets }))
                if is_same(run.namespace.as_bytes(), namespace.as_bytes())
                    && is_same(run.sender.as_bytes(), sender.as_bytes())
                    && offsets.is_empty() == offset.is_none() =>
            {
                let body = said(body, &mut self.shared);
                run.messages.push(wit::Message { recipient, body });
                offsets.extend(offset);
            }
            _ => {
                self.shared = None;
                let body = said(body, &mut self.shared);
                self.events.push(border::Event::Messages(border::Received {
                    run: Run {
                        namespace: namespace.into_owned(),
                        sender: sender.into_owned(),
                        messages: vec![wit::Message { recipient, body }],
                    },
                    offsets: offset.into_iter().collect(),
                }));
            }
        }
    }

    /// How many events there are, each message counted.
    pub fn len(&self) -> usize {
        let each = self.events.iter().map(|event| match event {
            border::Event::Messages(received) => received.run.messages.len(),
            _ => 1,
        });
        each.sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    #[doc(hidden)]
    pub fn into_border(self) -> Vec<border::Event> {
        self.events
    }
}

/// The body as it stands behind a broadcast for `shared`, which it replaces if it is one itself.
fn said(body: Said, shared: &mut Option<Arc<Target>>) -> Body {
    match body {
        Said::Event { target, data } => match shared {
            Some(known) if Arc::ptr_eq(known, &target) => Body::Again(data),
            _ => {
                let known = shared.insert(target);
                Body::Broadcast(Broadcast {
                    target: Target::clone(known),
                    data,
                    packet_id: None,
                    request: None,
                })
            }
        },
        Said::Whole(body) => {
            if matches!(body, Body::Broadcast(_)) {
                *shared = None;
            }
            body
        }
    }
}

impl Extend<Event> for Events {
    fn extend<I: IntoIterator<Item = Event>>(&mut self, events: I) {
        events.into_iter().for_each(|event| self.push(event));
    }
}

impl FromIterator<Event> for Events {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        let mut all = Self::new();
        all.extend(events);
        all
    }
}

impl From<Vec<Event>> for Events {
    fn from(events: Vec<Event>) -> Self {
        events.into_iter().collect()
    }
}

/// The events as they were added.
impl From<Events> for Vec<Event> {
    fn from(events: Events) -> Self {
        let mut all = Self::new();
        for event in events.events {
            match event {
                border::Event::Messages(border::Received { run, offsets }) => {
                    let mut offsets = offsets.into_iter();
                    let mut last = None;
                    all.extend(run.messages.into_iter().map(|message| {
                        let message = Message {
                            namespace: run.namespace.clone(),
                            sender: run.sender.clone(),
                            recipient: message.recipient,
                            body: in_full(message.body, &mut last),
                        };
                        let offset = offsets.next();
                        Event::Message(Received { message, offset })
                    }));
                }
                border::Event::NodeLeft(node) => all.push(Event::NodeLeft(node)),
                border::Event::Lagged(lag) => all.push(Event::Lagged(lag)),
            }
        }
        all
    }
}

impl From<Message> for Heard<'_> {
    fn from(message: Message) -> Self {
        Self {
            namespace: message.namespace.into(),
            sender: message.sender.into(),
            recipient: message.recipient,
            body: message.body.into(),
        }
    }
}

impl From<Heard<'_>> for Message {
    fn from(heard: Heard<'_>) -> Self {
        Self {
            namespace: heard.namespace.into_owned(),
            sender: heard.sender.into_owned(),
            recipient: heard.recipient,
            body: heard.body.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Room;

    fn message(namespace: &str, sender: &str, offset: Option<&str>) -> Event {
        Event::Message(Received {
            message: Message {
                namespace: namespace.to_owned(),
                sender: sender.to_owned(),
                recipient: None,
                body: Body::Heartbeat,
            },
            offset: offset.map(str::to_owned),
        })
    }

    #[test]
    fn neighbours_cross_the_border_together_and_nothing_changes_its_place() {
        let gap = Event::Lagged(Lag {
            missed: Some(1),
            reason: "full".to_owned(),
        });
        let events = vec![
            message("/", "a", Some("1")),
            message("/", "a", Some("2")),
            message("/", "a", None),
            message("/", "a", None),
            message("/chat", "a", None),
            message("/chat", "b", None),
            gap,
            message("/chat", "b", None),
            Event::NodeLeft("b".to_owned()),
        ];
        let together = Events::from(events.clone());
        assert_eq!(together.len(), events.len());
        let lens: Vec<_> = together
            .clone()
            .into_border()
            .iter()
            .map(|event| match event {
                border::Event::Messages(received) => {
                    let (run, offsets) = (&received.run, received.offsets.len());
                    (run.messages.len(), offsets)
                }
                _ => (0, 0),
            })
            .collect();
        let expected = [(2, 2), (2, 0), (1, 0), (1, 0), (0, 0), (1, 0), (0, 0)];
        assert_eq!(lens, expected);
        let again = Vec::<Event>::from(together);
        assert_eq!(format!("{again:?}"), format!("{events:?}"));
    }

    fn target(room: &str) -> Arc<Target> {
        Arc::new(Target {
            rooms: vec![Room::Text(room.to_owned())],
            except: None,
            volatile: false,
            other_flags: None,
        })
    }

    fn heard(namespace: &'static str, body: Said) -> Heard<'static> {
        Heard {
            namespace: namespace.into(),
            sender: "a".into(),
            recipient: None,
            body,
        }
    }

    fn event(target: &Arc<Target>, json: &str) -> Said {
        Said::Event {
            target: Arc::clone(target),
            data: Payload::new(json, Vec::new()),
        }
    }

    #[test]
    fn an_event_without_its_target_is_a_gap() {
        let again = || Said::Whole(Body::Again(Payload::new("[1]", Vec::new())));
        let mut events = Events::new();
        events.push_message(heard("/", event(&target("r"), "[0]")), None);
        events.push_message(heard("/", again()), None);
        let events = Vec::<Event>::from(events);
        assert!(
            matches!(
                &events[..],
                [
                    Event::Message(_),
                    Event::Lagged(Lag {
                        missed: Some(1),
                        ..
                    })
                ]
            ),
            "{events:?}"
        );
    }

    #[test]
    fn events_that_share_their_target_say_it_once_in_a_run() {
        let (r, s) = (target("r"), target("s"));
        let messages = [
            heard("/", event(&r, "[1]")),
            heard("/", event(&r, "[2]")),
            heard("/", Said::Whole(Body::Heartbeat)),
            heard("/", event(&r, "[3]")),
            heard("/", event(&s, "[4]")),
            heard("/", event(&r, "[5]")),
            heard("/", Said::Whole(event(&s, "[6]").into())),
            heard("/", event(&r, "[7]")),
            heard("/chat", event(&r, "[8]")),
            heard("/chat", event(&r, "[9]")),
        ];
        let mut events = Events::new();
        for message in messages.clone() {
            events.push_message(message, None);
        }
        let again: Vec<bool> = events
            .clone()
            .into_border()
            .iter()
            .flat_map(|event| match event {
                border::Event::Messages(received) => received.run.messages.iter(),
                _ => [].iter(),
            })
            .map(|message| matches!(message.body, Body::Again(_)))
            .collect();
        let (t, f) = (true, false);
        assert_eq!(again, [f, t, f, t, f, f, f, f, f, t]);

        let whole = messages.map(|message| {
            Event::Message(Received {
                message: message.into(),
                offset: None,
            })
        });
        let read = Vec::<Event>::from(events);
        assert_eq!(format!("{read:?}"), format!("{whole:?}"));
    }
}
