//! Writing a message in either format.

use crate::types::Payload;

use super::{
    error::{Rejected, WireError},
    json,
    limits::{MAX_DEPTH, MAX_MESSAGE_BYTES},
    msgpack,
};

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text. What is binary has no form.
    Json,
    /// Bytes.
    Msgpack,
}

impl Format {
    /// JSON has no form for binary.
    pub fn for_binary(binary: bool) -> Self {
        if binary { Self::Msgpack } else { Self::Json }
    }
}

/// The largest size that every JavaScript number of that size is a whole number exactly.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

/// A message in the making. The caller says how many members and elements follow and closes what
/// it opened.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    format: Format,
}

impl Writer {
    /// An empty message with room for so many bytes.
    pub fn new(format: Format, capacity: usize) -> Self {
        Self {
            out: Vec::with_capacity(capacity),
            format,
        }
    }

    /// An empty message in the memory of another.
    pub fn again(format: Format, mut out: Vec<u8>) -> Self {
        out.clear();
        Self { out, format }
    }

    /// Makes room for so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// # Errors
    /// When the message has become too large.
    pub fn finish(self) -> Result<Vec<u8>, Rejected> {
        match self.out.len() {
            len if len > MAX_MESSAGE_BYTES => Err(Rejected::TooLarge(len)),
            _ => Ok(self.out),
        }
    }

    /// Appends what was written elsewhere, as it is. Only for msgpack, where nothing stands between values.
    pub fn written(&mut self, msgpack: &[u8]) {
        self.out.extend_from_slice(msgpack);
    }

    /// Opens an object with so many members.
    pub fn object(&mut self, members: usize) {
        match self.format {
            Format::Json => self.value().push(b'{'),
            Format::Msgpack => msgpack::write_map_len(&mut self.out, members),
        }
    }

    /// Closes it.
    pub fn end_object(&mut self) {
        if self.format == Format::Json {
            self.out.push(b'}');
        }
    }

    /// Opens an array with so many elements.
    pub fn array(&mut self, elements: usize) {
        match self.format {
            Format::Json => self.value().push(b'['),
            Format::Msgpack => msgpack::write_array_len(&mut self.out, elements),
        }
    }

    /// Closes it.
    pub fn end_array(&mut self) {
        if self.format == Format::Json {
            self.out.push(b']');
        }
    }

    /// A member's key; its value follows.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.text(key);
        if self.format == Format::Json {
            self.out.push(b':');
        }
        self
    }

    /// A string.
    pub fn text(&mut self, text: &str) {
        match self.format {
            Format::Json => json::write_text(self.value(), text),
            Format::Msgpack => msgpack::write_text(&mut self.out, text),
        }
    }

    /// A number, in the shortest form.
    pub fn number(&mut self, number: f64) {
        match self.format {
            Format::Json => json::write_float(self.value(), number),
            Format::Msgpack if number.fract() == 0.0 && (0.0..=MAX_SAFE).contains(&number) => {
                msgpack::write_unsigned(&mut self.out, number as u64);
            }
            Format::Msgpack => msgpack::write_float(&mut self.out, number),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn bool(&mut self, value: bool) -> Result<(), Rejected> {
        self.json(if value { "true" } else { "false" })
    }

    /// JSON text of one value without binary.
    ///
    /// # Errors
    /// As [`Self::json_with`].
    pub fn json(&mut self, json: &str) -> Result<(), Rejected> {
        self.json_with(json, &[])
    }

    /// A payload with its attachments.
    ///
    /// # Errors
    /// As [`Self::json_with`].
    pub fn payload(&mut self, payload: &Payload) -> Result<(), Rejected> {
        self.json_with(&payload.json, payload.parts())
    }

    /// JSON text of one value, with the attachments that its marks name.
    ///
    /// # Errors
    /// When the text cannot be transcoded. As JSON it is passed on as it is.
    pub fn json_with(&mut self, json: &str, attachments: &[Vec<u8>]) -> Result<(), Rejected> {
        match self.format {
            Format::Json => {
                self.value().extend_from_slice(json.as_bytes());
                Ok(())
            }
            Format::Msgpack => {
                let mut reader = json::Reader::new(json);
                msgpack::write_json(&mut self.out, &mut reader, attachments)?;
                Ok(reader.end()?)
            }
        }
    }

    /// The place for the next key or value. In JSON a comma belongs before it unless it is the
    /// first or follows its key; no complete value ends in one of these bytes.
    fn value(&mut self) -> &mut Vec<u8> {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
        &mut self.out
    }
}

/// The first element of a JSON array, and how many follow in which text.
pub struct Split<'a> {
    /// None: the array is empty.
    pub first: Option<&'a str>,
    /// The others.
    pub more: Vec<&'a str>,
}

/// Takes a JSON array apart.
///
/// # Errors
/// When the text is no array.
pub fn split(json: &str) -> Result<Split<'_>, WireError> {
    let mut reader = json::Reader::new(json);
    reader.open(b'[')?;
    let mut split = Split {
        first: None,
        more: Vec::new(),
    };
    while reader.next_element(split.first.is_none())? {
        let element = reader.skip(MAX_DEPTH)?;
        match split.first {
            None => split.first = Some(element),
            Some(_) => split.more.push(element),
        }
    }
    reader.end()?;
    Ok(split)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn message(format: Format) -> Vec<u8> {
        let mut writer = Writer::new(format, 0);
        writer.object(4);
        writer.key("a").text("{[:");
        writer.key("n").array(3);
        writer.number(42.0);
        writer.number(-1.5);
        writer.number(1e300);
        writer.end_array();
        writer.key("e").object(0);
        writer.end_object();
        let payload = Payload {
            json: r#"["x",null]"#.into(),
            attachments: None,
        };
        writer.key("p").payload(&payload).unwrap();
        writer.end_object();
        writer.finish().unwrap()
    }

    #[test]
    fn both_formats_say_the_same() {
        let json = String::from_utf8(message(Format::Json)).unwrap();
        let expected = r#"{"a":"{[:","n":[42,-1.5,1e+300],"e":{},"p":["x",null]}"#;
        assert_eq!(json, expected);
        let mut read = msgpack::Json::default();
        let message = message(Format::Msgpack);
        read.append(&mut msgpack::Reader(&message)).unwrap();
        assert_eq!(read.finish().0, expected);
    }

    #[test]
    fn an_array_comes_apart() {
        let parts = |json| {
            let split = split(json).unwrap();
            (split.first, split.more)
        };
        assert_eq!(parts("[]"), (None, vec![]));
        assert_eq!(parts("[1]"), (Some("1"), vec![]));
        assert_eq!(
            parts(r#"[{"a":[1,2]}, "]" ,3]"#),
            (Some(r#"{"a":[1,2]}"#), vec!["\"]\"", "3"])
        );
        assert!(split("{}").is_err());
        assert!(split("[1").is_err());
    }
}
