//! Subjects. A namespace and a node's id are arbitrary text, and each becomes one token: what NATS
//! gives a meaning (dots, wildcards, blanks) is written as `%` and two hex digits, as in a URL.

use std::fmt::Write as _;

/// Longest subject, in bytes; a line of the protocol holds 4096.
pub const MAX_BYTES: usize = 1024;

/// The subject of what is for all servers of a namespace: `PREFIX.NAMESPACE`.
pub fn of_all(prefix: &str, namespace: &str) -> String {
    format!("{prefix}.{}", token(namespace))
}

/// The subject of what is for one server alone: `PREFIX.NAMESPACE.NODE`.
pub fn of_one(prefix: &str, namespace: &str, node: &str) -> String {
    format!("{prefix}.{}.{}", token(namespace), token(node))
}

/// A text as one token. Different texts become different tokens.
pub fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if is_plain(byte) {
            token.push(char::from(byte));
        } else {
            // A string takes whatever is written.
            let _ = write!(token, "%{byte:02X}");
        }
    }
    if token.is_empty() {
        // No token is empty, and no other text becomes this.
        token.push('%');
    }
    token
}

/// Can it begin a subject?
pub fn is_prefix(text: &str) -> bool {
    text.split('.')
        .all(|word| !word.is_empty() && word.bytes().all(is_plain))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_tokens_that_nats_takes_and_that_differ() {
        for (text, expected) in [
            ("/", "%2F"),
            ("/admin", "%2Fadmin"),
            ("/a.b", "%2Fa%2Eb"),
            ("/a b>*", "%2Fa%20b%3E%2A"),
            ("/ä?x=1\r\n", "%2F%C3%A4%3Fx%3D1%0D%0A"),
            ("%2F", "%252F"),
            ("V1St-GX_8", "V1St-GX_8"),
            ("", "%"),
        ] {
            assert_eq!(token(text), expected);
        }
        assert_eq!(of_all("socket.io", "/a"), "socket.io.%2Fa");
        assert_eq!(of_one("io", "/", "n.1"), "io.%2F.n%2E1");
    }

    #[test]
    fn a_prefix_is_made_of_plain_words() {
        for good in ["socket.io", "a", "a-b.C_1"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in [
            "", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\n", "$SYS",
        ] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
