//! What the fates of a batch mean to the host.
//!
//! One in doubt counts as sent: most likely it was, and an event that clients get twice is worse than
//! one that Pub/Sub may lose at such a moment anyhow.

use switchboard_plugin::{Failure, redis_outcome::Fate};

/// Whether it must not be sent again.
pub(super) fn is_out(fate: &Fate) -> bool {
    matches!(fate, Fate::Sent(_) | Fate::InDoubt(_))
}

/// The first message that did not go, and why. None: all went.
pub(super) fn first_failure(fates: &[Fate]) -> Option<(usize, Failure)> {
    fates.iter().enumerate().find_map(|(n, fate)| match fate {
        Fate::Sent(_) | Fate::InDoubt(_) => None,
        Fate::Held(why) => Some((n, Failure::Unavailable(why.clone()))),
        Fate::Refused(why) => Some((n, Failure::Rejected(why.clone()))),
    })
}

/// How many are in doubt, and why the first one is.
pub(super) fn doubts(fates: &[Fate]) -> Option<(usize, &str)> {
    let mut reasons = fates.iter().filter_map(|fate| match fate {
        Fate::InDoubt(why) => Some(why.as_str()),
        _ => None,
    });
    let first = reasons.next()?;
    Some((1 + reasons.count(), first))
}

#[cfg(test)]
mod tests {
    use switchboard_plugin::redis::Reply;

    use super::*;

    fn fate(letter: char) -> Fate {
        let why = || format!("why {letter}");
        match letter {
            's' => Fate::Sent(Reply::Integer(2.0)),
            'd' => Fate::InDoubt(why()),
            'h' => Fate::Held(why()),
            _ => Fate::Refused(why()),
        }
    }

    fn fates(letters: &str) -> Vec<Fate> {
        letters.chars().map(fate).collect()
    }

    /// What the host is told: how many were accepted, and whether the next one may be tried again.
    fn told(letters: &str) -> String {
        match first_failure(&fates(letters)) {
            None => "ok".to_owned(),
            Some((n, Failure::Unavailable(_))) => format!("{n} unavailable"),
            Some((n, Failure::Rejected(_))) => format!("{n} rejected"),
        }
    }

    #[test]
    fn fates_decide_what_is_accepted() {
        for (fates, expected) in [
            ("ss", "ok"),
            ("sdd", "ok"),
            ("shh", "1 unavailable"),
            ("hss", "0 unavailable"),
            ("dhs", "1 unavailable"),
            ("srs", "1 rejected"),
            ("hr", "0 unavailable"),
            ("rh", "0 rejected"),
        ] {
            assert_eq!(told(fates), expected, "{fates}");
        }
    }

    #[test]
    fn doubts_are_counted_with_their_reason() {
        assert_eq!(doubts(&fates("sdhd")), Some((2, "why d")));
        assert_eq!(doubts(&fates("sh")), None);
    }
}
