//! Messages as entries of a stream: the fields `uid`, `nsp`, `type`, `data`,
//! and a mark of ours.

use std::{borrow::Cow, collections::HashSet};

use switchboard_plugin::{
    BroadcastRef, Heard, MessageRef,
    types::Body,
    wire::{
        Cursor, Format, MAX_MESSAGE_BYTES, MAX_NODE_ID_BYTES, Rejected, WireError, envelope, json,
    },
};

use super::{
    base64,
    events::Events,
    mark::{self, Mark, Seen},
    plaintext,
};

/// Names and values of an entry, in order.
pub type Fields = [(Vec<u8>, Vec<u8>)];

/// The sender's field.
pub const UID: &[u8] = b"uid";
/// The namespace's.
pub const NSP: &[u8] = b"nsp";
/// The kind's.
pub const TYPE: &[u8] = b"type";
/// The data's.
pub const DATA: &[u8] = b"data";

/// What [`TYPE`] says of an event for clients: what a restore looks for, as text.
pub(super) const BROADCAST: &[u8] = b"3";
/// Read as a number it is the same, so receivers take it for such an event; a restore, Node's too,
/// does not. For events that must not be replayed: with acknowledgement, and volatile ones.
const BROADCAST_NOT_REPLAYED: &str = "03";

/// What is written of a message, beside its sender and its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// For [`TYPE`].
    pub kind: Cow<'static, str>,
    /// For [`DATA`]; none: the entry has no such field.
    pub data: Option<Vec<u8>>,
}

/// Writes a message: JSON, or base64 of msgpack if it holds binary. With `only_plaintext`, the
/// binary parts of plain events become text, as with Node's option `onlyPlaintext`.
///
/// # Errors
/// When its data cannot be encoded, or there is no form for such a message.
pub fn write<'m>(
    message: impl Into<MessageRef<'m>>,
    only_plaintext: bool,
) -> Result<Written, Rejected> {
    let message = message.into();
    let flat = match only_plaintext {
        true => plaintext::flatten(message)?,
        false => None,
    };
    let parts = envelope::write_parts(flat.as_ref().map_or(message, MessageRef::of_body))?;
    let kind = match message.broadcast() {
        Some(broadcast) if !is_replayed(broadcast) => Cow::Borrowed(BROADCAST_NOT_REPLAYED),
        Some(_) => Cow::Borrowed("3"),
        None => Cow::Owned(parts.kind.to_string()),
    };
    let data = match (parts.format, parts.data) {
        (Format::Msgpack, Some(data)) => {
            let text = base64::encode(&data).into_bytes();
            if text.len() > MAX_MESSAGE_BYTES {
                return Err(Rejected::TooLarge(text.len()));
            }
            Some(text)
        }
        (Format::Json, data) => data,
        (Format::Msgpack, None) => None,
    };
    Ok(Written { kind, data })
}

fn is_replayed(broadcast: BroadcastRef<'_>) -> bool {
    broadcast.request.is_none() && !broadcast.target.volatile
}

/// How the fields of entries begin that this node has written, as Redis writes them: those with data, and
/// those without.
pub fn own_beginnings(node: &str) -> [Vec<u8>; 2] {
    // The sender comes first; then the namespace, the kind, perhaps the data, and the mark.
    [5, 4].map(|fields: usize| {
        let mut beginning = format!("*{}\r\n", 2 * fields).into_bytes();
        for text in [UID, node.as_bytes()] {
            beginning.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
            beginning.extend_from_slice(text);
            beginning.extend_from_slice(b"\r\n");
        }
        beginning
    })
}

/// An entry, taken apart. A field that is there twice counts as it stands last, as in Node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts<'a> {
    /// Who sent it, if it says.
    pub uid: Option<&'a [u8]>,
    /// For which namespace.
    pub nsp: Option<&'a [u8]>,
    /// The kind, as text.
    pub kind: Option<&'a [u8]>,
    /// The data, not decoded.
    pub data: Option<&'a [u8]>,
    /// Our mark.
    pub mark: Option<Mark<'a>>,
}

