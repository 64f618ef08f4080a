//! What a visitor may send: types that check themselves while they are read, so that a handler
//! never sees a value outside its limits. Who may do what is the handlers' business.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Characters of a visitor's name.
const MAX_NAME_CHARS: usize = 32;
/// Characters of a room's name.
const MAX_ROOM_CHARS: usize = 24;
/// Characters of one message.
const MAX_TEXT_CHARS: usize = 2_000;
/// Bytes of one picture; the page makes larger ones smaller before it sends them.
pub(crate) const MAX_PICTURE_BYTES: usize = 512 * 1024;

/// Why an input is not accepted, in words for the visitor.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("a name has 1 to {MAX_NAME_CHARS} characters")]
    Name,
    #[error("a room's name has 1 to {MAX_ROOM_CHARS} characters: a to z, 0 to 9 and -")]
    Room,
    #[error("a message has 1 to {MAX_TEXT_CHARS} characters")]
    Text,
    #[error("a picture is a PNG, JPEG, GIF or WebP of at most {} KiB", MAX_PICTURE_BYTES / 1024)]
    Picture,
}

/// What a visitor wants to be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(String);

impl Name {
    /// The name of a visitor who did not give a good one.
    pub(crate) fn guest() -> Self {
        Self("Guest".to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        let name = name.trim();
        let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
        if fits && !name.contains(char::is_control) {
            Ok(Self(name.to_owned()))
        } else {
            Err(Invalid::Name)
        }
    }
}

/// The name of a chat room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct RoomName(String);

impl RoomName {
    /// Sets the rooms that visitors name apart from all others, for instance a socket's own id.
    const PREFIX: &str = "chat:";

    /// The room that everybody starts in.
    pub(crate) fn lobby() -> Self {
        Self("lobby".to_owned())
    }

    /// The Socket.IO room of this chat room.
    pub(crate) fn to_room(&self) -> String {
        format!("{}{}", Self::PREFIX, self.0)
    }

    /// The chat room of a Socket.IO room, if it is one.
    pub(crate) fn from_room(room: &str) -> Option<Self> {
        room.strip_prefix(Self::PREFIX)
            .map(|name| Self(name.to_owned()))
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RoomName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        let fits = (1..=MAX_ROOM_CHARS).contains(&name.len());
        let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
        if fits && name.chars().all(plain) {
            Ok(Self(name))
        } else {
            Err(Invalid::Room)
        }
    }
}

/// What a visitor says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Text(String);

impl TryFrom<String> for Text {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let fits = text.chars().count() <= MAX_TEXT_CHARS;
        if fits && !text.trim().is_empty() {
            Ok(Self(text))
        } else {
            Err(Invalid::Text)
        }
    }
}

/// A picture. Its bytes travel as they are, as a binary attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "AnyPicture")]
pub(crate) struct Picture {
    media_type: String,
    bytes: Bytes,
}

#[derive(Deserialize)]
struct AnyPicture {
    media_type: String,
    bytes: Bytes,
}

impl TryFrom<AnyPicture> for Picture {
    type Error = Invalid;

    fn try_from(AnyPicture { media_type, bytes }: AnyPicture) -> Result<Self, Invalid> {
        // Not SVG: it is a document that can hold scripts.
        let known = ["image/png", "image/jpeg", "image/gif", "image/webp"];
        let fits = (1..=MAX_PICTURE_BYTES).contains(&bytes.len());
        if fits && known.contains(&media_type.as_str()) {
            Ok(Self { media_type, bytes })
        } else {
            Err(Invalid::Picture)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: TryFrom<String, Error = Invalid> + Serialize>(
        input: &str,
        expected: Result<&str, Invalid>,
    ) {
        let read = T::try_from(input.to_owned()).map(|value| serde_json::to_value(value).unwrap());
        assert_eq!(read, expected.map(serde_json::Value::from), "for {input:?}");
    }

    #[test]
    fn a_name_is_trimmed_and_has_a_limit() {
        check::<Name>("  Amber Fox ", Ok("Amber Fox"));
        check::<Name>("   ", Err(Invalid::Name));
        check::<Name>("a\nb", Err(Invalid::Name));
        check::<Name>(&"é".repeat(32), Ok(&"é".repeat(32)));
        check::<Name>(&"é".repeat(33), Err(Invalid::Name));
    }

    #[test]
    fn a_room_has_a_plain_name() {
        check::<RoomName>("rust-2026", Ok("rust-2026"));
        check::<RoomName>("", Err(Invalid::Room));
        check::<RoomName>("Rust", Err(Invalid::Room));
        check::<RoomName>("a b", Err(Invalid::Room));
        check::<RoomName>(&"r".repeat(25), Err(Invalid::Room));
    }

    #[test]
    fn a_text_keeps_its_spaces_but_is_not_only_spaces() {
        check::<Text>("  hello\n", Ok("  hello\n"));
        check::<Text>(" \n ", Err(Invalid::Text));
        check::<Text>(&"x".repeat(MAX_TEXT_CHARS + 1), Err(Invalid::Text));
    }

    #[test]
    fn a_picture_is_of_a_known_kind_and_small_enough() {
        let picture = |media_type: &str, len: usize| {
            let media_type = media_type.to_owned();
            Picture::try_from(AnyPicture {
                media_type,
                bytes: vec![0; len].into(),
            })
        };
        assert!(picture("image/png", MAX_PICTURE_BYTES).is_ok());
        assert_eq!(
            picture("image/png", MAX_PICTURE_BYTES + 1),
            Err(Invalid::Picture)
        );
        assert_eq!(picture("image/png", 0), Err(Invalid::Picture));
        assert_eq!(picture("image/svg+xml", 10), Err(Invalid::Picture));
    }

    #[test]
    fn a_chat_room_is_found_again_in_the_room_it_became() {
        let lobby = RoomName::lobby();
        assert_eq!(RoomName::from_room(&lobby.to_room()), Some(lobby));
        assert_eq!(RoomName::from_room("lobby"), None);
    }
}
