//! The streams that a subscription wants, and what Redis said to it. No I/O: the readers write down
//! here what the plugin's calls wait for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use super::id::EntryId;
use crate::capabilities::redis::{subscription::names::Settled, trouble::Trouble};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With what is added from now on.
    New,
    /// Behind this entry.
    After(EntryId),
}

/// What a reader has to do.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: Arc<str>,
    /// Tells this wish from an earlier one for the same stream.
    pub(super) serial: u64,
    pub(super) start: Start,
    /// Entries at a time.
    pub(super) count: u32,
}

/// How far a stream has come.
#[derive(Debug, PartialEq, Eq)]
enum Stand {
    Wanted,
    /// The reader knows where it stands; so it stays, also while Redis is away.
    Placed,
    /// Redis refused it the first time; it waits here for the one who asked.
    Refused(String),
}

#[derive(Debug)]
struct Stream {
    serial: u64,
    start: Start,
    count: u32,
    stand: Stand,
    trouble: Option<(Instant, Trouble)>,
}

/// The streams of one subscription.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: BTreeMap<Arc<str>, Stream>,
    last_serial: u64,
}

impl Streams {
    // What the plugin's calls need.

    /// How many there are.
    pub(in super::super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// How many of them Redis has neither placed nor refused.
    pub(in super::super) fn unplaced(&self) -> usize {
        let is_wanted = |stream: &&Stream| stream.stand == Stand::Wanted;
        self.streams.values().filter(is_wanted).count()
    }

    /// Their names, sorted.
    pub(in super::super) fn names(&self) -> Vec<Arc<str>> {
        let is_refused = |stream: &Stream| matches!(stream.stand, Stand::Refused(_));
        let kept = self.streams.iter().filter(|(_, s)| !is_refused(s));
        kept.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// How many there would be with these.
    pub(in super::super) fn len_with(&self, names: &BTreeSet<Arc<str>>) -> usize {
        let is_new = |name: &&Arc<str>| !self.streams.contains_key(*name);
        self.streams.len() + names.iter().filter(is_new).count()
    }

    /// Wants a stream, if it is not there yet.
    pub(in super::super) fn add(&mut self, name: &Arc<str>, start: Start, count: u32) {
        if let Some(known) = self.streams.get(name)
            && !matches!(known.stand, Stand::Refused(_))
        {
            return;
        }
        self.last_serial += 1;
        let stream = Stream {
            serial: self.last_serial,
            start,
            count,
            stand: Stand::Wanted,
            trouble: None,
        };
        self.streams.insert(Arc::clone(name), stream);
    }

    /// Wants a stream no longer.
    pub(in super::super) fn remove(&mut self, name: &str) {
        self.streams.remove(name);
    }

    /// Has Redis answered to all of these? Refused ones are forgotten.
    pub(in super::super) fn settle(&mut self, names: &BTreeSet<Arc<str>>) -> Settled {
        let stand = |name| self.streams.get(name).map(|stream| &stream.stand);
        if names.iter().any(|name| stand(name) == Some(&Stand::Wanted)) {
            return Settled::NotYet;
        }
        let mut refusal = None;
        for name in names {
            // One that was taken out meanwhile is not waited for.
            if let Some(Stand::Refused(why)) = self.streams.get(name).map(|s| &s.stand) {
                refusal = Some(format!("{name:?}: {why}"));
                self.streams.remove(name);
            }
        }
        refusal.map_or(Settled::All, Settled::Refused)
    }

    /// Why one of these could not be placed.
    pub(in super::super) fn trouble_with(&self, names: &BTreeSet<Arc<str>>) -> Option<Trouble> {
        let streams = names.iter().filter_map(|name| self.streams.get(name));
        let mut waiting = streams.filter(|stream| stream.stand == Stand::Wanted);
        waiting.find_map(|stream| stream.trouble.as_ref().map(|(_, why)| why.clone()))
    }

    /// The stream that has been away for the longest time, since when and why.
    pub(in super::super) fn trouble(&self) -> Option<(Instant, &Trouble)> {
        let troubles = self.streams.values().filter_map(|s| s.trouble.as_ref());
        let (since, trouble) = troubles.min_by_key(|(since, _)| *since)?;
        Some((*since, trouble))
    }

    // What the readers need.

    /// Those that need a reader.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let wanted = self.streams.iter().map(|(name, stream)| Wanted {
            name: Arc::clone(name),
            serial: stream.serial,
            start: stream.start,
            count: stream.count,
        });
        wanted.collect()
    }

    /// Is this still what is wanted? If not, nothing may be queued any more.
    pub(super) fn is_current(&self, wanted: &Wanted) -> bool {
        let stream = self.streams.get(&wanted.name);
        stream.is_some_and(|stream| stream.serial == wanted.serial)
    }

    /// The reader knows where it stands, and reads.
    pub(super) fn placed(&mut self, wanted: &Wanted) {
        if let Some(stream) = self.get_mut(wanted) {
            stream.stand = Stand::Placed;
            stream.trouble = None;
        }
    }

    /// Its connection is lost, or could not be made.
    pub(super) fn lost(&mut self, wanted: &Wanted, trouble: &Trouble) {
        if let Some(stream) = self.get_mut(wanted) {
            let since = stream.trouble.as_ref().map(|(since, _)| *since);
            let since = since.unwrap_or_else(Instant::now);
            stream.trouble = Some((since, trouble.clone()));
        }
    }

    /// Redis refuses it. False: it allowed it before, so that this is not an answer to the plugin.
    pub(super) fn refused(&mut self, wanted: &Wanted, why: &str) -> bool {
        let Some(stream) = self.get_mut(wanted) else {
            return true;
        };
        if stream.stand == Stand::Placed {
            return false;
        }
        stream.stand = Stand::Refused(why.to_owned());
        stream.trouble = None;
        true
    }

    fn get_mut(&mut self, wanted: &Wanted) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(&wanted.name)?;
        (stream.serial == wanted.serial).then_some(stream)
    }
}
