//! Writing scalars and heads, each in its shortest form.

const NIL: u8 = 0xc0;
const FALSE: u8 = 0xc2;
const TRUE: u8 = 0xc3;
const FLOAT_64: u8 = 0xcb;
const FIXSTR: u8 = 0xa0;
const FIXARRAY: u8 = 0x90;
const FIXMAP: u8 = 0x80;

pub(crate) fn write_nil(out: &mut Vec<u8>) {
    out.push(NIL);
}

pub(crate) fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { TRUE } else { FALSE });
}

/// A whole number from 0 on.
pub fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    if let Ok(number) = u8::try_from(number) {
        if number >= 0x80 {
            out.push(0xcc);
        }
        out.push(number);
    } else if let Ok(number) = u16::try_from(number) {
        put(out, 0xcd, number.to_be_bytes());
    } else if let Ok(number) = u32::try_from(number) {
        put(out, 0xce, number.to_be_bytes());
    } else {
        put(out, 0xcf, number.to_be_bytes());
    }
}

/// A whole number below 0.
pub(crate) fn write_negative(out: &mut Vec<u8>, number: i64) {
    if let Ok(number) = i8::try_from(number) {
        if number < -0x20 {
            out.push(0xd0);
        }
        out.push(number.cast_unsigned());
    } else if let Ok(number) = i16::try_from(number) {
        put(out, 0xd1, number.to_be_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        put(out, 0xd2, number.to_be_bytes());
    } else {
        put(out, 0xd3, number.to_be_bytes());
    }
}

/// Appends a float64.
pub fn write_float(out: &mut Vec<u8>, number: f64) {
    put(out, FLOAT_64, number.to_be_bytes());
}

/// Appends a string.
#[inline]
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_len(out, text.len(), FIXSTR, 31, Some(0xd9), 0xda, 0xdb);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    // Binary has no fix form.
    if let Ok(len) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[0xc4, len]);
    } else {
        write_len(out, bytes.len(), 0, 0, None, 0xc5, 0xc6);
    }
    out.extend_from_slice(bytes);
}

/// Appends the head of an array; its elements follow.
#[inline]
pub fn write_array_len(out: &mut Vec<u8>, len: usize) {
    write_len(out, len, FIXARRAY, 15, None, 0xdc, 0xdd);
}

/// Appends the head of a map; keys and values follow in turn.
#[inline]
pub fn write_map_len(out: &mut Vec<u8>, len: usize) {
    write_len(out, len, FIXMAP, 15, None, 0xde, 0xdf);
}

/// Most are short.
#[inline]
fn write_len(
    out: &mut Vec<u8>,
    len: usize,
    fix: u8,
    fix_max: u8,
    wide_8: Option<u8>,
    wide_16: u8,
    wide_32: u8,
) {
    match u8::try_from(len) {
        Ok(len) if len <= fix_max => out.push(fix | len),
        _ => write_wide_len(out, len, wide_8, wide_16, wide_32),
    }
}

/// Lengths beyond 32 bits do not occur: what is written is at most some 100 MiB.
fn write_wide_len(out: &mut Vec<u8>, len: usize, wide_8: Option<u8>, wide_16: u8, wide_32: u8) {
    match (u8::try_from(len), wide_8, u16::try_from(len)) {
        (Ok(len), Some(marker), _) => out.extend_from_slice(&[marker, len]),
        (_, _, Ok(len)) => put(out, wide_16, len.to_be_bytes()),
        _ => put(out, wide_32, (len as u32).to_be_bytes()),
    }
}

fn put<const N: usize>(out: &mut Vec<u8>, marker: u8, bytes: [u8; N]) {
    out.push(marker);
    out.extend_from_slice(&bytes);
}
