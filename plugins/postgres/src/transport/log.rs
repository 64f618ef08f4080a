//! Where a reader of kept rows stands.
//!
//! Servers with `durable` take turns in inserting, so their rows become visible in the order of
//! their ids: whoever has handled one of them has handled all before it. Rows of others (Node's
//! servers, an emitter) become visible in any order. So the position is that of kept rows only, and
//! the others are remembered one by one.
//!
//! After a gap the rows behind the position are read, page by page, until there are no more; then
//! notifications are what tells of new ones again. Both may tell of the same row.
//!
//! Ids only grow, unless somebody makes the table anew or Postgres has lost its last rows (a replica
//! took over that was behind). Then what counts as handled is not, so that has to be noticed.

use std::collections::BTreeSet;

/// Ids of rows of others that are remembered.
const MAX_OTHERS: usize = 4096;
/// A cut that took so much less than the retention lost nothing: the clocks of this server and of
/// Postgres need not agree on its ends, and a row is as old as its transaction, which may have waited.
const MARGIN_MS: f64 = 8000.0;

/// A reader's place. A copy is what to go back to when what was taken could not be handled; it is small
/// where all servers keep what they send.
#[derive(Debug, Clone)]
pub(super) struct Log {
    retention_ms: f64,
    /// The last kept row that was handled, or before which nothing is wanted.
    position: Option<i64>,
    /// Behind it begins what is wanted, while there is no position.
    start: Option<i64>,
    /// While it catches up: behind which row the next page begins, if not behind the position.
    page: Option<i64>,
    is_behind: bool,
    /// Of which rows up to the position notifications may still come, because pages had them.
    repeats: Repeats,
    others: BTreeSet<i64>,
    /// Rows of others up to this one are forgotten, and taken for handled.
    floor: i64,
    /// Somebody sends what is not kept.
    has_strangers: bool,
    /// When it was known last that nothing was missing.
    good_at_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    None,
    /// Of those behind this one.
    Behind(i64),
    /// An earlier instance may have read any of them.
    Any,
}

/// What a notification means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Its row was handled, or a page has it.
    Old,
    /// Its row is to be handled now.
    New,
    /// The same, but ids have begun anew, and something may be missing before it.
    Anew,
}

/// What a gap has cost, in words for the operator.
pub(super) type Loss = String;

impl Log {
    /// `resume_from`: an earlier instance's place. None: it begins with what comes now, see
    /// [`Self::begin`].
    pub(super) fn new(retention_ms: u32, resume_from: Option<i64>, now_ms: f64) -> Self {
        Self {
            retention_ms: retention_ms.into(),
            position: resume_from,
            start: None,
            page: None,
            // Also after another instance, whose pages may not have been the last.
            is_behind: true,
            repeats: match resume_from {
                Some(_) => Repeats::Any,
                None => Repeats::None,
            },
            others: BTreeSet::new(),
            floor: resume_from.unwrap_or(0),
            has_strangers: false,
            good_at_ms: now_ms,
        }
    }

    /// Whether it does not know yet where to begin.
    pub(super) fn needs_start(&self) -> bool {
        self.position.is_none() && self.start.is_none()
    }

    /// The last row that there was before anything was listened to.
    pub(super) fn begin(&mut self, last_id: i64) {
        if self.needs_start() {
            self.start = Some(last_id);
            self.floor = last_id;
            self.repeats = Repeats::Behind(last_id);
        }
    }

    /// Whether pages are to be read before notifications.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Behind which row the next page begins.
    pub(super) fn next_page(&self) -> i64 {
        let place = self.position.or(self.start).unwrap_or(0);
        self.page.map_or(place, |page| page.max(place))
    }

    /// A notification names a row.
    pub(super) fn news(&mut self, id: i64, is_kept: bool) -> News {
        if !is_kept {
            self.has_strangers = true;
            return match self.is_new_of_others(id) {
                true => News::New,
                false => News::Old,
            };
        }
        if self.is_behind {
            return News::Old;
        }
        let news = match self.position {
            Some(position) if id <= position => match self.repeats {
                Repeats::Any => return News::Old,
                Repeats::Behind(start) if id > start => return News::Old,
                _ => News::Anew,
            },
            _ => News::New,
        };
        if news == News::Anew {
            self.forget();
        }
        // They come in order, so none that a page had comes after this one.
        self.repeats = Repeats::None;
        self.position = Some(id);
        news
    }

