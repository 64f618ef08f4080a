//! What an instance of the subscriber leaves to its successor, which goes on over the same connection.

use serde::{Deserialize, Serialize};

use crate::wire::inbox::Stand;

/// The host takes no more.
const MAX_BYTES: usize = 60 << 10;
/// Another one is of another version of the plugin, and is not understood.
const FORMAT: u32 = 1;

/// All that a successor needs beside the bytes that are not consumed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) format: u32,
    pub(super) max_payload: usize,
    pub(super) pings: u32,
    pub(super) next_sid: u64,
    pub(super) subscriptions: Vec<Noted>,
}

/// A subscription, and where its senders stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) namespace: String,
    pub(super) is_private: bool,
    pub(super) sid: u64,
    /// Those first that were heard last.
    pub(super) senders: Vec<(String, Stand)>,
}

impl Note {
    /// As bytes. If it is too large, senders are left out that have been silent for long: of those a
    /// repeated message would not be known. None: it is too large all the same.
    pub(super) fn write(mut self) -> Option<Vec<u8>> {
        self.format = FORMAT;
        loop {
            let bytes = serde_json::to_vec(&self).ok()?;
            if bytes.len() <= MAX_BYTES {
                return Some(bytes);
            }
            let longest = self.subscriptions.iter().map(|one| one.senders.len()).max();
            let most = longest.filter(|longest| *longest > 0)? / 2;
            for one in &mut self.subscriptions {
                one.senders.truncate(most);
            }
        }
    }

    /// None: it is not understood.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let note: Self = serde_json::from_slice(bytes).ok()?;
        (note.format == FORMAT).then_some(note)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn note(senders: usize) -> Note {
        let sender = |n| (format!("sender-number-{n}"), Stand::default());
        Note {
            next_sid: 3,
            subscriptions: vec![Noted {
                namespace: "/".to_owned(),
                sid: 1,
                senders: (0..senders).map(sender).collect(),
                ..Noted::default()
            }],
            ..Note::default()
        }
    }

    #[test]
    fn what_is_noted_is_read() {
        let read = Note::read(&note(3).write().unwrap()).unwrap();
        assert_eq!(read.subscriptions, note(3).subscriptions);
        assert_eq!(Note::read(b"{}"), None);
        assert_eq!(Note::read(b"\xff"), None);
    }

    #[test]
    fn a_large_note_has_the_senders_that_were_heard_last() {
        let bytes = note(5_000).write().unwrap();
        assert!(bytes.len() <= MAX_BYTES);
        let senders = Note::read(&bytes).unwrap().subscriptions.remove(0).senders;
        assert!(senders.len() > 100);
        assert_eq!(senders[0].0, "sender-number-0");
        let mut hopeless = note(0);
        hopeless.subscriptions[0].namespace = "x".repeat(MAX_BYTES);
        assert_eq!(hopeless.write(), None);
    }
}
