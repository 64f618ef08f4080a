//! The wire of `createShardedAdapter` (wire reference, section 4): envelopes (`envelope`)
//! over sharded Pub/Sub.
//!
//! Node's servers ignore heartbeats, farewells and kinds of ours, so they go the same way.

mod channels;

use std::collections::HashMap;

use switchboard_plugin::{
    types::Message,
    wire::{Rejected, WireError, envelope, is_answer},
};

use channels::Channels;
pub use channels::SubscriptionMode;

use super::{Affixes, Decoded, Publication, Subscription};

/// The way out.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    channels: Channels,
}

impl Writer {
    pub(super) fn new(prefix: &str, mode: SubscriptionMode) -> Self {
        Self {
            channels: Channels::new(prefix, mode),
        }
    }

    pub(super) fn count_channel(&self, namespace: &str) -> String {
        self.channels.main(namespace)
    }

    pub(super) fn publication(&self, message: &Message) -> Result<Publication, Rejected> {
        Ok(Publication {
            channel: self.channels.of(message),
            payload: envelope::write(message)?,
        })
    }
}

/// The way in.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    channels: Channels,
    node: String,
    entered: HashMap<String, Entered>,
}

/// What is known of a namespace before anything arrives there.
#[derive(Debug, Clone)]
struct Entered {
    namespace: String,
    main: String,
    private: String,
    /// How this node's own messages end.
    own_tails: [Vec<u8>; 2],
}

/// A namespace on one channel.
#[derive(Debug)]
pub(super) struct Place<'r> {
    entered: &'r Entered,
    /// The channel is the one for answers to this node.
    is_private: bool,
}

impl Reader {
    pub(super) fn new(prefix: &str, mode: SubscriptionMode, node: &str) -> Self {
        Self {
            channels: Channels::new(prefix, mode),
            node: node.to_owned(),
            entered: HashMap::new(),
        }
    }

    pub(super) fn enter(&mut self, namespace: &str) -> Vec<Subscription> {
        let entered = Entered {
            namespace: namespace.to_owned(),
            main: self.channels.main(namespace),
            private: self.channels.private(namespace, &self.node),
            own_tails: envelope::tail(&self.node, namespace),
        };
        self.entered.insert(namespace.to_owned(), entered);
        self.subscriptions(namespace)
    }

    pub(super) fn leave(&mut self, namespace: &str) -> Vec<Subscription> {
        self.entered.remove(namespace);
        self.subscriptions(namespace)
    }

    fn subscriptions(&self, namespace: &str) -> Vec<Subscription> {
        vec![
            Subscription::Shard(self.channels.main(namespace)),
            Subscription::Shard(self.channels.private(namespace, &self.node)),
        ]
    }

    pub(super) fn room_subscription(
        &self,
        namespace: &str,
        room: &switchboard_plugin::types::Room,
    ) -> Option<Subscription> {
        let channel = self.channels.room(namespace, room)?;
        Some(Subscription::Shard(channel))
    }

    pub(super) fn own(&self) -> Affixes {
        let tails = self.entered.values().flat_map(|entered| &entered.own_tails);
        Affixes {
            beginnings: Vec::new(),
            endings: tails.cloned().collect(),
        }
    }

    /// The namespaces that a channel may carry messages of.
    pub(super) fn namespaces(&self, channel: &[u8]) -> Vec<Place<'_>> {
        let carries = |entered: &&Entered| channel.starts_with(entered.main.as_bytes());
        let entered = self.entered.values().filter(carries);
        let place = |entered| Place {
            entered,
            is_private: channel == entered.private.as_bytes(),
        };
        entered.map(place).collect()
    }

    pub(super) fn read(&self, places: &[Place<'_>], payload: &[u8]) -> Result<Decoded, WireError> {
        let mut tails = places.iter().flat_map(|place| &place.entered.own_tails);
        if places.is_empty() || tails.any(|tail| payload.ends_with(tail)) {
            return Ok(Decoded::default());
        }
        let mut is_private = false;
        let wanted = |namespace: &str| {
            let place = places.iter().find(|it| it.entered.namespace == namespace);
            is_private = place.is_some_and(|place| place.is_private);
            place.is_some()
        };
        let message = envelope::read(payload, &self.node, wanted)?;
        Ok(Decoded::from(message.and_then(|mut message| {
            if is_private {
                // Node takes nothing but answers from there (4.3).
                if !is_answer(&message.body) {
                    return None;
                }
                message.recipient = Some(self.node.clone());
            }
            Some(message)
        })))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
