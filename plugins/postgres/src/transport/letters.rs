//! A batch of messages as notifications.

use std::collections::HashSet;

use switchboard_plugin::{
    MessageRef,
    postgres::{InlineNotice, Notice},
    wire::Rejected,
};

use crate::wire::letter::{Writer, told_apart};

/// The messages as notices, up to the first that can never be written, and why it cannot. `first` is
/// the number of the first message.
///
/// Of equal notifications in one transaction Postgres delivers one, so they are made to differ.
pub(super) fn write<'m>(
    writer: &Writer,
    messages: impl IntoIterator<Item: Into<MessageRef<'m>>>,
    first: u64,
) -> (Vec<Notice>, Option<String>) {
    let messages: Vec<MessageRef<'m>> = messages.into_iter().map(Into::into).collect();
    let mut notices = Vec::with_capacity(messages.len());
    let mut unwritable = None;
    for (&message, number) in messages.iter().zip(first..) {
        match writer.letter(message, number) {
            Ok(notice) => notices.push(notice),
            Err(why) => {
                unwritable = Some(why.to_string());
                break;
            }
        }
    }
    let mut seen: HashSet<(&str, &str)> = HashSet::with_capacity(notices.len());
    let mut repeated = Vec::new();
    for (index, notice) in notices.iter().enumerate() {
        if let Notice::Inline(InlineNotice { channel, payload }) = notice
            && !seen.insert((channel, payload))
        {
            repeated.push(index);
        }
    }
    for index in repeated {
        let (Some(notice), Some(&message)) = (notices.get_mut(index), messages.get(index)) else {
            continue;
        };
        match differing(writer, message, notice, first + index as u64) {
            Ok(other) => *notice = other,
            Err(why) => {
                notices.truncate(index);
                return (notices, Some(why.to_string()));
            }
        }
    }
    (notices, unwritable)
}

/// Another notification of the same message.
fn differing(
    writer: &Writer,
    message: MessageRef<'_>,
    notice: &Notice,
    number: u64,
) -> Result<Notice, Rejected> {
    let apart = match notice {
        Notice::Inline(notice) => told_apart(notice, number),
        Notice::Stored(_) => None,
    };
    // The id of a row makes any two differ.
    apart.map_or_else(
        || writer.stored(message, number),
        |one| Ok(Notice::Inline(one)),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::types::{Body, Broadcast, Message, Payload, Target};

    use super::*;

    fn event(json: &str) -> Message {
        Message {
            namespace: "/".to_owned(),
            sender: "me".to_owned(),
            recipient: None,
            body: Body::Broadcast(Broadcast {
                target: Target {
                    rooms: Vec::new(),
                    except: None,
                    volatile: false,
                    other_flags: None,
                },
                data: Payload {
                    json: json.to_owned(),
                    attachments: None,
                },
                packet_id: None,
                request: None,
            }),
        }
    }

    fn shown(notices: &[Notice]) -> Vec<String> {
        let text = |notice: &Notice| match notice {
            Notice::Inline(notice) => format!("{} {}", notice.channel, notice.payload),
            Notice::Stored(notice) => format!("{} row", notice.channel),
        };
        notices.iter().map(text).collect()
    }

    #[test]
    fn equal_messages_of_a_batch_all_differ() {
        let writer = Writer::new("io", 8000, false);
        let messages = [
            event("[1]"),
            event("[2]"),
            event("[1]"),
            event("[1]"),
            event("[2]"),
        ];
        let (notices, unwritable) = write(&writer, &messages, 100);
        let texts = shown(&notices);
        let distinct: HashSet<_> = texts.iter().collect();
        assert_eq!((distinct.len(), unwritable), (5, None), "{texts:?}");
        assert!(texts[2].contains("\"n\":\"102\""), "{texts:?}");
        assert!(!texts[0].contains("\"n\""), "the usual ones are as Node's");
    }

    #[test]
    fn equal_messages_without_room_for_a_difference_are_rows() {
        let writer = Writer::new("io", 8000, false);
        let frame = shown(&write(&writer, &[event("[\"\"]")], 0).0)[0].len() - "io#/ ".len();
        let large = event(&format!("[\"{}\"]", "x".repeat(7999 - frame)));
        let (notices, _) = write(&writer, &[large.clone(), large], 0);
        let is_inline = |notice: &Notice| matches!(notice, Notice::Inline(_));
        assert!(is_inline(&notices[0]));
        assert!(!is_inline(&notices[1]));
    }

    #[test]
    fn a_message_that_cannot_be_written_ends_the_batch_before_it() {
        let writer = Writer::new("io", 8000, false);
        let mut broken = event("[1");
        if let Body::Broadcast(broadcast) = &mut broken.body {
            broadcast.data.attachments = Some(vec![vec![1]]);
        }
        let (notices, unwritable) = write(&writer, &[event("[1]"), broken, event("[2]")], 0);
        assert_eq!(notices.len(), 1, "the second can never go, the third waits");
        assert!(unwritable.unwrap().contains("cannot be encoded"));
    }
}
