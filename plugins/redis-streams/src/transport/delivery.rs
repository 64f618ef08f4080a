//! What became of the messages that the host hands in, and what has still to be sent.
//!
//! The contract knows only how many messages were accepted from the front of a batch; the others
//! are handed in again, in order. Some of those may be out all the same: in Redis Cluster the parts
//! of a batch go to different nodes, and one of them may be away. Of others nobody knows, because
//! the connection broke before Redis answered. So what was tried is remembered until it is settled,
//! by the number that the host has for each message: what is out is not sent again, and what is in
//! doubt is looked for in its stream first (`search`). Meanwhile nothing else goes into that stream,
//! so that nothing overtakes. What an instance had in the air that died is found out by its
//! successor (`predecessor`).
//!
//! An entry that is sent again has the same mark. So if the first one gets into the stream after
//! all, those who know marks take only one of the two.

use std::collections::BTreeMap;

use switchboard_plugin::{
    Failure,
    redis::{Command, Error, Reply},
    redis_outcome::{Fate, send},
};

use super::{
    letters::Batch,
    predecessor::{Found, Predecessor},
    search::Search,
};
use crate::wire::{mark::Mark, names::Streams};

/// What the host and the operator are told of a batch.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Of the accepted messages; empty texts for those that are no entries.
    pub(super) offsets: Vec<String>,
    /// What became of the first message that was not accepted. None: all were.
    pub(super) failure: Option<Failure>,
    /// For the log.
    pub(super) warnings: Vec<String>,
}

/// The memory of one publisher.
#[derive(Debug)]
pub(super) struct Delivery {
    names: Streams,
    node: String,
    max_len: usize,
    /// It was handed a batch.
    has_begun: bool,
    /// None: there was no instance before this one, or what it had sent is settled.
    predecessor: Option<Predecessor>,
    places: Vec<Place>,
    /// By their numbers, the messages that are out or in doubt and not accepted yet. No more than
    /// one batch holds, and as many of an earlier instance.
    tried: BTreeMap<u64, Tried>,
}

/// What is known of one stream.
#[derive(Debug, Default)]
struct Place {
    /// The last entry of ours that is known.
    last_id: Option<String>,
    /// The highest number of ours that is in the stream.
    highest: u64,
    /// Entries are in doubt: nothing is added until it is over.
    search: Option<Search>,
}

/// A message that was tried and is handed in again.
#[derive(Debug)]
struct Tried {
    stream: Option<usize>,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// Redis has it, under this id if it is an entry.
    Out(String),
    /// An entry that may be in the stream or not, and why that is so.
    InDoubt(String),
    /// It is not out, for a reason that passes.
    Held(String),
    /// It can never go.
    Refused(String),
}

/// One whose outcome is unknown.
struct Doubt<'a> {
    number: u64,
    state: &'a mut State,
}

impl Delivery {
    /// `node` is this server's id, a new one each time that it starts. A stream is trimmed to no
    /// less than `max_len` entries.
    pub(super) fn new(names: Streams, node: String, max_len: u32) -> Self {
        let places = names.all().iter().map(|_| Place::default()).collect();
        Self {
            names,
            node,
            max_len: max_len as usize,
            has_begun: false,
            predecessor: None,
            places,
            tried: BTreeMap::new(),
        }
    }

    /// Sends what is not out yet. `first` is the number of the batch's first message.
    pub(super) fn send(
        &mut self,
        batch: &mut Batch,
        first: u64,
        now_ms: impl Fn() -> f64,
        mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
    ) -> Report {
        let mut report = Report::default();
        self.follow(first);
        self.search(&now_ms, &mut pipeline, &mut report.warnings);
        let waits = self.inherit(batch, first, &now_ms, &mut pipeline, &mut report.warnings);
        let mut states = self.recall(batch, first);
        let chosen = self.choose(batch, first, &mut states, &waits);
        let fates = if chosen.len() == batch.commands.len() {
            send(&batch.commands, &mut pipeline)
        } else {
            // Copies, but only after trouble.
            let some = chosen.iter();
            let some = some.filter_map(|index| batch.commands.get(*index).cloned());
            send(&some.collect::<Vec<_>>(), &mut pipeline)
        };
        let mut doubts = Vec::new();
        for (index, fate) in chosen.into_iter().zip(fates) {
            let stream = batch.streams.get(index).copied().flatten();
            let state = self.settle(stream, first + index as u64, fate, &mut doubts);
            if let Some(slot) = states.get_mut(index) {
                *slot = state;
            }
        }
        if let Some(why) = doubts.first() {
            report.warnings.push(format!(
                "{} answers or heartbeats may not have been sent and are not sent again: the \
                 connection to Redis was lost before it had answered ({why})",
                doubts.len()
            ));
        }
        self.conclude(batch, first, states, &mut report);
        report
    }

