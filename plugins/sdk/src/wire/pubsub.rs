//! Envelopes over Redis Pub/Sub, as Node's adapters for sharded Pub/Sub and for streams have
//! them: each namespace has a channel for all its servers, and each server one
//! more for the answers to its own requests.

use std::collections::HashMap;

use super::{WireError, envelope, is_answer};
use crate::types::Message;

/// The name of the channel of all servers of a namespace. Who subscribes to it counts as a server.
pub fn public_channel(prefix: &str, namespace: &str) -> String {
    // Once for each message: faster than `format!`.
    [prefix, "#", namespace, "#"].concat()
}

/// The name of the channel where one node gets the answers to its requests.
pub fn private_channel(prefix: &str, namespace: &str, node: &str) -> String {
    format!("{prefix}#{namespace}#{node}#")
}

/// Reads what arrives on the channels of the namespaces that were entered.
#[derive(Debug, Clone)]
pub struct Inbox {
    prefix: String,
    node: String,
    entered: HashMap<String, Entered>,
}

/// What is known of a namespace before anything arrives there.
#[derive(Debug, Clone)]
struct Entered {
    namespace: String,
    public: String,
    private: String,
    /// How this node's own messages end.
    own_tails: [Vec<u8>; 2],
}

impl Inbox {
    /// `prefix` begins the names of all channels; `node` is this server's id.
    pub fn new(prefix: &str, node: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            node: node.to_owned(),
            entered: HashMap::new(),
        }
    }

    /// From now on, messages of this namespace are read. Entering twice is harmless.
    pub fn enter(&mut self, namespace: &str) {
        let [public, private] = self.channels(namespace);
        let entered = Entered {
            namespace: namespace.to_owned(),
            public,
            private,
            own_tails: envelope::tail(&self.node, namespace),
        };
        self.entered.insert(namespace.to_owned(), entered);
    }

    /// The opposite of [`Self::enter`].
    pub fn leave(&mut self, namespace: &str) {
        self.entered.remove(namespace);
    }

    /// What a server of the namespace subscribes to: the public channel and its private one.
    pub fn channels(&self, namespace: &str) -> [String; 2] {
        [
            public_channel(&self.prefix, namespace),
            private_channel(&self.prefix, namespace, &self.node),
        ]
    }

    /// How this node's own messages end, in each format and namespace.
    pub fn own_endings(&self) -> Vec<Vec<u8>> {
        let tails = self.entered.values().flat_map(|entered| &entered.own_tails);
        tails.cloned().collect()
    }

    /// Finds out what may come on a channel, once for all messages of a run.
    pub fn channel(&self, channel: &[u8]) -> Channel<'_> {
        let carries = |entered: &&Entered| channel.starts_with(entered.public.as_bytes());
        let place = |entered| Place {
            entered,
            is_private: channel == entered.private.as_bytes(),
        };
        Channel {
            node: &self.node,
            places: self.entered.values().filter(carries).map(place).collect(),
        }
    }
}

/// One channel, as far as it concerns the namespaces that were entered.
#[derive(Debug)]
pub struct Channel<'i> {
    node: &'i str,
    places: Vec<Place<'i>>,
}

/// A namespace on a channel.
#[derive(Debug)]
struct Place<'i> {
    entered: &'i Entered,
    /// The channel is the one for answers to this node.
    is_private: bool,
}

impl Channel<'_> {
    /// Reads one message. None: there is nothing to do (this node's own, another namespace, an
    /// unknown kind, no answer on the private channel).
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(&self, payload: &[u8]) -> Result<Option<Message>, WireError> {
        let places = &self.places;
        let mut tails = places.iter().flat_map(|place| &place.entered.own_tails);
        if places.is_empty() || tails.any(|tail| payload.ends_with(tail)) {
            return Ok(None);
        }
        let mut is_private = false;
        let wanted = |namespace: &str| {
            let place = places.iter().find(|it| it.entered.namespace == namespace);
            is_private = place.is_some_and(|place| place.is_private);
            place.is_some()
        };
        let message = envelope::read(payload, self.node, wanted)?;
        Ok(message.and_then(|mut message| {
            if is_private {
                // Node takes nothing but answers from there.
                if !is_answer(&message.body) {
                    return None;
                }
                message.recipient = Some(self.node.to_owned());
            }
            Some(message)
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        types::{Body, CountAnswer},
        wire::Format,
    };

    fn payload(sender: &str, namespace: &str, body: Body, format: Format) -> Vec<u8> {
        let message = Message {
            namespace: namespace.to_owned(),
            sender: sender.to_owned(),
            recipient: None,
            body,
        };
        envelope::write_as(&message, format).unwrap()
    }

    fn answer() -> Body {
        Body::ClientCount(CountAnswer {
            request: "q".to_owned(),
            clients: 1,
        })
    }

    fn inbox() -> Inbox {
        let mut inbox = Inbox::new("io", "me");
        inbox.enter("/");
        inbox.enter("/chat");
        inbox
    }

    #[test]
    fn a_namespace_has_a_channel_for_all_and_one_for_this_server() {
        assert_eq!(inbox().channels("/chat"), ["io#/chat#", "io#/chat#me#"]);
    }

    #[test]
    fn nothing_but_answers_is_taken_from_the_private_channel() {
        let read = |channel: &str, body| {
            let payload = payload("you", "/", body, Format::Msgpack);
            inbox().channel(channel.as_bytes()).read(&payload).unwrap()
        };
        assert!(read("io#/#", Body::Heartbeat).is_some());
        assert!(read("io#/#me#", Body::Heartbeat).is_none());
        let got = read("io#/#me#", answer()).unwrap();
        assert_eq!(got.recipient.as_deref(), Some("me"));
        assert_eq!(read("io#/#", answer()).unwrap().recipient, None);
    }

    #[test]
    fn ones_own_messages_and_those_of_other_namespaces_are_passed_over() {
        for format in [Format::Json, Format::Msgpack] {
            let read = |channel: &str, sender, namespace| {
                let payload = payload(sender, namespace, Body::Heartbeat, format);
                inbox().channel(channel.as_bytes()).read(&payload).unwrap()
            };
            assert!(read("io#/#", "you", "/").is_some());
            assert!(read("io#/#", "me", "/").is_none());
            assert!(read("io#/chat#", "you", "/").is_none(), "another's channel");
            assert!(read("io#/other#", "you", "/other").is_none());
        }
        let mut left = inbox();
        left.leave("/");
        let payload = payload("you", "/", Body::Heartbeat, Format::Msgpack);
        assert!(left.channel(b"io#/#").read(&payload).unwrap().is_none());
    }

    #[test]
    fn ones_own_message_is_known_by_its_end() {
        for format in [Format::Json, Format::Msgpack] {
            let own = payload("me", "/", Body::Heartbeat, format);
            // Cut off at the front it is no message any more, yet known.
            let end = own.get(5..).unwrap();
            assert!(inbox().channel(b"io#/#").read(end).unwrap().is_none());
            let mut you = Inbox::new("io", "you");
            you.enter("/");
            assert!(you.channel(b"io#/#").read(end).is_err());
        }
    }
}
