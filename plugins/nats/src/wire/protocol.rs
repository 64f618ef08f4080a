//! NATS' client protocol, as its documentation has it: lines that end with CR LF, and payloads behind
//! some of them.

use serde::Deserialize;

/// Longest line that is read. Only `INFO` comes near: it lists the servers of a cluster.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// Largest payload that is read; no server can be configured to more.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    /// About itself: first of all, and when something has changed.
    Info(Info),
    /// A message for the subscription `sid`.
    Message {
        /// As it was given with `SUB`.
        sid: u64,
        /// What was published.
        payload: &'a [u8],
    },
    /// It wants to hear [`PONG`].
    Ping,
    /// It has done everything that was said before a `PING`.
    Pong,
    /// That is all right. Only said to those who ask for it.
    Ok,
    /// Something is wrong; after most errors it closes the connection.
    Error(String),
}

/// What a server says about itself; the rest of it is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Info {
    /// The largest payload that it takes.
    #[serde(default = "a_mebibyte")]
    pub max_payload: u64,
    /// It speaks with nobody in plain text.
    #[serde(default)]
    pub tls_required: bool,
}

fn a_mebibyte() -> u64 {
    1 << 20
}

/// What is no NATS. The connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not how a NATS server speaks: {0}")]
pub struct Nonsense(&'static str);

/// The first thing that is said in these bytes, and how many of them it takes. None: more bytes are
/// needed.
///
/// # Errors
/// It is no NATS.
pub fn read(bytes: &[u8]) -> Result<Option<(Said<'_>, usize)>, Nonsense> {
    let searched = bytes.get(..MAX_LINE_BYTES).unwrap_or(bytes);
    let Some(end) = searched.iter().position(|byte| *byte == b'\n') else {
        return match searched.len() {
            MAX_LINE_BYTES => Err(Nonsense("a line without an end")),
            _ => Ok(None),
        };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|_| Nonsense("a line that is no text"))?;
    let after = end + 1;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    let said = match word.to_ascii_uppercase().as_str() {
        "MSG" => return message(bytes, after, rest),
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "+OK" => Said::Ok,
        "-ERR" => Said::Error(rest.trim_matches('\'').to_owned()),
        "INFO" => {
            let info = serde_json::from_str(rest);
            Said::Info(info.map_err(|_| Nonsense("an INFO that is no JSON"))?)
        }
        _ => return Err(Nonsense("a word that is not known")),
    };
    Ok(Some((said, after)))
}

/// `MSG <subject> <sid> [reply-to] <#bytes>`, then the payload.
fn message<'a>(
    bytes: &'a [u8],
    start: usize,
    rest: &str,
) -> Result<Option<(Said<'a>, usize)>, Nonsense> {
    const WRONG: Nonsense = Nonsense("a MSG without its numbers");
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let (sid, len) = match words.as_slice() {
        [_, sid, len] | [_, sid, _, len] => (*sid, *len),
        _ => return Err(WRONG),
    };
    let sid = decimal(sid).ok_or(WRONG)?;
    let len = decimal(len).ok_or(WRONG)?;
    let len = usize::try_from(len).map_err(|_| WRONG)?;
    if len > MAX_PAYLOAD_BYTES {
        return Err(Nonsense("a payload that is too large"));
    }
    let end = start + len;
    let Some(tail) = bytes.get(end..end + 2) else {
        return Ok(None);
    };
    if tail != b"\r\n" {
        return Err(Nonsense("a payload that is longer than it says"));
    }
    let payload = bytes.get(start..end).unwrap_or_default();
    Ok(Some((Said::Message { sid, payload }, end + 2)))
}

/// Digits only: no sign, no blank.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Asks for a [`Said::Pong`].
pub const PING: &[u8] = b"PING\r\n";
/// The answer to [`Said::Ping`].
pub const PONG: &[u8] = b"PONG\r\n";