impl<'a> Parts<'a> {
    /// Finds the fields; decodes nothing but the mark.
    pub fn of(fields: &'a Fields) -> Self {
        Self::of_pairs(
            fields
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_slice())),
        )
    }

    /// The same of names and values that stand somewhere else.
    pub fn of_pairs(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut parts = Self::default();
        for (name, value) in fields {
            match name {
                UID => parts.uid = Some(value),
                NSP => parts.nsp = Some(value),
                TYPE => parts.kind = Some(value),
                DATA => parts.data = Some(value),
                mark::FIELD => parts.mark = Mark::read(value),
                _ => {}
            }
        }
        parts
    }

    /// Whether a restore of sessions looks at it: an event for the clients of this namespace.
    pub fn is_event_of(&self, namespace: &str) -> bool {
        self.nsp == Some(namespace.as_bytes()) && self.kind == Some(BROADCAST)
    }

    /// Decodes it, whoever sent it. None: there is nothing to do (an unknown kind, or none).
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read_body(&self) -> Result<Option<Body>, WireError> {
        let Some(kind) = self.kind.and_then(parse_int) else {
            return Ok(None);
        };
        match self.data {
            None | Some([]) => envelope::read_parts(kind, None),
            Some(data) if data.len() > MAX_MESSAGE_BYTES => Err(WireError::TooLarge(data.len())),
            Some(data) if data.first() == Some(&b'{') => {
                let text = std::str::from_utf8(data).map_err(|_| WireError::NotUtf8)?;
                envelope::read_parts(kind, Some(Cursor::Json(json::Reader::new(text))))
            }
            Some(data) => {
                let bytes = base64::decode(data);
                envelope::read_parts(kind, Some(Cursor::of_msgpack(&bytes)?))
            }
        }
    }
}

/// A whole number as JavaScript's `parseInt` reads it: past blanks, up to the first that is no
/// digit. None: not a number, or none that a kind could have.
fn parse_int(text: &[u8]) -> Option<u32> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

/// Whether a text is the id of an entry as Redis writes it, `<milliseconds>-<number>`. Node takes
/// any digits.
pub fn is_id(text: &str) -> bool {
    let is_number = |text: &str| {
        let number: Result<u64, _> = text.parse();
        number.is_ok_and(|number| number.to_string() == text)
    };
    text.split_once('-')
        .is_some_and(|(millis, number)| is_number(millis) && is_number(number))
}

/// Reads what arrives in the streams.
#[derive(Debug, Clone)]
pub struct Reader {
    node: String,
    entered: HashSet<String>,
    seen: Seen,
    events: Events,
}

