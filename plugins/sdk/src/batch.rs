//! What is to be published: messages without what they have in common with their neighbours.

use crate::bindings::switchboard::transport::messages as wit;
use crate::types::{Body, Broadcast, Message, Payload, Run, Target};

/// Messages to publish, in order.
#[derive(Debug, Clone, Default)]
pub struct Batch(Vec<Run>);

/// A message to publish, borrowed from its [`Batch`] or from a [`Message`].
#[derive(Debug, Clone, Copy)]
pub struct MessageRef<'m> {
    /// For which namespace.
    pub namespace: &'m str,
    /// This node or `emitter`.
    pub sender: &'m str,
    /// Answers only: the node that asked.
    pub recipient: Option<&'m str>,
    /// What it says. Events for clients come in two forms; [`broadcast`](Self::broadcast) knows both.
    pub body: &'m Body,
    /// Of the last [`Body::Broadcast`] of its run up to here.
    target: Option<&'m Target>,
}

/// An event for clients, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct BroadcastRef<'m> {
    /// For whom.
    pub target: &'m Target,
    /// The event's name and arguments.
    pub data: &'m Payload,
    /// The packet's `id` member as JSON text.
    pub packet_id: Option<&'m str>,
    /// Present: acknowledgements are wanted.
    pub request: Option<&'m str>,
}

impl<'m> MessageRef<'m> {
    /// The event for clients that it is, if it is one: [`Body::Broadcast`], or [`Body::Again`] with the
    /// target that it does not repeat.
    ///
    /// None, too, for an `Again` without a broadcast before it in its run, which the host never gives.
    pub fn broadcast(&self) -> Option<BroadcastRef<'m>> {
        match self.body {
            Body::Broadcast(broadcast) => Some(broadcast.into()),
            Body::Again(data) => Some(BroadcastRef {
                target: self.target?,
                data,
                packet_id: None,
                request: None,
            }),
            _ => None,
        }
    }

    /// The message as it would be received, in full.
    pub fn to_message(&self) -> Message {
        let body = match (self.body, self.broadcast()) {
            (Body::Again(data), Some(event)) => Body::Broadcast(Broadcast {
                target: event.target.clone(),
                data: data.clone(),
                packet_id: None,
                request: None,
            }),
            (body, _) => body.clone(),
        };
        Message {
            namespace: self.namespace.to_owned(),
            sender: self.sender.to_owned(),
            recipient: self.recipient.map(str::to_owned),
            body,
        }
    }

    /// A body alone, nobody's and for no namespace. It has to say all that it means.
    pub fn of_body(body: &'m Body) -> Self {
        Self {
            namespace: "",
            sender: "",
            recipient: None,
            body,
            target: target_of(body),
        }
    }
}

impl<'m> From<&'m Broadcast> for BroadcastRef<'m> {
    fn from(broadcast: &'m Broadcast) -> Self {
        Self {
            target: &broadcast.target,
            data: &broadcast.data,
            packet_id: broadcast.packet_id.as_deref(),
            request: broadcast.request.as_deref(),
        }
    }
}

/// The target of a broadcast that others may follow.
fn target_of(body: &Body) -> Option<&Target> {
    match body {
        Body::Broadcast(broadcast) => Some(&broadcast.target),
        _ => None,
    }
}

/// Says in full what a message leaves to the broadcast before it in its run, whose target is `last`.
pub(crate) fn in_full(body: Body, last: &mut Option<Target>) -> Body {
    match (body, &*last) {
        (Body::Again(data), Some(target)) => Body::Broadcast(Broadcast {
            target: target.clone(),
            data,
            packet_id: None,
            request: None,
        }),
        (body, _) => {
            if let Some(target) = target_of(&body) {
                *last = Some(target.clone());
            }
            body
        }
    }
}

