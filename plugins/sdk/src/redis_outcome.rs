//! What Redis' replies mean for messages that were sent as commands, for transports over Redis.
//!
//! [`send`] is pure but for the pipeline that it is given, so that transports can test what they do
//! about each [`Fate`].

use crate::{
    Failure, OpenFailure,
    redis::{Client, Command, Error, Node, Reply},
};

/// What became of one command.
#[derive(Debug, Clone)]
pub enum Fate {
    /// Redis has executed it.
    Sent(Reply),
    /// The connection broke before Redis answered: it may have been executed or not.
    InDoubt(String),
    /// It was not executed, for a reason that passes.
    Held(String),
    /// It can never be executed.
    Refused(String),
}

impl Fate {
    fn of(reply: Option<Reply>) -> Self {
        match reply {
            Some(Reply::Error(why)) => Self::Refused(format!("Redis refuses it: {why}")),
            Some(Reply::NotExecuted(why)) => Self::Held(why),
            Some(Reply::Unknown(why)) => Self::InDoubt(why),
            Some(reply) => Self::Sent(reply),
            None => Self::InDoubt("there was no reply".to_owned()),
        }
    }
}

/// Sends commands through `pipeline`, and says what became of each.
///
/// A batch that is refused as a whole is sent again one by one, up to the first command that does
/// not get through: not all of them need be at fault.
pub fn send<C>(
    commands: &[C],
    mut pipeline: impl FnMut(&[C]) -> Result<Vec<Reply>, Error>,
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
        Err(_) => singly(commands, pipeline),
    }
}

fn singly<C>(
    commands: &[C],
    mut pipeline: impl FnMut(&[C]) -> Result<Vec<Reply>, Error>,
) -> Vec<Fate> {
    let mut fates = Vec::with_capacity(commands.len());
    for command in commands {
        let fate = match pipeline(std::slice::from_ref(command)) {
            Ok(replies) => Fate::of(replies.into_iter().next()),
            Err(Error::Unavailable(why)) => Fate::Held(why),
            Err(error) => refused(error),
        };
        // What follows one in doubt could overtake it.
        let goes_on = matches!(fate, Fate::Sent(_));
        fates.push(fate);
        if !goes_on {
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

/// What an error says.
pub fn text(error: Error) -> String {
    match error {
        Error::Denied(why) | Error::Unavailable(why) => why,
        Error::TooLarge(limit) => format!("over the Redis connection's limit of {limit} bytes"),
    }
}

/// What an error means when a transport is opened.
pub fn open_failure(error: Error) -> OpenFailure {
    match error {
        Error::Denied(why) => OpenFailure::Unsupported(why),
        other => OpenFailure::Unavailable(text(other)),
    }
}

/// What an error means for a message, a session or a namespace.
pub fn failure(error: Error) -> Failure {
    match error {
        Error::Unavailable(why) => Failure::Unavailable(why),
        other => Failure::Rejected(text(other)),
    }
}

/// How many subscribe to a channel, or to a shard channel, in all of the cluster. None: Redis does
/// not say. How Node's Redis adapters count their servers.
///
/// # Errors
/// When Redis cannot be asked now, or refuses.
pub fn subscribers(
    client: &Client,
    channel: &str,
    is_sharded: bool,
) -> Result<Option<u32>, Failure> {
    let subcommand: &[u8] = match is_sharded {
        true => b"SHARDNUMSUB",
        false => b"NUMSUB",
    };
    let command = Command {
        args: vec![
            b"PUBSUB".to_vec(),
            subcommand.to_vec(),
            channel.as_bytes().to_vec(),
        ],
    };
    let replies = client.pipeline(&[command]).map_err(failure)?;
    count(replies.into_iter().next())
}

/// The answer to NUMSUB for one channel: its name, and how many subscribe to it.
fn count(reply: Option<Reply>) -> Result<Option<u32>, Failure> {
    match reply {
        Some(Reply::Array(nodes)) => Ok(match nodes.get(1) {
            // Counts are whole and far below the limit of the type.
            Some(Node::Integer(count)) if *count >= 0.0 => Some(*count as u32),
            _ => None,
        }),
        Some(Reply::NotExecuted(why) | Reply::Unknown(why)) => Err(Failure::Unavailable(why)),
        Some(Reply::Error(why)) => Err(Failure::Rejected(format!("Redis does not count: {why}"))),
        _ => Ok(None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
            Fate::Sent(_) => 's',
            Fate::InDoubt(_) => 'd',
            Fate::Held(_) => 'h',
            Fate::Refused(_) => 'r',
        };
        fates.iter().map(letter).collect()
    }

    #[test]
    fn each_command_has_the_fate_that_its_reply_says() {
        let ok = || Reply::Integer(2.0);
        let not = || Reply::NotExecuted(why());
        let unknown = || Reply::Unknown(why());
        let error = || Reply::Error("NOPERM".to_owned());
        for (replies, expected) in [
            (vec![ok(), Reply::Nil, Reply::Bulk(vec![1])], "sss"),
            (vec![ok(), unknown(), unknown()], "sdd"),
            (vec![not(), error(), ok()], "hrs"),
        ] {
            let got = send(&commands(replies.len()), |_| Ok(replies.clone()));
            assert_eq!(letters(&got), expected);
        }
    }

    #[test]
    fn a_missing_reply_is_a_doubt() {
        let fates = send(&commands(2), |_| Ok(vec![Reply::Integer(1.0)]));
        assert_eq!(letters(&fates), "sd");
    }

    #[test]
    fn while_redis_is_away_nothing_is_sent_and_nothing_tried_singly() {
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
            assert_eq!(sent, [b"c0", b"c1"]);
        }
    }

    #[test]
    fn nothing_overtakes_a_single_command_in_doubt() {
        let fates = send(&commands(3), |commands| match commands {
            [one] if one.args[1] == b"c1" => Ok(vec![Reply::Unknown(why())]),
            [_] => Ok(vec![Reply::Integer(1.0)]),
            _ => Err(Error::TooLarge(9)),
        });
        assert_eq!(letters(&fates), "sdh");
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
        assert!(send::<Command>(&[], |_| panic!("nothing to send")).is_empty());
    }

    #[test]
    fn the_count_of_subscribers_is_read_from_redis() {
        let answer = |count| Some(Reply::Array(vec![Node::Bulk(b"io#/#".to_vec()), count]));
        assert_eq!(count(answer(Node::Integer(3.0))).unwrap(), Some(3));
        assert_eq!(count(answer(Node::Integer(0.0))).unwrap(), Some(0));
        for unknown in [
            answer(Node::Integer(-1.0)),
            answer(Node::Nil),
            Some(Reply::Array(Vec::new())),
            Some(Reply::Nil),
            None,
        ] {
            assert_eq!(count(unknown).unwrap(), None);
        }
        for away in [
            Reply::NotExecuted("loading".to_owned()),
            Reply::Unknown("cut".to_owned()),
        ] {
            assert!(matches!(count(Some(away)), Err(Failure::Unavailable(_))));
        }
        let refused = Reply::Error("NOPERM".to_owned());
        assert!(matches!(count(Some(refused)), Err(Failure::Rejected(_))));
    }

    #[test]
    fn what_is_not_granted_is_given_up_and_an_absent_redis_is_waited_for() {
        for (error, is_final) in [
            (Error::Denied(why()), true),
            (Error::TooLarge(1), true),
            (Error::Unavailable(why()), false),
        ] {
            let failure = failure(error);
            assert_eq!(
                matches!(failure, Failure::Rejected(_)),
                is_final,
                "{failure:?}"
            );
        }
    }
}