impl Reader {
    /// `node` is this server's id: its own entries are passed over.
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            entered: HashSet::new(),
            seen: Seen::default(),
            events: Events::default(),
        }
    }

    /// From now on, messages of this namespace are read. Entering twice is harmless.
    pub fn enter(&mut self, namespace: &str) {
        self.entered.insert(namespace.to_owned());
    }

    /// The opposite of [`Self::enter`].
    pub fn leave(&mut self, namespace: &str) {
        self.entered.remove(namespace);
    }

    /// Reads one entry; `stream` tells streams apart. None: there is nothing to do (this node's
    /// own, another namespace, an unknown kind, one that was there before). Data is decoded only
    /// if it is wanted.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read<'p>(
        &mut self,
        stream: usize,
        parts: &Parts<'p>,
    ) -> Result<Option<Heard<'p>>, WireError> {
        if parts.uid == Some(self.node.as_bytes()) {
            return Ok(None);
        }
        let namespace = parts.nsp.and_then(|name| std::str::from_utf8(name).ok());
        let Some(namespace) = namespace.filter(|name| self.entered.contains(*name)) else {
            return Ok(None);
        };
        if let Some(mark) = parts.mark
            && self.seen.is_repeated(stream, mark)
        {
            return Ok(None);
        }
        let sender = match parts.uid {
            None => Cow::Borrowed(""),
            Some(uid) if uid.len() > MAX_NODE_ID_BYTES => return Err(WireError::LongNodeId),
            Some(uid) => String::from_utf8_lossy(uid),
        };
        let body = self.events.read(parts)?;
        Ok(body.map(|body| Heard {
            namespace: namespace.into(),
            sender,
            recipient: None,
            body,
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::{
        Batch,
        types::{Broadcast, Message, Payload, Query, Target},
    };

    use super::*;

    fn write(body: &Body, only_plaintext: bool) -> Result<Written, Rejected> {
        super::write(MessageRef::of_body(body), only_plaintext)
    }

    fn target(volatile: bool) -> Target {
        Target {
            rooms: Vec::new(),
            except: None,
            volatile,
            other_flags: None,
        }
    }

    fn event(volatile: bool, request: Option<&str>, attachments: &[&[u8]]) -> Body {
        Body::Broadcast(Broadcast {
            target: target(volatile),
            data: Payload::new(
                match attachments {
                    [] => r#"["x"]"#,
                    _ => r#"["x",{"_placeholder":true,"num":0}]"#,
                },
                attachments.iter().map(|part| part.to_vec()).collect(),
            ),
            packet_id: None,
            request: request.map(str::to_owned),
        })
    }

    fn fields(
        uid: &str,
        nsp: &str,
        written: Written,
        mark: Option<Mark<'_>>,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let field = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        let mut fields = vec![
            field(UID, uid.as_bytes()),
            field(NSP, nsp.as_bytes()),
            field(TYPE, written.kind.as_bytes()),
        ];
        fields.extend(written.data.map(|data| field(DATA, &data)));
        fields.extend(mark.map(|mark| {
            let mut text = Vec::new();
            mark.write(&mut text);
            field(mark::FIELD, &text)
        }));
        fields
    }

    fn reader() -> Reader {
        let mut reader = Reader::new("me");
        reader.enter("/");
        reader
    }

    #[test]
    fn an_event_is_written_as_node_writes_it() {
        let written = write(&event(false, None, &[]), false).unwrap();
        assert_eq!(written.kind, "3");
        assert_eq!(
            String::from_utf8(written.data.unwrap()).unwrap(),
            r#"{"packet":{"type":2,"data":["x"]},"opts":{"rooms":[],"except":[],"flags":{}}}"#
        );
        let binary = write(&event(false, None, &[&[1]]), false).unwrap();
        // The vector `base64-msgpack`.
        assert_eq!(
            binary.data.unwrap(),
            b"gqZwYWNrZXSCpHR5cGUCpGRhdGGSoXjEAQGkb3B0c4Olcm9vbXOQpmV4Y2VwdJClZmxhZ3OA"
        );
        let farewell = write(&Body::AdapterClose, false).unwrap();
        assert_eq!((&*farewell.kind, farewell.data), ("13", None));
    }

    #[test]
    fn what_must_not_be_replayed_is_known_by_its_type_and_read_all_the_same() {
        for (body, is_event) in [
            (event(false, None, &[]), true),
            (event(true, None, &[]), false),
            (event(false, Some("q"), &[]), false),
        ] {
            let fields = fields("you", "/", write(&body, false).unwrap(), None);
            assert_eq!(Parts::of(&fields).is_event_of("/"), is_event);
            assert!(!Parts::of(&fields).is_event_of("/other"));
            let read = reader().read(0, &Parts::of(&fields)).unwrap().unwrap();
            assert!(matches!(Body::from(read.body), Body::Broadcast(_)));
        }
    }

    #[test]
    fn one_more_event_is_written_as_the_broadcast_that_it_is() {
        for (volatile, attachments) in [(false, &[][..]), (true, &[]), (false, &[&[7u8][..]])] {
            let body = event(volatile, None, attachments);
            let message = Message {
                namespace: "/".to_owned(),
                sender: "me".to_owned(),
                recipient: None,
                body: body.clone(),
            };
            let batch = Batch::from(vec![message.clone(), message]);
            let again = batch.iter().nth(1).unwrap();
            assert!(matches!(again.body, Body::Again(_)));
            for only_plaintext in [false, true] {
                let whole = write(&body, only_plaintext).unwrap();
                assert_eq!(super::write(again, only_plaintext).unwrap(), whole);
            }
        }
    }

    #[test]
    fn only_plain_events_become_plain_text() {
        let data = |body: &Body| write(body, true).unwrap().data.unwrap();
        let plain = String::from_utf8(data(&event(false, None, &[&[7]]))).unwrap();
        assert!(
            plain.contains(r#"["x",{"type":"Buffer","data":[7]}]"#),
            "{plain}"
        );
        // Node sends these over Pub/Sub, where the option has no effect.
        let asked = data(&event(false, Some("q"), &[&[7]]));
        assert_eq!(asked, data_of_binary_request());
    }

    fn data_of_binary_request() -> Vec<u8> {
        let body = event(false, Some("q"), &[&[7]]);
        write(&body, false).unwrap().data.unwrap()
    }

    #[test]
    fn a_kind_is_read_as_javascript_reads_a_number() {
        for (text, expected) in [
            ("3", Some(3)),
            ("03", Some(3)),
            (" \t3abc", Some(3)),
            ("+3", Some(3)),
            ("-3", None),
            ("", None),
            ("x3", None),
            ("99999999999", None),
        ] {
            assert_eq!(parse_int(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn an_id_is_two_numbers_in_their_shortest_form() {
        for id in [
            "0-0",
            "1795253785245-0",
            "18446744073709551615-18446744073709551615",
        ] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "+1-0",
            "1-0-0",
            "01-0",
            "1-x",
            "18446744073709551616-0",
        ] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn ones_own_entries_and_those_of_other_namespaces_are_not_decoded() {
        let garbage = || Written {
            kind: Cow::Borrowed("3"),
            data: Some(b"{".to_vec()),
        };
        let is_read = |uid: &str, nsp: &str| {
            let fields = fields(uid, nsp, garbage(), None);
            let read = reader().read(0, &Parts::of(&fields));
            read.map(|message| message.is_some())
        };
        assert_eq!(is_read("me", "/"), Ok(false));
        assert_eq!(is_read("you", "/other"), Ok(false));
        assert!(is_read("you", "/").is_err());
        let mut left = reader();
        left.leave("/");
        assert!(
            left.read(0, &Parts::of(&fields("you", "/", garbage(), None)))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn an_entry_that_is_there_twice_is_read_once() {
        let mut reader = reader();
        let mut read = |uid, stream, number| {
            let written = write(&event(false, None, &[]), false).unwrap();
            let mark = Mark {
                node: "another-1",
                number,
            };
            let fields = fields(uid, "/", written, Some(mark));
            reader.read(stream, &Parts::of(&fields)).unwrap().is_some()
        };
        assert!(read("you", 0, 1));
        assert!(read("you", 0, 2));
        assert!(!read("you", 0, 1));
        assert!(!read("you", 0, 2));
        assert!(read("you", 1, 2), "another stream");
        assert!(!read("me", 0, 3));
        assert!(read("you", 0, 3), "one's own did not count");
    }

    #[test]
    fn a_sender_of_any_length_does_no_harm() {
        let written = || write(&event(false, None, &[]), false).unwrap();
        let long = "x".repeat(MAX_NODE_ID_BYTES + 1);
        let sender = |uid: &str| {
            let fields = fields(uid, "/", written(), None);
            let read = reader().read(0, &Parts::of(&fields));
            read.map(|message| message.unwrap().sender.into_owned())
        };
        assert!(matches!(sender(&long), Err(WireError::LongNodeId)));
        assert_eq!(sender("").unwrap(), "");
    }

    #[test]
    fn a_question_about_rooms_has_no_form() {
        let body = Body::FetchRooms(Query {
            request: "q".into(),
            target: target(false),
        });
        assert!(matches!(write(&body, false), Err(Rejected::NoSuchForm(_))));
    }

    #[test]
    fn options_that_are_known_do_not_bring_what_stood_beside_them() {
        let mut reader = reader();
        let mut read = |body: &Body| {
            let fields = fields("you", "/", write(body, false).unwrap(), None);
            let message = reader.read(0, &Parts::of(&fields)).unwrap().unwrap();
            Body::from(message.body)
        };
        for _ in 0..2 {
            for body in [
                event(false, None, &[]),
                event(true, None, &[]),
                event(false, Some("q"), &[]),
                event(false, None, &[&[1]]),
            ] {
                assert_eq!(format!("{:?}", read(&body)), format!("{body:?}"));
            }
        }
    }
}
