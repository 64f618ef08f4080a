//! What became of the messages that the instance before this one had in the air when it died.
//!
//! The host hands them in again, but nobody is left who knows which of them Redis has. Their marks
//! tell: a message has the same one whichever instance sends it. So before this instance adds to a
//! stream for the first time, it reads that stream backwards until an entry of this server's is
//! older than the batch. Redis may still be about to execute what is in a socket, so it then watches
//! the end for a moment, as the search for messages in doubt does (`search`).
//!
//! This costs a tenth of a second and a few pages, once, and nothing where there was no instance
//! before.

use std::collections::BTreeMap;

use switchboard_plugin::{
    Failure,
    redis::{Command, Error, Reply},
    redis_outcome::failure,
};

use super::{
    range::{END, Page, Pager},
    search::Search,
};
use crate::wire::{entry::Parts, mark::MAX_BATCH};

/// Pages that are read backwards in one call; the next call goes on.
const MAX_PAGES_PER_CALL: usize = 32;
/// Pages that are read backwards in one stream, at most: about as many MiB, or 100,000 entries.
const MAX_PAGES: usize = 100;

/// What an earlier instance may have sent, and what is known of it.
#[derive(Debug)]
pub(super) struct Predecessor {
    /// The first message that it had not got rid of.
    first: u64,
    /// So many entries a stream keeps at least.
    max_len: usize,
    /// The highest number of its messages that was found in any stream.
    highest: Option<u64>,
    streams: Vec<Trace>,
}

/// How far one stream was looked through.
#[derive(Debug)]
struct Trace {
    stage: Stage,
    /// The numbers that a message of the earlier instance may have, and the entries that have them.
    wanted: BTreeMap<u64, Option<String>>,
    /// Entries of this server's may have been trimmed before they were looked for.
    is_torn: bool,
}

#[derive(Debug)]
enum Stage {
    Back(Back),
    Settle(Search),
    Over,
}

/// Reading backwards.
#[derive(Debug)]
struct Back {
    at: String,
    /// How many entries it has seen.
    entries: usize,
    newest: Option<String>,
    pages: usize,
    pager: Pager,
}

/// What was found in one stream.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Numbers and ids.
    pub(super) entries: Vec<(u64, String)>,
    /// The last entry of the stream.
    pub(super) last_id: Option<String>,
}

impl Predecessor {
    /// `first` is the number of the first message that this instance is handed.
    pub(super) fn new(first: u64, max_len: usize, streams: usize) -> Self {
        let trace = || Trace {
            stage: Stage::Back(Back {
                at: END.to_owned(),
                entries: 0,
                newest: None,
                pages: 0,
                pager: Pager::default(),
            }),
            wanted: (first..first.saturating_add(MAX_BATCH))
                .map(|number| (number, None))
                .collect(),
            is_torn: false,
        };
        Self {
            first,
            max_len,
            highest: None,
            streams: std::iter::repeat_with(trace).take(streams).collect(),
        }
    }

    /// Whether the earlier instance may have sent this message.
    pub(super) fn may_have_sent(&self, number: u64) -> bool {
        (self.first..self.first.saturating_add(MAX_BATCH)).contains(&number)
    }

    /// Whether this stream has still to be looked through.
    pub(super) fn is_open(&self, stream: usize) -> bool {
        let trace = self.streams.get(stream);
        trace.is_some_and(|trace| !matches!(trace.stage, Stage::Over))
    }

    /// Whether a message that was not found is out all the same: it stood before one that was
    /// found, and Redis executes a batch in order. `stream` is none for one that is published.
    pub(super) fn must_be_out(&self, stream: Option<usize>, number: u64) -> bool {
        let highest = match stream {
            None => self.highest,
            Some(stream) => match self.streams.get(stream) {
                // It was trimmed. Where nothing was, it was not executed.
                Some(trace) if trace.is_torn => trace.highest(),
                _ => None,
            },
        };
        highest.is_some_and(|highest| number < highest)
    }

    /// Goes on looking through a stream. Some: it is over.
    ///
    /// # Errors
    /// `Unavailable`: to be gone on with. `Rejected`: it can never be done, and is over.
    pub(super) fn look(
        &mut self,
        stream: usize,
        name: &str,
        node: &str,
        now_ms: impl Fn() -> f64,
        pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
    ) -> Result<Option<Found>, Failure> {
        let oldest = (self.first, self.max_len);
        let Some(trace) = self.streams.get_mut(stream) else {
            return Ok(None);
        };
        let looked = trace.look(name, node, oldest, now_ms, pipeline);
        self.highest = self.highest.max(trace.highest());
        if matches!(looked, Err(Failure::Rejected(_))) {
            trace.stage = Stage::Over;
        }
        looked
    }
}

impl Trace {
    fn highest(&self) -> Option<u64> {
        let found = self.wanted.iter().rev().find(|(_, id)| id.is_some());
        found.map(|(number, _)| *number)
    }

    fn look(
        &mut self,
        name: &str,
        node: &str,
        oldest: (u64, usize),
        now_ms: impl Fn() -> f64,
        mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
    ) -> Result<Option<Found>, Failure> {
        for _ in 0..MAX_PAGES_PER_CALL {
            let Stage::Back(back) = &mut self.stage else {
                break;
            };
            let command = back.pager.command_back(name, &back.at);
            let replies = pipeline(&[command]).map_err(failure)?;
            let page = back.pager.page(&back.at, replies.into_iter().next())?;
            if back.see(page, node, oldest, &mut self.wanted, &mut self.is_torn) {
                self.stage = Stage::Settle(Search::after(back.newest.as_deref()));
            }
        }
        let Stage::Settle(search) = &mut self.stage else {
            return Ok(None);
        };
        if !search.look(name, node, &mut self.wanted, now_ms, &mut pipeline)? {
            return Ok(None);
        }
        self.is_torn |= search.is_torn;
        let Stage::Settle(search) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(None);
        };
        let found = self.wanted.iter();
        let found = found.filter_map(|(number, id)| Some((*number, id.clone()?)));
        Ok(Some(Found {
            entries: found.collect(),
            last_id: search.into_last(),
        }))
    }
}

impl Back {
    /// Whether nothing older need be looked at.
    fn see(
        &mut self,
        page: Page,
        node: &str,
        (first, max_len): (u64, usize),
        wanted: &mut BTreeMap<u64, Option<String>>,
        is_torn: &mut bool,
    ) -> bool {
        self.pages += 1;
        self.entries += page.entries.len();
        for entry in page.entries {
            self.newest.get_or_insert_with(|| entry.id.clone());
            let mark = Parts::of(&entry.fields).mark;
            if let Some(mark) = mark.filter(|mark| mark.node == node) {
                // What was sent before the batch stands before it.
                if mark.number < first {
                    return true;
                }
                if let Some(id) = wanted.get_mut(&mark.number) {
                    *id = Some(entry.id.clone());
                }
            }
            self.at = entry.id;
        }
        let is_cut_short = page.is_torn || self.pages >= MAX_PAGES;
        // A stream that holds less than it may was not trimmed.
        *is_torn = is_cut_short || (page.is_last && self.entries >= max_len);
        is_cut_short || page.is_last
    }
}
