//! Where a reader stands in a stream, and whether something is missing behind that place. No I/O.
//!
//! Reading goes on behind the last entry that was read. As long as that entry is still there, nothing
//! behind it is gone, because streams are trimmed from their beginning. When it is not, Redis 7 can
//! tell how many entries were missed: it counts all that were ever added, and so does the reader.

use super::{entry::StreamEntry, id::EntryId, info::Info};

/// What became of the entries behind a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All are there.
    Complete,
    /// Some were trimmed before they were read: how many, if that can be known.
    Trimmed(Option<u32>),
    /// The stream is not the one that was read: it was deleted, or Redis lost its last entries.
    Anew,
}

/// A place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The last entry before it.
    pub(super) id: EntryId,
    /// There was such an entry; not only somebody who said so.
    is_entry: bool,
    /// How many entries were ever added up to here.
    added: Option<Added>,
    /// The same of a place further on; when that is reached, it is known here as well.
    ahead: Option<Added>,
}

/// How many entries were added up to some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Added {
    count: u64,
    /// Where Redis said so. Entries behind it were counted one by one since, which is right if none
    /// of them was deleted before it could be read.
    told_at: EntryId,
}

impl Place {
    /// Behind this id, which need not be that of an entry.
    pub(super) fn after(id: EntryId) -> Self {
        Self {
            id,
            is_entry: false,
            added: None,
            ahead: None,
        }
    }

    /// At the end of the stream as it is now. None: there is no such stream yet.
    pub(super) fn at_end(info: Option<&Info>) -> Self {
        let id = info.map_or(EntryId::ORIGIN, |info| info.last);
        let count = info.map_or(Some(0), |info| info.added);
        Self {
            is_entry: info.is_some(),
            added: count.map(|count| Added { count, told_at: id }),
            ..Self::after(id)
        }
    }

    /// Goes on after a pause, with a stream as it is now.
    pub(super) fn resume(&mut self, info: Option<&Info>) -> Verdict {
        let is_anew = match info {
            // Nothing was read from a stream that was not there yet.
            None => self.id != EntryId::ORIGIN,
            Some(info) => info.last < self.id,
        };
        if is_anew || info.is_none() {
            // What was added to a new stream before now and has a lower id than the old one's last
            // is not looked for: mostly that is a replica which was behind and took over, and
            // all that it has was read from its predecessor.
            *self = Self::at_end(info);
        } else if let Some(info) = info {
            self.look_ahead(info);
            self.advance(&[]);
        }
        match is_anew {
            true => Verdict::Anew,
            false => Verdict::Complete,
        }
    }

    /// Moves behind these entries, which follow without a gap.
    pub(super) fn advance(&mut self, entries: &[StreamEntry]) {
        if let Some(added) = &mut self.added {
            added.count = added.count.saturating_add(entries.len() as u64);
        }
        if let Some(last) = entries.last() {
            self.id = last.id;
            self.is_entry = true;
        }
        if let Some(ahead) = self.ahead.take_if(|ahead| ahead.told_at <= self.id) {
            let mut later = entries.iter().rev();
            let later = later.position(|entry| entry.id <= ahead.told_at);
            let later = later.unwrap_or(entries.len()) as u64;
            self.added = Some(Added {
                count: ahead.count.saturating_add(later),
                ..ahead
            });
        }
    }

    /// Moves behind these entries, which were read from here after the last entry before this place
    /// was gone, or a moment earlier; then Redis told how the stream is.
    pub(super) fn examine(&mut self, entries: &[StreamEntry], info: Option<&Info>) -> Verdict {
        let end = entries.last().map_or(self.id, |entry| entry.id);
        let Some(info) = info.filter(|info| end <= info.last) else {
            if entries.is_empty() {
                return self.resume(info);
            }
            // The next read will find the place gone as well, and see to it.
            *self = Self::after(end);
            return Verdict::Anew;
        };
        let verdict = self.judge(entries, info);
        match (verdict, &mut self.added) {
            (Verdict::Complete, _) => {}
            (Verdict::Trimmed(Some(missed)), Some(added)) => {
                added.count = added.count.saturating_add(missed.into());
            }
            (_, added) => *added = None,
        }
        if entries.is_empty() && info.first.is_none() {
            // All is gone, so that this is said once only.
            self.id = info.last;
            self.is_entry = true;
        }
        self.look_ahead(info);
        self.advance(entries);
        verdict
    }

    fn look_ahead(&mut self, info: &Info) {
        let told_at = info.last;
        self.ahead = info.added.map(|count| Added { count, told_at });
    }