    /// The last row that there is, before the pages are read. True: ids have begun anew, and something
    /// may be missing; it goes on with what comes from now on.
    pub(super) fn is_anew(&mut self, last_id: i64) -> bool {
        // An empty table says nothing.
        let is_anew = last_id > 0 && self.position.is_some_and(|position| last_id < position);
        if is_anew {
            self.forget();
            self.start = Some(last_id);
            self.repeats = Repeats::Behind(last_id);
        }
        is_anew
    }

    fn forget(&mut self) {
        self.position = None;
        self.page = None;
        self.others.clear();
        self.floor = 0;
    }

    /// Whether the next page is the first after a gap.
    pub(super) fn is_at_gap(&self) -> bool {
        self.is_behind && self.page.is_none()
    }

    /// A page has a row. Whether it is to be handled.
    pub(super) fn is_news_of_page(&mut self, id: i64, is_kept: bool) -> bool {
        if !is_kept {
            self.has_strangers = true;
            return self.is_new_of_others(id);
        }
        let is_new = self.position.is_none_or(|position| id > position);
        if is_new {
            self.position = Some(id);
        }
        is_new
    }

    /// A page was handled. `last`: its last row, unless it was the last page.
    pub(super) fn turned(&mut self, last: Option<i64>) {
        self.page = last;
        if last.is_none() {
            self.is_behind = false;
        }
    }

    /// Notifications were missed. `now_ms` is when they come again. Some: more was lost than pages
    /// can make up for.
    pub(super) fn missed(&mut self, now_ms: f64, why: &str) -> Option<Loss> {
        if !self.is_behind {
            self.repeats = match self.position.or(self.start) {
                Some(place) => Repeats::Behind(place),
                None => Repeats::None,
            };
        }
        self.is_behind = true;
        self.page = None;
        let away_ms = now_ms - self.good_at_ms;
        self.good_at_ms = now_ms;
        if away_ms + MARGIN_MS >= self.retention_ms {
            let retention_s = self.retention_ms / 1000.0;
            return Some(format!(
                "{why}; that took longer than rows are kept (`retention`, {retention_s} s)"
            ));
        }
        self.has_strangers
            .then(|| format!("{why}; what servers without `durable` sent meanwhile is not kept"))
    }

    /// Everything up to now has been heard.
    pub(super) fn is_good(&mut self, now_ms: f64) {
        self.good_at_ms = now_ms;
    }

    /// A message came that its sender does not keep.
    pub(super) fn heard_a_stranger(&mut self) {
        self.has_strangers = true;
    }