    /// Finds out whether there was an instance before this one, and when it does not matter any
    /// more.
    fn follow(&mut self, first: u64) {
        if !self.has_begun {
            self.has_begun = true;
            let streams = self.places.len();
            self.predecessor = (first > 0).then(|| Predecessor::new(first, self.max_len, streams));
        }
        let predecessor = self.predecessor.as_ref();
        if predecessor.is_some_and(|predecessor| !predecessor.may_have_sent(first)) {
            self.predecessor = None;
        }
        // The host is rid of what is older.
        self.tried = self.tried.split_off(&first);
    }

    /// Looks for what an earlier instance has sent, in the streams that the batch goes to. Those
    /// where it is not known yet, and why.
    fn inherit(
        &mut self,
        batch: &Batch,
        first: u64,
        now_ms: impl Fn() -> f64,
        mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
        warnings: &mut Vec<String>,
    ) -> BTreeMap<usize, String> {
        let mut waits = BTreeMap::new();
        let Some(predecessor) = &mut self.predecessor else {
            return waits;
        };
        for stream in 0..self.places.len() {
            let numbered = (first..).zip(&batch.streams);
            let mut concerned = numbered.filter(|(number, _)| predecessor.may_have_sent(*number));
            // In the only stream, also to learn what was published before entries that are there.
            let is_concerned = concerned.any(|(_, to)| *to == Some(stream));
            if !predecessor.is_open(stream) || !(is_concerned || self.places.len() == 1) {
                continue;
            }
            let name = self.names.name(stream);
            match predecessor.look(stream, name, &self.node, &now_ms, &mut pipeline) {
                Ok(None) => {
                    let why = "it is being found out what an earlier instance has sent";
                    waits.insert(stream, why.to_owned());
                }
                Err(Failure::Unavailable(why)) => {
                    waits.insert(stream, why);
                }
                // Where it may not look: rather twice than not at all.
                Err(Failure::Rejected(why)) => {
                    warnings.push(format!("cannot look into the stream {name:?}: {why}"));
                }
                Ok(Some(Found { entries, last_id })) => {
                    if !entries.is_empty() {
                        warnings.push(format!(
                            "{} messages that an earlier instance had sent are in the stream \
                             {name:?} and are not sent again",
                            entries.len()
                        ));
                    }
                    if let Some(place) = self.places.get_mut(stream) {
                        place.last_id = last_id;
                        place.highest = entries.last().map_or(0, |(number, _)| *number);
                    }
                    self.tried.extend(entries.into_iter().map(|(number, id)| {
                        let state = State::Out(id);
                        let stream = Some(stream);
                        (number, Tried { stream, state })
                    }));
                }
            }
        }
        waits
    }

    /// Goes on looking for what is in doubt.
    fn search(
        &mut self,
        now_ms: impl Fn() -> f64,
        mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
        warnings: &mut Vec<String>,
    ) {
        for stream in 0..self.places.len() {
            let place = self.places.get_mut(stream);
            let Some(mut search) = place.and_then(|place| place.search.take()) else {
                continue;
            };
            let doubts = self.doubts(stream).map(|tried| tried.number);
            let mut wanted: BTreeMap<_, _> = doubts.map(|number| (number, None)).collect();
            let name = self.names.name(stream);
            let looked = search.look(name, &self.node, &mut wanted, &now_ms, &mut pipeline);
            let refused = match &looked {
                Err(Failure::Rejected(why)) => {
                    warnings.push(format!("cannot look into the stream {name:?}: {why}"));
                    true
                }
                _ => false,
            };
            for doubt in self.doubts(stream) {
                if let Some(Some(id)) = wanted.get(&doubt.number) {
                    *doubt.state = State::Out(id.clone());
                } else if let Err(Failure::Unavailable(why)) = &looked {
                    *doubt.state = State::InDoubt(why.clone());
                }
            }
            // Where it may not look: rather twice than not at all.
            if refused || matches!(looked, Ok(true)) {
                self.end_search(stream, search, wanted.len(), warnings);
            } else if let Some(place) = self.places.get_mut(stream) {
                place.search = Some(search);
            }
        }
    }

    /// What was not found is sent again.
    fn end_search(
        &mut self,
        stream: usize,
        search: Search,
        count: usize,
        warnings: &mut Vec<String>,
    ) {
        let is_torn = search.is_torn;
        let mut highest = search.highest;
        if let Some(place) = self.places.get_mut(stream) {
            highest = highest.max(place.highest);
            place.highest = highest;
            place.last_id = search.into_last().or_else(|| place.last_id.take());
        }
        let mut missing = 0;
        for doubt in self.doubts(stream) {
            *doubt.state = if is_torn && doubt.number < highest {
                // A later one is there: this one was, until it was trimmed.
                State::Out(String::new())
            } else {
                missing += 1;
                State::Held(String::new())
            };
        }
        if count > 0 {
            warnings.push(found(count, missing, is_torn));
        }
    }

