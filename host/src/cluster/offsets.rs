//! Offsets at the end of events, by which a client says later what it has got: connection state
//! recovery.
//!
//! Appended on delivery only, never on the wire.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::message::{Broadcast, Offset, Str, Target};

/// May this event have an offset? Not if a client could not be given it again: when it wants to be
/// acknowledged, or may be lost.
pub(super) fn takes_offset(broadcast: &Broadcast) -> bool {
    broadcast.request.is_none()
        && broadcast.packet_id.is_none()
        && !says_volatile(&broadcast.target)
}

/// Appends the offset to the arguments of an event that may have one. What is no array with an
/// element stays as it is: it is no event, and whoever delivers it says so.
pub(super) fn append(broadcast: &mut Broadcast, offset: &Offset) {
    if offset.as_str().is_empty() || !takes_offset(broadcast) {
        return;
    }
    if let Some(json) = with_last(&broadcast.data.json, offset) {
        broadcast.data.json = json;
    }
}

/// Node.js looks whether the flag is there at all: `false` and `null` are enough.
fn says_volatile(target: &Target) -> bool {
    #[derive(Deserialize)]
    struct Flags {
        #[serde(default, deserialize_with = "is_there")]
        volatile: bool,
    }
    fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
        IgnoredAny::deserialize(value).map(|_| true)
    }
    target.volatile
        || target.flags.as_deref().is_some_and(|flags| {
            serde_json::from_str::<Flags>(flags).is_ok_and(|flags| flags.volatile)
        })
}

/// The text of an array with one more element, without a look at the others.
fn with_last(array: &str, offset: &Offset) -> Option<Str> {
    let whitespace = [' ', '\t', '\n', '\r'];
    let open = array.trim_end_matches(whitespace).strip_suffix(']')?;
    let elements = open.trim_start_matches(whitespace).strip_prefix('[')?;
    if elements.trim_matches(whitespace).is_empty() {
        return None;
    }
    let offset = serde_json::Value::from(offset.as_str());
    Some(format!("{open},{offset}]").into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::{Payload, RequestId};

    fn event(json: &str) -> Broadcast {
        Broadcast {
            target: Target::default(),
            data: Payload::text(json.to_owned()),
            packet_id: None,
            request: None,
        }
    }

    #[track_caller]
    fn check(mut broadcast: Broadcast, offset: &str, expected: &str) {
        append(&mut broadcast, &Offset::from(offset));
        assert_eq!(broadcast.data.json.as_str(), expected);
    }

    #[test]
    fn the_offset_is_the_last_argument() {
        check(event(r#"["ev",1]"#), "1795-0", r#"["ev",1,"1795-0"]"#);
        check(event(r#"["ev"]"#), "1-0", r#"["ev","1-0"]"#);
        check(event(" [\"ev\" ]\r\n"), "1-0", " [\"ev\" ,\"1-0\"]");
        check(event(r#"["ev","]"]"#), "1-0", r#"["ev","]","1-0"]"#);
        let quoted = r#"["ev","a\"b\\\n"]"#;
        check(event(r#"["ev"]"#), "a\"b\\\n", quoted);
    }

    #[test]
    fn binary_parts_keep_their_numbers() {
        let mut event = event(r#"["ev",{"_placeholder":true,"num":0}]"#);
        event.data.attachments.push(bytes::Bytes::from_static(b"x"));
        let expected = r#"["ev",{"_placeholder":true,"num":0},"7-1"]"#;
        check(event, "7-1", expected);
    }

    #[test]
    fn what_is_no_event_stays_as_it_is() {
        for json in ["[]", "[ ]", "", "]", "[", "{}", "[\"ev\",", "null"] {
            check(event(json), "1-0", json);
        }
        check(event(r#"["ev"]"#), "", r#"["ev"]"#);
    }

    #[test]
    fn events_that_cannot_be_given_again_take_no_offset() {
        let plain = event(r#"["ev"]"#);
        assert!(takes_offset(&plain));
        let acknowledged = Broadcast {
            request: Some(RequestId::from("r")),
            ..plain.clone()
        };
        let direct = Broadcast {
            packet_id: Some(Arc::from("null")),
            ..plain.clone()
        };
        let mut volatile = plain.clone();
        volatile.target.volatile = true;
        for other in [acknowledged, direct, volatile] {
            check(other, "1-0", r#"["ev"]"#);
        }
    }

    #[test]
    fn the_flag_volatile_counts_whatever_its_value() {
        for (flags, takes) in [
            (r#"{"compress":false}"#, true),
            (r#"{"timeout":1,"volatile":false}"#, false),
            (r#"{"volatile":null}"#, false),
            (r#"{"volatile":[{}]}"#, false),
            (r#"{"other":"volatile"}"#, true),
            ("odd", true),
        ] {
            let mut event = event(r#"["ev"]"#);
            event.target.flags = Some(flags.into());
            assert_eq!(takes_offset(&event), takes, "{flags}");
        }
    }
}
