//! Reading msgpack token by token, without deciding what becomes of them.

use std::borrow::Cow;

use crate::wire::error::WireError;

/// A value, or the head of one that contains others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// nil.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// Zero and above.
    Unsigned(u64),
    /// An integer below zero.
    Signed(i64),
    /// A float32 or float64.
    Float(f64),
    /// Not checked to be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Binary(&'a [u8]),
    /// A type and its bytes. The five forms whose marker says the length are told apart:
    /// notepack.io gives them another meaning.
    Extension {
        /// Its type; from 0 on the application's own.
        kind: i8,
        /// What it holds.
        bytes: &'a [u8],
        /// Whether the marker says its length (1, 2, 4, 8 or 16 bytes).
        fixed: bool,
    },
    /// This many values follow.
    Array(u32),
    /// This many pairs of key and value follow.
    Map(u32),
}

/// A msgpack string as text; what is not UTF-8 becomes U+FFFD, as for Node.
pub fn to_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        // Much slower, so not tried at once.
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// What has not been read yet.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

type Result<T> = std::result::Result<T, WireError>;

impl<'a> Reader<'a> {
    /// Consumes a value, or the head of an array or a map.
    ///
    /// # Errors
    /// At the end, and for the reserved marker.
    pub fn token(&mut self) -> Result<Token<'a>> {
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7f => Token::Unsigned(marker.into()),
            0x80..=0x8f => Token::Map((marker & 0x0f).into()),
            0x90..=0x9f => Token::Array((marker & 0x0f).into()),
            0xa0..=0xbf => Token::Text(self.take((marker & 0x1f).into())?),
            0xc0 => Token::Nil,
            0xc1 => return Err(WireError::ReservedMarker),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4 => Token::Binary(self.sized_8()?),
            0xc5 => Token::Binary(self.sized_16()?),
            0xc6 => Token::Binary(self.sized_32()?),
            0xc7..=0xc9 => self.extension(marker)?,
            0xca => Token::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Token::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Token::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xcd => Token::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xce => Token::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => Token::Signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Token::Signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Token::Signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Token::Signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.fixed_extension(1 << (marker - 0xd4))?,
            0xd9 => Token::Text(self.sized_8()?),
            0xda => Token::Text(self.sized_16()?),
            0xdb => Token::Text(self.sized_32()?),
            0xdc => Token::Array(u16::from_be_bytes(self.array()?).into()),
            0xdd => Token::Array(u32::from_be_bytes(self.array()?)),
            0xde => Token::Map(u16::from_be_bytes(self.array()?).into()),
            0xdf => Token::Map(u32::from_be_bytes(self.array()?)),
            0xe0..=0xff => Token::Signed(marker.cast_signed().into()),
        })
    }

    /// The marker of the next value; it is not consumed.
    pub fn marker(&self) -> Result<u8> {
        self.0.first().copied().ok_or(WireError::Truncated)
    }

    /// Passes over one value and gives its bytes. Without recursion: how deep it nests does not
    /// matter, and a count that promises more than there is ends at the end of the input.
    pub fn skip(&mut self) -> Result<&'a [u8]> {
        let whole = self.0;
        let mut pending = 1u64;
        while pending > 0 {
            pending -= 1;
            match self.token()? {
                Token::Array(len) => pending = pending.saturating_add(len.into()),
                Token::Map(len) => pending = pending.saturating_add(2 * u64::from(len)),
                _ => {}
            }
        }
        let len = whole.len() - self.0.len();
        Ok(whole.get(..len).unwrap_or_default())
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn sized_8(&mut self) -> Result<&'a [u8]> {
        let len = u8::from_be_bytes(self.array()?);
        self.take(len.into())
    }

    fn sized_16(&mut self) -> Result<&'a [u8]> {
        let len = u16::from_be_bytes(self.array()?);
        self.take(len.into())
    }

    fn sized_32(&mut self) -> Result<&'a [u8]> {
        let len = u32::from_be_bytes(self.array()?);
        // A length that does not fit is longer than what can be there.
        self.take(usize::try_from(len).map_err(|_| WireError::Truncated)?)
    }

    fn extension(&mut self, marker: u8) -> Result<Token<'a>> {
        let len = match marker {
            0xc7 => u8::from_be_bytes(self.array()?).into(),
            0xc8 => u16::from_be_bytes(self.array()?).into(),
            _ => u32::from_be_bytes(self.array()?),
        };
        let kind = i8::from_be_bytes(self.array()?);
        Ok(Token::Extension {
            kind,
            bytes: self.take(usize::try_from(len).map_err(|_| WireError::Truncated)?)?,
            fixed: false,
        })
    }

    fn fixed_extension(&mut self, len: usize) -> Result<Token<'a>> {
        let kind = i8::from_be_bytes(self.array()?);
        Ok(Token::Extension {
            kind,
            bytes: self.take(len)?,
            fixed: true,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_markers_reads() {
        let check = |bytes: &[u8], expected: Token<'_>| {
            let mut reader = Reader(bytes);
            assert_eq!(reader.token().unwrap(), expected, "{bytes:?}");
            reader.end().unwrap();
        };
        let extension = |kind, bytes, fixed| Token::Extension { kind, bytes, fixed };
        check(&[0xc0], Token::Nil);
        check(&[0xc3], Token::Bool(true));
        check(&[0x7f], Token::Unsigned(127));
        check(&[0xe0], Token::Signed(-32));
        check(&[0xcc, 200], Token::Unsigned(200));
        check(&[0xcd, 1, 0], Token::Unsigned(256));
        check(&[0xce, 1, 0, 0, 0], Token::Unsigned(1 << 24));
        check(
            &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
            Token::Unsigned(u64::MAX),
        );
        check(&[0xd0, 0x80], Token::Signed(-128));
        check(&[0xd1, 0x80, 0], Token::Signed(-32768));
        check(&[0xd2, 0x80, 0, 0, 0], Token::Signed(i32::MIN.into()));
        check(&[0xd3, 128, 0, 0, 0, 0, 0, 0, 0], Token::Signed(i64::MIN));
        check(&[0xca, 0x3f, 0xc0, 0, 0], Token::Float(1.5));
        check(&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], Token::Float(1.5));
        check(&[0xa2, b'h', b'i'], Token::Text(b"hi"));
        check(&[0xd9, 1, b'h'], Token::Text(b"h"));
        check(&[0xda, 0, 1, b'h'], Token::Text(b"h"));
        check(&[0xdb, 0, 0, 0, 1, b'h'], Token::Text(b"h"));
        check(&[0xc4, 1, 9], Token::Binary(&[9]));
        check(&[0xc5, 0, 1, 9], Token::Binary(&[9]));
        check(&[0xc6, 0, 0, 0, 1, 9], Token::Binary(&[9]));
        check(&[0xd4, 1, 9], extension(1, &[9], true));
        check(&[0xd5, 0xff, 1, 2], extension(-1, &[1, 2], true));
        check(&[0xd6, 1, 1, 2, 3, 4], extension(1, &[1, 2, 3, 4], true));
        check(
            &[0xd7, 1, 1, 2, 3, 4, 5, 6, 7, 8],
            extension(1, &[1, 2, 3, 4, 5, 6, 7, 8], true),
        );
        check(
            &[[0xd8, 1].as_slice(), &[7; 16]].concat(),
            extension(1, &[7; 16], true),
        );
        check(&[0xc7, 1, 7, 9], extension(7, &[9], false));
        check(&[0xc8, 0, 0, 7], extension(7, &[], false));
        check(&[0xc9, 0, 0, 0, 1, 7, 9], extension(7, &[9], false));
        check(&[0xdc, 0, 9], Token::Array(9));
        check(&[0xdd, 0, 0, 1, 0], Token::Array(256));
        check(&[0x82], Token::Map(2));
        check(&[0xde, 0, 16], Token::Map(16));
        check(&[0xdf, 0, 1, 0, 0], Token::Map(65536));
    }

    #[test]
    fn lengths_beyond_the_end_are_errors() {
        for bytes in [
            &[][..],
            &[0xcf, 0],
            &[0xa2, b'h'],
            &[0xdb, 255, 255, 255, 255, b'h'],
            &[0xc6, 255, 255],
            &[0xc9, 255, 255, 255, 255],
            &[0xd8, 0, 0],
        ] {
            assert_eq!(
                Reader(bytes).token(),
                Err(WireError::Truncated),
                "{bytes:?}"
            );
        }
        assert_eq!(Reader(&[0xc1]).token(), Err(WireError::ReservedMarker));
    }

    #[test]
    fn a_value_is_passed_over_whole_however_deep_it_is() {
        let bytes = [0x92, 0x81, 0xa1, b'k', 0x90, 0xc4, 1, 9, 0x07];
        let mut reader = Reader(&bytes);
        assert_eq!(reader.skip(), Ok(&bytes[..8]));
        assert_eq!(reader.end(), Err(WireError::Trailing(1)));

        let mut deep = vec![0x91; 1 << 20];
        deep.push(0xc0);
        assert_eq!(Reader(&deep).skip().map(<[u8]>::len), Ok(deep.len()));
        assert_eq!(
            Reader(&[0xdf, 255, 255, 255, 255, 1]).skip(),
            Err(WireError::Truncated)
        );
    }
}
