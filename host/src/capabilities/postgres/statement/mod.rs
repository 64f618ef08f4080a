//! Statements as values, and the SQL that they become. No I/O.
//!
//! * `names`: quoting, the one place where text of a plugin becomes part of SQL.
//! * `notify`, `rows`, `table`: one kind of statement each.
//! * `value`: what is in the cells, to and from the wire.
//!
//! Lists travel as arrays (`unnest`), so the text of a statement does not grow with them, and one
//! statement serves a batch of any size.

mod names;
mod notify;
mod rows;
mod table;
mod value;

use tokio_postgres::types::{ToSql, Type};

pub(super) use self::{
    names::{channel_list, check_channel},
    value::read,
};
pub(crate) use self::{
    notify::{Notice, Notify, Row, Store},
    rows::{Delete, Filter, Insert, Order, Select, Sql},
    table::{ColumnType, NewColumn, NewTable},
    value::{Column, Kind, Value},
};
use super::PostgresError;

/// Most rows of one select.
pub(super) const MAX_ROWS: u32 = 65_536;
/// Most columns that one statement names.
const MAX_COLUMNS: usize = 64;

/// One statement of a batch. `wit/postgres/postgres.wit` says what each means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Notify(Notify),
    Insert(Insert),
    Select(Select),
    Delete(Delete),
    Sql(Sql),
}

/// What a statement came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) count: u64,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// Text with its parameters.
pub(super) struct Compiled<'a> {
    pub(super) text: String,
    pub(super) params: Vec<(Param<'a>, Type)>,
    pub(super) reads: Reads,
}

pub(super) type Param<'a> = Box<dyn ToSql + Send + Sync + 'a>;

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// One row: a count, and an array of ids or null.
    CountAndIds,
    /// Rows.
    Rows,
}

impl Statement {
    /// The SQL. A sum of sizes is a limit's business, see [`Statement::bytes`].
    ///
    /// # Errors
    /// It can never work.
    pub(super) fn compile(&self) -> Result<Compiled<'_>, PostgresError> {
        match self {
            Self::Notify(notify) => notify.compile(),
            Self::Insert(insert) => insert.compile(),
            Self::Select(select) => select.compile(),
            Self::Delete(delete) => delete.compile(),
            Self::Sql(sql) => sql.compile(),
        }
    }

    /// About how many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Notify(notify) => notify.bytes(),
            Self::Insert(insert) => insert.rows.iter().flatten().map(Value::bytes).sum(),
            Self::Select(Select { filter, .. }) | Self::Delete(Delete { filter, .. }) => {
                filter.bytes()
            }
            Self::Sql(sql) => {
                let params: usize = sql.params.iter().map(Value::bytes).sum();
                sql.text.len() + params
            }
        }
    }

    /// Who does not listen when it is executed never hears of it.
    pub(super) fn is_fleeting(&self) -> bool {
        let Self::Notify(notify) = self else {
            return false;
        };
        // Who keeps rows in order has readers that catch up.
        notify.store.as_ref().is_none_or(|store| !store.ordered)
    }

    /// Nothing is changed by it.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Select(_))
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T, PostgresError> {
    Err(PostgresError::Invalid(why.into()))
}
