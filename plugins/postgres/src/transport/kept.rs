//! Sending through the table, exactly once.
//!
//! Each batch inserts, in its own transaction, a row with the key `<node>-<number of its first
//! message>`, which is unique. The contract hands in again whatever was not accepted, beginning with
//! the same message and so with the same number. So however often a batch is tried, by whichever
//! instance, and however late Postgres executes what was stuck in a network: of all those
//! transactions one commits at most. One that finds the key taken looks up how far the other went.
//!
//! Keys are deleted some batches later, and those that somebody may still be about to try, after a
//! minute. Batches that hold nothing but heartbeats need none.

use std::collections::{BTreeMap, VecDeque};

use switchboard_plugin::{
    Failure,
    postgres::{
        Delete, Error, Filter, Insert, Keys, Kind, Notice, Notify, Order, Outcome, Select,
        Statement, Value,
    },
};

use super::{
    outcome::Trouble,
    rows::column,
    tables::{ID, KEY, LAST, PAYLOAD, Tables},
};
use crate::wire::inbox::mark;

/// Messages of one batch, as the contract has it (`publish` in `transport.wit`).
const MAX_BATCH: u64 = 512;
/// Keys that are deleted together.
const KEYS_TOGETHER: usize = 64;
/// How late Postgres may still execute a batch that was given up: the longest that a network holds
/// back what it carries, and a statement may wait for a lock.
const LATE_MS: f64 = 60_000.0;
/// Keys that wait for that, at most. Each stands for a batch that went wrong.
const MAX_WAITING: usize = 10_000;
/// How many of the last rows a search for the ids of messages reads: at first, and at most.
const SEARCH_ROWS: u32 = 64;
const SEARCH_MAX_ROWS: u32 = 1024;

/// What the host and the operator are told of a batch.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Of the accepted messages; empty texts for those that are no rows, or whose ids are unknown.
    pub(super) offsets: Vec<String>,
    /// What became of the next message.
    pub(super) failure: Option<Failure>,
    /// A table is missing.
    pub(super) has_no_table: bool,
}

/// The memory of one publisher.
#[derive(Debug)]
pub(super) struct Delivery {
    tables: Tables,
    node: String,
    has_begun: bool,
    /// All messages before this one are in the table.
    sent_until: u64,
    /// The ids of those of them that are still to be handed in, as far as they were found. None: they
    /// were not looked for.
    ids: Option<BTreeMap<u64, String>>,
    keys: OldKeys,
}

impl Delivery {
    /// `node` is this server's id, a new one each time that it starts.
    pub(super) fn new(tables: Tables, node: String) -> Self {
        Self {
            tables,
            node,
            has_begun: false,
            sent_until: 0,
            ids: None,
            keys: OldKeys::default(),
        }
    }

