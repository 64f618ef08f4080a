//! TOML text into the tree, with the line and column of every key and value.

use std::{ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::Problems,
    origin::Origin,
    tree::{Entry, Node, Table, Value},
};

/// Reads a whole file. After a syntax error nothing of it is used: what follows one is guesswork.
pub(super) fn parse(text: &str, file: &Arc<str>, problems: &mut Problems) -> Table {
    let places = Places::new(text, Arc::clone(file));
    match DeTable::parse(text) {
        Ok(table) => read_table(table.into_inner(), &|span| places.origin(span), problems),
        Err(error) => {
            let origin = places.origin(error.span().unwrap_or(0..0));
            let message = format!(
                "not valid TOML{}: {}",
                origin.in_parentheses(),
                error.message()
            );
            problems.add(Some(&origin), message);
            Table::new()
        }
    }
}

/// Reads one value, all of which stands in one place; none if it is not a TOML value.
pub(super) fn parse_value(text: &str, origin: &Origin, problems: &mut Problems) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    read_value(
        value.into_inner(),
        &|_| origin.clone(),
        &|| origin.clone(),
        problems,
    )
}

type PlaceOf<'a> = dyn Fn(Range<usize>) -> Origin + 'a;

fn read_table(table: DeTable<'_>, place: &PlaceOf<'_>, problems: &mut Problems) -> Table {
    let mut entries = Table::new();
    for (key, value) in table {
        let key_origin = place(key.span());
        if let Some(node) = read_node(value, place, problems) {
            entries.insert(key.into_inner().into_owned(), Entry { key_origin, node });
        }
    }
    entries
}

fn read_node(
    value: Spanned<DeValue<'_>>,
    place: &PlaceOf<'_>,
    problems: &mut Problems,
) -> Option<Node> {
    let span = value.span();
    let here = || place(span.clone());
    Some(Node::new(
        read_value(value.into_inner(), place, &here, problems)?,
        here(),
    ))
}

fn read_value(
    value: DeValue<'_>,
    place: &PlaceOf<'_>,
    here: &dyn Fn() -> Origin,
    problems: &mut Problems,
) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => return refuse(here(), "a number of more than 64 bits", problems),
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => return refuse(here(), "a number that is not finite", problems),
        },
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(datetime) => Value::Text(datetime.to_string()),
        DeValue::Array(items) => {
            let items = items
                .into_iter()
                .map(|item| read_node(item, place, problems));
            Value::List(
                items
                    .enumerate()
                    .filter_map(|(at, node)| Some((at, node?)))
                    .collect(),
            )
        }
        DeValue::Table(table) => Value::Table(read_table(table, place, problems)),
    })
}

fn refuse(origin: Origin, what: &str, problems: &mut Problems) -> Option<Value> {
    problems.add(
        Some(&origin),
        format!("{what} cannot be used{}", origin.in_parentheses()),
    );
    None
}

/// Turns offsets into lines and columns.
struct Places<'a> {
    text: &'a str,
    file: Arc<str>,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str, file: Arc<str>) -> Self {
        let starts = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            text,
            file,
            lines: std::iter::once(0).chain(starts).collect(),
        }
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..span.start).unwrap_or_default();
        Origin::File {
            file: Arc::clone(&self.file),
            line,
            column: before.chars().count() + 1,
        }
    }
}
