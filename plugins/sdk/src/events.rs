//! What has arrived: events one by one, as plugins make and tests see them, and together, as they
//! cross the border.

use std::borrow::Cow;

use crate::bindings::exports::switchboard::transport::subscriber as border;
use crate::bindings::switchboard::transport::messages as wit;
use crate::types::{Body, Lag, Run};

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

/// A [`Message`] whose names may be borrowed from where it was read: there are many messages, and their
/// namespace and sender are mostly those of the message before.
#[derive(Debug, Clone)]
pub struct Heard<'a> {
    /// For which namespace.
    pub namespace: Cow<'a, str>,
    /// Who sent it, empty if the wire does not say.
    pub sender: Cow<'a, str>,
    /// Answers only: the node that asked.
    pub recipient: Option<String>,
    /// What it says.
    pub body: Body,
}

/// What a poll brings, oldest first. Collect [`Event`]s, or add them one by one.
#[derive(Debug, Clone, Default)]
pub struct Events(Vec<border::Event>);

impl Events {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Message(Received { message, offset }) => self.push_message(message, offset),
            Event::NodeLeft(node) => self.0.push(border::Event::NodeLeft(node)),
            Event::Lagged(lag) => self.0.push(border::Event::Lagged(lag)),
        }
    }

    /// Adds a message, see [`Received`]. Its names are kept only if they are not those of the one
    /// before.
    pub fn push_message<'a>(&mut self, message: impl Into<Heard<'a>>, offset: Option<String>) {
        let Heard {
            namespace,
            sender,
            recipient,
            body,
        } = message.into();
        let message = wit::Message { recipient, body };
        match self.0.last_mut() {
            Some(border::Event::Messages(border::Received { run, offsets }))
                if run.namespace == namespace
                    && run.sender == sender
                    && offsets.is_empty() == offset.is_none() =>
            {
                run.messages.push(message);
                offsets.extend(offset);
            }
            _ => self.0.push(border::Event::Messages(border::Received {
                run: Run {
                    namespace: namespace.into_owned(),
                    sender: sender.into_owned(),
                    messages: vec![message],
                },
                offsets: offset.into_iter().collect(),
            })),
        }
    }

    /// How many events there are, each message counted.
    pub fn len(&self) -> usize {
        let each = self.0.iter().map(|event| match event {
            border::Event::Messages(received) => received.run.messages.len(),
            _ => 1,
        });
        each.sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[doc(hidden)]
    pub fn into_border(self) -> Vec<border::Event> {
        self.0
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
        for event in events.0 {
            match event {
                border::Event::Messages(border::Received { run, offsets }) => {
                    let mut offsets = offsets.into_iter();
                    all.extend(run.messages.into_iter().map(|message| {
                        let message = Message {
                            namespace: run.namespace.clone(),
                            sender: run.sender.clone(),
                            recipient: message.recipient,
                            body: message.body,
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
            body: message.body,
        }
    }
}

impl From<Heard<'_>> for Message {
    fn from(heard: Heard<'_>) -> Self {
        Self {
            namespace: heard.namespace.into_owned(),
            sender: heard.sender.into_owned(),
            recipient: heard.recipient,
            body: heard.body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
