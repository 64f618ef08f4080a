//! The way in.

use std::collections::{BTreeSet, HashSet};

use switchboard_plugin::{
    Config, Events, Failure, OpenFailure, Said, Subscriber, node,
    redis::{self, Client, Kind},
    redis_outcome::{Fate, failure, open_failure, send, text},
    types::{Body, Event, Lag, Room},
    warn,
    wire::WireError,
};

use super::commands::Commands;
use crate::{
    options::Options,
    wire::{Affixes, Decoded, Decoder, Local, Publication, Subscription},
};

/// By this name the host keeps the subscription for the instances that follow.
const SUBSCRIPTION: &str = "transport";

/// One `poll` takes about this much: more gains nothing and costs memory on both sides of the
/// border.
const POLL_BYTES: u32 = 1024 * 1024;

const KINDS: [Kind; 3] = [Kind::Pattern, Kind::Channel, Kind::Shard];

/// Reads messages from Redis.
pub struct In {
    subscription: redis::Subscription,
    /// For answers that the host has no message for.
    client: Client,
    decoder: Decoder,
    namespaces: HashSet<String>,
    /// What an earlier instance had subscribed to, and this one need not, is gone.
    is_tidy: bool,
}

impl Subscriber for In {
    fn open(config: Config, _resume_from: Option<String>) -> Result<Self, OpenFailure> {
        let options = Options::read(&config)?;
        options.check_receiving()?;
        let client = Client::open(&options.connection).map_err(open_failure)?;
        let subscription =
            redis::Subscription::open(&options.connection, SUBSCRIPTION).map_err(open_failure)?;
        Ok(Self {
            subscription,
            client,
            decoder: Decoder::new(&options.prefix, options.wire, &config.node),
            namespaces: HashSet::new(),
            is_tidy: false,
        })
    }

    fn enter(&mut self, namespace: String) -> Result<(), Failure> {
        let names = Names::of(self.decoder.enter(&namespace));
        self.namespaces.insert(namespace);
        self.ignore_own();
        let mut result = Ok(());
        // Patterns before channels: a server that is counted hears broadcasts already.
        for (kind, names) in names.into_kinds() {
            // Also after a failure: the host goes on with what it could not do at once.
            let subscribed = self.subscription.subscribe(kind, &names);
            result = result.and(subscribed.map_err(failure));
        }
        result
    }

    fn leave(&mut self, namespace: String) {
        self.namespaces.remove(&namespace);
        for (kind, names) in Names::of(self.decoder.leave(&namespace)).into_kinds() {
            self.subscription.unsubscribe(kind, &names);
        }
        self.ignore_own();
    }

    fn poll(&mut self, timeout_ms: u32, max_events: u32) -> Result<Events, Failure> {
        self.tidy();
        let taken = self
            .subscription
            .next(timeout_ms, max_events, POLL_BYTES)
            .map_err(|error| Failure::Unavailable(text(error)))?;
        let mut events = Events::new();
        let mut replies = Vec::new();
        let mut server = Server { joins: false };
        for event in taken {
            match event {
                redis::Event::Messages(messages) => {
                    let pattern = messages.pattern.as_deref().map(str::as_bytes);
                    // What makes sockets join rooms comes on other channels than what is for rooms,
                    // so what the host says of a room holds for the whole run.
                    let channel = messages.channel.as_bytes();
                    let channel = self.decoder.channel(pattern, channel, &server);
                    for payload in messages.each() {
                        match channel.decode(payload, &server) {
                            Ok(Decoded { message, reply }) => {
                                if let Some(message) = message {
                                    let joins = |said: &Said| {
                                        matches!(said, Said::Whole(Body::SocketsJoin(_)))
                                    };
                                    server.joins |= joins(&message.body);
                                    events.push_message(message, None);
                                }
                                replies.extend(reply);
                            }
                            Err(error) => events.extend(unreadable(&messages.channel, &error)),
                        }
                    }
                }
                // It reads no streams.
                redis::Event::Entry(_) => {}
                redis::Event::Lagged(lag) => events.push(Event::Lagged(Lag {
                    missed: lag.missed,
                    reason: lag.reason,
                })),
            }
        }
        self.reply(replies);
        Ok(events)
    }

    fn close(self) {
        self.subscription.close();
        self.client.close();
    }
}

impl In {
    /// Redis sends back what this node publishes.
    fn ignore_own(&self) {
        let Affixes {
            beginnings,
            endings,
        } = self.decoder.own();
        self.subscription.ignore(&beginnings, &endings);
    }

    /// Drops what an earlier instance had subscribed to and this one does not want: the host has
    /// entered all its namespaces before the first poll.
    fn tidy(&mut self) {
        if self.is_tidy {
            return;
        }
        self.is_tidy = true;
        let decoder = &mut self.decoder;
        let wanted = self.namespaces.iter().flat_map(|name| decoder.enter(name));
        let wanted = Names::of(wanted);
        for kind in KINDS {
            let unwanted = wanted.without(kind, self.subscription.names(kind));
            if !unwanted.is_empty() {
                self.subscription.unsubscribe(kind, &unwanted);
            }
        }
    }

