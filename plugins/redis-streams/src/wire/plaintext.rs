//! Binary parts as `JSON.stringify` writes a Buffer: what Node's option `onlyPlaintext` makes of
//! them.

use switchboard_plugin::{
    MessageRef,
    types::{Body, Broadcast, Payload},
    wire::{
        MAX_DEPTH, MAX_MESSAGE_BYTES, Rejected,
        json::{self, Number, Reader},
    },
};

/// Writes the binary parts of a message out, if it is one that Node sends as an entry. What Node
/// sends over Pub/Sub stays binary there, too.
///
/// # Errors
/// When its data is not JSON, becomes too large, or refers to a part that is not there.
pub(super) fn flatten(message: MessageRef<'_>) -> Result<Option<Body>, Rejected> {
    match message.broadcast() {
        Some(broadcast) if broadcast.request.is_none() && !broadcast.data.parts().is_empty() => {
            Ok(Some(Body::Broadcast(Broadcast {
                target: broadcast.target.clone(),
                data: inline(broadcast.data)?,
                packet_id: broadcast.packet_id.map(str::to_owned),
                request: None,
            })))
        }
        _ => Ok(None),
    }
}

/// A payload without attachments: each mark becomes `{"type":"Buffer","data":[…]}`.
fn inline(payload: &Payload) -> Result<Payload, Rejected> {
    let mut writer = Writer {
        out: Vec::with_capacity(payload.json.len()),
        attachments: payload.parts(),
        bytes_left: payload.parts().iter().map(Vec::len).sum(),
    };
    let mut reader = Reader::new(&payload.json);
    writer.value(&mut reader, MAX_DEPTH)?;
    reader.end()?;
    Ok(Payload {
        // Put together from parts of texts.
        json: String::from_utf8_lossy(&writer.out).into_owned(),
        attachments: None,
    })
}

struct Writer<'a> {
    out: Vec<u8>,
    attachments: &'a [Vec<u8>],
    /// What marks may still use, so that repeated ones cannot blow a message up.
    bytes_left: usize,
}

/// What a value turned out to be, as far as it matters to the object around it.
#[derive(PartialEq)]
enum Seen {
    True,
    Whole(u64),
    Other,
}

impl Writer<'_> {
    fn value(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<Seen, Rejected> {
        let mut seen = Seen::Other;
        match reader.peek()? {
            b'[' => self.elements(reader, json::deeper(depth)?)?,
            b'{' => self.members(reader, json::deeper(depth)?)?,
            first => {
                let mut ahead = *reader;
                let text = reader.skip(depth)?;
                self.out.extend_from_slice(text.as_bytes());
                if text == "true" {
                    seen = Seen::True;
                } else if first.is_ascii_digit()
                    && let Number::Unsigned(number) = ahead.number()?
                {
                    seen = Seen::Whole(number);
                }
            }
        }
        Ok(seen)
    }

    fn elements(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), Rejected> {
        reader.open(b'[')?;
        self.out.push(b'[');
        let mut is_first = true;
        while reader.next_element(is_first)? {
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            self.value(reader, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn members(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), Rejected> {
        reader.open(b'{')?;
        let start = self.out.len();
        self.out.push(b'{');
        let (mut is_first, mut is_mark, mut num) = (true, false, None);
        while let Some(key) = reader.next_key(is_first)? {
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            json::write_text(&mut self.out, &key);
            self.out.push(b':');
            match (&*key, self.value(reader, depth)?) {
                ("_placeholder", seen) => is_mark = seen == Seen::True,
                ("num", Seen::Whole(value)) => num = Some(value),
                ("num", _) => num = None,
                _ => {}
            }
        }
        if is_mark {
            self.out.truncate(start);
            return self.buffer(num);
        }
        self.out.push(b'}');
        Ok(())
    }

    fn buffer(&mut self, num: Option<u64>) -> Result<(), Rejected> {
        let bytes = num
            .and_then(|num| self.attachments.get(usize::try_from(num).ok()?))
            .ok_or(Rejected::NoSuchAttachment)?;
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes.len())
            .ok_or(Rejected::NoSuchAttachment)?;
        let most = self.out.len() + 4 * bytes.len();
        if most > MAX_MESSAGE_BYTES {
            return Err(Rejected::TooLarge(most));
        }
        self.out.extend_from_slice(br#"{"type":"Buffer","data":["#);
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            json::write_float(&mut self.out, f64::from(*byte));
        }
        self.out.extend_from_slice(b"]}");
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn flat(json: &str, attachments: &[&[u8]]) -> Result<String, Rejected> {
        let parts = attachments.iter().map(|part| part.to_vec()).collect();
        let payload = Payload::new(json, parts);
        inline(&payload).map(|payload| payload.json)
    }

    #[test]
    fn a_binary_part_becomes_what_javascript_makes_of_a_buffer() {
        let json =
            r#"["x",{"_placeholder":true,"num":1},{"a":{"num":0,"_placeholder":true}}, -1.5]"#;
        assert_eq!(
            flat(json, &[&[0, 255], &[]]).unwrap(),
            r#"["x",{"type":"Buffer","data":[]},{"a":{"type":"Buffer","data":[0,255]}},-1.5]"#
        );
    }

    #[test]
    fn all_else_stays() {
        let json = r#"["é\n\"",{"_placeholder":false,"num":0,"k\u0000":[]},{},true,null,12,1e3]"#;
        assert_eq!(
            flat(json, &[&[1]]).unwrap(),
            r#"["é\n\"",{"_placeholder":false,"num":0,"k\u0000":[]},{},true,null,12,1e3]"#
        );
    }

    #[test]
    fn a_part_that_is_missing_or_used_up_is_refused() {
        let mark = r#"{"_placeholder":true,"num":0}"#;
        for (json, parts) in [
            (r#"[{"_placeholder":true,"num":1}]"#.to_owned(), 1),
            (r#"[{"_placeholder":true}]"#.to_owned(), 1),
            (r#"[{"_placeholder":true,"num":-1}]"#.to_owned(), 1),
            (format!("[{mark},{mark}]"), 1),
        ] {
            let parts = vec![&[1u8, 2][..]; parts];
            assert_eq!(
                flat(&json, &parts),
                Err(Rejected::NoSuchAttachment),
                "{json}"
            );
        }
        assert!(flat("[1", &[&[1]]).is_err());
        assert!(flat("[1]2", &[&[1]]).is_err());
        assert!(flat(&"[".repeat(1 << 20), &[&[1]]).is_err());
    }
}
