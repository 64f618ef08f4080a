//! Inserting, selecting and deleting rows; free SQL.

use tokio_postgres::types::Type;

use super::{
    Column, Compiled, Kind, MAX_COLUMNS, MAX_ROWS, Param, Reads, Value, invalid,
    names::{quoted, quoted_table},
    value::array,
};
use crate::capabilities::postgres::PostgresError;

/// Inserts rows in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Insert {
    pub(crate) table: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) returning: Option<Column>,
}

/// Reads rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Select {
    pub(crate) table: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) filter: Filter,
    pub(crate) order: Option<Order>,
    pub(crate) limit: u32,
}

/// Removes rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delete {
    pub(crate) table: String,
    pub(crate) filter: Filter,
    pub(crate) limit: Option<u32>,
}

/// Which rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    All,
    Keys { column: String, keys: Vec<Value> },
    After { column: String, value: i64 },
    Age { column: String, older_than_ms: u32 },
}

/// In which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) column: String,
    pub(crate) descending: bool,
}

/// Any statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sql {
    pub(crate) text: String,
    pub(crate) params: Vec<Value>,
}

impl Insert {
    pub(super) fn compile(&self) -> Result<Compiled<'_>, PostgresError> {
        let table = quoted_table(&self.table)?;
        count_columns(&self.columns)?;
        let width = self.columns.len();
        if self.rows.iter().any(|row| row.len() != width) {
            return invalid(format!("a row has not {width} values, one for each column"));
        }
        let mut names = Vec::new();
        let mut arrays = Vec::new();
        let mut aliases = Vec::new();
        let mut params = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            let number = index + 1;
            names.push(quoted(&column.name)?);
            arrays.push(format!("${number}::{}[]", column.kind.sql()));
            aliases.push(format!("c{number}"));
            let values = self.rows.iter().filter_map(|row| row.get(index));
            params.push(array(column.kind, values)?);
        }
        let returning = match &self.returning {
            Some(column) => format!(" RETURNING {}", read(column)?),
            None => String::new(),
        };
        let (names, arrays, aliases) = (names.join(", "), arrays.join(", "), aliases.join(", "));
        Ok(Compiled {
            text: format!(
                "INSERT INTO {table} ({names}) SELECT {aliases} FROM unnest({arrays}) \
                 WITH ORDINALITY AS v({aliases}, k) ORDER BY k{returning}"
            ),
            params,
            reads: Reads::Rows,
        })
    }
}

impl Select {
    pub(super) fn compile(&self) -> Result<Compiled<'_>, PostgresError> {
        let table = quoted_table(&self.table)?;
        count_columns(&self.columns)?;
        let columns: Result<Vec<_>, _> = self.columns.iter().map(read).collect();
        let columns = columns?.join(", ");
        let (filter, params) = self.filter.compile()?;
        let order = match &self.order {
            None => String::new(),
            Some(Order { column, descending }) => {
                // Of the table, not of the result, where a cast may have changed it.
                let way = if *descending { "DESC" } else { "ASC" };
                format!(" ORDER BY t.{} {way}", quoted(column)?)
            }
        };
        let limit = self.limit;
        if !(1..=MAX_ROWS).contains(&limit) {
            return invalid(format!("a select reads 1 to {MAX_ROWS} rows, not {limit}"));
        }
        Ok(Compiled {
            text: format!("SELECT {columns} FROM {table} AS t{filter}{order} LIMIT {limit}"),
            params,
            reads: Reads::Rows,
        })
    }
}

impl Delete {
    pub(super) fn compile(&self) -> Result<Compiled<'_>, PostgresError> {
        let table = quoted_table(&self.table)?;
        let (filter, params) = self.filter.compile()?;
        let text = match self.limit {
            None => format!("DELETE FROM {table} AS t{filter}"),
            // DELETE itself has no limit. Several cleaners at once find the same rows; the later
            // ones wait, and delete less.
            Some(limit) => format!(
                "DELETE FROM {table} AS d WHERE d.ctid = ANY(ARRAY(SELECT t.ctid FROM {table} AS \
                 t{filter} LIMIT {limit}))"
            ),
        };
        Ok(Compiled {
            text,
            params,
            reads: Reads::Rows,
        })
    }
}

impl Filter {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Keys { keys, .. } => keys.iter().map(Value::bytes).sum(),
            _ => 0,
        }
    }

    fn compile(&self) -> Result<(String, Vec<(Param<'_>, Type)>), PostgresError> {
        Ok(match self {
            Self::All => (String::new(), Vec::new()),
            Self::Keys { column, keys } => {
                let kind = match keys.first() {
                    Some(Value::Text(_)) => Kind::Text,
                    Some(Value::Integer(_)) | None => Kind::Integer,
                    Some(_) => return invalid("keys are all integers or all texts"),
                };
                let text = format!(" WHERE t.{} = ANY($1::{}[])", quoted(column)?, kind.sql());
                (text, vec![array(kind, keys.iter())?])
            }
            Self::After { column, value } => {
                let text = format!(" WHERE t.{} > $1::bigint", quoted(column)?);
                (text, vec![(Box::new(*value), Type::INT8)])
            }
            Self::Age {
                column,
                older_than_ms,
            } => {
                let text = format!(
                    " WHERE t.{} < now() - $1::float8 * interval '1 millisecond'",
                    quoted(column)?
                );
                (
                    text,
                    vec![(Box::new(f64::from(*older_than_ms)), Type::FLOAT8)],
                )
            }
        })
    }
}

impl Sql {
    pub(super) fn compile(&self) -> Result<Compiled<'_>, PostgresError> {
        if self.text.contains('\0') {
            return invalid("SQL cannot hold the character U+0000");
        }
        Ok(Compiled {
            text: self.text.clone(),
            params: self.params.iter().map(Value::param).collect(),
            reads: Reads::Rows,
        })
    }
}

/// A column in a list of results. The cast makes its type one that is known here.
fn read(column: &Column) -> Result<String, PostgresError> {
    Ok(format!("{}::{}", quoted(&column.name)?, column.kind.sql()))
}

fn count_columns(columns: &[Column]) -> Result<(), PostgresError> {
    match (1..=MAX_COLUMNS).contains(&columns.len()) {
        true => Ok(()),
        false => invalid(format!("a statement names 1 to {MAX_COLUMNS} columns")),
    }
}
