//! Messages as notifications: as they are, or as a header that names a row of the table (wire
//! reference 2.3 to 2.5).

use switchboard_plugin::{
    MessageRef,
    postgres::{InlineNotice, Notice, StoredNotice},
    types::Body,
    wire::{Format, Rejected, envelope, is_answer, json},
};

use super::{member, names};

/// Longest payload of a notification, in bytes. Node's adapter takes one byte more for possible, and
/// loses messages of 8000 bytes.
pub const MAX_PAYLOAD_BYTES: usize = 7999;

/// Writes messages.
#[derive(Debug, Clone)]
pub struct Writer {
    prefix: String,
    /// What is longer goes into the table.
    threshold: usize,
    keeps: bool,
}

impl Writer {
    /// `prefix` begins the names of channels. What is over `threshold` bytes goes into the table; if
    /// this server `keeps` what it sends, all but heartbeats.
    pub fn new(prefix: &str, threshold: usize, keeps: bool) -> Self {
        Self {
            prefix: prefix.to_owned(),
            threshold: threshold.min(MAX_PAYLOAD_BYTES),
            keeps,
        }
    }

    /// One message as a notification. `number` is its number among all that this server has handed
    /// out.
    ///
    /// # Errors
    /// When it can never go.
    pub fn letter<'m>(
        &self,
        message: impl Into<MessageRef<'m>>,
        number: u64,
    ) -> Result<Notice, Rejected> {
        let message = message.into();
        if self.keeps && is_kept(message.body) {
            return self.stored(message, number);
        }
        // Much of what is large or binary need not be written as JSON to be known as such.
        let is_large = envelope::payload_bytes(message.body) > self.threshold;
        if is_large || envelope::is_binary(message.body) {
            return self.stored(message, number);
        }
        let text = self.write(message, Format::Json, None)?;
        if text.len() > self.threshold {
            return self.stored(message, number);
        }
        match String::from_utf8(text) {
            Ok(payload) => Ok(Notice::Inline(InlineNotice {
                channel: names::channel(&self.prefix, message.namespace),
                payload,
            })),
            Err(_) => self.stored(message, number),
        }
    }

    /// The message in a row, whatever its size.
    ///
    /// # Errors
    /// When it can never go.
    pub fn stored<'m>(
        &self,
        message: impl Into<MessageRef<'m>>,
        number: u64,
    ) -> Result<Notice, Rejected> {
        let message = message.into();
        let number = self.keeps.then(|| number.to_string());
        let body = self.write(message, Format::Msgpack, number.as_deref())?;
        let (before, after) = self.header(message)?;
        Ok(Notice::Stored(StoredNotice {
            channel: names::channel(&self.prefix, message.namespace),
            before,
            after,
            body,
        }))
    }

    fn write(
        &self,
        message: MessageRef<'_>,
        format: Format,
        number: Option<&str>,
    ) -> Result<Vec<u8>, Rejected> {
        let mut more = vec![(member::SOURCE, member::SOURCE_VALUE)];
        if is_answer(message.body) {
            let recipient = message.recipient;
            more.extend(recipient.map(|node| (member::RECIPIENT, node)));
        }
        more.extend(number.map(|number| (member::NUMBER, number)));
        if self.keeps {
            more.push((member::KEPT, member::KEPT_VALUE));
        }
        envelope::write_with(message, format, &more)
    }

    /// What stands before and after the row's id. Node's header has no namespace; with it the sender
    /// knows its own without fetching them, Node's servers among them.
    fn header(&self, message: MessageRef<'_>) -> Result<(String, String), Rejected> {
        let kind = envelope::kind_number(message.body)?;
        let mut text = b"{\"uid\":".to_vec();
        json::write_text(&mut text, message.sender);
        text.extend_from_slice(format!(",\"type\":{kind},\"nsp\":").as_bytes());
        json::write_text(&mut text, message.namespace);
        if self.keeps {
            let (key, value) = (member::KEPT, member::KEPT_VALUE);
            text.extend_from_slice(format!(",\"{key}\":\"{value}\"").as_bytes());
        }
        text.extend_from_slice(format!(",\"{}\":\"", member::ATTACHMENT).as_bytes());
        let before = String::from_utf8_lossy(&text).into_owned();
        Ok((before, "\"}".to_owned()))
    }
}

/// Whether a server that keeps what it sends keeps this message. Heartbeats are of the moment.
pub fn is_kept(body: &Body) -> bool {
    !matches!(body, Body::InitialHeartbeat | Body::Heartbeat)
}

