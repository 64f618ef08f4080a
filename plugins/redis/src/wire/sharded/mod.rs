//! The wire of `createShardedAdapter`: envelopes (`envelope`)
//! over sharded Pub/Sub.
//!
//! Node's servers ignore heartbeats, farewells and kinds of ours, so they go the same way.

mod channels;

use switchboard_plugin::{
    MessageRef,
    types::Room,
    wire::{
        Rejected, envelope,
        pubsub::{self, Inbox},
    },
};

use channels::Channels;
pub use channels::SubscriptionMode;

use super::{Affixes, Publication, Subscription};

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

    pub(super) fn write(
        &self,
        message: MessageRef<'_>,
        out: &mut Publication,
    ) -> Result<(), Rejected> {
        out.payload = envelope::write(message)?;
        out.channel = self.channels.of(message);
        Ok(())
    }
}

/// The way in.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    channels: Channels,
    inbox: Inbox,
}

impl Reader {
    pub(super) fn new(prefix: &str, mode: SubscriptionMode, node: &str) -> Self {
        Self {
            channels: Channels::new(prefix, mode),
            inbox: Inbox::new(prefix, node),
        }
    }

    pub(super) fn enter(&mut self, namespace: &str) -> Vec<Subscription> {
        self.inbox.enter(namespace);
        self.subscriptions(namespace)
    }

    pub(super) fn leave(&mut self, namespace: &str) -> Vec<Subscription> {
        self.inbox.leave(namespace);
        self.subscriptions(namespace)
    }

    fn subscriptions(&self, namespace: &str) -> Vec<Subscription> {
        self.inbox
            .channels(namespace)
            .map(Subscription::Shard)
            .into()
    }

    pub(super) fn room_subscription(&self, namespace: &str, room: &Room) -> Option<Subscription> {
        let channel = self.channels.room(namespace, room)?;
        Some(Subscription::Shard(channel))
    }

    pub(super) fn own(&self) -> Affixes {
        Affixes {
            beginnings: Vec::new(),
            endings: self.inbox.own_endings(),
        }
    }

    pub(super) fn channel(&self, channel: &[u8]) -> pubsub::Channel<'_> {
        self.inbox.channel(channel)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
