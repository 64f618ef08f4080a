//! Halves of characters in JSON text.

use std::borrow::Cow;

/// JavaScript can cut a string between the two halves of a character and writes the lone half as
/// an escape, which is JSON but no Unicode text. Each such half becomes U+FFFD, as it does when
/// JavaScript encodes it.
pub(super) fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    const ESCAPE_LEN: usize = 6;
    /// The code unit of a `\uXXXX` escape at `at`.
    fn unit(json: &str, at: usize) -> Option<u16> {
        let digits = json.get(at..at + ESCAPE_LEN)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    }
    let mut repaired = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = json[at..].find('\\') {
        at += found;
        match unit(json, at) {
            Some(0xd800..=0xdbff)
                if matches!(unit(json, at + ESCAPE_LEN), Some(0xdc00..=0xdfff)) =>
            {
                at += 2 * ESCAPE_LEN;
            }
            Some(0xd800..=0xdfff) => {
                repaired.push_str(&json[copied..at]);
                repaired.push_str("\\ufffd");
                at += ESCAPE_LEN;
                copied = at;
            }
            Some(_) => at += ESCAPE_LEN,
            // The escaped character may be a backslash; one that is not ASCII is no JSON.
            None => at += if json.is_char_boundary(at + 2) { 2 } else { 1 },
        }
        if at > json.len() {
            break;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    repaired.push_str(&json[copied..]);
    Cow::Owned(repaired)
}
