//! Messages that overtook one that did not go.
//!
//! In Redis Cluster the parts of a pipeline go to different nodes. When one of them is away, its
//! messages are not sent, while those behind them may be. The contract knows only how many were
//! accepted from the front, so the host hands the others in again; here they are recognised and not
//! sent twice.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use switchboard_plugin::{
    redis::{Error, Reply},
    redis_outcome::{Fate, send},
};

use super::fate::is_out;

/// The messages that the host hands in next, as far as they were tried: the fingerprints of those
/// that are out. No more than one batch holds.
#[derive(Debug, Default)]
pub(super) struct Ahead(VecDeque<Option<u64>>);

impl Ahead {
    /// Sends what is not out yet, and says what became of each.
    pub(super) fn send<C: Hash + Clone>(
        &mut self,
        commands: &[C],
        pipeline: impl FnMut(&[C]) -> Result<Vec<Reply>, Error>,
    ) -> Vec<Fate> {
        let fates = match self.recognise(commands) {
            None => send(commands, pipeline),
            Some(is_out) => send_others(commands, &is_out, pipeline),
        };
        self.remember(commands, &fates);
        fates
    }

    /// Which of them are out already. None: none of them.
    fn recognise<C: Hash>(&mut self, commands: &[C]) -> Option<Vec<bool>> {
        if self.0.is_empty() {
            return None;
        }
        let n = commands.len().min(self.0.len());
        let known: Vec<_> = self.0.drain(..n).collect();
        let is_same = |(known, command): (&Option<u64>, &C)| {
            known.is_none_or(|known| known == fingerprint(command))
        };
        if !known.iter().zip(commands).all(is_same) {
            // The host goes on with something else: rather send twice than not at all.
            self.0.clear();
            return None;
        }
        let mut is_out: Vec<bool> = known.iter().map(Option::is_some).collect();
        is_out.resize(commands.len(), false);
        is_out.contains(&true).then_some(is_out)
    }

    /// Notes what is out behind the first one that is not.
    fn remember<C: Hash>(&mut self, commands: &[C], fates: &[Fate]) {
        let Some(first) = fates.iter().position(|fate| !is_out(fate)) else {
            return;
        };
        // One that is refused is not handed in again.
        let next = match fates.get(first) {
            Some(Fate::Refused(_)) => first + 1,
            _ => first,
        };
        let tried = commands.iter().zip(fates).skip(next);
        let tried = tried.map(|(command, fate)| is_out(fate).then(|| fingerprint(command)));
        let mut all: VecDeque<_> = tried.collect();
        all.append(&mut self.0);
        while all.back().is_some_and(Option::is_none) {
            all.pop_back();
        }
        self.0 = all;
    }
}

fn send_others<C: Clone>(
    commands: &[C],
    is_out: &[bool],
    pipeline: impl FnMut(&[C]) -> Result<Vec<Reply>, Error>,
) -> Vec<Fate> {
    let others = commands.iter().zip(is_out).filter(|(_, is_out)| !**is_out);
    // Copies, but only after a node was away.
    let others: Vec<C> = others.map(|(command, _)| command.clone()).collect();
    let mut fates = send(&others, pipeline).into_iter();
    let fate = |is_out: &bool| match is_out {
        // Whatever Redis said when it went.
        true => Some(Fate::Sent(Reply::Nil)),
        false => fates.next(),
    };
    is_out.iter().filter_map(fate).collect()
}

