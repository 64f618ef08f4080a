//! From JSON text and attachments to msgpack.
//!
//! How long a container is shows only at its end, so its head is one byte first and grows then if
//! it must.

use super::head;
use crate::wire::{
    error::Rejected,
    json::{self, Number, Reader},
    limits::MAX_DEPTH,
};

/// Appends one JSON value as one msgpack value.
///
/// A mark becomes its attachment. Together the marks may use as many bytes as there are
/// attachments, so that repeated marks cannot blow a message up. Without attachments there are no
/// marks, whatever the text looks like.
///
/// # Errors
/// What is not JSON, nests [`MAX_DEPTH`] deep, or names an attachment that is not there.
pub fn write_json(out: &mut Vec<u8>, json: &mut Reader<'_>, attachments: &[Vec<u8>]) -> Result<()> {
    let mut writer = Writer {
        out,
        attachments,
        bytes_left: attachments.iter().map(Vec::len).sum(),
    };
    writer.value(json, MAX_DEPTH).map(drop)
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    attachments: &'a [Vec<u8>],
    /// What marks may still use.
    bytes_left: usize,
}

/// What a value turned out to be, as far as it matters to the object around it.
#[derive(PartialEq)]
enum Seen {
    True,
    Whole(u64),
    Other,
}

type Result<T> = std::result::Result<T, Rejected>;

