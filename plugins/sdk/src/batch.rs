//! What is to be published: messages without what they have in common with their neighbours.

use crate::bindings::switchboard::transport::messages as wit;
use crate::types::{Body, Message, Run};

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
    /// What it says.
    pub body: &'m Body,
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
            run.messages.iter().map(|message| MessageRef {
                namespace: &run.namespace,
                sender: &run.sender,
                recipient: message.recipient.as_deref(),
                body: &message.body,
            })
        })
    }

    /// The messages as they would be received, each on its own.
    pub fn into_messages(self) -> Vec<Message> {
        let mut messages = Vec::with_capacity(self.len());
        for run in self.0 {
            messages.extend(run.messages.into_iter().map(|message| Message {
                namespace: run.namespace.clone(),
                sender: run.sender.clone(),
                recipient: message.recipient,
                body: message.body,
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

impl FromIterator<Message> for Batch {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for message in messages {
            let Message {
                namespace,
                sender,
                recipient,
                body,
            } = message;
            let message = wit::Message { recipient, body };
            match runs.last_mut() {
                Some(run) if run.namespace == namespace && run.sender == sender => {
                    run.messages.push(message);
                }
                _ => runs.push(Run {
                    namespace,
                    sender,
                    messages: vec![message],
                }),
            }
        }
        Self(runs)
    }
}

impl<'m> From<&'m Message> for MessageRef<'m> {
    fn from(message: &'m Message) -> Self {
        Self {
            namespace: &message.namespace,
            sender: &message.sender,
            recipient: message.recipient.as_deref(),
            body: &message.body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
