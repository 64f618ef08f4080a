//! The way in.

use std::collections::{BTreeSet, HashSet};

use switchboard_plugin::{
    Config, Events, Failure, OpenFailure, Subscriber,
    redis::{self, Error, Kind, StreamStart},
    redis_outcome::{failure, open_failure, text},
    types::{Event, Lag, Received},
    warn,
    wire::{WireError, pubsub},
};

use crate::{
    options::Options,
    wire::{
        entry::{self, Parts},
        names::Streams,
    },
};

/// By this name the host keeps the subscription for the instances that follow.
const SUBSCRIPTION: &str = "transport";

/// One `poll` takes about this much: more gains nothing and costs memory on both sides of the
/// border.
const POLL_BYTES: u32 = 1024 * 1024;

const KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

/// Reads messages from Redis.
pub struct In {
    subscription: redis::Subscription,
    streams: Streams,
    /// Where streams are begun that are not read yet.
    start: StreamStart,
    read_count: u32,
    /// The host has confirmed that it reads the streams.
    is_reading: bool,
    entries: entry::Reader,
    inbox: pubsub::Inbox,
    kind: Kind,
    namespaces: HashSet<String>,
    /// What an earlier instance had subscribed to, and this one need not, is gone.
    is_tidy: bool,
}

impl Subscriber for In {
    fn open(config: Config, resume_from: Option<String>) -> Result<Self, OpenFailure> {
        let options = Options::read(&config)?;
        let subscription =
            redis::Subscription::open(&options.connection, SUBSCRIPTION).map_err(open_failure)?;
        // They come back with those of the others.
        subscription.ignore(&entry::own_beginnings(&config.node), &[]);
        let streams = Streams::new(&options.stream_name, options.stream_count);
        let mut opened = Self {
            start: start(&streams, resume_from),
            subscription,
            streams,
            read_count: options.read_count,
            is_reading: false,
            entries: entry::Reader::new(&config.node),
            inbox: pubsub::Inbox::new(&options.channel_prefix, &config.node),
            kind: match options.is_sharded {
                true => Kind::Shard,
                false => Kind::Channel,
            },
            namespaces: HashSet::new(),
            is_tidy: false,
        };
        match opened.read_streams() {
            // Redis need not be there yet: the host begins as soon as it is.
            Ok(()) | Err(Error::Unavailable(_)) => Ok(opened),
            Err(other) => Err(open_failure(other)),
        }
    }

    fn enter(&mut self, namespace: String) -> Result<(), Failure> {
        self.entries.enter(&namespace);
        self.inbox.enter(&namespace);
        let names = self.inbox.channels(&namespace);
        self.namespaces.insert(namespace);
        // The streams first: a server that is counted hears everything already. Also after a
        // failure: the host goes on with what it could not do at once.
        let reading = self.read_streams();
        let subscribed = self.subscription.subscribe(self.kind, &names);
        reading.and(subscribed).map_err(failure)
    }

    fn leave(&mut self, namespace: String) {
        self.namespaces.remove(&namespace);
        self.entries.leave(&namespace);
        self.inbox.leave(&namespace);
        let names = self.inbox.channels(&namespace);
        self.subscription.unsubscribe(self.kind, &names);
    }

    fn poll(&mut self, timeout_ms: u32, max_events: u32) -> Result<Events, Failure> {
        self.tidy();
        let taken = self
            .subscription
            .next(timeout_ms, max_events, POLL_BYTES)
            .map_err(|error| Failure::Unavailable(text(error)))?;
        // Nothing may fail from here on: entries would be handed out again, and be taken for
        // repeated ones.
        let mut events = Events::new();
        for event in taken {
            match event {
                redis::Event::Entry(entry) => self.entry(&entry, &mut events),
                redis::Event::Messages(messages) => {
                    let channel = self.inbox.channel(messages.channel.as_bytes());
                    let payloads = messages.each();
                    events.extend(
                        payloads
                            .filter_map(|payload| message(&channel, &messages.channel, payload)),
                    );
                }
                redis::Event::Lagged(lag) => events.push(Event::Lagged(Lag {
                    missed: lag.missed,
                    reason: lag.reason,
                })),
            }
        }
        Ok(events)
    }

    fn close(self) {
        self.subscription.close();
    }
}

