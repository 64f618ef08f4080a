//! Reading msgpack one token after the other, without deciding what becomes of them.

use rmp::Marker;

use crate::payload::PayloadError;

/// A value, or the head of one that contains others.
#[derive(Debug, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
    Binary(&'a [u8]),
    Extension(i8, &'a [u8]),
    /// This many values follow.
    Array(u32),
    /// This many pairs of key and value follow.
    Map(u32),
}

/// What has not been read yet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn token(&mut self) -> Result<Token<'a>, PayloadError> {
        let [marker] = self.bytes()?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Token::Nil,
            Marker::False => Token::Bool(false),
            Marker::True => Token::Bool(true),
            Marker::FixPos(n) => Token::Unsigned(n.into()),
            Marker::U8 => Token::Unsigned(u8::from_be_bytes(self.bytes()?).into()),
            Marker::U16 => Token::Unsigned(u16::from_be_bytes(self.bytes()?).into()),
            Marker::U32 => Token::Unsigned(u32::from_be_bytes(self.bytes()?).into()),
            Marker::U64 => Token::Unsigned(u64::from_be_bytes(self.bytes()?)),
            Marker::FixNeg(n) => Token::Signed(n.into()),
            Marker::I8 => Token::Signed(i8::from_be_bytes(self.bytes()?).into()),
            Marker::I16 => Token::Signed(i16::from_be_bytes(self.bytes()?).into()),
            Marker::I32 => Token::Signed(i32::from_be_bytes(self.bytes()?).into()),
            Marker::I64 => Token::Signed(i64::from_be_bytes(self.bytes()?)),
            Marker::F32 => Token::Float(f32::from_be_bytes(self.bytes()?).into()),
            Marker::F64 => Token::Float(f64::from_be_bytes(self.bytes()?)),
            Marker::FixStr(len) => self.text(len.into())?,
            Marker::Str8 => {
                let len = self.len8()?;
                self.text(len)?
            }
            Marker::Str16 => {
                let len = self.len16()?;
                self.text(len)?
            }
            Marker::Str32 => {
                let len = self.len32()?;
                self.text(len)?
            }
            Marker::Bin8 => {
                let len = self.len8()?;
                Token::Binary(self.slice(len)?)
            }
            Marker::Bin16 => {
                let len = self.len16()?;
                Token::Binary(self.slice(len)?)
            }
            Marker::Bin32 => {
                let len = self.len32()?;
                Token::Binary(self.slice(len)?)
            }
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => {
                let len = self.len8()?;
                self.extension(len)?
            }
            Marker::Ext16 => {
                let len = self.len16()?;
                self.extension(len)?
            }
            Marker::Ext32 => {
                let len = self.len32()?;
                self.extension(len)?
            }
            Marker::FixArray(len) => Token::Array(len.into()),
            Marker::Array16 => Token::Array(u16::from_be_bytes(self.bytes()?).into()),
            Marker::Array32 => Token::Array(u32::from_be_bytes(self.bytes()?)),
            Marker::FixMap(len) => Token::Map(len.into()),
            Marker::Map16 => Token::Map(u16::from_be_bytes(self.bytes()?).into()),
            Marker::Map32 => Token::Map(u32::from_be_bytes(self.bytes()?)),
            Marker::Reserved => return Err(PayloadError::ReservedMarker),
        })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(PayloadError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], PayloadError> {
        let (head, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(PayloadError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn len8(&mut self) -> Result<usize, PayloadError> {
        Ok(u8::from_be_bytes(self.bytes()?).into())
    }

    fn len16(&mut self) -> Result<usize, PayloadError> {
        Ok(u16::from_be_bytes(self.bytes()?).into())
    }

    fn len32(&mut self) -> Result<usize, PayloadError> {
        // A length that does not fit is longer than what can be there.
        usize::try_from(u32::from_be_bytes(self.bytes()?)).map_err(|_| PayloadError::Truncated)
    }

    fn text(&mut self, len: usize) -> Result<Token<'a>, PayloadError> {
        let text = std::str::from_utf8(self.slice(len)?).map_err(|_| PayloadError::NotUtf8)?;
        Ok(Token::Text(text))
    }

    fn extension(&mut self, len: usize) -> Result<Token<'a>, PayloadError> {
        let kind = i8::from_be_bytes(self.bytes()?);
        Ok(Token::Extension(kind, self.slice(len)?))
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
            assert!(reader.0.is_empty(), "{bytes:?} read to its end");
        };
        check(&[0xc0], Token::Nil);
        check(&[0xc3], Token::Bool(true));
        check(&[0x7f], Token::Unsigned(127));
        check(&[0xe0], Token::Signed(-32));
        check(
            &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
            Token::Unsigned(u64::MAX),
        );
        check(&[0xd3, 128, 0, 0, 0, 0, 0, 0, 0], Token::Signed(i64::MIN));
        check(&[0xca, 0x3f, 0xc0, 0, 0], Token::Float(1.5));
        check(&[0xa2, b'h', b'i'], Token::Text("hi"));
        check(&[0xda, 0, 1, b'h'], Token::Text("h"));
        check(&[0xc6, 0, 0, 0, 1, 9], Token::Binary(&[9]));
        check(&[0xd5, 0xff, 1, 2], Token::Extension(-1, &[1, 2]));
        check(&[0xc8, 0, 0, 7], Token::Extension(7, &[]));
        check(&[0xdd, 0, 0, 1, 0], Token::Array(256));
        check(&[0xde, 0, 16], Token::Map(16));
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
            assert!(
                matches!(Reader(bytes).token(), Err(PayloadError::Truncated)),
                "{bytes:?}"
            );
        }
        assert!(matches!(
            Reader(&[0xc1]).token(),
            Err(PayloadError::ReservedMarker)
        ));
        assert!(matches!(
            Reader(&[0xa1, 0xff]).token(),
            Err(PayloadError::NotUtf8)
        ));
    }
}
