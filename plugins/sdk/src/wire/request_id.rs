//! Request ids between the wire and the host.
//!
//! On the wire an id can be any value (`null` counts as present), and one old
//! kind of request wants its answer in another form. The instance that answers shares no memory
//! with the one that read the request, so both are folded into the id that the host sees and
//! returns. An id of the host's own stays as it is.

use std::borrow::Cow;

use super::{
    cursor::{Cursor, Kind},
    error::{Rejected, WireError},
    json,
    limits::MAX_REQUEST_ID_BYTES,
    writer::Writer,
};

/// Begins a folded id, and ends what is folded in before the id's JSON text.
const FOLD: char = '~';
/// Folded in: the asker wants nothing but the ids of the sockets.
const IDS_ONLY: &str = "ids";
/// Begins the wire's form of an id whose answers, although they describe sockets, are for a
/// question about rooms.
const ROOMS: &str = "~rooms~";

type Result<T> = std::result::Result<T, WireError>;

/// The id of a request that arrived, for the host.
pub fn read_request(cursor: &mut Cursor<'_>, ids_only: bool) -> Result<String> {
    let mut text = None;
    let mut value = *cursor;
    if value.kind()? == Kind::Text {
        text = Some(value.text("requestId")?);
    }
    let json = match cursor.plain_json()? {
        Some(json) => json,
        None => {
            return Err(WireError::Unexpected {
                field: "requestId",
                expected: "text or another plain value",
            });
        }
    };
    if json.len() > MAX_REQUEST_ID_BYTES {
        return Err(WireError::LongRequestId);
    }
    match text {
        Some(text) if !ids_only && !text.starts_with(FOLD) => Ok(text.into_owned()),
        _ => {
            let flag = if ids_only { IDS_ONLY } else { "" };
            Ok(format!("{FOLD}{flag}{FOLD}{json}"))
        }
    }
}

/// The id in an answer that arrived. None: it is no id of ours.
pub fn read_answer<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>> {
    if cursor.kind()? != Kind::Text {
        return Ok(None);
    }
    let id = cursor.text("requestId")?;
    Ok((id.len() <= MAX_REQUEST_ID_BYTES).then_some(id))
}

/// The wire's form of the id of a question about rooms that is asked as one about sockets.
pub fn as_rooms_question(id: &str) -> String {
    format!("{ROOMS}{id}")
}

/// The other way: the host's id, if an answer about sockets is for a question about rooms.
pub fn of_rooms_question(id: &str) -> Option<&str> {
    id.strip_prefix(ROOMS)
}

/// What was folded into an id of the host's.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfolded<'a> {
    /// The asker wants nothing but ids.
    pub ids_only: bool,
    id: Id<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Id<'a> {
    Text(&'a str),
    Json(&'a str),
}

impl<'a> Unfolded<'a> {
    /// Takes apart an id that the host gave back.
    pub fn of(id: &'a str) -> Self {
        let folded = id.strip_prefix(FOLD).and_then(|rest| rest.split_once(FOLD));
        match folded {
            // No other flag: an id of our own questions about rooms may look like one.
            Some((flag @ ("" | IDS_ONLY), json)) if is_json(json) => Self {
                ids_only: flag == IDS_ONLY,
                id: Id::Json(json),
            },
            _ => Self {
                ids_only: false,
                id: Id::Text(id),
            },
        }
    }

    /// Writes the id as it came, or as the host chose it.
    pub fn write(&self, writer: &mut Writer) -> std::result::Result<(), Rejected> {
        match self.id {
            Id::Text(text) => {
                writer.text(text);
                Ok(())
            }
            Id::Json(json) => writer.json(json),
        }
    }
}

fn is_json(text: &str) -> bool {
    let mut reader = json::Reader::new(text);
    reader.skip(super::limits::MAX_DEPTH).is_ok() && reader.end().is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::writer::Format;

    fn cursor(json: &str) -> Cursor<'_> {
        Cursor::Json(json::Reader::new(json))
    }

    #[test]
    fn an_id_comes_back_to_its_asker_as_it_was() {
        for ids_only in [false, true] {
            for json in [
                "\"53956d5bc4a641f7\"",
                "null",
                "7",
                "\"~\"",
                "\"~~null\"",
                "\"\"",
                "{\"a\":[1]}",
            ] {
                let host = read_request(&mut cursor(json), ids_only).unwrap();
                let unfolded = Unfolded::of(&host);
                assert_eq!(unfolded.ids_only, ids_only, "{json}");
                let mut writer = Writer::new(Format::Json, 0);
                unfolded.write(&mut writer).unwrap();
                assert_eq!(writer.finish().unwrap(), json.as_bytes(), "{json}");
            }
        }
    }

    #[test]
    fn an_ordinary_id_is_not_touched() {
        assert_eq!(
            read_request(&mut cursor("\"h5-YXc\""), false).unwrap(),
            "h5-YXc"
        );
        assert_eq!(Unfolded::of("h5-YXc").id, Id::Text("h5-YXc"));
        assert_eq!(Unfolded::of("~~not json").id, Id::Text("~~not json"));
    }

    #[test]
    fn a_question_about_rooms_keeps_its_id_also_when_that_looks_like_a_number() {
        let asked = as_rooms_question("1234567890123456");
        assert_eq!(Unfolded::of(&asked).id, Id::Text(&asked));
        assert_eq!(of_rooms_question(&asked), Some("1234567890123456"));
    }

    #[test]
    fn an_answer_without_a_text_id_is_not_ours() {
        assert_eq!(read_answer(&mut cursor("null")), Ok(None));
        assert_eq!(read_answer(&mut cursor("\"a\"")), Ok(Some("a".into())));
    }

    #[test]
    fn an_overlong_id_is_refused() {
        let long = format!("\"{}\"", "x".repeat(MAX_REQUEST_ID_BYTES));
        assert_eq!(
            read_request(&mut cursor(&long), false),
            Err(WireError::LongRequestId)
        );
    }
}