impl Batch {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|run| run.messages.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The messages, first to last.
    pub fn iter(&self) -> impl Iterator<Item = MessageRef<'_>> + Clone {
        self.0.iter().flat_map(|run| {
            let mut target = None;
            run.messages.iter().map(move |message| {
                target = target_of(&message.body).or(target);
                MessageRef {
                    namespace: &run.namespace,
                    sender: &run.sender,
                    recipient: message.recipient.as_deref(),
                    body: &message.body,
                    target,
                }
            })
        })
    }

    /// The messages as they would be received, each on its own and in full.
    pub fn into_messages(self) -> Vec<Message> {
        let mut messages = Vec::with_capacity(self.len());
        for run in self.0 {
            let mut last = None;
            messages.extend(run.messages.into_iter().map(|message| Message {
                namespace: run.namespace.clone(),
                sender: run.sender.clone(),
                recipient: message.recipient,
                body: in_full(message.body, &mut last),
            }));
        }
        messages
    }

    /// The messages as they come from the host: those that follow each other and have a namespace and
    /// a sender in common are together.
    pub fn runs(&self) -> &[Run] {
        &self.0
    }
}

impl From<Vec<Run>> for Batch {
    fn from(runs: Vec<Run>) -> Self {
        Self(runs)
    }
}

impl From<Vec<Message>> for Batch {
    fn from(messages: Vec<Message>) -> Self {
        messages.into_iter().collect()
    }
}

/// As the host puts them together.
impl FromIterator<Message> for Batch {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        // Where the last broadcast of the last run stands that says for whom it is.
        let mut last = None;
        for message in messages {
            let Message {
                namespace,
                sender,
                recipient,
                body,
            } = message;
            let is_next = |run: &&mut Run| run.namespace == namespace && run.sender == sender;
            let Some(run) = runs.last_mut().filter(is_next) else {
                last = target_of(&body).map(|_| 0);
                runs.push(Run {
                    namespace,
                    sender,
                    messages: vec![wit::Message { recipient, body }],
                });
                continue;
            };
            let before = last.and_then(|at| target_of(&run.messages.get::<usize>(at)?.body));
            let body = match (body, before) {
                (Body::Broadcast(event), Some(before)) if is_again(&event, before) => {
                    Body::Again(event.data)
                }
                (body, _) => body,
            };
            last = target_of(&body).map(|_| run.messages.len()).or(last);
            run.messages.push(wit::Message { recipient, body });
        }
        Self(runs)
    }
}

/// Whether only its data is new, behind a broadcast for these clients.
fn is_again(event: &Broadcast, before: &Target) -> bool {
    event.packet_id.is_none() && event.request.is_none() && event.target.is_like(before)
}

