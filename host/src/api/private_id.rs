//! The secret by which a client gets its session back.

use std::{fmt, str::FromStr, sync::Arc};

use super::ApiError;

/// Shortest and longest, in bytes, by the contract with transports.
const MIN_BYTES: usize = 16;
const MAX_BYTES: usize = 64;

/// Random bytes of a new one. In base64 these are 20 characters, as Node.js has them.
const RANDOM_BYTES: usize = 15;

/// The private id of a client (`pid` in Node.js): who knows it gets the session, so it goes to this
/// client only and into no log. 16 to 64 bytes of text.
///
/// ```
/// use switchboard::PrivateId;
///
/// assert_eq!(PrivateId::random()?.as_str().len(), 20);
/// assert!("too short".parse::<PrivateId>().is_err());
/// # Ok::<(), switchboard::ApiError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PrivateId(Arc<str>);

/// The text is too short or too long for a private id: not one of ours, nor of Node.js.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a private id has {MIN_BYTES} to {MAX_BYTES} bytes, this has {len}")]
pub struct InvalidPrivateId {
    /// Its bytes.
    pub len: usize,
}

impl PrivateId {
    /// A new one that nobody can guess: 120 random bits as 20 characters of `A-Za-z0-9_-`.
    ///
    /// # Errors
    /// [`ApiError::NoRandomness`] when the operating system has no random numbers.
    pub fn random() -> Result<Self, ApiError> {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| ApiError::NoRandomness(error.to_string()))?;
        let text: String = bytes
            .chunks(3)
            .flat_map(|three| {
                let bits = three
                    .iter()
                    .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
                [bits >> 18, bits >> 12, bits >> 6, bits]
            })
            .map(|bits| char::from(ALPHABET[bits % ALPHABET.len()]))
            .collect();
        Ok(Self(text.into()))
    }

    /// The id as text, for this client alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrivateId {
    type Err = InvalidPrivateId;

    fn from_str(text: &str) -> Result<Self, InvalidPrivateId> {
        match text.len() {
            MIN_BYTES..=MAX_BYTES => Ok(Self(text.into())),
            len => Err(InvalidPrivateId { len }),
        }
    }
}

impl fmt::Debug for PrivateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret, and this ends up in logs.
        f.write_str("PrivateId(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_ids_look_like_those_of_node_and_use_every_character() {
        let ids: HashSet<String> = (0..1_000)
            .map(|_| PrivateId::random().unwrap().as_str().to_owned())
            .collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == 20));
        let characters: HashSet<char> = ids.iter().flat_map(|id| id.chars()).collect();
        assert_eq!(characters.len(), 64);
        let allowed = |c: &char| c.is_ascii_alphanumeric() || ['-', '_'].contains(c);
        assert!(characters.iter().all(allowed));
    }

    #[test]
    fn the_length_is_checked_and_the_text_is_not_shown() {
        let text = |len: usize| "x".repeat(len);
        for len in [0, MIN_BYTES - 1, MAX_BYTES + 1] {
            let error = text(len).parse::<PrivateId>().unwrap_err();
            assert_eq!(error, InvalidPrivateId { len });
        }
        for len in [MIN_BYTES, MAX_BYTES] {
            let id: PrivateId = text(len).parse().unwrap();
            assert_eq!(id.as_str(), text(len));
            assert!(!format!("{id:?}").contains('x'));
        }
    }
}
