//! What became of each message of a batch, from Redis' replies, and what the host is told.

use switchboard_plugin::{
    Failure,
    redis::{Command, Error, Reply},
};

use super::text;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Redis has passed it on.
    Sent,
    /// The connection broke before Redis answered. It counts as sent: most likely it was, and an
    /// event that clients get twice is worse than one that Pub/Sub may lose at such a moment
    /// anyhow.
    InDoubt(String),
    /// It was not sent, for a reason that passes.
    Held(String),
    /// It can never go.
    Refused(String),
}

impl Fate {
    fn of(reply: Option<Reply>) -> Self {
        match reply {
            Some(Reply::Error(why)) => Self::Refused(format!("Redis refuses it: {why}")),
            Some(Reply::NotExecuted(why)) => Self::Held(why),
            Some(Reply::Unknown(why)) => Self::InDoubt(why),
            // How many took it, or whatever a proxy says instead.
            Some(_) => Self::Sent,
            None => Self::InDoubt("there was no reply".to_owned()),
        }
    }

    /// Whether it must not be sent again.
    pub(super) fn is_out(&self) -> bool {
        matches!(self, Self::Sent | Self::InDoubt(_))
    }
}

/// Sends commands through `pipeline`, and says what became of each.
pub(super) fn send(
    commands: &[Command],
    mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
) -> Vec<Fate> {
    if commands.is_empty() {
        return Vec::new();
    }
    match pipeline(commands) {
        Ok(replies) => {
            let mut replies = replies.into_iter();
            commands.iter().map(|_| Fate::of(replies.next())).collect()
        }
        Err(Error::Unavailable(why)) => vec![Fate::Held(why); commands.len()],
        Err(error) if commands.len() == 1 => vec![refused(error)],
        // Not all of them need be at fault.
        Err(_) => singly(commands, pipeline),
    }
}

/// Rare: the batch as a whole is not granted, or too large. Each goes alone, up to the one that can
/// never go.
fn singly(
    commands: &[Command],
    mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
) -> Vec<Fate> {
    let mut fates = Vec::with_capacity(commands.len());
    for command in commands {
        let fate = match pipeline(std::slice::from_ref(command)) {
            Ok(replies) => Fate::of(replies.into_iter().next()),
            Err(Error::Unavailable(why)) => Fate::Held(why),
            Err(error) => refused(error),
        };
        let is_out = fate.is_out();
        fates.push(fate);
        if !is_out {
            break;
        }
    }
    fates.resize(
        commands.len(),
        Fate::Held("one before it could not be sent".to_owned()),
    );
    fates
}

fn refused(error: Error) -> Fate {
    Fate::Refused(match error {
        Error::TooLarge(limit) => format!(
            "larger than the Redis connection takes at once ({limit} bytes: its \
             `max_pending_bytes`)"
        ),
        other => text(other),
    })
}

/// The first message that did not go, and why. None: all went.
pub(super) fn first_failure(fates: &[Fate]) -> Option<(usize, Failure)> {
    fates.iter().enumerate().find_map(|(n, fate)| match fate {
        Fate::Sent | Fate::InDoubt(_) => None,
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
    use super::*;

    fn commands(n: usize) -> Vec<Command> {
        let command = |n: usize| Command {
            args: vec![b"PUBLISH".to_vec(), format!("c{n}").into_bytes(), vec![]],
        };
        (0..n).map(command).collect()
    }

    fn why() -> String {
        "why".to_owned()
    }

    /// Letters for short: sent, in doubt, held, refused.
    fn letters(fates: &[Fate]) -> String {
        let letter = |fate: &Fate| match fate {
            Fate::Sent => 's',
            Fate::InDoubt(_) => 'd',
            Fate::Held(_) => 'h',
            Fate::Refused(_) => 'r',
        };
        fates.iter().map(letter).collect()
    }

    /// What the host is told: how many were accepted, and whether the next one may be tried again.
    fn told(fates: &[Fate]) -> String {
        match first_failure(fates) {
            None => "ok".to_owned(),
            Some((n, Failure::Unavailable(_))) => format!("{n} unavailable"),
            Some((n, Failure::Rejected(_))) => format!("{n} rejected"),
        }
    }

    #[test]
    fn replies_decide_what_is_accepted() {
        let ok = || Reply::Integer(2.0);
        let not = || Reply::NotExecuted(why());
        let unknown = || Reply::Unknown(why());
        let error = || Reply::Error("NOPERM".to_owned());
        for (replies, fates, expected) in [
            (vec![ok(), Reply::Integer(0.0)], "ss", "ok"),
            (vec![ok(), unknown(), unknown()], "sdd", "ok"),
            (vec![ok(), not(), not()], "shh", "1 unavailable"),
            (vec![not(), ok(), ok()], "hss", "0 unavailable"),
            (vec![unknown(), not(), ok()], "dhs", "1 unavailable"),
            (vec![ok(), error(), ok()], "srs", "1 rejected"),
            (vec![not(), error()], "hr", "0 unavailable"),
            (vec![error(), not()], "rh", "0 rejected"),
        ] {
            let got = send(&commands(replies.len()), |_| Ok(replies.clone()));
            assert_eq!(letters(&got), fates);
            assert_eq!(told(&got), expected, "{fates}");
        }
    }

    #[test]
    fn a_missing_reply_is_a_doubt() {
        let fates = send(&commands(2), |_| Ok(vec![Reply::Integer(1.0)]));
        assert_eq!(letters(&fates), "sd");
    }

    #[test]
    fn doubts_are_counted_with_their_reason() {
        let fates = [
            Fate::Sent,
            Fate::InDoubt("first".to_owned()),
            Fate::Held(why()),
            Fate::InDoubt("second".to_owned()),
        ];
        assert_eq!(doubts(&fates), Some((2, "first")));
        assert_eq!(doubts(&[Fate::Sent, Fate::Held(why())]), None);
    }

    #[test]
    fn while_redis_is_away_nothing_is_accepted_and_nothing_tried_singly() {
        let mut calls = 0;
        let fates = send(&commands(3), |_| {
            calls += 1;
            Err(Error::Unavailable(why()))
        });
        assert_eq!((letters(&fates).as_str(), calls), ("hhh", 1));
    }

    #[test]
    fn of_a_batch_that_is_refused_the_one_at_fault_is_found() {
        for error in [Error::Denied(why()), Error::TooLarge(9)] {
            let mut sent = Vec::new();
            let fates = send(&commands(4), |commands| {
                if commands.iter().any(|command| command.args[1] == b"c2") {
                    return Err(error.clone());
                }
                sent.extend(commands.iter().map(|command| command.args[1].clone()));
                Ok(vec![Reply::Integer(1.0); commands.len()])
            });
            assert_eq!(letters(&fates), "ssrh");
            assert_eq!(told(&fates), "2 rejected");
            assert_eq!(sent, [b"c0", b"c1"]);
        }
    }

    #[test]
    fn what_is_too_large_is_said_with_the_limit_and_its_setting() {
        let fates = send(&commands(1), |_| Err(Error::TooLarge(64)));
        let [Fate::Refused(why)] = fates.as_slice() else {
            panic!("{fates:?}");
        };
        assert!(
            why.contains("64 bytes") && why.contains("`max_pending_bytes`"),
            "{why}"
        );
    }

    #[test]
    fn an_empty_batch_asks_nobody() {
        let fates = send(&[], |_| panic!("nothing to send"));
        assert_eq!(fates, []);
    }
}
