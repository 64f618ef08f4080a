//! Notifications and rows as messages.

use std::collections::{HashMap, HashSet};

use switchboard_plugin::{
    types::{Body, Message},
    wire::{
        Cursor, Kind, WireError,
        envelope::{self, Envelope},
        json, unexpected,
    },
};

use super::{member, names};

/// Reads what arrives on the channels of the namespaces that were entered.
#[derive(Debug, Clone)]
pub struct Inbox {
    prefix: String,
    node: String,
    namespaces: HashSet<String>,
    channels: HashMap<String, Place>,
}

/// A channel. Long namespaces may share one.
#[derive(Debug, Clone, Default)]
struct Place {
    namespaces: Vec<String>,
    /// How this node's own notifications end, in each of them.
    own_tails: Vec<Vec<u8>>,
}

/// What a notification is.
#[derive(Debug)]
// Most are messages.
#[allow(clippy::large_enum_variant)]
pub enum Arrival {
    /// Nothing is to be done: it is this node's own, for another namespace, for another node, or of
    /// an unknown kind.
    Nothing,
    /// A message.
    Message {
        /// The message.
        message: Message,
        /// It is of a server that keeps in the table what must not be missed.
        is_keeper: bool,
    },
    /// The message is a row.
    Attachment(Attachment),
}

/// A header: where the message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The id of the row.
    pub id: i64,
    /// The message may be for this node.
    pub is_wanted: bool,
    /// The sender's rows become visible in the order of their ids.
    pub is_kept: bool,
    /// What is meant where the row names no namespace.
    pub namespace: String,
}

/// A row as a message.
#[derive(Debug)]
pub struct Row {
    /// None: there is nothing to do, as with [`Arrival::Nothing`].
    pub message: Option<Message>,
    /// The sender's rows become visible in the order of their ids.
    pub is_kept: bool,
}

/// What a server wrote beside a message that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The sender.
    pub node: String,
    /// The message's number.
    pub number: u64,
}

impl Inbox {
    /// `prefix` begins the names of channels; `node` is this server's id.
    pub fn new(prefix: &str, node: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            node: node.to_owned(),
            namespaces: HashSet::new(),
            channels: HashMap::new(),
        }
    }

    /// From now on, messages of this namespace are read. Returns the channel to listen on; entering
    /// twice is harmless.
    pub fn enter(&mut self, namespace: &str) -> String {
        let channel = names::channel(&self.prefix, namespace);
        if self.namespaces.insert(namespace.to_owned()) {
            let place = self.channels.entry(channel.clone()).or_default();
            place.namespaces.push(namespace.to_owned());
            let [text, _] = envelope::tail(&self.node, namespace);
            place.own_tails.push(text);
        }
        channel
    }

    /// The opposite of [`Self::enter`]. Returns the channel, unless another namespace needs it.
    pub fn leave(&mut self, namespace: &str) -> Option<String> {
        if !self.namespaces.remove(namespace) {
            return None;
        }
        let channel = names::channel(&self.prefix, namespace);
        let place = self.channels.get_mut(&channel)?;
        if let Some(at) = place.namespaces.iter().position(|name| name == namespace) {
            place.namespaces.remove(at);
            place.own_tails.remove(at);
        }
        place.namespaces.is_empty().then(|| {
            self.channels.remove(&channel);
            channel
        })
    }

    /// The channels of all namespaces that were entered.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.keys().map(String::as_str)
    }

    /// Reads a notification.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn notification(&self, channel: &str, payload: &str) -> Result<Arrival, WireError> {
        let Some(place) = self.channels.get(channel) else {
            return Ok(Arrival::Nothing);
        };
        let mut tails = place.own_tails.iter();
        if tails.any(|tail| payload.as_bytes().ends_with(tail)) {
            return Ok(Arrival::Nothing);
        }
        let (mut id, mut is_kept) = (None, false);
        let mut cursor = Cursor::Json(json::Reader::new(payload));
        let envelope = Envelope::open(&mut cursor, |key, cursor| {
            match key {
                member::ATTACHMENT => id = attachment_id(cursor)?,
                member::KEPT => is_kept = true,
                _ => {}
            }
            Ok(())
        })?;
        cursor.end()?;
        // An emitter for Postgres names no namespace.
        let channels = place.namespaces.first().map_or("", String::as_str);
        let is_wanted = self.wants(&envelope, channels);
        if let Some(id) = id {
            return Ok(Arrival::Attachment(Attachment {
                id,
                is_wanted,
                is_kept,
                namespace: channels.to_owned(),
            }));
        }
        if !is_wanted {
            return Ok(Arrival::Nothing);
        }
        Ok(match envelope.message(channels)? {
            Some(message) => Arrival::Message {
                message,
                is_keeper: is_kept,
            },
            None => Arrival::Nothing,
        })
    }

    /// Reads a row. `namespace` is meant where it names none.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn row(&self, payload: &[u8], namespace: &str) -> Result<Row, WireError> {
        let mut is_kept = false;
        let mut cursor = Cursor::of_msgpack(payload)?;
        let envelope = Envelope::open(&mut cursor, |key, _| {
            is_kept |= key == member::KEPT;
            Ok(())
        })?;
        cursor.end()?;
        let message = match self.wants(&envelope, namespace) {
            true => envelope.message(namespace)?,
            false => None,
        };
        Ok(Row { message, is_kept })
    }

    fn wants(&self, envelope: &Envelope<'_>, channels: &str) -> bool {
        let namespace = envelope.namespace.as_deref().unwrap_or(channels);
        let recipient = envelope.recipient.as_ref();
        envelope.sender != self.node
            && recipient.is_none_or(|recipient| *recipient == self.node)
            && self.namespaces.contains(namespace)
    }
}

