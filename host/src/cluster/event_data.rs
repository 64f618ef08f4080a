//! The JSON array of a server event, as far as the core reads and writes it: the name in front,
//! and the array that carries a query over a wire that knows only events.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::Payload;

/// The name of the server event that carries a custom query over a transport without custom
/// queries. Its arguments are the query's kind and its value; the answer to the event is the
/// answer to the query.
///
/// A Node.js server answers such queries with an ordinary handler:
///
/// ```js
/// io.on("switchboard:query", (kind, value, callback) => {
///   if (kind === "load") callback(os.loadavg()[0]);
/// });
/// ```
///
/// and asks them with `io.serverSideEmit("switchboard:query", "load", null, (err, answers) => …)`.
/// On this side such an event is always taken as a query: a handler that is registered for a
/// server event of this name is never called.
pub const QUERY_EVENT: &str = "switchboard:query";

/// JSON text, with its escapes resolved.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A query that came as an event.
#[derive(Debug, PartialEq)]
pub(super) struct Query<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) value: Payload,
}

/// The first element of an event's array, without a look at the rest. None: it is no array, or
/// its first element is no text.
pub(crate) fn event_name(data: &Payload) -> Option<Cow<'_, str>> {
    let whitespace = [' ', '\t', '\n', '\r'];
    let elements = data.json.trim_start_matches(whitespace).strip_prefix('[')?;
    let mut values = serde_json::Deserializer::from_str(elements).into_iter::<Text<'_>>();
    let Text(name) = values.next()?.ok()?;
    Some(name)
}

/// The array of a query that goes out as an event.
pub(super) fn query_event(kind: &str, value: Payload) -> Payload {
    let name = serde_json::Value::from(QUERY_EVENT);
    let kind = serde_json::Value::from(kind);
    // The value's text stays as it is, and so do the numbers of its binary parts.
    Payload {
        json: format!("[{name},{kind},{}]", value.json).into(),
        attachments: value.attachments,
    }
}

/// The query in an event of the name [`QUERY_EVENT`]. Without a value it is `null`, as Node.js
/// code may leave it out; more arguments than these are ignored.
pub(super) fn query_of(data: &Payload) -> Option<Query<'_>> {
    let elements: Vec<&RawValue> = serde_json::from_str(&data.json).ok()?;
    let Text(kind) = serde_json::from_str(elements.get(1)?.get()).ok()?;
    let value = elements.get(2).map_or("null", |value| value.get());
    let value = Payload {
        json: value.to_owned().into(),
        attachments: data.attachments.clone(),
    };
    Some(Query { kind, value })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_name_is_read_without_the_rest() {
        let check = |json: &'static str, expected: Option<&str>| {
            let data = Payload::text(json);
            assert_eq!(event_name(&data).as_deref(), expected, "{json}");
        };
        check(r#"["hello"]"#, Some("hello"));
        check(r#"["hello",1,{"a":[]}]"#, Some("hello"));
        check(" \r\n[\t\"hello\" ,1]", Some("hello"));
        check(r#"["a\"b\\c\u00e9\ud83d\ude00\n"]"#, Some("a\"b\\cé😀\n"));
        check(r#"[""]"#, Some(""));
        check(r#"["hello",what follows is the handler's"#, Some("hello"));
        check("[]", None);
        check("[42]", None);
        check("[null,\"hello\"]", None);
        check("[\"hello", None);
        check("[\"a lone half \\ud83d\"]", None);
        check("\"hello\"", None);
        check("{}", None);
        check("", None);
    }

    #[test]
    fn a_query_goes_into_an_event_and_comes_out_as_it_was() {
        let value = Payload {
            json: r#"{"x":{"_placeholder":true,"num":1},"y":[{"_placeholder":true,"num":0}]}"#
                .into(),
            attachments: vec![Bytes::from_static(b"zero"), Bytes::from_static(b"one")],
        };
        let event = query_event("the \"kind\"", value.clone());
        assert_eq!(event_name(&event).as_deref(), Some(QUERY_EVENT));
        let kind = "the \"kind\"".into();
        assert_eq!(query_of(&event).unwrap(), Query { kind, value });
    }

    #[test]
    fn a_query_of_node_may_lack_its_value_but_not_its_kind() {
        let check = |json: &'static str, expected: Option<(&str, &'static str)>| {
            let data = Payload::text(json);
            let expected = expected.map(|(kind, value)| Query {
                kind: kind.into(),
                value: Payload::text(value),
            });
            assert_eq!(query_of(&data), expected, "{json}");
        };
        check(r#"["switchboard:query","load"]"#, Some(("load", "null")));
        check(
            r#"["switchboard:query", "load", 1.50 ]"#,
            Some(("load", "1.50")),
        );
        check(r#"["switchboard:query","load",1,2]"#, Some(("load", "1")));
        check(r#"["switchboard:query"]"#, None);
        check(r#"["switchboard:query",7,1]"#, None);
        check(r#"["switchboard:query","load",1"#, None);
    }
}