impl In {
    /// Asks the host to read the streams, until it has confirmed that it does. Those that an
    /// earlier instance has asked for go on where they are.
    fn read_streams(&mut self) -> Result<(), Error> {
        if !self.is_reading {
            let names = self.streams.all();
            self.subscription
                .read_streams(names, &self.start, self.read_count)?;
            self.is_reading = true;
        }
        Ok(())
    }

    /// Drops what an earlier instance had subscribed to and this one does not want: the host has
    /// entered all its namespaces before the first poll.
    fn tidy(&mut self) {
        if self.is_tidy {
            return;
        }
        self.is_tidy = true;
        let wanted = self.namespaces.iter();
        let wanted: BTreeSet<String> = wanted.flat_map(|name| self.inbox.channels(name)).collect();
        for kind in KINDS {
            let names = self.subscription.names(kind);
            let unwanted = match kind == self.kind {
                true => without(names, &wanted),
                false => names,
            };
            if !unwanted.is_empty() {
                self.subscription.unsubscribe(kind, &unwanted);
            }
        }
        let wanted: BTreeSet<String> = self.streams.all().iter().cloned().collect();
        let unwanted = without(self.subscription.streams(), &wanted);
        if !unwanted.is_empty() {
            self.subscription.leave_streams(&unwanted);
        }
    }

    fn entry(&mut self, entry: &redis::StreamEntry, events: &mut Events) {
        let parts = Parts::of_pairs(entry.pairs());
        let redis::StreamEntry { stream, id, .. } = entry;
        // There are few streams. One that is left over from other options has no place of its own.
        let names = self.streams.all();
        let index = names.iter().position(|name| name == stream);
        match self.entries.read(index.unwrap_or(names.len()), &parts) {
            Ok(Some(message)) => events.push_message(message, Some(id.clone())),
            Ok(None) => {}
            Err(error) => {
                let what = format!("the entry {id} of the stream {stream:?}");
                events.extend(unreadable(&what, &error));
            }
        }
    }
}

fn message(channel: &pubsub::Channel<'_>, name: &str, payload: &[u8]) -> Option<Event> {
    // Node takes nothing but msgpack there.
    if payload.first() == Some(&b'{') {
        return None;
    }
    match channel.read(payload) {
        Ok(read) => read.map(|message| {
            Event::Message(Received {
                message,
                offset: None,
            })
        }),
        Err(error) => unreadable(&format!("a message on channel {name:?}"), &error),
    }
}

/// Where to begin. An offset says in one stream only where its reader stood.
fn start(streams: &Streams, resume_from: Option<String>) -> StreamStart {
    match resume_from {
        Some(id) if streams.all().len() == 1 && entry::is_id(&id) => StreamStart::After(id),
        _ => StreamStart::New,
    }
}

fn without(names: Vec<String>, these: &BTreeSet<String>) -> Vec<String> {
    let is_other = |name: &String| !these.contains(name);
    names.into_iter().filter(is_other).collect()
}

/// What the host hears of something that cannot be read; the operator hears of each.
fn unreadable(what: &str, error: &WireError) -> Option<Event> {
    let reason = format!("cannot read {what}: {error}");
    warn(&reason);
    error.may_be_of_a_peer().then_some(Event::Lagged(Lag {
        missed: Some(1),
        reason,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_after_an_entry_where_there_is_one_stream() {
        let begins = |count, resume_from: Option<&str>| {
            let streams = Streams::new("io", count);
            match start(&streams, resume_from.map(str::to_owned)) {
                StreamStart::After(id) => Some(id),
                StreamStart::New => None,
            }
        };
        assert_eq!(begins(1, Some("17-0")).as_deref(), Some("17-0"));
        assert_eq!(begins(1, None), None);
        assert_eq!(begins(1, Some("")), None);
        assert_eq!(begins(1, Some("of another transport")), None);
        assert_eq!(begins(2, Some("17-0")), None);
    }

    #[test]
    fn only_what_nobody_wants_is_left_over() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = ["io#/#".to_owned(), "io#/#me#".to_owned()].into();
        let had = names(&["io#/#", "io#/a#", "io#/#me#"]);
        assert_eq!(without(had, &wanted), ["io#/a#"]);
    }
}