    /// The messages of one stream whose outcome is unknown.
    fn doubts(&mut self, stream: usize) -> impl Iterator<Item = Doubt<'_>> {
        let tried = self.tried.iter_mut();
        tried
            .filter(move |(_, tried)| tried.stream == Some(stream))
            .filter_map(|(number, tried)| match tried.state {
                State::InDoubt(_) => Some(Doubt {
                    number: *number,
                    state: &mut tried.state,
                }),
                _ => None,
            })
    }

    /// What is known of the messages of a batch.
    fn recall(&mut self, batch: &Batch, first: u64) -> Vec<State> {
        let predecessor = self.predecessor.as_ref();
        let numbered = (first..).zip(&batch.streams);
        let states = numbered.map(|(number, stream)| {
            if let Some(tried) = self.tried.remove(&number) {
                return tried.state;
            }
            match predecessor {
                Some(earlier) if earlier.must_be_out(*stream, number) => State::Out(String::new()),
                _ => State::Held(String::new()),
            }
        });
        states.collect()
    }

    /// Which messages are sent now; those that are entries get their marks.
    fn choose(
        &mut self,
        batch: &mut Batch,
        first: u64,
        states: &mut [State],
        waits: &BTreeMap<usize, String>,
    ) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(states.len());
        for (index, state) in states.iter_mut().enumerate() {
            let State::Held(why) = state else {
                continue;
            };
            let Some(stream) = batch.streams.get(index).copied().flatten() else {
                chosen.push(index);
                continue;
            };
            let place = self.places.get(stream);
            if let Some(wait) = waits.get(&stream) {
                why.clone_from(wait);
                continue;
            }
            if place.is_none_or(|place| place.search.is_some()) {
                "it follows one whose outcome is not known yet".clone_into(why);
                continue;
            }
            let command = batch.commands.get_mut(index);
            if let Some(place) = command.and_then(|command| command.args.last_mut()) {
                let node = &self.node;
                let number = first + index as u64;
                Mark { node, number }.write(place);
            }
            chosen.push(index);
        }
        chosen
    }

    /// What the fate of a message means for it.
    fn settle(
        &mut self,
        stream: Option<usize>,
        number: u64,
        fate: Fate,
        doubts: &mut Vec<String>,
    ) -> State {
        let place = stream.and_then(|stream| self.places.get_mut(stream));
        match (fate, place) {
            (Fate::Sent(reply), Some(place)) => {
                let id = match reply {
                    Reply::Bulk(id) => String::from_utf8(id).unwrap_or_default(),
                    _ => String::new(),
                };
                place.highest = place.highest.max(number);
                if !id.is_empty() {
                    place.last_id.get_or_insert_default().clone_from(&id);
                }
                State::Out(id)
            }
            (Fate::InDoubt(why), Some(place)) => {
                let last = place.last_id.as_deref();
                place.search.get_or_insert_with(|| Search::after(last));
                State::InDoubt(why)
            }
            // Pub/Sub loses what it likes at such a moment; an answer twice is worse.
            (Fate::InDoubt(why), None) => {
                doubts.push(why);
                State::Out(String::new())
            }
            (Fate::Sent(_), None) => State::Out(String::new()),
            (Fate::Held(why), _) => State::Held(why),
            (Fate::Refused(why), _) => State::Refused(why),
        }
    }

    /// Accepts what is out at the front, and remembers the rest.
    fn conclude(&mut self, batch: &Batch, first: u64, states: Vec<State>, report: &mut Report) {
        let streams = batch.streams.iter().copied();
        let mut states = (first..).zip(streams.zip(states));
        for (number, (stream, state)) in states.by_ref() {
            report.failure = match state {
                State::Out(id) => {
                    report.offsets.push(id);
                    continue;
                }
                // It is not handed in again.
                State::Refused(why) => Some(Failure::Rejected(why)),
                State::InDoubt(why) => {
                    let failure = format!("it is being found out what Redis has executed: {why}");
                    let state = State::InDoubt(why);
                    self.tried.insert(number, Tried { stream, state });
                    Some(Failure::Unavailable(failure))
                }
                State::Held(why) => Some(Failure::Unavailable(why)),
            };
            break;
        }
        // The others, one of which may be refused, are tried again when they are handed in.
        self.tried
            .extend(states.filter_map(|(number, (stream, state))| match state {
                State::Out(_) | State::InDoubt(_) => Some((number, Tried { stream, state })),
                State::Held(_) | State::Refused(_) => None,
            }));
    }
}

fn found(count: usize, missing: usize, is_torn: bool) -> String {
    let found = count - missing;
    let trimmed = match is_torn && missing > 0 {
        true => {
            "; the stream was trimmed meanwhile, so Node.js servers may get some of these twice \
             (a larger `maxLen` prevents that)"
        }
        false => "",
    };
    format!(
        "of {count} messages that Redis had not acknowledged when the connection broke, {found} \
         were in the stream, and {missing} are sent again{trimmed}"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
