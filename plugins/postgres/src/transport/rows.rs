//! Fetching rows, no more of them at once than an instance has memory for.

use std::collections::HashMap;

use switchboard_plugin::postgres::{
    After, Column, Error, Filter, Keys, Kind, Order, Outcome, Select, Statement, Value,
};

use super::{
    outcome::Trouble,
    tables::{ID, PAYLOAD},
};

/// With so many events or rows at once it begins, and goes back to after large ones.
const STEP_MIN: u32 = 16;
/// So many are asked for at most.
const STEP_MAX: u32 = 512;
/// Rows with fewer bytes in all: there may be more next time.
const FEW_BYTES: usize = 512 * 1024;
/// Rows with more bytes in all: there should be fewer next time.
const MANY_BYTES: usize = 4 * 1024 * 1024;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRow {
    pub(crate) id: i64,
    pub(crate) payload: Vec<u8>,
}

/// How many at once. Rows are as large as whoever wrote them liked, and their sizes are not known
/// before; so it begins with few, and takes more while they turn out to be small.
#[derive(Debug)]
pub(crate) struct Step(u32);

impl Default for Step {
    fn default() -> Self {
        Self(STEP_MIN)
    }
}

impl Step {
    pub(crate) fn get(&self) -> u32 {
        self.0
    }

    /// What came had so many bytes.
    pub(crate) fn learn(&mut self, bytes: usize) {
        self.0 = match bytes {
            ..FEW_BYTES => (self.0 * 2).min(STEP_MAX),
            MANY_BYTES.. => STEP_MIN.min(self.0),
            _ => self.0,
        };
    }

    /// What was asked for is over a limit. False: it was one row only.
    pub(crate) fn shrink(&mut self) -> bool {
        let can = self.0 > 1;
        self.0 = (self.0 / 4).max(1);
        can
    }
}

/// Why there are no rows.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// Too many bytes for one answer.
    TooLarge,
    Other(Trouble),
}

impl Fault {
    fn of(error: Error) -> Self {
        match error {
            Error::TooLarge(_) => Self::TooLarge,
            other => Self::Other(Trouble::of(other)),
        }
    }
}

/// The rows with these ids, as far as they exist.
pub(crate) fn fetch(
    table: &str,
    ids: &[i64],
    mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
) -> Result<HashMap<i64, Vec<u8>>, Fault> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let keys = ids.iter().map(|id| Value::Integer(id.to_string()));
    let filter = Filter::Keys(Keys {
        column: ID.to_owned(),
        keys: keys.collect(),
    });
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let outcomes = batch(&[select(table, filter, None, limit)]).map_err(Fault::of)?;
    let rows = rows(outcomes).into_iter();
    Ok(rows.map(|row| (row.id, row.payload)).collect())
}

/// The next rows behind an id, in order.
pub(crate) fn after(
    table: &str,
    id: i64,
    limit: u32,
    mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
) -> Result<Vec<StoredRow>, Fault> {
    let filter = Filter::After(After {
        column: ID.to_owned(),
        value: id.to_string(),
    });
    let outcomes = batch(&[select(table, filter, order(false), limit)]).map_err(Fault::of)?;
    Ok(rows(outcomes))
}

/// The id of the last row; 0 if there is none.
pub(crate) fn last_id(
    table: &str,
    mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
) -> Result<i64, Trouble> {
    let select = Statement::Select(Select {
        columns: vec![column(ID, Kind::Integer)],
        table: table.to_owned(),
        filter: Filter::All,
        order: order(true),
        limit: 1,
    });
    let outcomes = batch(&[select]).map_err(Trouble::of)?;
    Ok(ids(outcomes).first().copied().unwrap_or(0))
}

/// The id of the next row behind an id, without its payload.
pub(crate) fn next_id(
    table: &str,
    id: i64,
    mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
) -> Result<Option<i64>, Trouble> {
    let select = Statement::Select(Select {
        columns: vec![column(ID, Kind::Integer)],
        table: table.to_owned(),
        filter: Filter::After(After {
            column: ID.to_owned(),
            value: id.to_string(),
        }),
        order: order(false),
        limit: 1,
    });
    let outcomes = batch(&[select]).map_err(Trouble::of)?;
    Ok(ids(outcomes).first().copied())
}

/// Whether there is a row with this id.
pub(crate) fn exists(
    table: &str,
    id: i64,
    mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
) -> Result<bool, Trouble> {
    let select = Statement::Select(Select {
        columns: vec![column(ID, Kind::Integer)],
        table: table.to_owned(),
        filter: Filter::Keys(Keys {
            column: ID.to_owned(),
            keys: vec![Value::Integer(id.to_string())],
        }),
        order: None,
        limit: 1,
    });
    let outcomes = batch(&[select]).map_err(Trouble::of)?;
    Ok(!ids(outcomes).is_empty())
}

fn select(table: &str, filter: Filter, order: Option<Order>, limit: u32) -> Statement {
    Statement::Select(Select {
        table: table.to_owned(),
        columns: vec![column(ID, Kind::Integer), column(PAYLOAD, Kind::Bytes)],
        filter,
        order,
        limit,
    })
}

pub(crate) fn column(name: &str, kind: Kind) -> Column {
    Column {
        name: name.to_owned(),
        kind,
    }
}

fn order(descending: bool) -> Option<Order> {
    Some(Order {
        column: ID.to_owned(),
        descending,
    })
}

fn rows(outcomes: Vec<Outcome>) -> Vec<StoredRow> {
    let rows = outcomes.into_iter().flat_map(|outcome| outcome.rows);
    rows.filter_map(|row| {
        let mut values = row.into_iter();
        match (values.next()?, values.next()?) {
            (Value::Integer(id), Value::Bytes(payload)) => Some(StoredRow {
                id: id.parse().ok()?,
                payload,
            }),
            // Node's column may be null.
            (Value::Integer(id), _) => Some(StoredRow {
                id: id.parse().ok()?,
                payload: Vec::new(),
            }),
            _ => None,
        }
    })
    .collect()
}

fn ids(outcomes: Vec<Outcome>) -> Vec<i64> {
    let rows = outcomes.iter().flat_map(|outcome| &outcome.rows);
    rows.filter_map(|row| match row.first() {
        Some(Value::Integer(id)) => id.parse().ok(),
        _ => None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_more_at_once_as_long_as_rows_are_small() {
        let mut step = Step::default();
        for _ in 0..10 {
            step.learn(1000);
        }
        assert_eq!(step.get(), STEP_MAX);
        step.learn(1024 * 1024);
        assert_eq!(step.get(), STEP_MAX, "that is as it should be");
        step.learn(5 * 1024 * 1024);
        assert_eq!(step.get(), STEP_MIN);
        assert!(step.shrink());
        assert!(step.shrink());
        assert_eq!(step.get(), 1);
        assert!(!step.shrink());
        step.learn(64 * 1024 * 1024);
        assert_eq!(step.get(), 1);
    }
}
