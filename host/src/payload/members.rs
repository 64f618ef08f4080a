//! The members of an object that another server wrote, each read apart.

use std::collections::HashMap;

use serde_json::{Value, value::RawValue};

use super::surrogates::replace_lone_surrogates;
use crate::cluster::message::Payload;

/// The members of an object by their names; of two with one name the last. None when it is no
/// object.
///
/// One of them may hold what a client chose, and must not cost the others: a member that cannot be
/// read (too deep, a number out of range) is left out, and lone surrogates are replaced. Binary
/// parts are not put in their places.
pub(crate) fn members(payload: &Payload) -> Option<HashMap<String, Value>> {
    // Before anything is parsed: half a character in a name would make the whole unreadable.
    let json = replace_lone_surrogates(&payload.json);
    // Raw values are skipped over without recursion, however deep they are.
    let raw: HashMap<String, Box<RawValue>> = serde_json::from_str(&json).ok()?;
    let read = |(name, raw): (String, Box<RawValue>)| {
        let value = serde_json::from_str(raw.get()).ok()?;
        Some((name, value))
    };
    Some(raw.into_iter().filter_map(read).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &str) -> Option<Value> {
        let members = members(&Payload::text(json.to_owned()))?;
        Some(members.into_iter().collect())
    }

    #[test]
    fn a_member_that_cannot_be_read_costs_nothing_but_itself() {
        let deep = format!("{}{}", "[".repeat(130), "]".repeat(130));
        let deepest = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        for bad in [deep.as_str(), deepest.as_str(), "{\"n\":1e999}"] {
            let json = format!("{{\"a\":1,\"bad\":{bad},\"b\":[2]}}");
            assert_eq!(read(&json), Some(json!({"a": 1, "b": [2]})));
        }
    }

    #[test]
    fn lone_surrogates_are_replaced_in_names_and_values() {
        assert_eq!(
            read(r#"{"a":1,"b":{"n\udc00":"\ud83d"},"\ud83d":"\ud83d\ude00"}"#),
            Some(json!({
                "a": 1,
                "b": {"n\u{fffd}": "\u{fffd}"},
                "\u{fffd}": "\u{1f600}",
            }))
        );
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for odd in ["[]", "null", "{", "", "{\"a\":1} 2", "{\"a\":}"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
