//! Socket.IO packets, protocol 5, with the common parser: text, and binary parts after it.
//!
//! `<type>[<number of binary parts>-][<namespace>,][<id>][<JSON>]`, where a binary part stands as
//! `{"_placeholder":true,"num":n}` in the JSON.

use serde_json::{Value, json};

use crate::value::Arg;

/// Most binary parts of one packet.
const MAX_PARTS: usize = 1024;

/// What a packet is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// The namespace is entered; its socket's id.
    Connected(Value),
    /// The namespace is left, by the server's wish.
    Disconnected,
    /// An event: name and arguments.
    Event(Vec<Arg>),
    /// The answer to an event of ours.
    Acknowledged(Vec<Arg>),
    /// The namespace may not be entered; why.
    Refused(Value),
}

/// One packet from a server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Packet {
    pub(super) nsp: String,
    pub(super) id: Option<u64>,
    pub(super) kind: Kind,
}

/// The text of a packet, for which binary parts may still be missing.
#[derive(Debug)]
pub(super) struct Head {
    digit: u8,
    parts: usize,
    nsp: String,
    id: Option<u64>,
    json: Value,
}

impl Head {
    /// Reads the text of a packet.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{what} in a packet that begins with {:.80}", text);
        let digit = text.bytes().next().filter(|d| (b'0'..=b'6').contains(d));
        let digit = digit.ok_or_else(|| wrong("no known type"))? - b'0';
        let mut rest = &text[1..];
        let mut parts = 0;
        if matches!(digit, 5 | 6) {
            let (count, after) = rest.split_once('-').ok_or_else(|| wrong("no `-`"))?;
            parts = count.parse().map_err(|_| wrong("no number of parts"))?;
            if parts > MAX_PARTS {
                return Err(wrong("too many binary parts"));
            }
            rest = after;
        }
        let mut nsp = "/".to_owned();
        if rest.starts_with('/') {
            let (name, after) = rest.split_once(',').unwrap_or((rest, ""));
            // Servers may send the query along.
            nsp = name.split('?').next().unwrap_or(name).to_owned();
            rest = after;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = rest.split_at(digits);
        let id = match number {
            "" => None,
            number => Some(number.parse().map_err(|_| wrong("no id"))?),
        };
        let json = match rest {
            "" => Value::Null,
            rest => serde_json::from_str(rest).map_err(|_| wrong("no JSON"))?,
        };
        Ok(Self {
            digit,
            parts,
            nsp,
            id,
            json,
        })
    }

    /// How many binary parts follow.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// The packet with its binary parts.
    pub(super) fn complete(self, parts: &[Vec<u8>]) -> Result<Packet, String> {
        let args = |json: Value| match json {
            Value::Array(args) => args.into_iter().map(|arg| resolve(arg, parts)).collect(),
            other => Err(format!("arguments are a list, not {other}")),
        };
        let kind = match self.digit {
            0 => Kind::Connected(self.json),
            1 => Kind::Disconnected,
            2 | 5 => Kind::Event(args(self.json)?),
            3 | 6 => Kind::Acknowledged(args(self.json)?),
            _ => Kind::Refused(self.json),
        };
        Ok(Packet {
            nsp: self.nsp,
            id: self.id,
            kind,
        })
    }
}