    fn judge(&self, entries: &[StreamEntry], info: &Info) -> Verdict {
        if entries.is_empty() && info.first.is_some() {
            // What is there now was added since; the next read tells.
            return Verdict::Complete;
        }
        if info.first.is_some_and(|first| first <= self.id) {
            // It was not trimmed. If nobody deleted it, it has never been in this stream.
            return match self.is_entry && info.deleted < self.id {
                true => Verdict::Anew,
                false => Verdict::Complete,
            };
        }
        // Entries that were trimmed after they were read.
        let is_gone = |entry: &&StreamEntry| info.first.is_none_or(|first| entry.id < first);
        let gone = entries.iter().take_while(is_gone).count();
        if gone == entries.len() && gone > 0 {
            // Trimming has overtaken the reader just now: the next read tells how far.
            return Verdict::Complete;
        }
        let (read, gone) = (self.id, gone as u64);
        let trimmed = info.added.map(|ever| ever.saturating_sub(info.length));
        // What was deleted one by one cannot be told from what was trimmed.
        let added = self.added.filter(|added| info.deleted <= added.told_at);
        let (Some(added), Some(trimmed)) = (added, trimmed) else {
            let is_complete = read == EntryId::ORIGIN || read == info.last || trimmed == Some(gone);
            return match is_complete {
                true => Verdict::Complete,
                false => Verdict::Trimmed(None),
            };
        };
        match trimmed.checked_sub(added.count.saturating_add(gone)) {
            Some(0) => Verdict::Complete,
            Some(missed) => Verdict::Trimmed(u32::try_from(missed).ok()),
            None => Verdict::Anew,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{ops::RangeInclusive, sync::Arc};

    use bytes::BytesMut;

    use super::*;
    use crate::capabilities::redis::{subscription::streams::entry, wire::Scan};

    const NONE: RangeInclusive<u64> = RangeInclusive::new(1, 0);

    fn id(ms: u64) -> EntryId {
        EntryId::read(ms.to_string().as_bytes()).unwrap()
    }

    fn entries(ids: RangeInclusive<u64>) -> Vec<StreamEntry> {
        let entry = |ms: u64| {
            let id = id(ms).to_string();
            let text = format!("*2\r\n${}\r\n{id}\r\n*0\r\n", id.len());
            let mut buffer = BytesMut::from(text.as_str());
            entry::cut(&Arc::from("s"), &mut Scan::new(100), &mut buffer)
        };
        ids.map(|ms| entry(ms).unwrap().unwrap()).collect()
    }

    /// Entries of these ids, after `last` have been added, each with the id of its number.
    fn info(there: RangeInclusive<u64>, last: u64) -> Info {
        Info {
            last: id(last),
            first: (!there.is_empty()).then(|| id(*there.start())),
            length: there.count() as u64,
            added: Some(last),
            deleted: EntryId::ORIGIN,
        }
    }

    fn at(last: u64) -> Place {
        Place::at_end(Some(&info(1..=last, last)))
    }

    #[test]
    fn what_was_trimmed_between_the_place_and_the_first_entry_is_counted() {
        for (read, there, last, expected) in [
            (11..=20, 11..=20, 20, Verdict::Complete),
            (12..=20, 12..=20, 20, Verdict::Trimmed(Some(1))),
            (15..=20, 15..=30, 30, Verdict::Trimmed(Some(4))),
            // More was trimmed after it was read.
            (15..=20, 18..=30, 30, Verdict::Trimmed(Some(4))),
            (11..=20, 18..=30, 30, Verdict::Complete),
            // Nothing is there, and nothing was added; something was.
            (NONE, NONE, 10, Verdict::Complete),
            (NONE, NONE, 17, Verdict::Trimmed(Some(7))),
            // It was added after nothing was read: the next read tells.
            (NONE, 15..=20, 20, Verdict::Complete),
        ] {
            let mut place = at(10);
            let info = info(there.clone(), last);
            let verdict = place.examine(&entries(read.clone()), Some(&info));
            assert_eq!(verdict, expected, "{read:?} of {there:?}");
        }
    }

    #[test]
    fn a_gap_that_grows_while_it_is_looked_at_is_told_by_the_next_read() {
        let mut place = at(10);
        let read = entries(15..=20);
        let verdict = place.examine(&read, Some(&info(31..=40, 40)));
        assert_eq!(verdict, Verdict::Complete);
        let verdict = place.examine(&entries(31..=40), Some(&info(31..=40, 40)));
        assert_eq!(verdict, Verdict::Trimmed(Some(4 + 10)));
        place.advance(&entries(41..=50));
        let verdict = place.examine(&entries(52..=60), Some(&info(52..=60, 60)));
        assert_eq!(verdict, Verdict::Trimmed(Some(1)), "counted on");
    }

    #[test]
    fn a_place_without_a_count_gets_one_further_on() {
        let mut place = Place::after(id(5));
        assert_eq!(place.resume(Some(&info(1..=10, 10))), Verdict::Complete);
        place.advance(&entries(6..=8));
        assert_eq!(place.added, None);
        place.advance(&entries(9..=13));
        assert_eq!(place.added.unwrap().count, 13);
        let verdict = place.examine(&entries(16..=20), Some(&info(16..=20, 20)));
        assert_eq!(verdict, Verdict::Trimmed(Some(2)));
    }

    #[test]
    fn without_a_count_a_gap_is_told_but_not_how_large_it_is() {
        let old = |info: Info| Info {
            added: None,
            ..info
        };
        let mut place = Place::at_end(Some(&old(info(1..=10, 10))));
        let verdict = place.examine(&entries(15..=20), Some(&old(info(15..=20, 20))));
        assert_eq!(verdict, Verdict::Trimmed(None));
        // The last entry itself was trimmed, and nothing was added since.
        let verdict = place.examine(&[], Some(&old(info(NONE, 20))));
        assert_eq!(verdict, Verdict::Complete);
        let verdict = place.examine(&[], Some(&old(info(NONE, 25))));
        assert_eq!(verdict, Verdict::Trimmed(None));
        let verdict = place.examine(&[], Some(&old(info(NONE, 25))));
        assert_eq!(verdict, Verdict::Complete, "told once");
    }

    #[test]
    fn entries_that_were_deleted_one_by_one_make_the_count_unknown() {
        let deleted = |ms| Info {
            deleted: id(ms),
            ..info(15..=20, 20)
        };
        let mut place = at(10);
        let verdict = place.examine(&entries(15..=20), Some(&deleted(12)));
        assert_eq!(verdict, Verdict::Trimmed(None));
        let mut place = at(10);
        let verdict = place.examine(&entries(15..=20), Some(&deleted(10)));
        assert_eq!(verdict, Verdict::Trimmed(Some(4)), "before it was told");
        // The entry before the place was deleted, and nothing else.
        let mut place = at(5);
        place.advance(&entries(6..=10));
        let there = Info {
            deleted: id(10),
            length: 19,
            ..info(1..=20, 20)
        };
        assert_eq!(
            place.examine(&entries(11..=20), Some(&there)),
            Verdict::Complete
        );
    }

    #[test]
    fn the_beginning_of_a_stream_is_what_is_there() {
        let mut place = Place::after(EntryId::ORIGIN);
        assert_eq!(place.resume(Some(&info(50..=60, 60))), Verdict::Complete);
        let verdict = place.examine(&entries(50..=60), Some(&info(50..=60, 60)));
        assert_eq!(verdict, Verdict::Complete);
        // But where there was no stream, all that is missing was missed.
        let mut place = Place::at_end(None);
        let verdict = place.examine(&entries(50..=60), Some(&info(50..=60, 60)));
        assert_eq!(verdict, Verdict::Trimmed(Some(49)));
    }

    #[test]
    fn a_stream_that_ends_before_the_place_is_another_one() {
        let mut place = at(10);
        assert_eq!(place.resume(Some(&info(1..=8, 8))), Verdict::Anew);
        assert_eq!(place, at(8));
        assert_eq!(place.resume(None), Verdict::Anew);
        assert_eq!(place, Place::at_end(None));
        assert_eq!(place.resume(None), Verdict::Complete, "told once");
        // Of the ten that were read, four were lost before many new ones were added.
        let mut place = at(10);
        let back = Info {
            added: Some(100),
            length: 100,
            ..info(1..=120, 120)
        };
        let verdict = place.examine(&entries(20..=22), Some(&back));
        assert_eq!(verdict, Verdict::Anew);
        assert_eq!(place.id, id(22));
        // They are told apart by the count as well, when the beginning was trimmed.
        let mut place = at(10);
        let back = Info {
            added: Some(9),
            ..info(20..=22, 22)
        };
        let verdict = place.examine(&entries(20..=22), Some(&back));
        assert_eq!(verdict, Verdict::Anew);
        // Where nobody has read there need be no entry.
        let mut place = Place::after(id(10));
        let verdict = place.examine(&entries(20..=22), Some(&info(1..=22, 22)));
        assert_eq!(verdict, Verdict::Complete);
        let mut place = Place::after(id(10));
        let none_trimmed = Info {
            added: Some(3),
            ..info(20..=22, 22)
        };
        let verdict = place.examine(&entries(20..=22), Some(&none_trimmed));
        assert_eq!(verdict, Verdict::Complete);
        let mut place = at(10);
        assert_eq!(place.examine(&[], None), Verdict::Anew);
        assert_eq!(place, Place::at_end(None));
    }
}
