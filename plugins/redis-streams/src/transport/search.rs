//! What became of entries whose outcome is unknown: they are looked for in the stream.
//!
//! When a connection breaks, Redis may still execute what stands in its socket, and nobody can tell
//! when it has. So an entry counts as missing only when the stream was read to its end and, a moment
//! later, to its end again. The moment begins with an answer of Redis, so it is a moment in which
//! Redis worked.

use std::collections::BTreeMap;

use switchboard_plugin::{
    Failure,
    redis::{Command, Error, Reply},
    redis_outcome::failure,
};

use super::range::{BEGINNING, Page, Pager};
use crate::wire::entry::Parts;

/// How long what is left in the socket of a broken connection may take: far longer than Redis needs
/// to read what the largest batch holds.
const SETTLE_MS: f64 = 100.0;

/// Pages that are read in one call; the next call goes on.
const MAX_PAGES: usize = 32;

/// A search in one stream.
#[derive(Debug)]
pub(super) struct Search {
    /// The entry up to which the stream was looked through.
    at: String,
    /// Entries behind the one where the search began may have been trimmed before it saw them.
    pub(super) is_torn: bool,
    /// The highest number that was found.
    pub(super) highest: u64,
    /// When the end was reached for the first time.
    end_seen_ms: Option<f64>,
    pager: Pager,
}

impl Search {
    /// Begins behind the last entry that is known to be older than what is searched.
    pub(super) fn after(last: Option<&str>) -> Self {
        Self {
            at: last.unwrap_or(BEGINNING).to_owned(),
            is_torn: false,
            highest: 0,
            end_seen_ms: None,
            pager: Pager::default(),
        }
    }

    /// The last entry that it has seen.
    pub(super) fn into_last(self) -> Option<String> {
        (self.at != BEGINNING).then_some(self.at)
    }

    /// Looks for the entries of this server with these numbers, and puts the ids of those that are
    /// there beside them. Whether it is over: all others are missing.
    ///
    /// # Errors
    /// `Unavailable`: to be gone on with. `Rejected`: it can never be done.
    pub(super) fn look(
        &mut self,
        stream: &str,
        node: &str,
        wanted: &mut BTreeMap<u64, Option<String>>,
        now_ms: impl Fn() -> f64,
        mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
    ) -> Result<bool, Failure> {
        for _ in 0..MAX_PAGES {
            if wanted.values().all(Option::is_some) {
                return Ok(true);
            }
            let asked_ms = now_ms();
            let command = self.pager.command(stream, &self.at);
            let replies = pipeline(&[command]).map_err(failure)?;
            let page = self.pager.page(&self.at, replies.into_iter().next())?;
            let is_last = page.is_last;
            self.see(page, node, wanted);
            if is_last {
                return Ok(
                    wanted.values().all(Option::is_some) || self.is_settled(asked_ms, now_ms())
                );
            }
        }
        Ok(false)
    }

    fn see(&mut self, page: Page, node: &str, wanted: &mut BTreeMap<u64, Option<String>>) {
        self.is_torn |= page.is_torn;
        for entry in page.entries {
            let mark = Parts::of(&entry.fields).mark;
            if let Some(mark) = mark.filter(|mark| mark.node == node) {
                self.highest = self.highest.max(mark.number);
                if let Some(id) = wanted.get_mut(&mark.number) {
                    *id = Some(entry.id.clone());
                    // Others may be on their way, too.
                    self.end_seen_ms = None;
                }
            }
            self.at = entry.id;
        }
    }

    /// The end was reached, by a page that was asked for and answered at these times.
    fn is_settled(&mut self, asked_ms: f64, answered_ms: f64) -> bool {
        // The clock may have been set back.
        let since = self.end_seen_ms.filter(|since| *since <= asked_ms);
        self.end_seen_ms = Some(since.unwrap_or(answered_ms));
        since.is_some_and(|since| asked_ms - since >= SETTLE_MS)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        transport::range::{Entry, tests::reply},
        wire::mark::{self, Mark},
    };

    const NODE: &str = "this-node";
    const OTHER: &str = "another";

    fn entry(id: u64, node: &str, number: u64) -> Entry {
        let mut text = Vec::new();
        Mark { node, number }.write(&mut text);
        Entry {
            id: format!("{id}-0"),
            fields: vec![(mark::FIELD.to_vec(), text)],
        }
    }

    /// Answers XRANGE as Redis does.
    fn range(entries: &[Entry], command: &Command) -> Result<Vec<Reply>, Error> {
        let arg = |at: usize| String::from_utf8(command.args[at].clone()).unwrap();
        let number = |id: &str| id.split('-').next().unwrap().parse::<u64>().unwrap_or(0);
        let count: usize = arg(5).parse().unwrap();
        let from = number(&arg(2));
        let found: Vec<_> = entries
            .iter()
            .filter(|entry| number(&entry.id) >= from)
            .take(count)
            .cloned()
            .collect();
        Ok(vec![reply(&found)])
    }

    fn wanted(numbers: &[u64]) -> BTreeMap<u64, Option<String>> {
        numbers.iter().map(|number| (*number, None)).collect()
    }