impl<'m> From<&'m Message> for MessageRef<'m> {
    fn from(message: &'m Message) -> Self {
        Self {
            namespace: &message.namespace,
            sender: &message.sender,
            recipient: message.recipient.as_deref(),
            body: &message.body,
            target: target_of(&message.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Room;

    fn message(namespace: &str, sender: &str, recipient: Option<&str>) -> Message {
        Message {
            namespace: namespace.to_owned(),
            sender: sender.to_owned(),
            recipient: recipient.map(str::to_owned),
            body: Body::Heartbeat,
        }
    }

    #[test]
    fn what_messages_have_in_common_with_their_neighbours_is_said_once() {
        let messages = [
            message("/", "a", None),
            message("/", "a", Some("b")),
            message("/chat", "a", None),
            message("/chat", "emitter", None),
            message("/", "a", None),
        ];
        let shown = |message: MessageRef<'_>| format!("{message:?}");
        let batch: Batch = messages.to_vec().into();
        let lens: Vec<_> = batch.runs().iter().map(|run| run.messages.len()).collect();
        assert_eq!(lens, [2, 1, 1, 1]);
        assert_eq!((batch.len(), batch.is_empty()), (5, false));
        let refs = messages.iter().map(MessageRef::from);
        assert!(batch.iter().map(shown).eq(refs.map(shown)));
        let again = batch.into_messages();
        let refs = messages.iter().map(MessageRef::from);
        assert!(
            again
                .iter()
                .map(MessageRef::from)
                .map(shown)
                .eq(refs.map(shown))
        );
        assert!(Batch::default().is_empty());
    }

    #[test]
    fn one_more_event_is_for_the_clients_of_the_last_broadcast_of_its_run() {
        let event = |room: &str| {
            Body::Broadcast(Broadcast {
                target: Target {
                    rooms: vec![Room::Text(room.to_owned())],
                    except: None,
                    volatile: false,
                    other_flags: None,
                },
                data: Payload::new("[1]", Vec::new()),
                packet_id: Some("7".to_owned()),
                request: None,
            })
        };
        let again = || Body::Again(Payload::new("[2]", Vec::new()));
        let run = |bodies: Vec<Body>| Run {
            namespace: "/".to_owned(),
            sender: "a".to_owned(),
            messages: bodies
                .into_iter()
                .map(|body| wit::Message {
                    recipient: None,
                    body,
                })
                .collect(),
        };
        let batch = Batch::from(vec![
            run(vec![event("r"), again(), Body::Heartbeat, again()]),
            run(vec![again(), event("s"), again()]),
        ]);
        let said = |message: MessageRef<'_>| {
            message.broadcast().map(|event| {
                let id = event.packet_id.unwrap_or("-");
                format!("{:?} {id} {}", event.target.rooms, event.data.json)
            })
        };
        let expected = [
            Some(r#"[Room::Text("r")] 7 [1]"#),
            Some(r#"[Room::Text("r")] - [2]"#),
            None,
            Some(r#"[Room::Text("r")] - [2]"#),
            // The host never says this.
            None,
            Some(r#"[Room::Text("s")] 7 [1]"#),
            Some(r#"[Room::Text("s")] - [2]"#),
        ];
        let read: Vec<_> = batch.iter().map(said).collect();
        assert_eq!(
            read.iter().map(Option::as_deref).collect::<Vec<_>>(),
            expected
        );
        let messages = batch.into_messages();
        let read: Vec<_> = messages.iter().map(|it| said(it.into())).collect();
        assert_eq!(
            read.iter().map(Option::as_deref).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn only_what_is_new_is_said_again_and_nothing_is_lost_by_it() {
        let event = |change: &dyn Fn(&mut Broadcast)| {
            let mut event = Broadcast {
                target: Target {
                    rooms: vec![Room::Text("r".to_owned())],
                    except: Some(vec![Room::Text("x".to_owned())]),
                    volatile: false,
                    other_flags: Some("{\"timeout\":1}".to_owned()),
                },
                data: Payload::new("[1]", vec![vec![1]]),
                packet_id: None,
                request: None,
            };
            change(&mut event);
            Message {
                namespace: "/".to_owned(),
                sender: "a".to_owned(),
                recipient: None,
                body: Body::Broadcast(event),
            }
        };
        let usual = event(&|_| {});
        let changes: [&dyn Fn(&mut Broadcast); 8] = [
            &|event| event.packet_id = Some("7".to_owned()),
            &|event| event.request = Some("q".to_owned()),
            &|event| event.target.volatile = true,
            &|event| event.target.except = None,
            &|event| event.target.other_flags = None,
            &|event| event.target.rooms.clear(),
            &|event| event.target.rooms = vec![Room::Number(1.0)],
            &|event| event.target.rooms.push(Room::Text("s".to_owned())),
        ];
        let shown = |message: &Message| format!("{message:?}");
        for change in changes {
            let messages = [usual.clone(), usual.clone(), event(change), usual.clone()];
            let batch = Batch::from(messages.to_vec());
            let again: Vec<_> = batch
                .iter()
                .map(|message| matches!(message.body, Body::Again(_)))
                .collect();
            // Behind one with an id of its own others may still say its target again.
            assert!(!again[0] && again[1] && !again[2], "{messages:?}");
            let read: Vec<_> = batch.iter().map(|it| it.to_message()).collect();
            assert!(read.iter().map(shown).eq(messages.iter().map(shown)));
            let read = batch.into_messages();
            assert!(read.iter().map(shown).eq(messages.iter().map(shown)));
        }
        let other = Message {
            namespace: "/chat".to_owned(),
            ..usual.clone()
        };
        let batch = Batch::from(vec![usual, other]);
        assert!(batch.iter().all(|it| matches!(it.body, Body::Broadcast(_))));
    }
}
