//! The tables: what they are, creating them, and cleaning them.

use switchboard_plugin::postgres::{
    Age, Client, ColumnType, Delete, Error, Filter, NewColumn, NewTable, Outcome, Statement, Store,
};

use super::outcome::Trouble;
use crate::wire::names::TableName;

/// Node's columns.
pub(crate) const ID: &str = "id";
pub(crate) const CREATED: &str = "created_at";
pub(crate) const PAYLOAD: &str = "payload";
/// Of the table of batches: whose it is and the number of its first message.
pub(crate) const KEY: &str = "key";
/// And that of its last.
pub(crate) const LAST: &str = "last";
/// Of the table of sessions: the client's private id.
pub(crate) const PID: &str = "pid";
/// When it was saved and when it expires, in milliseconds since 1970 by the servers' clocks.
pub(crate) const SAVED: &str = "saved_ms";
pub(crate) const EXPIRES: &str = "expires_ms";

/// Rows that one statement of a cleanup deletes: it should take no longer than a batch.
const ROWS_PER_CLEANUP: u32 = 2000;
/// The last batch of a server that is gone. (A server deletes its own older ones.) The time is long,
/// because a server that was cut off for all of it would send that batch again.
const BATCH_AGE_MS: u32 = 24 * 60 * 60 * 1000;
/// Between two attempts to create a table that failed.
const RETRY_MS: f64 = 1000.0;

/// The names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Messages.
    pub(crate) attachments: String,
    /// One row for each batch that a durable transport has sent, for a short time.
    pub(crate) batches: String,
    /// Sessions.
    pub(crate) sessions: String,
}

impl Tables {
    pub(crate) fn of(table: &TableName) -> Self {
        Self {
            attachments: table.exact(),
            batches: table.beside("_batches"),
            sessions: table.beside("_sessions"),
        }
    }

    /// Where the rows of notices go.
    pub(crate) fn store(&self, ordered: bool) -> Store {
        Store {
            table: self.attachments.clone(),
            body: PAYLOAD.to_owned(),
            id: ID.to_owned(),
            ordered,
        }
    }

    /// The table of messages, as Node's documentation has it. It is written to the log of Postgres,
    /// also where that would not be needed: `durable` may be switched on later.
    fn new_attachments(&self) -> NewTable {
        table(
            &self.attachments,
            &[
                (ID, ColumnType::Id),
                (CREATED, ColumnType::Created),
                (PAYLOAD, ColumnType::Bytes),
            ],
        )
    }

    fn new_batches(&self) -> NewTable {
        table(
            &self.batches,
            &[
                (KEY, ColumnType::Text),
                (LAST, ColumnType::Integer),
                (CREATED, ColumnType::Created),
            ],
        )
    }

    /// The table of sessions.
    pub(crate) fn new_sessions(&self) -> NewTable {
        table(
            &self.sessions,
            &[
                (PID, ColumnType::Text),
                (SAVED, ColumnType::Integer),
                (EXPIRES, ColumnType::Integer),
                (CREATED, ColumnType::Created),
                (PAYLOAD, ColumnType::Bytes),
            ],
        )
    }
}

/// A table whose first column is its key.
fn table(name: &str, columns: &[(&str, ColumnType)]) -> NewTable {
    let column = |(index, (name, kind)): (usize, &(&str, ColumnType))| NewColumn {
        name: (*name).to_owned(),
        type_: *kind,
        key: index == 0,
    };
    NewTable {
        table: name.to_owned(),
        columns: columns.iter().enumerate().map(column).collect(),
        unlogged: false,
    }
}

/// Sees to it that there are tables.
#[derive(Debug)]
pub(crate) struct Creation {
    missing: Vec<NewTable>,
    /// They were there, or nobody is to create them.
    is_over: bool,
    /// Not before.
    retry_at_ms: f64,
    trouble: Option<Trouble>,
}

impl Creation {
    /// Of the tables of a transport. `create`: the operator wants it.
    pub(crate) fn new(tables: &Tables, create: bool, is_durable: bool) -> Self {
        let mut missing = vec![tables.new_attachments()];
        missing.extend(is_durable.then(|| tables.new_batches()));
        Self {
            missing: if create { missing } else { Vec::new() },
            is_over: !create,
            retry_at_ms: 0.0,
            trouble: None,
        }
    }

    /// Creates what is missing, unless that has been done.
    ///
    /// # Errors
    /// Why it could not be done. It is tried again later.
    pub(crate) fn create(&mut self, client: &Client, now_ms: f64) -> Result<(), Trouble> {
        if self.is_over {
            return Ok(());
        }
        if let Some(trouble) = self.trouble.clone().filter(|_| now_ms < self.retry_at_ms) {
            return Err(trouble);
        }
        for table in &self.missing {
            if let Err(error) = client.create_table(table) {
                let trouble = Trouble::of(error);
                self.retry_at_ms = now_ms + RETRY_MS;
                self.trouble = Some(trouble.clone());
                return Err(trouble);
            }
        }
        self.is_over = true;
        self.trouble = None;
        Ok(())
    }

    /// A table that was there is no more. True: it is worth trying to create it.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.is_over = self.missing.is_empty();
        !self.is_over
    }
}

/// Deletes what has got too old, now and then.
#[derive(Debug)]
pub(crate) struct Cleaning {
    interval_ms: f64,
    statements: Vec<Delete>,
    /// Whose turn it is.
    next: usize,
    due_at_ms: f64,
}

