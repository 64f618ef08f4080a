//! Sending notifications once. Nothing is known of those whose connection broke before Postgres
//! answered; they count as sent, because an event that clients get twice is worse than one that
//! NOTIFY may lose at such a moment anyhow.

use switchboard_plugin::{
    Failure,
    postgres::{Error, Notice, Notify, Outcome, Statement},
};

use super::{outcome::Trouble, tables::Tables};

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// So many from the front are out.
    pub(super) accepted: usize,
    /// Of so many of them nobody knows, and why.
    pub(super) in_doubt: Option<(usize, String)>,
    /// What became of the next one.
    pub(super) failure: Option<Failure>,
    /// A table is missing.
    pub(super) has_no_table: bool,
}

/// Sends all, in one statement. If that is refused, those that need no table go on by themselves, and
/// the others singly, up to the first that is refused: not all of them need be at fault.
pub(super) fn send(
    tables: &Tables,
    notices: Vec<Notice>,
    mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
) -> Sent {
    let mut sent = Sent::default();
    let count = notices.len();
    if count == 0 {
        return sent;
    }
    let whole = statement(tables, notices);
    let Some(first) = sent.take(count, batch(std::slice::from_ref(&whole))) else {
        return sent;
    };
    let [Statement::Notify(Notify { notices, .. })] = [whole] else {
        return sent;
    };
    if count == 1 {
        sent.refuse(first);
        return sent;
    }
    let mut left = notices.into_iter().peekable();
    let mut in_runs = true;
    while let Some(notice) = left.next() {
        let mut chunk = vec![notice];
        if in_runs && is_inline(chunk.first()) {
            while let Some(next) = left.next_if(|next| is_inline(Some(next))) {
                chunk.push(next);
            }
        }
        let count = chunk.len();
        let part = statement(tables, chunk);
        let Some(trouble) = sent.take(count, batch(std::slice::from_ref(&part))) else {
            match sent.failure {
                Some(_) => return sent,
                None => continue,
            }
        };
        if count == 1 {
            sent.refuse(trouble);
            return sent;
        }
        // One of the run: from here on one by one.
        in_runs = false;
        let [Statement::Notify(Notify { notices, .. })] = [part] else {
            return sent;
        };
        for notice in notices {
            let single = statement(tables, vec![notice]);
            let taken = sent.take(1, batch(&[single]));
            if let Some(trouble) = taken {
                sent.refuse(trouble);
            }
            if sent.failure.is_some() {
                return sent;
            }
        }
    }
    sent
}

impl Sent {
    /// Books the result of so many. Some: they were refused.
    fn take(&mut self, count: usize, result: Result<Vec<Outcome>, Error>) -> Option<Trouble> {
        match result.map_err(Trouble::of) {
            Ok(_) => self.accepted += count,
            Err(Trouble::InDoubt(why)) => {
                self.accepted += count;
                let (earlier, why) = self.in_doubt.take().unwrap_or((0, why));
                self.in_doubt = Some((earlier + count, why));
            }
            Err(Trouble::Away(why)) => self.failure = Some(Failure::Unavailable(why)),
            Err(refused) => return Some(refused),
        }
        None
    }

    fn refuse(&mut self, trouble: Trouble) {
        self.has_no_table = matches!(trouble, Trouble::NoTable(_));
        self.failure = Some(Failure::Rejected(trouble.why()));
    }
}

fn is_inline(notice: Option<&Notice>) -> bool {
    matches!(notice, Some(Notice::Inline(_)))
}

fn statement(tables: &Tables, notices: Vec<Notice>) -> Statement {
    let has_rows = notices.iter().any(|notice| !is_inline(Some(notice)));
    Statement::Notify(Notify {
        store: has_rows.then(|| tables.store(false)),
        notices,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::postgres::{InlineNotice, StoredNotice};

    use super::*;
    use crate::wire::names::TableName;

    /// Lower-case letters are notifications, capital ones have rows.
    fn notices(letters: &str) -> Vec<Notice> {
        let notice = |letter: char| {
            let channel = letter.to_string();
            if letter.is_lowercase() {
                let payload = String::new();
                return Notice::Inline(InlineNotice { channel, payload });
            }
            Notice::Stored(StoredNotice {
                channel,
                before: String::new(),
                after: String::new(),
                body: Vec::new(),
            })
        };
        letters.chars().map(notice).collect()
    }

    fn letters(statements: &[Statement]) -> String {
        let [Statement::Notify(notify)] = statements else {
            panic!("{statements:?}");
        };
        let letter = |notice: &Notice| match notice {
            Notice::Inline(notice) => notice.channel.clone(),
            Notice::Stored(notice) => notice.channel.clone(),
        };
        notify.notices.iter().map(letter).collect()
    }

    /// Sends these; a batch with one of `refused` is refused. Returns what was executed, and what
    /// the host is told.
    fn told(all: &str, refused: &str, error: Error) -> (Vec<String>, String) {
        let tables = Tables::of(&TableName::read("t").unwrap());
        let mut done = Vec::new();
        let sent = send(&tables, notices(all), |statements| {
            let letters = letters(statements);
            if letters.contains(|letter| refused.contains(letter)) {
                return Err(error.clone());
            }
            done.push(letters);
            Ok(Vec::new())
        });
        let end = match sent.failure {
            None => "ok".to_owned(),
            Some(Failure::Unavailable(_)) => format!("{} unavailable", sent.accepted),
            Some(Failure::Rejected(_)) => format!("{} rejected", sent.accepted),
        };
        (done, end)
    }

    fn denied() -> Error {
        Error::Denied("no".to_owned())
    }

    #[test]
    fn a_batch_is_one_statement() {
        let (done, end) = told("abCdE", "", denied());
        assert_eq!((done, end.as_str()), (vec!["abCdE".to_owned()], "ok"));
    }

    #[test]
    fn where_the_table_is_refused_the_others_go_on() {
        let (done, end) = told("abCdE", "CE", denied());
        assert_eq!((done, end.as_str()), (vec!["ab".to_owned()], "2 rejected"));
        // The host hands in what is left.
        let (done, end) = told("dE", "CE", denied());
        assert_eq!((done, end.as_str()), (vec!["d".to_owned()], "1 rejected"));
    }

    #[test]
    fn of_a_run_that_is_refused_the_one_at_fault_is_found() {
        let (done, end) = told("abcd", "c", denied());
        assert_eq!(done, ["a", "b"]);
        assert_eq!(end, "2 rejected");
        let (done, end) = told("ABc", "B", denied());
        assert_eq!((done, end.as_str()), (vec!["A".to_owned()], "1 rejected"));
    }

    #[test]
    fn while_postgres_is_away_nothing_is_sent_and_nothing_tried_singly() {
        let (done, end) = told("abC", "C", Error::Unavailable("away".to_owned()));
        assert_eq!((done.len(), end.as_str()), (0, "0 unavailable"));
    }

    #[test]
    fn what_is_in_doubt_counts_as_sent_and_is_reported() {
        let tables = Tables::of(&TableName::read("t").unwrap());
        let sent = send(&tables, notices("abC"), |_| {
            Err(Error::Unknown("cut".to_owned()))
        });
        assert_eq!(sent.accepted, 3);
        assert_eq!(sent.in_doubt, Some((3, "cut".to_owned())));
        assert!(sent.failure.is_none());
    }

    #[test]
    fn an_empty_batch_asks_nobody() {
        let tables = Tables::of(&TableName::read("t").unwrap());
        let sent = send(&tables, Vec::new(), |_| panic!("nothing to send"));
        assert_eq!(sent.accepted, 0);
    }
}
