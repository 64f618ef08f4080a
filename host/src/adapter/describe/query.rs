//! The query of a URL as Node.js has it (`querystring.parse`).

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use serde::Serialize;

/// Parameters that are read at most; Node.js has the same limit.
const MAX_PARAMETERS: usize = 1000;

/// One parameter.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    /// There is one of this name.
    Text(String),
    /// There are several.
    List(Vec<String>),
}

/// Decoded parameters by their names. What is not UTF-8 is replaced.
pub(super) fn parse(query: &str) -> BTreeMap<String, Value> {
    let mut parameters = BTreeMap::new();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for pair in pairs.take(MAX_PARAMETERS) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let text = decode(text);
        match parameters.entry(decode(name)) {
            Entry::Vacant(entry) => {
                entry.insert(Value::Text(text));
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Value::List(list) => list.push(text),
                Value::Text(first) => {
                    let first = std::mem::take(first);
                    entry.insert(Value::List(vec![first, text]));
                }
            },
        }
    }
    parameters
}

/// `%20` and `+` are spaces; a `%` that is followed by anything but two hexadecimal digits stays.
fn decode(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => match escaped(bytes.as_slice()) {
                Some(byte) => {
                    bytes.nth(1);
                    byte
                }
                None => b'%',
            },
            byte => *byte,
        });
    }
    match String::from_utf8_lossy(&decoded) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

fn escaped(after: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let [high, low, ..] = after else { return None };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What Node.js 20 answers.
    #[test]
    fn queries_read_as_node_reads_them() {
        for (query, expected) in [
            ("", json!({})),
            (
                "EIO=4&transport=polling",
                json!({"EIO": "4", "transport": "polling"}),
            ),
            ("a=1&b=2&a=3&a=", json!({"a": ["1", "3", ""], "b": "2"})),
            ("a&=b&&c=", json!({"a": "", "": "b", "c": ""})),
            ("a=b=c", json!({"a": "b=c"})),
            ("a+b=c%20d%2Be", json!({"a b": "c d+e"})),
            (
                "a=%C3%A4&b=%zz&c=%4&d=%",
                json!({"a": "\u{e4}", "b": "%zz", "c": "%4", "d": "%"}),
            ),
            ("__proto__=x", json!({"__proto__": "x"})),
        ] {
            let read = serde_json::to_value(parse(query)).unwrap_or_default();
            assert_eq!(read, expected, "{query}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        let read = serde_json::to_value(parse("a=%ff%41")).unwrap_or_default();
        assert_eq!(read, json!({"a": "\u{fffd}A"}));
    }

    #[test]
    fn parameters_have_a_limit() {
        let many: String = (0..2000).map(|n| format!("p{n}=1&")).collect();
        assert_eq!(parse(&many).len(), MAX_PARAMETERS);
    }
}
