//! The id of an entry.

use std::fmt;

/// Milliseconds and a number, in the order in which entries stand in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    ms: u64,
    number: u64,
}

impl EntryId {
    /// Before every entry.
    pub(super) const ORIGIN: Self = Self { ms: 0, number: 0 };

    /// Reads `ms-number`, or `ms` for number 0. None: it is no id.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (ms, number) = text.split_once('-').unwrap_or((text, "0"));
        Some(Self {
            ms: digits(ms)?,
            number: digits(number)?,
        })
    }
}

/// A number without a sign, which the standard library would accept.
fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_shown_as_redis_does() {
        for (text, expected) in [
            ("1700000000000-3", Some("1700000000000-3")),
            ("5", Some("5-0")),
            ("0-0", Some("0-0")),
            ("18446744073709551615-1", Some("18446744073709551615-1")),
            ("18446744073709551616-0", None),
            ("", None),
            ("-", None),
            ("-1", None),
            ("1-", None),
            ("+1-0", None),
            ("1-2-3", None),
            ("$", None),
            (" 1-0", None),
        ] {
            let read = EntryId::read(text.as_bytes()).map(|id| id.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn ids_are_ordered_by_their_numbers_and_not_as_text() {
        let mut ids = ["10-0", "9-1", "9-10", "9-2"].map(|text| EntryId::read(text.as_bytes()));
        ids.sort_unstable();
        let shown: Vec<_> = ids.iter().flatten().map(EntryId::to_string).collect();
        assert_eq!(shown, ["9-1", "9-2", "9-10", "10-0"]);
    }
}