    /// Answers old requests for a single socket. Their askers wait for no more than a moment, so an
    /// answer that does not go at once is given up.
    fn reply(&self, replies: Vec<Publication>) {
        // Only the classic wire has such requests.
        let mut commands = Commands::new(false, replies.len());
        replies.iter().for_each(|reply| commands.push(reply));
        let fates = send(&commands.each(), |some| {
            commands.publish(&self.client, some)
        });
        let lost = fates.iter().find_map(|fate| match fate {
            Fate::Sent(_) => None,
            Fate::InDoubt(why) | Fate::Held(why) | Fate::Refused(why) => Some(why),
        });
        if let Some(why) = lost {
            warn(&format!(
                "old requests of Node servers were not answered: {why}"
            ));
        }
    }
}

/// What the host knows.
struct Server {
    /// Earlier in this poll there is a message that makes sockets join rooms. The host carries it
    /// out after the poll, and what it says of rooms until then is out of date.
    joins: bool,
}

impl Local for Server {
    fn has_room(&self, namespace: &str, room: &Room) -> bool {
        self.joins || node::has_room(namespace, room)
    }
}

/// What the host hears of a message that cannot be read; the operator hears of each.
fn unreadable(channel: &str, error: &WireError) -> Option<Event> {
    let channel: String = channel.chars().take(MAX_SHOWN_CHARS).collect();
    let reason = format!("cannot read a message on channel {channel:?}: {error}");
    warn(&reason);
    error.may_be_of_a_peer().then_some(Event::Lagged(Lag {
        missed: Some(1),
        reason,
    }))
}

/// Channels' names hold rooms, which may be long.
const MAX_SHOWN_CHARS: usize = 200;

/// Names of channels, by the way they are subscribed to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    patterns: BTreeSet<String>,
    channels: BTreeSet<String>,
    shards: BTreeSet<String>,
}

impl Names {
    fn of(subscriptions: impl IntoIterator<Item = Subscription>) -> Self {
        let mut names = Self::default();
        for subscription in subscriptions {
            match subscription {
                Subscription::Pattern(name) => names.patterns.insert(name),
                Subscription::Channel(name) => names.channels.insert(name),
                Subscription::Shard(name) => names.shards.insert(name),
            };
        }
        names
    }

    /// The kinds that there are, in the order of [`KINDS`].
    fn into_kinds(self) -> impl Iterator<Item = (Kind, Vec<String>)> {
        let sets = [self.patterns, self.channels, self.shards];
        let kinds = KINDS.into_iter().zip(sets);
        kinds
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| (kind, names.into_iter().collect()))
    }

    /// Those of `names` that are not among these.
    fn without(&self, kind: Kind, names: Vec<String>) -> Vec<String> {
        let these = match kind {
            Kind::Pattern => &self.patterns,
            Kind::Channel => &self.channels,
            Kind::Shard => &self.shards,
        };
        let is_other = |name: &String| !these.contains(name);
        names.into_iter().filter(is_other).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SubscriptionMode, Wire};

    fn entered(wire: Wire, namespaces: &[&str]) -> Names {
        let mut decoder = Decoder::new("io", wire, "me");
        Names::of(namespaces.iter().flat_map(|name| decoder.enter(name)))
    }

    const CLASSIC: Wire = Wire::Classic {
        specific_responses: false,
    };

    #[test]
    fn a_namespace_is_entered_with_one_call_for_each_kind_patterns_first() {
        let kinds: Vec<_> = entered(CLASSIC, &["/"]).into_kinds().collect();
        let [(Kind::Pattern, patterns), (Kind::Channel, channels)] = kinds.as_slice() else {
            panic!("{kinds:?}");
        };
        assert_eq!(patterns, &["io#/#*"]);
        let expected = [
            "io-request#/#",
            "io-response#/#",
            "io-response#/#me#",
            "io-switchboard#/#",
        ];
        assert_eq!(channels, &expected);

        let sharded = Wire::Sharded(SubscriptionMode::Static);
        let kinds: Vec<_> = entered(sharded, &["/"]).into_kinds().collect();
        let [(Kind::Shard, shards)] = kinds.as_slice() else {
            panic!("{kinds:?}");
        };
        assert_eq!(shards, &["io#/#", "io#/#me#"]);
    }

    #[test]
    fn only_what_no_namespace_wants_is_left_over() {
        let names = entered(CLASSIC, &["/", "/a"]);
        let had = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let channels = had(&["io-request#/#", "io-request#/a#", "io-request#/b#"]);
        assert_eq!(names.without(Kind::Channel, channels), ["io-request#/b#"]);
        let patterns = had(&["io#/#*", "old#/#*"]);
        assert_eq!(names.without(Kind::Pattern, patterns), ["old#/#*"]);
        // The same name, subscribed to in another way, is another subscription.
        assert_eq!(names.without(Kind::Shard, had(&["io#/#"])), ["io#/#"]);
    }
}
