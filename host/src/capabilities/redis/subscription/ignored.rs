//! Messages and entries that a plugin does not want, by how they begin or end: mostly what its own node has
//! published, which Redis sends back to it. Left out here they cost neither room in the queue nor a
//! way across the border.

use super::RedisEvent;

/// More would make every message pay for looking.
const MAX_AFFIXES: usize = 64;
/// Shorter ones would match by chance.
const MIN_AFFIX_BYTES: usize = 4;
const MAX_AFFIX_BYTES: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Ignored {
    beginnings: Vec<Vec<u8>>,
    endings: Vec<Vec<u8>>,
}

impl Ignored {
    /// What is over the limits has no effect.
    pub(super) fn new(mut beginnings: Vec<Vec<u8>>, mut endings: Vec<Vec<u8>>) -> Self {
        for affixes in [&mut beginnings, &mut endings] {
            affixes.retain(|affix| (MIN_AFFIX_BYTES..=MAX_AFFIX_BYTES).contains(&affix.len()));
            affixes.truncate(MAX_AFFIXES);
        }
        endings.truncate(MAX_AFFIXES - beginnings.len());
        Self {
            beginnings,
            endings,
        }
    }

    pub(super) fn has(&self, event: &RedisEvent) -> bool {
        match event {
            RedisEvent::Message { payload, .. } => self.has_bytes(payload),
            RedisEvent::Entry(entry) => self.has_bytes(entry.fields_written()),
            RedisEvent::Lagged { .. } => false,
        }
    }

    /// The same for a payload.
    pub(super) fn has_bytes(&self, bytes: &[u8]) -> bool {
        self.beginnings.iter().any(|it| bytes.starts_with(it))
            || self.endings.iter().any(|it| bytes.ends_with(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::redis::subscription::{Kind, Source};

    fn message(payload: &'static str) -> RedisEvent {
        let source = Source {
            kind: Kind::Channel,
            pattern: None,
            channel: "c".into(),
        };
        RedisEvent::Message {
            source: source.into(),
            payload: payload.into(),
        }
    }

    #[test]
    fn a_message_is_left_out_by_its_beginning_or_its_end() {
        let ignored = Ignored::new(vec![b"from me:".to_vec()], vec![b"; me".to_vec()]);
        assert!(ignored.has(&message("from me: hello")));
        assert!(ignored.has(&message("hello; me")));
        assert!(!ignored.has(&message("hello")));
        assert!(!ignored.has(&message("to me: from me: hello")));
        assert!(!Ignored::default().has(&message("hello")));
    }

    #[test]
    fn what_is_over_the_limits_has_no_effect() {
        let short = Ignored::new(vec![b"".to_vec(), b"abc".to_vec()], vec![vec![b'x'; 257]]);
        assert!(!short.has(&message("abc")));
        let many = |n: usize| (0..n).map(|i| format!("{i:04}").into_bytes()).collect();
        let full = Ignored::new(many(60), many(60));
        assert_eq!((full.beginnings.len(), full.endings.len()), (60, 4));
    }

    #[test]
    fn gaps_are_never_left_out() {
        let lagged = RedisEvent::Lagged {
            missed: None,
            reason: "from me: a gap".into(),
        };
        assert!(!Ignored::new(vec![b"from me:".to_vec()], Vec::new()).has(&lagged));
    }
}