    /// Sends what is not in the table yet. `first` is the number of the first message.
    pub(super) fn send(
        &mut self,
        notices: Vec<Notice>,
        first: u64,
        now_ms: f64,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> Sent {
        let mut sent = Sent::default();
        if !self.has_begun && first > 0 {
            // What an instance before this one has sent.
            match self.look_up(first, &mut batch) {
                Ok(until) => self.know(until),
                Err(trouble) => {
                    sent.fail(trouble, None);
                    return sent;
                }
            }
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let mut left = notices;
        let mut number = first;
        // What was refused as a whole is tried in smaller parts.
        let mut most = left.len();
        // Somebody may still be about to execute one that begins like the first.
        let mut is_contested = is_first && first > 0;
        while !left.is_empty() {
            let known = self.sent_until.saturating_sub(number);
            if known > 0 {
                let count = left.len().min(usize::try_from(known).unwrap_or(usize::MAX));
                let end = number + count as u64;
                // Once for all of them: the host may hand them in one by one.
                if self.ids.is_none() {
                    self.ids = Some(self.find(number, self.sent_until, &mut batch));
                }
                let ids = self.ids.as_ref();
                let id = |number| ids.and_then(|ids| ids.get(&number)).cloned();
                sent.offsets
                    .extend((number..end).map(|number| id(number).unwrap_or_default()));
                left.drain(..count);
                number = end;
                continue;
            }
            let rest = left.split_off(left.len().min(most.max(1)));
            let count = left.len();
            let has_key = is_contested || has_rows(&left);
            let statements = self.statements(std::mem::take(&mut left), number, has_key, now_ms);
            let result = batch(&statements).map_err(Trouble::of);
            match result {
                Ok(outcomes) => {
                    if has_key {
                        self.keys.tried(&self.key(number), is_contested, now_ms);
                        self.keys.deleted(&statements);
                    }
                    self.sent_until = number + count as u64;
                    let notices = notices_of(statements);
                    sent.offsets.extend(offsets(&notices, outcomes.last()));
                    number += count as u64;
                    left = rest;
                }
                Err(Trouble::Taken) => {
                    left = notices_of(statements);
                    left.extend(rest);
                    match self.look_up(number, &mut batch) {
                        Ok(until) if until > number => self.know(until),
                        Ok(_) => {
                            let why = "another transaction of this server is under way";
                            sent.fail(Trouble::Away(why.to_owned()), None);
                            return sent;
                        }
                        Err(trouble) => {
                            sent.fail(trouble, None);
                            return sent;
                        }
                    }
                }
                Err(Trouble::Message(_)) if count > 1 => {
                    left = notices_of(statements);
                    left.extend(rest);
                    most = count / 2;
                    continue;
                }
                // Nobody misses a heartbeat.
                Err(Trouble::InDoubt(_)) if !has_key => {
                    sent.offsets.extend(vec![String::new(); count]);
                    number += count as u64;
                    left = rest;
                }
                Err(trouble) => {
                    if matches!(trouble, Trouble::InDoubt(_)) {
                        self.keys.tried(&self.key(number), true, now_ms);
                    }
                    sent.fail(trouble, Some(count));
                    return sent;
                }
            }
            is_contested = false;
        }
        sent
    }

    /// It was found out how far another transaction went.
    fn know(&mut self, until: u64) {
        self.sent_until = until;
        self.ids = None;
    }

    fn key(&self, number: u64) -> String {
        format!("{}-{number}", self.node)
    }

    fn statements(
        &mut self,
        notices: Vec<Notice>,
        number: u64,
        has_key: bool,
        now_ms: f64,
    ) -> Vec<Statement> {
        let mut statements = Vec::with_capacity(3);
        if has_key {
            let last = number + notices.len() as u64 - 1;
            // First, so that a taken key is the first statement's fault.
            statements.push(Statement::Insert(Insert {
                table: self.tables.batches.clone(),
                columns: vec![column(KEY, Kind::Text), column(LAST, Kind::Integer)],
                rows: vec![vec![
                    Value::Text(self.key(number)),
                    Value::Integer(last.to_string()),
                ]],
                returning: None,
            }));
            if let Some(keys) = self.keys.due(now_ms) {
                statements.push(Statement::Delete(Delete {
                    table: self.tables.batches.clone(),
                    filter: Filter::Keys(Keys {
                        column: KEY.to_owned(),
                        keys,
                    }),
                    limit: None,
                }));
            }
        }
        statements.push(Statement::Notify(Notify {
            store: has_rows(&notices).then(|| self.tables.store(true)),
            notices,
        }));
        statements
    }

    /// Which message follows the last one that is in the table, as far as that matters for one with
    /// this number.
    fn look_up(
        &self,
        number: u64,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> Result<u64, Trouble> {
        let from = number.saturating_sub(MAX_BATCH - 1);
        let keys = (from..=number).map(|first| Value::Text(self.key(first)));
        let select = Statement::Select(Select {
            table: self.tables.batches.clone(),
            columns: vec![column(LAST, Kind::Integer)],
            filter: Filter::Keys(Keys {
                column: KEY.to_owned(),
                keys: keys.collect(),
            }),
            order: None,
            limit: MAX_BATCH as u32,
        });
        let outcomes = batch(&[select]).map_err(Trouble::of)?;
        let rows = outcomes.iter().flat_map(|outcome| &outcome.rows);
        let last = rows.filter_map(|row| match row.first() {
            Some(Value::Integer(last)) => last.parse::<u64>().ok(),
            _ => None,
        });
        Ok(last.max().map_or(0, |last| last + 1))
    }

    /// The ids of messages that are in the table, as far as they are among its last rows: this happens
    /// after trouble, once.
    fn find(
        &self,
        first: u64,
        until: u64,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> BTreeMap<u64, String> {
        let mut found = BTreeMap::new();
        let mut rows = SEARCH_ROWS;
        // Each time from the end, and further back.
        loop {
            let select = Statement::Select(Select {
                table: self.tables.attachments.clone(),
                columns: vec![column(ID, Kind::Integer), column(PAYLOAD, Kind::Bytes)],
                filter: Filter::All,
                order: Some(Order {
                    column: ID.to_owned(),
                    descending: true,
                }),
                limit: rows,
            });
            let Ok(outcomes) = batch(&[select]) else {
                return found;
            };
            let page = outcomes.into_iter().next().map(|outcome| outcome.rows);
            let page = page.unwrap_or_default();
            let is_whole = page.len() < rows as usize;
            for row in page {
                let [Value::Integer(id), Value::Bytes(payload)] = row.as_slice() else {
                    continue;
                };
                match mark(payload) {
                    Ok(Some(mark)) if mark.node == self.node => {
                        if mark.number < first {
                            return found;
                        }
                        if mark.number < until {
                            found.insert(mark.number, id.clone());
                        }
                    }
                    _ => {}
                }
            }
            if is_whole || found.contains_key(&first) || rows >= SEARCH_MAX_ROWS {
                return found;
            }
            rows *= 4;
        }
    }
}

impl Sent {
    /// `alone`: so many were tried together; none: what failed was another question.
    fn fail(&mut self, trouble: Trouble, alone: Option<usize>) {
        self.has_no_table = matches!(trouble, Trouble::NoTable(_));
        self.failure = Some(match trouble {
            Trouble::Message(why) if alone == Some(1) => Failure::Rejected(why),
            // Whatever is set wrong can be set right, and until then everything waits.
            other => Failure::Unavailable(other.why()),
        });
    }
}

/// Keys of batches that were sent.
#[derive(Debug, Default)]
struct OldKeys {
    /// Nobody will try these again, but the last one is needed until the next batch.
    over: Vec<String>,
    /// Somebody may, until then.
    waiting: VecDeque<(f64, String)>,
}

impl OldKeys {
    fn tried(&mut self, key: &str, is_contested: bool, now_ms: f64) {
        if !is_contested {
            // One that was contested before stays so.
            if !self.waiting.iter().any(|(_, waiting)| waiting == key) {
                self.over.push(key.to_owned());
            }
            return;
        }
        self.waiting.retain(|(_, waiting)| waiting != key);
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((now_ms + LATE_MS, key.to_owned()));
        }
    }

    /// Those that are deleted with the next batch, if there are enough.
    fn due(&mut self, now_ms: f64) -> Option<Vec<Value>> {
        while let Some((_, key)) = self.waiting.pop_front_if(|(at, _)| *at <= now_ms) {
            self.over.push(key);
        }
        let is_worth_it = self.over.len() >= KEYS_TOGETHER;
        is_worth_it.then(|| self.over.iter().cloned().map(Value::Text).collect())
    }

    fn deleted(&mut self, statements: &[Statement]) {
        let deletes = |statement: &Statement| matches!(statement, Statement::Delete(_));
        if statements.iter().any(deletes) {
            // All but the one of this batch.
            let last = self.over.pop();
            self.over.clear();
            self.over.extend(last);
        }
    }
}

fn has_rows(notices: &[Notice]) -> bool {
    let is_row = |notice: &Notice| matches!(notice, Notice::Stored(_));
    notices.iter().any(is_row)
}

fn notices_of(statements: Vec<Statement>) -> Vec<Notice> {
    let notify = statements.into_iter().next_back();
    match notify {
        Some(Statement::Notify(notify)) => notify.notices,
        _ => Vec::new(),
    }
}

/// The ids of the rows, in the places of their messages.
fn offsets(notices: &[Notice], outcome: Option<&Outcome>) -> Vec<String> {
    let mut ids = outcome.into_iter().flat_map(|outcome| &outcome.rows);
    let offset = |notice: &Notice| match notice {
        Notice::Inline(_) => String::new(),
        Notice::Stored(_) => match ids.next().and_then(|row| row.first()) {
            Some(Value::Integer(id)) => id.clone(),
            _ => String::new(),
        },
    };
    notices.iter().map(offset).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