fn fingerprint(command: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    command.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use switchboard_plugin::redis::Command;

    use super::*;
    use crate::transport::fate::first_failure;

    fn command(channel: &str, n: usize) -> Command {
        Command {
            args: vec![
                b"PUBLISH".to_vec(),
                channel.as_bytes().to_vec(),
                n.to_string().into_bytes(),
            ],
        }
    }

    /// A cluster whose nodes each serve the channels that begin with their letter.
    #[derive(Default)]
    struct Redis {
        away: Vec<u8>,
        refusing: Vec<u8>,
        sent: Vec<String>,
    }

    impl Redis {
        fn pipeline(&mut self, commands: &[Command]) -> Result<Vec<Reply>, Error> {
            let mut replies = Vec::new();
            for command in commands {
                let node = command.args[1][0];
                replies.push(if self.away.contains(&node) {
                    Reply::NotExecuted("away".to_owned())
                } else if self.refusing.contains(&node) {
                    Reply::Error("NOPERM".to_owned())
                } else {
                    self.sent
                        .push(String::from_utf8_lossy(&command.args.concat()[7..]).into());
                    Reply::Integer(1.0)
                });
            }
            Ok(replies)
        }
    }

    /// As the host does: what was not accepted is handed in again, except one that was rejected.
    fn host_publishes(ahead: &mut Ahead, redis: &mut Redis, queue: &mut Vec<Command>, n: usize) {
        let batch: Vec<Command> = queue.iter().take(n).cloned().collect();
        let fates = ahead.send(&batch, |commands| redis.pipeline(commands));
        assert_eq!(fates.len(), batch.len());
        let done = match first_failure(&fates) {
            None => batch.len(),
            Some((accepted, switchboard_plugin::Failure::Unavailable(_))) => accepted,
            Some((accepted, switchboard_plugin::Failure::Rejected(_))) => accepted + 1,
        };
        queue.drain(..done);
    }

    fn queue(channels: &str) -> Vec<Command> {
        let channels = channels.split(' ').enumerate();
        channels.map(|(n, name)| command(name, n)).collect()
    }

    #[test]
    fn nothing_is_sent_twice_when_a_node_of_the_cluster_was_away() {
        let mut redis = Redis::default();
        let mut ahead = Ahead::default();
        let mut queue = queue("a b a b a");
        redis.away = vec![b'b'];
        host_publishes(&mut ahead, &mut redis, &mut queue, 5);
        assert_eq!(redis.sent, ["a0", "a2", "a4"]);
        assert_eq!(queue.len(), 4);
        // Still away; more has gathered behind.
        queue.push(command("a", 5));
        host_publishes(&mut ahead, &mut redis, &mut queue, 5);
        assert_eq!(redis.sent, ["a0", "a2", "a4", "a5"]);
        redis.away.clear();
        host_publishes(&mut ahead, &mut redis, &mut queue, 5);
        assert_eq!(redis.sent, ["a0", "a2", "a4", "a5", "b1", "b3"]);
        assert!(queue.is_empty() && ahead.0.is_empty());
    }

    #[test]
    fn nothing_is_sent_twice_behind_a_message_that_is_refused() {
        let mut redis = Redis::default();
        let mut ahead = Ahead::default();
        let mut queue = queue("a x a x b a");
        redis.refusing = vec![b'x'];
        redis.away = vec![b'b'];
        while !queue.is_empty() {
            host_publishes(&mut ahead, &mut redis, &mut queue, 6);
            if queue.len() == 2 {
                redis.away.clear();
            }
        }
        assert_eq!(redis.sent, ["a0", "a2", "a5", "b4"]);
        assert!(ahead.0.is_empty());
    }

    #[test]
    fn smaller_batches_find_their_place_as_well() {
        let mut redis = Redis::default();
        let mut ahead = Ahead::default();
        let mut queue = queue("b a b a a");
        redis.away = vec![b'b'];
        host_publishes(&mut ahead, &mut redis, &mut queue, 5);
        host_publishes(&mut ahead, &mut redis, &mut queue, 1);
        redis.away.clear();
        while !queue.is_empty() {
            host_publishes(&mut ahead, &mut redis, &mut queue, 1);
        }
        assert_eq!(redis.sent, ["a1", "a3", "a4", "b0", "b2"]);
    }

    #[test]
    fn a_host_that_goes_on_with_something_else_loses_nothing() {
        let mut redis = Redis::default();
        let mut ahead = Ahead::default();
        let mut first = queue("b a a");
        redis.away = vec![b'b'];
        host_publishes(&mut ahead, &mut redis, &mut first, 3);
        redis.away.clear();
        redis.sent.clear();
        let mut other = vec![command("a", 2), command("a", 7), command("a", 8)];
        host_publishes(&mut ahead, &mut redis, &mut other, 3);
        assert_eq!(redis.sent, ["a2", "a7", "a8"]);
        assert!(ahead.0.is_empty());
    }
}