    fn found(wanted: &BTreeMap<u64, Option<String>>) -> Vec<(u64, &str)> {
        wanted
            .iter()
            .filter_map(|(number, id)| Some((*number, id.as_deref()?)))
            .collect()
    }

    #[test]
    fn it_is_over_at_once_when_all_are_there() {
        let stream = [entry(1, NODE, 1), entry(2, OTHER, 2), entry(3, NODE, 2)];
        let mut wanted = wanted(&[2]);
        let mut search = Search::after(Some("1-0"));
        let over = search.look("io", NODE, &mut wanted, || 0.0, |c| range(&stream, &c[0]));
        assert!(over.unwrap());
        assert_eq!(found(&wanted), [(2, "3-0")]);
        assert_eq!((search.is_torn, search.highest), (false, 2));
        assert_eq!(search.into_last().as_deref(), Some("3-0"));
    }

    #[test]
    fn what_is_missing_is_missing_when_the_end_was_seen_twice() {
        let mut stream = vec![entry(1, NODE, 1)];
        let mut wanted = wanted(&[2, 3]);
        let mut search = Search::after(Some("1-0"));
        let mut look = |search: &mut Search, stream: &[Entry], now_ms| {
            let over = search.look("io", NODE, &mut wanted, || now_ms, |c| range(stream, &c[0]));
            over.unwrap()
        };
        assert!(!look(&mut search, &stream, 1000.0));
        assert!(!look(&mut search, &stream, 1000.0 + SETTLE_MS - 1.0));
        // Redis has executed it after all, and may go on to do so.
        stream.push(entry(5, NODE, 2));
        assert!(!look(&mut search, &stream, 1000.0 + SETTLE_MS));
        assert!(!look(&mut search, &stream, 1000.0 + 2.0 * SETTLE_MS - 1.0));
        assert!(look(&mut search, &stream, 1000.0 + 2.0 * SETTLE_MS));
        assert_eq!(found(&wanted), [(2, "5-0")]);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_shorten_the_wait() {
        let mut search = Search::after(None);
        let mut wanted = wanted(&[1]);
        for (now_ms, expected) in [(9000.0, false), (10.0, false), (50.0, false), (110.0, true)] {
            let over = search.look("io", NODE, &mut wanted, || now_ms, |c| range(&[], &c[0]));
            assert_eq!(over.unwrap(), expected, "{now_ms}");
        }
    }

    #[test]
    fn how_long_an_answer_takes_does_not_shorten_the_wait() {
        let clock = std::cell::Cell::new(0.0);
        let mut search = Search::after(None);
        let mut wanted = wanted(&[1]);
        let mut look = |answer_takes_ms: f64| {
            let over = search.look(
                "io",
                NODE,
                &mut wanted,
                || clock.get(),
                |c| {
                    clock.set(clock.get() + answer_takes_ms);
                    range(&[], &c[0])
                },
            );
            over.unwrap()
        };
        assert!(!look(SETTLE_MS));
        assert!(!look(SETTLE_MS), "it was asked for at once");
        assert!(look(0.0));
    }

    #[test]
    fn it_goes_on_where_it_was_when_redis_was_away_or_the_stream_is_long() {
        let stream: Vec<_> = (1..200_000).map(|id| entry(id, OTHER, id)).collect();
        let mut wanted = wanted(&[1]);
        let mut search = Search::after(Some("1-0"));
        let away = search.look(
            "io",
            NODE,
            &mut wanted,
            || 0.0,
            |_| Err(Error::Unavailable("away".into())),
        );
        assert!(matches!(away, Err(Failure::Unavailable(_))));
        let mut pages = 0;
        let mut calls = 0;
        while search.end_seen_ms.is_none() {
            calls += 1;
            let over = search.look(
                "io",
                NODE,
                &mut wanted,
                || 0.0,
                |c| {
                    pages += 1;
                    // The entry that it has seen is the first of what it asks for.
                    range(&stream, &c[0])
                },
            );
            assert!(!over.unwrap());
        }
        assert!(calls > 2 && pages <= calls * MAX_PAGES, "{calls} {pages}");
        assert!(
            (200..230).contains(&pages),
            "no page was read twice: {pages}"
        );
        assert!(!search.is_torn);
    }

    #[test]
    fn it_says_when_entries_may_have_been_trimmed_before_it_saw_them() {
        let stream = [entry(8, NODE, 4)];
        let mut wanted = wanted(&[3, 4]);
        let mut search = Search::after(Some("1-0"));
        let _ = search.look("io", NODE, &mut wanted, || 0.0, |c| range(&stream, &c[0]));
        assert!(search.is_torn);
        assert_eq!((found(&wanted), search.highest), (vec![(4, "8-0")], 4));
    }

    #[test]
    fn where_it_may_not_look_it_says_so() {
        let mut wanted = wanted(&[1]);
        let denied = |_: &[Command]| Err(Error::Denied("XRANGE is not granted".into()));
        let refused = Search::after(None).look("io", NODE, &mut wanted, || 0.0, denied);
        assert!(matches!(refused, Err(Failure::Rejected(_))));
    }
}
