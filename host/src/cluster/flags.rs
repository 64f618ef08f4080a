//! The one flag that the cluster core reads itself: `timeout`, how long clients have to
//! acknowledge. All others pass through as they are.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};

/// No node makes this one collect acknowledgements for longer.
const MAX_ACK_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// The time that a broadcast's flags give its clients, or `default` when they name none.
pub(super) fn ack_timeout(flags: Option<&str>, default: Duration) -> Duration {
    let timeout = flags
        .and_then(|flags| serde_json::from_str::<Value>(flags).ok())
        .and_then(|flags| flags.get("timeout").and_then(Value::as_f64))
        .filter(|ms| *ms >= 0.0)
        .and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
    timeout.unwrap_or(default).min(MAX_ACK_TIMEOUT)
}

/// The flags with `timeout` in them: Node.js gives its clients about a millisecond without it.
pub(super) fn with_timeout(flags: Option<Arc<str>>, timeout: Duration) -> Option<Arc<str>> {
    let mut members = match flags
        .as_deref()
        .map(serde_json::from_str::<Map<String, Value>>)
    {
        None => Map::new(),
        Some(Ok(members)) if members.contains_key("timeout") => return flags,
        Some(Ok(members)) => members,
        // Not an object: not ours to repair.
        Some(Err(_)) => return flags,
    };
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    members.insert("timeout".to_owned(), ms.into());
    Some(Value::Object(members).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_flag_is_read_in_milliseconds() {
        let default = Duration::from_secs(5);
        let check = |flags: &str, expected: Duration| {
            assert_eq!(ack_timeout(Some(flags), default), expected, "{flags}");
        };
        check(r#"{"timeout":250}"#, Duration::from_millis(250));
        check(
            r#"{"compress":true,"timeout":0.5}"#,
            Duration::from_micros(500),
        );
        check(r#"{"timeout":1e300}"#, default);
        check(r#"{"timeout":1e15}"#, MAX_ACK_TIMEOUT);
        check(r#"{"timeout":-1}"#, default);
        check(r#"{"timeout":"3"}"#, default);
        check("[]", default);
        check("not json", default);
        assert_eq!(ack_timeout(None, default), default);
    }

    #[test]
    fn the_timeout_flag_is_added_where_it_is_missing() {
        let timeout = Duration::from_secs(2);
        let check = |flags: Option<&str>, expected: &str| {
            let flags = with_timeout(flags.map(Arc::from), timeout);
            assert_eq!(flags.as_deref(), Some(expected));
        };
        check(None, r#"{"timeout":2000}"#);
        check(
            Some(r#"{"compress":false}"#),
            r#"{"compress":false,"timeout":2000}"#,
        );
        check(Some(r#"{"timeout":7}"#), r#"{"timeout":7}"#);
        check(Some("odd"), "odd");
    }
}