impl Cleaning {
    /// `max_age_ms` is that of messages. `phase`, from 0 to 1, is when in the interval:
    /// servers that were started together need not clean together.
    pub(crate) fn new(
        tables: &Tables,
        interval_ms: u32,
        max_age_ms: u32,
        is_durable: bool,
        (now_ms, phase): (f64, f64),
    ) -> Self {
        let mut statements = vec![old(&tables.attachments, max_age_ms)];
        if is_durable {
            statements.push(old(&tables.batches, BATCH_AGE_MS));
        }
        Self {
            interval_ms: interval_ms.into(),
            statements,
            next: 0,
            due_at_ms: now_ms + phase * f64::from(interval_ms),
        }
    }

    /// That of the sessions.
    pub(crate) fn of_sessions(
        tables: &Tables,
        interval_ms: u32,
        max_age_ms: u32,
        now_ms: f64,
    ) -> Self {
        Self {
            interval_ms: interval_ms.into(),
            statements: vec![old(&tables.sessions, max_age_ms)],
            next: 0,
            due_at_ms: now_ms + f64::from(interval_ms),
        }
    }

    /// One step, if one is due: each in a transaction of its own, so that it holds up nobody else.
    /// What is left is deleted in the next steps.
    pub(crate) fn step(
        &mut self,
        now_ms: f64,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> Result<(), Trouble> {
        if now_ms < self.due_at_ms {
            return Ok(());
        }
        let Some(delete) = self.statements.get(self.next) else {
            self.over(now_ms);
            return Ok(());
        };
        match batch(&[Statement::Delete(delete.clone())]) {
            Ok(outcomes) => {
                let deleted = outcomes.first().map_or(0, |outcome| outcome.count);
                if deleted < ROWS_PER_CLEANUP {
                    self.next += 1;
                }
                if self.next >= self.statements.len() {
                    self.over(now_ms);
                }
                Ok(())
            }
            Err(error) => {
                self.over(now_ms);
                Err(Trouble::of(error))
            }
        }
    }

    fn over(&mut self, now_ms: f64) {
        self.next = 0;
        self.due_at_ms = now_ms + self.interval_ms;
    }
}

fn old(table: &str, older_than_ms: u32) -> Delete {
    Delete {
        table: table.to_owned(),
        filter: Filter::Age(Age {
            column: CREATED.to_owned(),
            older_than_ms,
        }),
        limit: Some(ROWS_PER_CLEANUP),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        Tables::of(&TableName::read("s.t").unwrap())
    }

    fn deleted(count: u32) -> Result<Vec<Outcome>, Error> {
        Ok(vec![Outcome {
            count,
            rows: Vec::new(),
        }])
    }

    #[test]
    fn a_backlog_is_deleted_in_steps_and_then_there_is_a_pause() {
        let mut cleaning = Cleaning::new(&tables(), 1000, 5000, true, (0.0, 0.5));
        let mut counts = vec![2000, 2000, 7, 0];
        let mut seen = Vec::new();
        for now_ms in [0.0, 499.0, 500.0, 501.0, 502.0, 503.0, 504.0, 1502.0] {
            cleaning
                .step(now_ms, |statements| {
                    let [Statement::Delete(delete)] = statements else {
                        panic!("{statements:?}");
                    };
                    seen.push(format!("{now_ms} {}", delete.table));
                    deleted(counts.remove(0))
                })
                .unwrap();
        }
        assert_eq!(seen, ["500 s.t", "501 s.t", "502 s.t", "503 s.t_batches"]);
    }

    #[test]
    fn a_cleanup_that_fails_is_tried_again_after_the_interval() {
        let mut cleaning = Cleaning::new(&tables(), 1000, 5000, false, (0.0, 0.0));
        let mut calls = 0;
        for now_ms in [0.0, 1.0, 999.0, 1000.0] {
            let result = cleaning.step(now_ms, |_| {
                calls += 1;
                Err(Error::Unavailable("away".to_owned()))
            });
            assert_eq!(result.is_err(), [0.0, 1000.0].contains(&now_ms));
        }
        assert_eq!(calls, 2);
    }

    #[test]
    fn a_week_of_cleanups_keeps_the_table_small() {
        const WEEK_S: u64 = 7 * 24 * 60 * 60;
        const ROWS_PER_S: u64 = 300;
        let mut cleaning = Cleaning::new(&tables(), 30_000, 30_000, false, (0.0, 0.5));
        // When rows were inserted, and how many.
        let mut rows = std::collections::VecDeque::new();
        let (mut count, mut most) = (0, 0);
        for second in 0..WEEK_S {
            let now_ms = second as f64 * 1000.0;
            // An hour of load, an hour of heartbeats.
            let inserted = ROWS_PER_S * u64::from(second / 3600 % 2 == 0);
            rows.push_back((now_ms, inserted));
            count += inserted;
            let step = cleaning.step(now_ms, |statements| {
                let [Statement::Delete(delete)] = statements else {
                    panic!("{statements:?}");
                };
                let Filter::Age(age) = &delete.filter else {
                    panic!("{delete:?}");
                };
                let mut left = u64::from(delete.limit.unwrap());
                let is_old = |at: f64| at < now_ms - f64::from(age.older_than_ms);
                let mut gone = 0;
                while let Some((at, here)) = rows.front_mut()
                    && is_old(*at)
                    && left > 0
                {
                    let taken = left.min(*here);
                    (left, gone) = (left - taken, gone + taken);
                    *here -= taken;
                    if *here == 0 {
                        rows.pop_front();
                    }
                }
                count -= gone;
                deleted(gone as u32)
            });
            assert!(step.is_ok());
            most = most.max(count);
        }
        // What comes in twice the greatest age, and while a cleanup lasts.
        assert!(most <= ROWS_PER_S * 75, "{most}");
        assert_eq!(count, 0, "the last hour was quiet");
    }
}