    fn is_new_of_others(&mut self, id: i64) -> bool {
        if id <= self.floor || !self.others.insert(id) {
            return false;
        }
        if self.others.len() > MAX_OTHERS
            && let Some(oldest) = self.others.pop_first()
        {
            self.floor = oldest;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(resume_from: Option<i64>) -> Log {
        let mut log = Log::new(60_000, resume_from, 0.0);
        log.begin(10);
        log
    }

    /// Reads pages of these kept rows, the last page being shorter.
    fn catch_up(log: &mut Log, rows: &[i64]) -> Vec<i64> {
        let from = log.next_page();
        let page = rows.iter().copied().filter(|id| *id > from);
        let news = page.filter(|id| log.is_news_of_page(*id, true)).collect();
        log.turned(None);
        news
    }

    #[test]
    fn it_begins_with_what_comes_now_or_goes_on_where_another_stood() {
        assert_eq!(log(None).next_page(), 10);
        assert_eq!(log(Some(17)).next_page(), 17);
        assert_eq!(catch_up(&mut log(Some(17)), &[16, 17, 18, 19]), [18, 19]);
    }

    #[test]
    fn what_pages_and_notifications_both_tell_of_is_handled_once() {
        let mut log = log(None);
        assert_eq!(catch_up(&mut log, &[11, 12]), [11, 12]);
        assert_eq!(log.news(12, true), News::Old);
        assert_eq!(log.news(13, true), News::New);
        assert!(log.missed(1.0, "cut").is_none());
        assert_eq!(log.news(15, true), News::Old, "a page has it");
        assert_eq!(catch_up(&mut log, &[11, 12, 13, 14, 15]), [14, 15]);
        assert_eq!(log.news(14, true), News::Old);
        // Another cut, before the notification of 15 has come.
        assert!(log.missed(1.0, "cut").is_none());
        assert_eq!(catch_up(&mut log, &[14, 15, 16]), [16]);
        assert_eq!(log.news(16, true), News::Old);
        assert_eq!(log.news(17, true), News::New);
    }

    #[test]
    fn rows_of_others_are_handled_in_any_order_and_once() {
        let mut log = log(None);
        catch_up(&mut log, &[]);
        assert_eq!(log.news(20, false), News::New);
        assert_eq!(log.news(19, true), News::New, "it became visible later");
        assert_eq!(log.news(18, false), News::New);
        assert_eq!(log.news(20, false), News::Old);
        log.missed(1.0, "cut");
        for (id, is_kept, expected) in [(20, false, false), (21, true, true), (22, false, true)] {
            assert_eq!(log.is_news_of_page(id, is_kept), expected, "{id}");
        }
        log.turned(None);
        assert_eq!(log.news(22, false), News::Old);
        assert_eq!(log.news(10, false), News::Old, "from before it began");
    }

    #[test]
    fn pages_go_on_behind_the_last_row_also_where_none_is_kept() {
        let mut log = log(None);
        assert!(log.is_news_of_page(11, true));
        log.turned(Some(15));
        assert_eq!((log.next_page(), log.is_behind()), (15, true));
        assert!(log.is_news_of_page(18, true));
        log.turned(Some(18));
        assert_eq!(log.next_page(), 18);
        log.turned(None);
        assert!(!log.is_behind());
    }

    #[test]
    fn a_gap_is_a_loss_only_where_nothing_makes_up_for_it() {
        let mut log = log(None);
        assert!(log.missed(51_000.0, "cut").is_none());
        log.is_good(60_000.0);
        let loss = log.missed(60_000.0 + 52_000.0, "cut");
        assert!(loss.is_some_and(|loss| loss.contains("`retention`, 60 s")));
        log.heard_a_stranger();
        let loss = log.missed(112_001.0, "cut");
        assert!(loss.is_some_and(|loss| loss.contains("without `durable`")));
    }

    #[test]
    fn what_is_remembered_of_others_is_bounded() {
        let mut log = log(None);
        let many = 11 + 2 * MAX_OTHERS as i64;
        assert!((11..many).all(|id| log.news(id, false) == News::New));
        assert!(log.others.len() <= MAX_OTHERS);
        assert_eq!(log.news(11, false), News::Old, "taken for handled");
        assert_eq!(log.news(many - 1, false), News::Old);
    }

    #[test]
    fn a_table_that_begins_anew_is_noticed() {
        let mut log = log(None);
        catch_up(&mut log, &[11, 12]);
        assert_eq!(log.news(13, true), News::New);
        assert_eq!(log.news(1, true), News::Anew);
        assert_eq!(log.news(2, true), News::New);
        // Before any notification of the new one.
        log.missed(1.0, "cut");
        assert!(log.is_at_gap() && !log.is_anew(2));
        assert!(!log.is_anew(0), "an empty table says nothing");
        assert!(log.is_anew(1));
        assert_eq!(catch_up(&mut log, &[1]), [0; 0]);
        assert_eq!(log.news(2, true), News::New);
    }

    #[test]
    fn what_an_earlier_instance_had_read_is_not_taken_for_a_new_table() {
        let mut log = log(Some(20));
        assert_eq!(catch_up(&mut log, &[]), [0; 0]);
        assert_eq!(log.news(19, true), News::Old);
        assert_eq!(log.news(20, true), News::Old);
        assert_eq!(log.news(21, true), News::New);
        assert_eq!(log.news(21, true), News::Anew);
    }
}
