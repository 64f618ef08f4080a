//! The query of a URL as engine.io has it: by `URLSearchParams`, then as a plain object.

use std::{borrow::Cow, collections::BTreeMap};

/// Parameters that are read at most. engine.io has no limit but the URL's own.
const MAX_PARAMETERS: usize = 1000;

/// Decoded parameters by their names; of several with one name the last, as in engine.io 6.6. What
/// is not UTF-8 is replaced.
pub(super) fn parse(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .take(MAX_PARAMETERS)
        .map(|pair| {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(text))
        })
        .collect()
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

    /// What engine.io 6.6 on Node.js 20 answers.
    #[test]
    fn queries_read_as_engine_io_reads_them() {
        for (query, expected) in [
            ("", json!({})),
            (
                "EIO=4&transport=polling",
                json!({"EIO": "4", "transport": "polling"}),
            ),
            ("a=1&b=2&a=3", json!({"a": "3", "b": "2"})),
            ("a=1&%61=2&a", json!({"a": ""})),
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
