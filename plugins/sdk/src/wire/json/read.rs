//! Reading JSON token by token.

use std::borrow::Cow;

use super::scan::plain_prefix;
use crate::wire::error::WireError;

/// A JSON number, as exactly as it can be held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Zero and above.
    Unsigned(u64),
    /// Negative.
    Signed(i64),
    /// With a fraction or an exponent, beyond 64 bits, or -0.
    Float(f64),
}

/// A place in a JSON text.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Result<T> = std::result::Result<T, WireError>;

impl<'a> Reader<'a> {
    /// Begins at the first byte of a text.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes were consumed.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next byte that is not blank; it is not consumed.
    pub fn peek(&mut self) -> Result<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err(WireError::Truncated)
    }

    /// Nothing but blanks may be left.
    pub fn end(mut self) -> Result<()> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(WireError::Trailing(self.text.len() - self.at)),
        }
    }

    /// Steps into an array or an object.
    pub fn open(&mut self, bracket: u8) -> Result<()> {
        self.expect(bracket)
    }

    /// Whether another element follows; else the array is left. `first` is true right after
    /// [`Self::open`].
    pub fn next_element(&mut self, first: bool) -> Result<bool> {
        self.next(first, b']')
    }

    /// The next member's key; none: the object is left.
    pub fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>> {
        if !self.next(first, b'}')? {
            return Ok(None);
        }
        let key = self.text()?;
        self.expect(b':')?;
        Ok(Some(key))
    }

    fn next(&mut self, first: bool, close: u8) -> Result<bool> {
        match self.peek()? {
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            // No value and no key begins with a bracket that closes, so `[1,]` fails after this.
            b',' if !first => {
                self.at += 1;
                Ok(true)
            }
            _ if first => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    /// A string. Half a character, which JavaScript can write as an escape, becomes U+FFFD.
    pub fn text(&mut self) -> Result<Cow<'a, str>> {
        let (raw, escaped) = self.raw_text()?;
        Ok(if escaped {
            Cow::Owned(unescape(raw))
        } else {
            Cow::Borrowed(raw)
        })
    }

    /// Consumes a number.
    ///
    /// # Errors
    /// When something else stands here.
    pub fn number(&mut self) -> Result<Number> {
        self.peek()?;
        if let Some(number) = self.short_number() {
            return Ok(Number::Unsigned(number));
        }
        let start = self.at;
        let whole = self.pass_number()?;
        let text = self.text.get(start..self.at).unwrap_or_default();
        if whole && text != "-0" {
            if let Ok(number) = text.parse() {
                return Ok(Number::Unsigned(number));
            }
            if let Ok(number) = text.parse() {
                return Ok(Number::Signed(number));
            }
        }
        let number = text.parse().map_err(|_| self.malformed())?;
        Ok(Number::Float(number))
    }

    /// A whole number from 0 on with no more digits than are certain to fit: most are.
    fn short_number(&mut self) -> Option<u64> {
        const MAX_DIGITS: usize = 19;
        let rest = self.text.as_bytes().get(self.at..)?;
        let (mut number, mut digits) = (0, 0);
        for byte in rest.iter().take(MAX_DIGITS + 1) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = u64::wrapping_add(u64::wrapping_mul(number, 10), digit.into());
            digits += 1;
        }
        let is_whole = !matches!(rest.get(digits), Some(b'.' | b'e' | b'E'));
        let begins_well = rest.first() != Some(&b'0') || digits == 1;
        if !(1..=MAX_DIGITS).contains(&digits) || !is_whole || !begins_well {
            return None;
        }
        self.at += digits;
        Some(number)
    }

    /// One of `true`, `false`, `null`.
    pub fn literal(&mut self, word: &str) -> Result<()> {
        self.peek()?;
        match self.text.as_bytes().get(self.at..) {
            Some(rest) if rest.starts_with(word.as_bytes()) => {
                self.at += word.len();
                Ok(())
            }
            _ => Err(self.malformed()),
        }
    }

    /// Passes over one value, checks that it is JSON, and gives its text. At most `depth - 1`
    /// containers may be inside each other.
    pub fn skip(&mut self, depth: usize) -> Result<&'a str> {
        self.peek()?;
        let start = self.at;
        self.pass(depth)?;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn pass(&mut self, depth: usize) -> Result<()> {
        match self.peek()? {
            b'"' => self.raw_text().map(drop),
            b'{' => {
                let depth = deeper(depth)?;
                self.at += 1;
                let mut first = true;
                while self.next(first, b'}')? {
                    first = false;
                    self.raw_text()?;
                    self.expect(b':')?;
                    self.pass(depth)?;
                }
                Ok(())
            }
            b'[' => {
                let depth = deeper(depth)?;
                self.at += 1;
                let mut first = true;
                while self.next(first, b']')? {
                    first = false;
                    self.pass(depth)?;
                }
                Ok(())
            }
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.pass_number().map(drop),
        }
    }

    /// The inside of a string as it stands, and whether it holds escapes.
    fn raw_text(&mut self) -> Result<(&'a str, bool)> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            self.at += plain_prefix(rest);
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.pass_escape()?;
                }
                Some(_) => return Err(self.malformed()),
                None => return Err(WireError::Truncated),
            }
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok((raw, escaped))
    }

    /// What follows a backslash.
    fn pass_escape(&mut self) -> Result<()> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = bytes.get(self.at + 1..self.at + 5);
                let digits = digits.ok_or(WireError::Truncated)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.malformed());
                }
                self.at += 5;
            }
            Some(_) => return Err(self.malformed()),
            None => return Err(WireError::Truncated),
        }
        Ok(())
    }

    /// Whether the number has neither fraction nor exponent.
    fn pass_number(&mut self) -> Result<bool> {
        self.pass_byte(b"-");
        if !self.pass_byte(b"0") {
            self.pass_digits()?;
        }
        let mut whole = true;
        if self.pass_byte(b".") {
            self.pass_digits()?;
            whole = false;
        }
        if self.pass_byte(b"eE") {
            self.pass_byte(b"+-");
            self.pass_digits()?;
            whole = false;
        }
        Ok(whole)
    }

    fn pass_digits(&mut self) -> Result<()> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.malformed());
        }
        self.at += count;
        Ok(())
    }

    fn pass_byte(&mut self, any_of: &[u8]) -> bool {
        let found = self
            .text
            .as_bytes()
            .get(self.at)
            .is_some_and(|byte| any_of.contains(byte));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek()? != byte {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    fn malformed(&self) -> WireError {
        WireError::Json(self.at)
    }
}

/// What is left of the depth inside one more container.
pub fn deeper(depth: usize) -> Result<usize> {
    match depth {
        0 | 1 => Err(WireError::TooDeep),
        _ => Ok(depth - 1),
    }
}

/// Replaces the escapes of a string that was checked.
fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = after.chars();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let (char, len) = unicode(after);
                out.push(char);
                rest = after.get(len..).unwrap_or_default();
                continue;
            }
            Some(itself) => out.push(itself),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// The character of `uXXXX` or `uXXXX\uXXXX` at the front, and how long that is.