/// The mark of a row, if it has one.
///
/// # Errors
/// When the row is malformed.
pub fn mark(payload: &[u8]) -> Result<Option<Mark>, WireError> {
    let mut number = None;
    let mut cursor = Cursor::of_msgpack(payload)?;
    let envelope = Envelope::open(&mut cursor, |key, cursor| {
        if key == member::NUMBER && cursor.kind()? == Kind::Text {
            number = cursor.text(member::NUMBER)?.parse().ok();
        }
        Ok(())
    })?;
    cursor.end()?;
    Ok(number.map(|number| Mark {
        node: envelope.sender,
        number,
    }))
}

/// An event of this namespace that is kept, from a row that a session may have missed.
///
/// # Errors
/// When the row is malformed.
pub fn kept_event(
    payload: &[u8],
    namespace: &str,
) -> Result<Option<switchboard_plugin::types::Broadcast>, WireError> {
    let mut is_kept = false;
    let mut cursor = Cursor::of_msgpack(payload)?;
    let envelope = Envelope::open(&mut cursor, |key, _| {
        is_kept |= key == member::KEPT;
        Ok(())
    })?;
    cursor.end()?;
    if !is_kept || envelope.namespace.as_deref() != Some(namespace) {
        return Ok(None);
    }
    Ok(
        match envelope.message(namespace)?.map(|message| message.body) {
            Some(Body::Broadcast(event)) => Some(event),
            _ => None,
        },
    )
}