impl Writer<'_> {
    fn value(&mut self, json: &mut Reader<'_>, depth: usize) -> Result<Seen> {
        match json.peek()? {
            b'"' => head::write_text(self.out, &json.text()?),
            b'[' => self.elements(json, json::deeper(depth)?)?,
            b'{' => self.members(json, json::deeper(depth)?)?,
            b't' => {
                json.literal("true")?;
                head::write_bool(self.out, true);
                return Ok(Seen::True);
            }
            b'f' => {
                json.literal("false")?;
                head::write_bool(self.out, false);
            }
            b'n' => {
                json.literal("null")?;
                head::write_nil(self.out);
            }
            _ => match json.number()? {
                Number::Unsigned(number) => {
                    head::write_unsigned(self.out, number);
                    return Ok(Seen::Whole(number));
                }
                Number::Signed(number) => head::write_negative(self.out, number),
                Number::Float(number) => head::write_float(self.out, number),
            },
        }
        Ok(Seen::Other)
    }

    fn elements(&mut self, json: &mut Reader<'_>, depth: usize) -> Result<()> {
        json.open(b'[')?;
        let start = self.open();
        let mut len = 0;
        while json.next_element(len == 0)? {
            self.value(json, depth)?;
            len += 1;
        }
        self.close(start, len, head::write_array_len);
        Ok(())
    }

    fn members(&mut self, json: &mut Reader<'_>, depth: usize) -> Result<()> {
        json.open(b'{')?;
        let start = self.open();
        let mut len = 0;
        let (mut is_mark, mut num) = (false, None);
        while let Some(key) = json.next_key(len == 0)? {
            head::write_text(self.out, &key);
            let seen = self.value(json, depth)?;
            match (&*key, seen) {
                ("_placeholder", seen) => is_mark = seen == Seen::True,
                ("num", Seen::Whole(value)) => num = Some(value),
                ("num", _) => num = None,
                _ => {}
            }
            len += 1;
        }
        if is_mark && !self.attachments.is_empty() {
            self.out.truncate(start);
            self.attach(num)
        } else {
            self.close(start, len, head::write_map_len);
            Ok(())
        }
    }

    fn attach(&mut self, num: Option<u64>) -> Result<()> {
        let bytes = num
            .and_then(|num| self.attachments.get(usize::try_from(num).ok()?))
            .ok_or(Rejected::NoSuchAttachment)?;
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes.len())
            .ok_or(Rejected::NoSuchAttachment)?;
        head::write_binary(self.out, bytes);
        Ok(())
    }

    /// Starts a container; returns what [`Self::close`] needs.
    fn open(&mut self) -> usize {
        self.out.push(0);
        self.out.len() - 1
    }

    fn close(&mut self, start: usize, len: usize, write_len: fn(&mut Vec<u8>, usize)) {
        let body_end = self.out.len();
        write_len(self.out, len);
        // The head stands behind the body now; most are as long as the byte kept for them.
        if self.out.len() == body_end + 1 {
            self.out.swap_remove(start);
        } else {
            let head = self.out.split_off(body_end);
            self.out.splice(start..=start, head);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::error::WireError;

    fn transcode(json: &str, attachments: &[&[u8]]) -> Result<Vec<u8>> {
        let attachments: Vec<_> = attachments.iter().map(|part| part.to_vec()).collect();
        let mut out = Vec::new();
        let mut reader = Reader::new(json);
        write_json(&mut out, &mut reader, &attachments)?;
        reader.end()?;
        Ok(out)
    }

    #[track_caller]
    fn check(json: &str, msgpack: &[u8]) {
        assert_eq!(transcode(json, &[]).unwrap(), msgpack, "{json}");
    }

    #[test]
    fn scalars_take_the_smallest_form() {
        check("null", &[0xc0]);
        check("true", &[0xc3]);
        check("false", &[0xc2]);
        check("127", &[127]);
        check("128", &[0xcc, 128]);
        check("256", &[0xcd, 1, 0]);
        check("65536", &[0xce, 0, 1, 0, 0]);
        check("4294967296", &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
        check(
            "18446744073709551615",
            &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        check("-1", &[0xff]);
        check("-32", &[0xe0]);
        check("-33", &[0xd0, 0xdf]);
        check("-129", &[0xd1, 0xff, 0x7f]);
        check("-32769", &[0xd2, 0xff, 0xff, 0x7f, 0xff]);
        check(
            "-2147483649",
            &[0xd3, 255, 255, 255, 255, 0x7f, 255, 255, 255],
        );
        check("-9223372036854775808", &[0xd3, 128, 0, 0, 0, 0, 0, 0, 0]);
        check("1.0", &[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
        check(
            "18446744073709551616",
            &[0xcb, 0x43, 0xf0, 0, 0, 0, 0, 0, 0],
        );
        check("\"h\\u0069\"", &[0xa2, b'h', b'i']);
        check("\"\\ud83d\"", &[0xa3, 0xef, 0xbf, 0xbd]);
    }

    #[test]
    fn strings_and_binary_of_every_length_have_the_right_head() {
        for (len, text, binary) in [
            (31usize, vec![0xbf], vec![0xc4, 31]),
            (32, vec![0xd9, 32], vec![0xc4, 32]),
            (255, vec![0xd9, 255], vec![0xc4, 255]),
            (256, vec![0xda, 1, 0], vec![0xc5, 1, 0]),
            (65_536, vec![0xdb, 0, 1, 0, 0], vec![0xc6, 0, 1, 0, 0]),
        ] {
            let written = transcode(&format!("\"{}\"", "x".repeat(len)), &[]).unwrap();
            assert_eq!(written[..text.len()], text);
            assert_eq!(written.len(), text.len() + len);
            let mark = r#"{"_placeholder":true,"num":0}"#;
            let written = transcode(mark, &[&vec![7; len]]).unwrap();
            assert_eq!(written[..binary.len()], binary);
            assert_eq!(written.len(), binary.len() + len);
        }
    }

    #[test]
    fn containers_of_every_size_have_the_right_head() {
        for (len, head) in [
            (0usize, vec![0x90]),
            (15, vec![0x9f]),
            (16, vec![0xdc, 0, 16]),
            (65_535, vec![0xdc, 255, 255]),
            (65_536, vec![0xdd, 0, 1, 0, 0]),
        ] {
            let numbers: Vec<_> = (0..len).map(|n| (n % 100).to_string()).collect();
            let msgpack = transcode(&format!("[{}]", numbers.join(",")), &[]).unwrap();
            assert_eq!(msgpack[..head.len()], head);
            let body: Vec<u8> = (0..len).map(|n| (n % 100) as u8).collect();
            assert_eq!(msgpack[head.len()..], body);
        }
        let members: Vec<_> = (0..16)
            .map(|n| format!("\"{}\":{n}", (b'a' + n) as char))
            .collect();
        let body: Vec<u8> = (0..16).flat_map(|n| [0xa1, b'a' + n, n]).collect();
        let msgpack = transcode(&format!("{{{}}}", members.join(",")), &[]).unwrap();
        assert_eq!(msgpack, [[0xde, 0, 16].as_slice(), &body].concat());
    }

    #[test]
    fn marks_become_binary_in_any_order_of_members() {
        let json = r#"["e",{"num":1,"_placeholder":true},{"k":{"_placeholder":true,"num":0}}]"#;
        assert_eq!(
            transcode(json, &[&[7], &[8, 9]]).unwrap(),
            [
                0x93, 0xa1, b'e', 0xc4, 2, 8, 9, 0x81, 0xa1, b'k', 0xc4, 1, 7
            ]
        );
    }

    #[test]
    fn what_only_looks_like_a_mark_stays_data() {
        let map = |json| transcode(json, &[]).unwrap()[0];
        assert_eq!(map(r#"{"_placeholder":true,"num":0}"#), 0x82);
        for json in [
            r#"{"_placeholder":false,"num":0}"#,
            r#"{"_placeholder":1}"#,
            r#"{"num":0}"#,
        ] {
            assert_eq!(transcode(json, &[&[1]]).unwrap()[0] & 0xf0, 0x80, "{json}");
        }
    }

    #[test]
    fn a_mark_without_its_attachment_is_refused() {
        for json in [
            r#"{"_placeholder":true}"#,
            r#"{"_placeholder":true,"num":1}"#,
            r#"{"_placeholder":true,"num":-1}"#,
            r#"{"_placeholder":true,"num":0.5}"#,
            r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        ] {
            let refused = transcode(json, &[&[1]]);
            assert_eq!(refused, Err(Rejected::NoSuchAttachment), "{json}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for json in [
            "",
            "[",
            "[1]2",
            "{1:2}",
            "nul",
            "\"\\",
            "\"\\ud83d",
            "\\é",
            "[1,]",
        ] {
            assert!(transcode(json, &[]).is_err(), "{json}");
        }
        let deep = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert_eq!(
            transcode(&deep, &[]),
            Err(Rejected::Data(WireError::TooDeep))
        );
    }
}