fn unicode(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 5)?.strip_prefix('u')?;
        u16::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else {
        return (char::REPLACEMENT_CHARACTER, 1);
    };
    if let Some(char) = char::from_u32(first.into()) {
        return (char, 5);
    }
    let second = (text.as_bytes().get(5) == Some(&b'\\')).then(|| unit(6));
    if let Some(second) = second.flatten()
        && let Some(Ok(char)) = char::decode_utf16([first, second]).next()
    {
        return (char, 11);
    }
    (char::REPLACEMENT_CHARACTER, 5)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_json_takes_for_a_value_passes_and_nothing_else() {
        let texts = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "10",
            "-1.5e+3",
            "1E5",
            "\"\"",
            "\"a\\n\\u00e9\"",
            "[]",
            "{}",
            "[1 , 2]",
            " {\"a\" : [ {} ] , \"b\":null } ",
            "nul",
            "truex",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,}",
            "{1:2}",
            "{\"a\" 1}",
            "",
            " ",
            "[1]2",
            "]",
            "\u{feff}1",
        ];
        for text in texts {
            let mut reader = Reader::new(text);
            let read = reader.skip(128).map(str::len).and_then(|_| reader.end());
            let expected = serde_json::from_str::<serde_json::Value>(text);
            assert_eq!(read.is_ok(), expected.is_ok(), "{text:?}: {read:?}");
        }
    }

    #[test]
    fn a_value_is_given_as_it_stands() {
        let mut reader = Reader::new(" [1, {\"a\":\"\\\"\"}] , 2");
        assert_eq!(reader.skip(128), Ok("[1, {\"a\":\"\\\"\"}]"));
        assert_eq!(reader.position(), 16);
    }

    #[test]
    fn strings_lose_their_escapes() {
        for text in [
            r#""plain""#,
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\u0041\u00e9\u20ac\ud83d\ude00 é""#,
        ] {
            let expected: String = serde_json::from_str(text).unwrap();
            assert_eq!(Reader::new(text).text().unwrap(), expected);
        }
    }

    #[test]
    fn half_a_character_becomes_a_replacement_character() {
        for (json, text) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (
                r#""\ud83d\ud83d\ude00\ude00b""#,
                "\u{fffd}\u{1f600}\u{fffd}b",
            ),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\\ud83d\udc00é""#, "\\ud83d\u{fffd}é"),
        ] {
            assert_eq!(Reader::new(json).text().unwrap(), text, "{json}");
        }
    }

    #[test]
    fn numbers_keep_every_digit_that_fits() {
        for (text, number) in [
            ("18446744073709551615", Number::Unsigned(u64::MAX)),
            ("-9223372036854775808", Number::Signed(i64::MIN)),
            (
                "18446744073709551616",
                Number::Float(18446744073709551616.0),
            ),
            ("1.0", Number::Float(1.0)),
            ("1e2", Number::Float(100.0)),
            ("0", Number::Unsigned(0)),
        ] {
            assert_eq!(Reader::new(text).number(), Ok(number), "{text}");
        }
        let Ok(Number::Float(zero)) = Reader::new("-0").number() else {
            panic!("-0 is a float");
        };
        assert!(zero.is_sign_negative());
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |containers: usize| "[".repeat(containers) + &"]".repeat(containers);
        assert!(Reader::new(&nested(127)).skip(128).is_ok());
        assert_eq!(Reader::new(&nested(128)).skip(128), Err(WireError::TooDeep));
        assert_eq!(
            Reader::new(&"[".repeat(1 << 20)).skip(128),
            Err(WireError::TooDeep)
        );
        assert_eq!(
            Reader::new(&"{\"a\":".repeat(1 << 18)).skip(128),
            Err(WireError::TooDeep)
        );
    }
}
