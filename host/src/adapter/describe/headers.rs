//! The headers of a request as Node.js has them (`message.headers`).

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;

/// Those of which Node.js keeps the first only, when there are several (nodejs.org, `http`,
/// `message.headers`).
const FIRST_ONLY: [HeaderName; 18] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::ETAG,
    header::EXPIRES,
    header::FROM,
    header::HOST,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PROXY_AUTHORIZATION,
    header::REFERER,
    header::RETRY_AFTER,
    header::SERVER,
    header::USER_AGENT,
];

/// One header.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Value<'a> {
    /// Several of one name are joined.
    Text(Cow<'a, str>),
    /// `set-cookie`, whose values hold commas.
    List(Vec<Cow<'a, str>>),
}

/// All but those whose names are given in lower case. What is not UTF-8 is replaced.
pub(super) fn of<'a>(
    headers: &'a HeaderMap,
    hidden: &HashSet<String>,
) -> BTreeMap<&'a str, Value<'a>> {
    headers
        .keys()
        .filter(|name| !hidden.contains(name.as_str()))
        .map(|name| (name.as_str(), value(name, headers)))
        .collect()
}

fn value<'a>(name: &HeaderName, headers: &'a HeaderMap) -> Value<'a> {
    fn text(value: &HeaderValue) -> Cow<'_, str> {
        String::from_utf8_lossy(value.as_bytes())
    }
    let mut values = headers.get_all(name).iter().map(text);
    if *name == header::SET_COOKIE {
        return Value::List(values.collect());
    }
    let first = values.next().unwrap_or_default();
    if FIRST_ONLY.contains(name) {
        return Value::Text(first);
    }
    let separator = if *name == header::COOKIE { "; " } else { ", " };
    Value::Text(values.fold(first, |joined, value| joined + separator + value))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn headers_read_as_node_reads_them() {
        let mut request = Request::builder();
        for (name, value) in [
            ("Host", "a"),
            ("host", "b"),
            ("Accept", "x"),
            ("accept", "y, z"),
            ("Cookie", "a=1"),
            ("cookie", "b=2; c=3"),
            ("set-cookie", "d=4"),
            ("X-Name", "h\u{e4}"),
            ("authorization", "Bearer t"),
        ] {
            request = request.header(name, value);
        }
        request = request.header(
            "x-odd",
            HeaderValue::from_bytes(b"a\xffb").unwrap_or(HeaderValue::from_static("")),
        );
        let (parts, ()) = request.body(()).unwrap_or_default().into_parts();
        let json = serde_json::to_value(of(&parts.headers, &HashSet::new())).unwrap_or_default();
        let expected = serde_json::json!({
            "host": "a",
            "accept": "x, y, z",
            "cookie": "a=1; b=2; c=3",
            "set-cookie": ["d=4"],
            "x-name": "h\u{e4}",
            "x-odd": "a\u{fffd}b",
            "authorization": "Bearer t",
        });
        assert_eq!(json, expected);

        let hidden = HashSet::from(["cookie".to_owned(), "authorization".to_owned()]);
        let left = of(&parts.headers, &hidden);
        assert_eq!(left.len(), 5);
        assert!(!left.contains_key("cookie"));
    }
}