/// The id in a header, as text or number. None for what counts as absent in Node.
fn attachment_id(cursor: &mut Cursor<'_>) -> Result<Option<i64>, WireError> {
    const EXPECTED: &str = "a row's id";
    let wrong = || unexpected(member::ATTACHMENT, EXPECTED);
    match cursor.kind()? {
        Kind::Text => {
            let text = cursor.text(member::ATTACHMENT)?;
            match text.is_empty() {
                true => Ok(None),
                false => text.parse().map(Some).map_err(|_| wrong()),
            }
        }
        Kind::Number => {
            let number = cursor.number(member::ATTACHMENT)?;
            let id = number as i64;
            match id as f64 == number {
                true => Ok((id != 0).then_some(id)),
                false => Err(wrong()),
            }
        }
        Kind::Null => Ok(None),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn inbox() -> Inbox {
        let mut inbox = Inbox::new("io", "me");
        inbox.enter("/");
        inbox.enter("/chat");
        inbox
    }

    fn read(channel: &str, payload: &str) -> Arrival {
        inbox().notification(channel, payload).unwrap()
    }

    fn header(payload: &str) -> Attachment {
        match read("io#/", payload) {
            Arrival::Attachment(attachment) => attachment,
            other => panic!("{other:?}"),
        }
    }

    fn sender(arrival: Arrival) -> Option<(String, String)> {
        match arrival {
            Arrival::Message { message, .. } => Some((message.sender, message.namespace)),
            _ => None,
        }
    }

    #[test]
    fn a_namespace_that_is_not_named_is_that_of_the_channel() {
        let beat = r#"{"type":2,"uid":"emitter"}"#;
        let of = |channel| sender(read(channel, beat)).map(|(_, namespace)| namespace);
        assert_eq!(of("io#/").unwrap(), "/");
        assert_eq!(of("io#/chat").unwrap(), "/chat");
        assert_eq!(of("io#/other"), None);
    }

    #[test]
    fn what_is_not_for_this_node_is_passed_over() {
        for payload in [
            r#"{"type":2,"uid":"me","nsp":"/"}"#,
            r#"{"uid":"me","nsp":"/","type":2}"#,
            // Not even read.
            r#"nonsense,"uid":"me","nsp":"/"}"#,
            r#"{"type":2,"uid":"you","nsp":"/other"}"#,
            r#"{"type":11,"data":{"requestId":"q","clientCount":1},"requesterUid":"another","uid":"you","nsp":"/"}"#,
            r#"{"type":99,"data":{},"uid":"you","nsp":"/"}"#,
        ] {
            assert!(
                matches!(read("io#/", payload), Arrival::Nothing),
                "{payload}"
            );
        }
        let mine = r#"{"type":11,"data":{"requestId":"q","clientCount":1},"requesterUid":"me","uid":"you","nsp":"/"}"#;
        assert!(sender(read("io#/", mine)).is_some());
    }

    #[test]
    fn a_header_names_a_row_as_text_or_number() {
        for (id, expected) in [
            ("\"20\"", 20),
            ("20", 20),
            ("\"9223372036854775807\"", i64::MAX),
        ] {
            let payload = format!("{{\"uid\":\"you\",\"type\":3,\"attachmentId\":{id}}}");
            let attachment = header(&payload);
            assert_eq!((attachment.id, attachment.is_wanted), (expected, true));
            assert_eq!(attachment.namespace, "/");
        }
        for id in ["\"x\"", "1.5", "[1]", "1e300", "true"] {
            let payload = format!("{{\"uid\":\"you\",\"type\":3,\"attachmentId\":{id}}}");
            assert!(inbox().notification("io#/", &payload).is_err(), "{id}");
        }
        // As good as none.
        let payload = r#"{"uid":"you","type":2,"attachmentId":null}"#;
        assert!(sender(read("io#/", payload)).is_some());
    }

    #[test]
    fn ones_own_header_and_one_of_another_namespace_need_no_row() {
        let of = |uid: &str, nsp: &str| {
            let payload = format!(
                "{{\"uid\":\"{uid}\",\"type\":3,\"nsp\":\"{nsp}\",\"attachmentId\":\"7\"}}"
            );
            header(&payload).is_wanted
        };
        assert!(of("you", "/"));
        assert!(!of("me", "/"));
        assert!(!of("you", "/other"));
    }

    #[test]
    fn a_channel_is_left_when_no_namespace_needs_it() {
        let mut inbox = inbox();
        assert_eq!(inbox.leave("/chat").as_deref(), Some("io#/chat"));
        assert_eq!(inbox.leave("/chat"), None);
        assert_eq!(inbox.channels().collect::<Vec<_>>(), ["io#/"]);
        let beat = r#"{"type":2,"uid":"you","nsp":"/chat"}"#;
        let arrival = inbox.notification("io#/", beat).unwrap();
        assert!(matches!(arrival, Arrival::Nothing));
    }
}