fn resolve(value: Value, parts: &[Vec<u8>]) -> Result<Arg, String> {
    Ok(match value {
        Value::Null => Arg::Null,
        Value::Bool(value) => Arg::Bool(value),
        Value::Number(value) => Arg::Number(value),
        Value::String(value) => Arg::Text(value),
        Value::Array(values) => Arg::List(
            values
                .into_iter()
                .map(|value| resolve(value, parts))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(entries) if entries.get("_placeholder") == Some(&Value::Bool(true)) => {
            let part = entries["num"].as_u64().and_then(|number| {
                let number = usize::try_from(number).ok()?;
                parts.get(number)
            });
            Arg::Bytes(part.ok_or("a placeholder without its binary part")?.clone())
        }
        Value::Object(entries) => Arg::Object(
            entries
                .into_iter()
                .map(|(key, value)| Ok((key, resolve(value, parts)?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}

/// Asks to enter a namespace.
pub(super) fn connect(nsp: &str, auth: &Value) -> String {
    format!("0{}{auth}", prefix(nsp))
}

/// Leaves a namespace.
pub(super) fn disconnect(nsp: &str) -> String {
    let prefix = prefix(nsp);
    format!("1{}", prefix.trim_end_matches(','))
}

/// An event, or with `id` alone and no name an answer: the text, and the binary parts after it.
pub(super) fn event(nsp: &str, id: Option<u64>, args: Vec<Arg>) -> (String, Vec<Vec<u8>>) {
    write(["2", "5"], nsp, id, args)
}

/// The answer to the event with this id.
pub(super) fn acknowledgement(nsp: &str, id: u64, args: Vec<Arg>) -> (String, Vec<Vec<u8>>) {
    write(["3", "6"], nsp, Some(id), args)
}

fn write(
    [text, binary]: [&str; 2],
    nsp: &str,
    id: Option<u64>,
    args: Vec<Arg>,
) -> (String, Vec<Vec<u8>>) {
    let mut parts = Vec::new();
    let json = Value::Array(
        args.into_iter()
            .map(|arg| extract(arg, &mut parts))
            .collect(),
    );
    let kind = match parts.len() {
        0 => text.to_owned(),
        count => format!("{binary}{count}-"),
    };
    let id = id.map_or(String::new(), |id| id.to_string());
    (format!("{kind}{}{id}{json}", prefix(nsp)), parts)
}

fn extract(arg: Arg, parts: &mut Vec<Vec<u8>>) -> Value {
    match arg {
        Arg::Bytes(bytes) => {
            parts.push(bytes);
            json!({ "_placeholder": true, "num": parts.len() - 1 })
        }
        Arg::List(list) => Value::Array(list.into_iter().map(|arg| extract(arg, parts)).collect()),
        Arg::Object(entries) => Value::Object(
            entries
                .into_iter()
                .map(|(key, arg)| (key, extract(arg, parts)))
                .collect(),
        ),
        other => other.to_json(),
    }
}

fn prefix(nsp: &str) -> String {
    match nsp {
        "/" => String::new(),
        nsp => format!("{nsp},"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str, parts: &[Vec<u8>]) -> Packet {
        let head = Head::read(text).unwrap();
        assert_eq!(head.parts(), parts.len());
        head.complete(parts).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let args = vec![
            Arg::Text("é".into()),
            Arg::Object(vec![(
                "in".into(),
                Arg::List(vec![Arg::Bytes(vec![0, 255])]),
            )]),
            Arg::Bytes(vec![]),
        ];
        let (text, parts) = event("/chat", Some(7), args.clone());
        assert!(text.starts_with("52-/chat,7["), "{text}");
        let packet = read(&text, &parts);
        assert_eq!((packet.nsp.as_str(), packet.id), ("/chat", Some(7)));
        assert_eq!(packet.kind, Kind::Event(args));

        let (text, parts) = acknowledgement("/", 3, vec![Arg::Null]);
        assert_eq!((text.as_str(), parts.len()), ("33[null]", 0));
    }

    #[test]
    fn packets_of_servers_are_understood() {
        assert_eq!(
            read(r#"0{"sid":"abc"}"#, &[]).kind,
            Kind::Connected(json!({ "sid": "abc" }))
        );
        let gone = read("1/chat,", &[]);
        assert_eq!(
            (gone.nsp.as_str(), gone.kind),
            ("/chat", Kind::Disconnected)
        );
        assert_eq!(read("1", &[]).kind, Kind::Disconnected);
        assert_eq!(connect("/chat", &json!({})), "0/chat,{}");
        assert_eq!(disconnect("/chat"), "1/chat");
        assert_eq!(disconnect("/"), "1");
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["", "9", "5x-[]", "5[]", "2{", "599999999-[]"] {
            assert!(Head::read(text).is_err(), "{text}");
        }
        let head = Head::read(r#"51-[{"_placeholder":true,"num":4}]"#).unwrap();
        assert!(head.complete(&[vec![]]).is_err());
    }
}