/// The first thing that a client says, with a [`PING`] behind it.
pub fn connect(login: &crate::options::Login, name: &str, is_encrypted: bool) -> Vec<u8> {
    use crate::options::Login;
    let mut options = serde_json::json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": is_encrypted,
        "name": name,
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        // What this very connection publishes, it need not hear.
        "echo": false,
        "headers": false,
        "no_responders": false,
    });
    match login {
        Login::Nobody => {}
        Login::User(user, password) => {
            options["user"] = user.as_str().into();
            options["pass"] = password.as_str().into();
        }
        Login::Token(token) => options["auth_token"] = token.as_str().into(),
    }
    let mut line = format!("CONNECT {options}\r\n").into_bytes();
    line.extend_from_slice(PING);
    line
}

/// From now on, messages of this subject arrive under this number.
pub fn subscribe(out: &mut Vec<u8>, subject: &str, sid: u64) {
    out.extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
}

/// No longer.
pub fn unsubscribe(out: &mut Vec<u8>, sid: u64) {
    out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
}

/// Publishes the pieces, one after the other, as one payload.
pub fn publish(out: &mut Vec<u8>, subject: &str, pieces: [&[u8]; 2]) {
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    out.reserve(len + subject.len() + 32);
    out.extend_from_slice(format!("PUB {subject} {len}\r\n").as_bytes());
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::options::Login;

    /// All that is said in a text.
    fn said(mut bytes: &[u8]) -> Vec<Said<'_>> {
        let mut all = Vec::new();
        while let Some((said, len)) = read(bytes).unwrap() {
            all.push(said);
            bytes = &bytes[len..];
        }
        assert_eq!(bytes, b"", "the rest");
        all
    }

    #[test]
    fn what_a_server_says_is_understood() {
        let text = b"INFO {\"server_id\":\"x\",\"max_payload\":99,\"tls_required\":true}\r\n\
            MSG a.b 7 5\r\nhe\r\no\r\nMSG a 8 reply.to 0\r\n\r\nPING\r\nping\r\nPONG\r\n+OK\r\n\
            -ERR 'Slow Consumer'\r\nINFO {}\n";
        let info = |max_payload, tls_required| {
            Said::Info(Info {
                max_payload,
                tls_required,
            })
        };
        let message = |sid, payload| Said::Message { sid, payload };
        let expected = [
            info(99, true),
            message(7, b"he\r\no".as_slice()),
            message(8, b"".as_slice()),
            Said::Ping,
            Said::Ping,
            Said::Pong,
            Said::Ok,
            Said::Error("Slow Consumer".to_owned()),
            info(1 << 20, false),
        ];
        assert_eq!(said(text), expected);
    }

    #[test]
    fn what_has_not_arrived_whole_is_waited_for() {
        let whole = b"MSG a.b 7 5\r\nhello\r\n";
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), Ok(None), "{len} bytes");
        }
        assert_eq!(read(whole).unwrap().unwrap().1, whole.len());
    }

    #[test]
    fn what_is_no_nats_is_an_error_and_never_worse() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\n",
            "INFO\r\n",
            "INFO {]\r\n",
            "MSG\r\n",
            "MSG a\r\n",
            "MSG a b c d e\r\n",
            "MSG a 1 -1\r\n",
            "MSG a +1 1\r\n",
            "MSG a 1 99999999999999999999\r\n",
            "MSG a 1 67108865\r\n",
            "MSG a 1 1\r\nxyz",
            "\r\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(read(&vec![b'x'; MAX_LINE_BYTES]).is_err());
        assert!(read(b"PI\xffNG\r\n").is_err());
    }

    #[test]
    fn what_is_said_to_a_server() {
        let mut out = Vec::new();
        subscribe(&mut out, "a.b", 3);
        unsubscribe(&mut out, 2);
        publish(&mut out, "c", [b"1 2\n".as_slice(), b"{}".as_slice()]);
        assert_eq!(out, b"SUB a.b 3\r\nUNSUB 2\r\nPUB c 6\r\n1 2\n{}\r\n");
        let line = connect(&Login::Token("a\"b".to_owned()), "n", true);
        let line = String::from_utf8(line).unwrap();
        let json = line.strip_prefix("CONNECT ").unwrap();
        let json = json.strip_suffix("\r\nPING\r\n").unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["auth_token"], "a\"b");
        assert_eq!(json["verbose"], false);
        assert!(json.get("user").is_none());
    }
}
