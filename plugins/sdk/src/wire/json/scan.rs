//! The inner loop of everything that reads or writes strings.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// Long plain text is passed in blocks, with one branch for each.
const BLOCK: usize = 32;

/// How many bytes at the front are neither `"`, nor `\`, nor a control character.
///
/// Eight at a time: a subtraction borrows into the high bit of a byte exactly where the byte was
/// too small. Only bytes behind the first such byte can be marked by mistake, and only the first
/// mark is used.
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let plain_block = |block: &&[u8; BLOCK]| {
        let (words, _) = block.as_chunks::<8>();
        words.iter().fold(0, |seen, word| seen | marks(word)) == 0
    };
    let passed = blocks.iter().take_while(plain_block).count() * BLOCK;
    let rest = bytes.get(passed..).unwrap_or_default();
    let (words, tail) = rest.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = marks(word);
        if marks != 0 {
            return passed + index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    passed + words.len() * 8 + tail.iter().position(special).unwrap_or(tail.len())
}

/// The high bits of the special bytes, and perhaps of others behind the first of them.
fn marks(word: &[u8; 8]) -> u64 {
    let word = u64::from_le_bytes(*word);
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let marks = (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (word.wrapping_sub(ONES * 0x20) & !word);
    marks & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_is_found_wherever_it_stands() {
        for special in 0..=255u8 {
            let stops = special < 0x20 || special == b'"' || special == b'\\';
            for len in [0, 1, 7, 8, 9, 20, 31, 32, 33, 71] {
                for at in 0..len {
                    let mut bytes = vec![0xc3; len];
                    bytes[at] = special;
                    let expected = if stops { at } else { len };
                    assert_eq!(plain_prefix(&bytes), expected, "{special} at {at} of {len}");
                }
            }
        }
        assert_eq!(plain_prefix(b"!\"\\"), 1);
        assert_eq!(plain_prefix("ключ#]~\u{7f}".as_bytes()), 12);
    }
}