/// Makes a notification differ from all others of a transaction, of which Postgres would deliver one
/// only. None: it would be too long.
///
/// `number` is the message's own, so no two get the same.
pub fn told_apart(notice: &InlineNotice, number: u64) -> Option<InlineNotice> {
    let rest = notice.payload.strip_prefix('{')?;
    let payload = format!("{{\"{}\":\"{number}\",{rest}", member::NUMBER);
    (payload.len() <= MAX_PAYLOAD_BYTES).then(|| InlineNotice {
        channel: notice.channel.clone(),
        payload,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::types::{Broadcast, CountAnswer, Message, Payload, Target};

    use super::*;

    fn message(body: Body) -> Message {
        Message {
            namespace: "/".to_owned(),
            sender: "me".to_owned(),
            recipient: Some("you".to_owned()),
            body,
        }
    }

    fn event(json: String, attachments: Vec<Vec<u8>>) -> Message {
        message(Body::Broadcast(Broadcast {
            target: Target {
                rooms: Vec::new(),
                except: None,
                volatile: false,
                other_flags: None,
            },
            data: Payload::new(json, attachments),
            packet_id: None,
            request: None,
        }))
    }

    fn writer(threshold: usize, keeps: bool) -> Writer {
        Writer::new("socket.io", threshold, keeps)
    }

    fn inline(notice: Notice) -> Option<String> {
        match notice {
            Notice::Inline(notice) => Some(notice.payload),
            Notice::Stored(_) => None,
        }
    }

    /// An event whose notification would have so many bytes.
    fn of_bytes(bytes: usize) -> Message {
        let with = |n: usize| event(format!("[\"{}\"]", "x".repeat(n)), Vec::new());
        let empty = writer(8000, false).letter(&with(0), 0).unwrap();
        with(bytes - inline(empty).unwrap().len())
    }

    #[test]
    fn small_text_is_a_notification_as_node_has_it_but_for_members_that_it_passes_over() {
        let notice = writer(8000, false).letter(&event("[1]".to_owned(), vec![]), 7);
        assert_eq!(
            inline(notice.unwrap()).unwrap(),
            "{\"type\":3,\"data\":{\"packet\":{\"type\":2,\"data\":[1]},\"opts\":{\"rooms\":[],\
             \"except\":[],\"flags\":{}}},\"source\":\"_sio_adapter\",\"uid\":\"me\",\"nsp\":\"/\"}"
        );
    }

    #[test]
    fn a_payload_of_exactly_8000_bytes_goes_through_the_table() {
        for (bytes, threshold, is_inline) in [
            (7998, 8000, true),
            (7999, 8000, true),
            (8000, 8000, false),
            (8001, 8000, false),
            (500, 500, true),
            (501, 500, false),
            (200, 0, false),
        ] {
            let notice = writer(threshold, false).letter(&of_bytes(bytes), 0);
            let text = inline(notice.unwrap());
            assert_eq!(text.is_some(), is_inline, "{bytes} of {threshold}");
            assert!(text.is_none_or(|text| text.len() == bytes));
        }
    }

    #[test]
    fn binary_goes_through_the_table_with_nodes_header() {
        let binary = event(
            "[{\"_placeholder\":true,\"num\":0}]".to_owned(),
            vec![vec![7]],
        );
        let Notice::Stored(stored) = writer(8000, false).letter(&binary, 0).unwrap() else {
            panic!("it is a row");
        };
        assert_eq!(stored.channel, "socket.io#/");
        let header = format!("{}20{}", stored.before, stored.after);
        assert_eq!(
            header,
            "{\"uid\":\"me\",\"type\":3,\"nsp\":\"/\",\"attachmentId\":\"20\"}"
        );
        assert_eq!(stored.body.first(), Some(&0x85), "a msgpack map");
    }

    #[test]
    fn a_server_that_keeps_what_it_sends_writes_all_but_heartbeats_into_the_table() {
        let keeps = writer(8000, true);
        let small = keeps.letter(&event("[1]".to_owned(), vec![]), 5).unwrap();
        let Notice::Stored(stored) = small else {
            panic!("it is a row");
        };
        assert!(stored.before.contains(",\"kept\":\"1\","));
        let farewell = keeps.letter(&message(Body::AdapterClose), 6).unwrap();
        assert!(inline(farewell).is_none());
        let beat = inline(keeps.letter(&message(Body::Heartbeat), 7).unwrap()).unwrap();
        assert!(beat.contains("\"kept\":\"1\""), "{beat}");
    }

    #[test]
    fn an_answer_says_whom_it_is_for() {
        let body = Body::ClientCount(CountAnswer {
            request: "q".to_owned(),
            clients: 1,
        });
        let text = inline(writer(8000, false).letter(&message(body), 0).unwrap()).unwrap();
        assert!(text.contains("\"requesterUid\":\"you\""), "{text}");
        let text = writer(8000, false).letter(&event("[1]".to_owned(), vec![]), 0);
        assert!(!inline(text.unwrap()).unwrap().contains("requesterUid"));
    }

    #[test]
    fn equal_notifications_can_be_told_apart_as_long_as_there_is_room() {
        let notice = |bytes: usize| match writer(8000, false).letter(&of_bytes(bytes), 0) {
            Ok(Notice::Inline(notice)) => notice,
            other => panic!("{other:?}"),
        };
        let one = told_apart(&notice(500), 17).unwrap().payload;
        assert!(one.starts_with("{\"n\":\"17\",\"type\":3,"), "{one}");
        assert_ne!(one, told_apart(&notice(500), 18).unwrap().payload);
        assert_eq!(told_apart(&notice(7989), 17).unwrap().payload.len(), 7998);
        assert!(told_apart(&notice(7999), 17).is_none());
    }
}
