//! A Redis that loses connections at will, and a host that hands messages in as the contract says.

mod deaths;

use std::collections::VecDeque;

use super::*;
use crate::{
    transport::range::{Entry, tests::reply},
    wire::entry::Parts,
};

const NODE: &str = "node-_1";

/// What happens to a pipeline.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Nothing.
    No,
    /// So many commands are executed and answered, so many more are executed, the others are lost.
    After { answered: usize, executed: usize },
    /// The first command is lost, the others are executed and answered: in a cluster, when it was
    /// sent on to another node and the connection to that one broke.
    First,
    /// So many commands are answered; what is lost gets executed when the next command but one arrives.
    Late { answered: usize },
}

/// Streams are known by the letter that their names end in.
#[derive(Default)]
struct Redis {
    streams: BTreeMap<String, Vec<Entry>>,
    published: Vec<String>,
    clock: u64,
    is_away: bool,
    /// Streams whose node is away.
    away: Vec<String>,
    /// Payloads that are refused.
    refused: Vec<String>,
    cuts: VecDeque<Cut>,
    late: Vec<Command>,
    commands_until_late: usize,
    max_len: Option<usize>,
    /// How often a stream was read backwards.
    looks_back: usize,
}

impl Redis {
    fn pipeline(&mut self, commands: &[Command]) -> Result<Vec<Reply>, Error> {
        if !self.late.is_empty() {
            self.commands_until_late = self.commands_until_late.saturating_sub(1);
            if self.commands_until_late == 0 {
                for command in std::mem::take(&mut self.late) {
                    self.execute(&command);
                }
            }
        }
        if self.is_away {
            return Err(Error::Unavailable("away".to_owned()));
        }
        let reads: [&[u8]; 2] = [b"XRANGE", b"XREVRANGE"];
        let is_write = commands
            .iter()
            .any(|command| !reads.contains(&command.args[0].as_slice()));
        let cut = match is_write {
            true => self.cuts.pop_front().unwrap_or(Cut::No),
            false => Cut::No,
        };
        let (answered, executed) = match cut {
            Cut::First => {
                let rest = commands[1..].iter();
                let mut replies = vec![Reply::Unknown("cut".to_owned())];
                replies.extend(rest.map(|command| self.execute(command)));
                return Ok(replies);
            }
            Cut::No => (commands.len(), commands.len()),
            Cut::After { answered, executed } => (answered, answered + executed),
            Cut::Late { answered } => {
                let answered = answered.min(commands.len());
                self.late = commands[answered..].to_vec();
                self.commands_until_late = 2;
                (answered, answered)
            }
        };
        let mut replies = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            let reply = match index < executed {
                true => self.execute(command),
                false => Reply::Nil,
            };
            replies.push(match index < answered {
                true => reply,
                false => Reply::Unknown("cut".to_owned()),
            });
        }
        Ok(replies)
    }

    fn execute(&mut self, command: &Command) -> Reply {
        let arg = |at: usize| String::from_utf8(command.args[at].clone()).unwrap();
        let name = arg(1);
        if self.away.contains(&name) {
            return Reply::NotExecuted("its node is away".to_owned());
        }
        match arg(0).as_str() {
            "PUBLISH" => {
                self.published.push(arg(2));
                Reply::Integer(1.0)
            }
            "XRANGE" => {
                let number = |id: &str| id.split('-').next().unwrap().parse::<u64>().unwrap_or(0);
                let (from, count) = (number(&arg(2)), arg(5).parse().unwrap());
                let stream = self.streams.entry(name).or_default();
                let found = stream.iter().filter(|entry| number(&entry.id) >= from);
                reply(&found.take(count).cloned().collect::<Vec<_>>())
            }
            "XREVRANGE" => {
                self.looks_back += 1;
                let from = match arg(2).as_str() {
                    "+" => u64::MAX,
                    id => id.split('-').next().unwrap().parse().unwrap(),
                };
                let number = |id: &str| id.split('-').next().unwrap().parse::<u64>().unwrap();
                let stream = self.streams.entry(name).or_default();
                let found = stream.iter().rev();
                let found = found.filter(|entry| number(&entry.id) <= from);
                let count = arg(5).parse().unwrap();
                reply(&found.take(count).cloned().collect::<Vec<_>>())
            }
            _ if self.refused.contains(&arg(2)) => Reply::Error("NOPERM".to_owned()),
            _ => {
                self.clock += 1;
                let id = format!("{}-0", self.clock);
                let fields = command.args[2..].chunks(2);
                let fields = fields
                    .map(|pair| (pair[0].clone(), pair[1].clone()))
                    .collect();
                let stream = self.streams.entry(name).or_default();
                stream.push(Entry {
                    id: id.clone(),
                    fields,
                });
                if let Some(len) = self.max_len {
                    let surplus = stream.len().saturating_sub(len);
                    stream.drain(..surplus);
                }
                Reply::Bulk(id.into_bytes())
            }
        }
    }

    /// What is in a stream, with entries that are there twice.
    fn all(&self, stream: &str) -> Vec<String> {
        let stream = self.streams.get(stream).into_iter().flatten();
        stream
            .map(|entry| String::from_utf8(entry.fields[0].0.clone()).unwrap())
            .collect()
    }

    /// What those read who know marks.
    fn read(&self, stream: &str) -> Vec<String> {
        let mut seen = crate::wire::mark::Seen::default();
        let entries = self.streams.get(stream).into_iter().flatten();
        entries
            .filter(|entry| {
                let mark = Parts::of(&entry.fields).mark.unwrap();
                !seen.is_repeated(0, mark)
            })
            .map(|entry| String::from_utf8(entry.fields[0].0.clone()).unwrap())
            .collect()
    }
}

/// Messages in order: `a1` goes into the stream `io-0`, `b1` into `io-1`, `p1` is published.
struct Host {
    redis: Redis,
    delivery: Delivery,
    queue: VecDeque<String>,
    /// The number of the message at the front of the queue.
    first: u64,
    now_ms: f64,
    offsets: Vec<(String, String)>,
    rejected: Vec<String>,
    warnings: Vec<String>,
}

impl Host {
    fn new() -> Self {
        Self {
            redis: Redis::default(),
            delivery: delivery(),
            queue: VecDeque::new(),
            first: 0,
            now_ms: 0.0,
            offsets: Vec::new(),
            rejected: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn add(&mut self, messages: &str) {
        self.queue.extend(messages.split(' ').map(str::to_owned));
    }

    fn batch(&self, most: usize) -> Batch {
        let mut batch = Batch::default();
        for message in self.queue.iter().take(most) {
            let (stream, args) = match &message[..1] {
                "a" => (
                    Some(0),
                    vec!["XADD", "io-0", message.as_str(), "x", "n", ""],
                ),
                "b" => (
                    Some(1),
                    vec!["XADD", "io-1", message.as_str(), "x", "n", ""],
                ),
                _ => (None, vec!["PUBLISH", "io", message.as_str()]),
            };
            let args = args
                .into_iter()
                .map(|arg| arg.as_bytes().to_vec())
                .collect();
            batch.commands.push(Command { args });
            batch.streams.push(stream);
        }
        batch
    }

    fn send(&mut self, most: usize) -> Report {
        let mut batch = self.batch(most);
        let (redis, now_ms) = (&mut self.redis, self.now_ms);
        self.now_ms += 60.0;
        self.delivery.send(
            &mut batch,
            self.first,
            || now_ms,
            |commands| redis.pipeline(commands),
        )
    }

    /// Hands in up to so many to an instance that dies before it can say what has become of them,
    /// and goes on with another one.
    fn publish_and_die(&mut self, most: usize) {
        self.send(most);
        self.delivery = delivery();
    }

    /// Hands in up to so many; says what the contract says.
    fn publish(&mut self, most: usize) -> String {
        let report = self.send(most);
        let accepted = report.offsets.len();
        self.first += accepted as u64;
        for offset in report.offsets {
            self.offsets.push((self.queue.pop_front().unwrap(), offset));
        }
        self.warnings.extend(report.warnings);
        match report.failure {
            None => format!("{accepted} ok"),
            Some(Failure::Unavailable(_)) => format!("{accepted} unavailable"),
            Some(Failure::Rejected(_)) => {
                self.rejected.extend(self.queue.pop_front());
                self.first += 1;
                format!("{accepted} rejected")
            }
        }
    }

    /// The search finds out that it is not granted what it needs.
    fn deny_search(&mut self) {
        let denied = |_: &[Command]| Err(Error::Denied("XRANGE is not granted".to_owned()));
        self.delivery
            .search(|| self.now_ms, denied, &mut self.warnings);
    }

    /// Until all is gone.
    fn drain(&mut self, most: usize) {
        for _ in 0..100 {
            if self.queue.is_empty() {
                return;
            }
            self.publish(most);
        }
        panic!("it does not get on: {:?}", self.queue);
    }
}

fn delivery() -> Delivery {
    let max_len = 10_000;
    Delivery::new(Streams::new("io", 2), NODE.to_owned(), max_len)
}

fn texts(texts: &str) -> Vec<String> {
    texts.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn offsets_are_the_ids_of_the_entries() {
    let mut host = Host::new();
    host.add("a1 p1 b1 a2");
    assert_eq!(host.publish(9), "4 ok");
    let offsets = [("a1", "1-0"), ("p1", ""), ("b1", "2-0"), ("a2", "3-0")];
    let offsets = offsets.map(|(message, id)| (message.to_owned(), id.to_owned()));
    assert_eq!(host.offsets, offsets);
    assert_eq!(host.redis.published, ["p1"]);
    assert!(host.warnings.is_empty());
}

#[test]
fn what_was_executed_before_the_connection_broke_is_found_and_not_sent_again() {
    for executed in 0..=3 {
        let mut host = Host::new();
        host.add("a0");
        host.publish(9);
        host.redis.cuts = [Cut::After {
            answered: 1,
            executed,
        }]
        .into();
        host.add("a1 a2 a3 a4");
        assert_eq!(host.publish(9), "1 unavailable");
        host.add("a5");
        host.drain(9);
        assert_eq!(
            host.redis.all("io-0"),
            texts("a0 a1 a2 a3 a4 a5"),
            "{executed}"
        );
        for (index, (message, id)) in host.offsets.iter().enumerate() {
            assert_eq!(*message, format!("a{index}"));
            assert_eq!(*id, format!("{}-0", index + 1));
        }
    }
}

#[test]
fn nothing_is_sent_while_an_outcome_is_unknown() {
    let mut host = Host::new();
    host.redis.cuts = [Cut::After {
        answered: 0,
        executed: 0,
    }]
    .into();
    host.add("a1 a2 b1 p1");
    // The whole batch went over this connection.
    assert_eq!(host.publish(9), "0 unavailable");
    host.add("a3 b2 p2");
    assert_eq!(host.publish(9), "0 unavailable");
    assert_eq!(host.redis.all("io-0"), texts(""));
    // A publication may have been lost, as Pub/Sub loses them, but is not repeated; new ones go.
    assert_eq!(host.redis.published, ["p2"]);
    assert!(
        host.warnings[0].contains("may not have been sent"),
        "{:?}",
        host.warnings
    );
    assert_eq!(host.publish(9), "0 unavailable");
    assert_eq!(host.publish(9), "7 ok");
    assert_eq!(host.redis.all("io-0"), texts("a1 a2 a3"));
    assert_eq!(host.redis.all("io-1"), texts("b1 b2"));
    assert_eq!(host.redis.published, ["p2"]);
}

#[test]
fn what_redis_executes_after_it_was_searched_is_read_once() {
    let mut host = Host::new();
    host.add("a0 b0");
    host.publish(9);
    host.redis.cuts = [Cut::Late { answered: 0 }].into();
    host.add("a1 a2");
    host.publish(9);
    // It comes so late that the search misses it.
    host.redis.commands_until_late = 100;
    host.add("a3");
    while host.redis.all("io-0").len() < 4 {
        host.publish(9);
    }
    host.redis.commands_until_late = 1;
    host.add("a4");
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a0 a1 a2 a3 a1 a2 a4"));
    assert_eq!(host.redis.read("io-0"), texts("a0 a1 a2 a3 a4"));
}

#[test]
fn what_redis_executes_between_two_looks_is_found() {
    let mut host = Host::new();
    host.redis.cuts = [Cut::Late { answered: 0 }].into();
    host.add("a1 a2 a3");
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a1 a2 a3"));
}

#[test]
fn connections_that_break_again_and_again_lose_and_repeat_nothing() {
    for seed in 1..300u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut host = Host::new();
        let (mut sent, mut expected) = (0, BTreeMap::<char, Vec<String>>::new());
        for _ in 0..30 {
            for _ in 0..random(6) {
                let kind = ['a', 'a', 'b', 'p'][random(4)];
                // Texts that come again, as real ones do.
                let message = format!("{kind}{}", sent % 3);
                sent += 1;
                expected.entry(kind).or_default().push(message.clone());
                host.queue.push_back(message);
            }
            host.redis.is_away = random(5) == 0;
            let cut = match random(4) {
                0 => Cut::After {
                    answered: random(4),
                    executed: random(4),
                },
                1 => Cut::Late {
                    answered: random(3),
                },
                _ => Cut::No,
            };
            host.redis.cuts = [cut].into();
            let most = 1 + random(6);
            if !host.queue.is_empty() {
                host.publish(most);
            }
        }
        host.redis.is_away = false;
        host.redis.cuts.clear();
        host.drain(8);
        for (kind, name) in [('a', "io-0"), ('b', "io-1")] {
            let expected = expected.remove(&kind).unwrap_or_default();
            assert_eq!(host.redis.all(name), expected, "seed {seed}");
            assert_eq!(host.redis.read(name), expected, "seed {seed}");
        }
        assert_eq!(host.offsets.len(), sent, "seed {seed}");
    }
}

#[test]
fn a_node_of_a_cluster_that_is_away_holds_up_its_own_stream_only() {
    let mut host = Host::new();
    host.redis.away = texts("io-1");
    host.add("a1 b1 a2 b2 a3");
    assert_eq!(host.publish(9), "1 unavailable");
    assert_eq!(host.redis.all("io-0"), texts("a1 a2 a3"));
    host.add("a4");
    assert_eq!(host.publish(9), "0 unavailable");
    assert_eq!(host.redis.all("io-0"), texts("a1 a2 a3 a4"));
    host.redis.away.clear();
    // One by one, as the host does after a fault.
    host.drain(1);
    assert_eq!(host.redis.all("io-0"), texts("a1 a2 a3 a4"));
    assert_eq!(host.redis.all("io-1"), texts("b1 b2"));
    assert!(host.delivery.tried.is_empty());
}

#[test]
fn one_that_others_have_overtaken_is_read_all_the_same() {
    let mut host = Host::new();
    host.redis.cuts = [Cut::First].into();
    host.add("a1 a2 a3");
    assert_eq!(host.publish(9), "0 unavailable");
    host.drain(9);
    assert_eq!(host.redis.read("io-0"), texts("a2 a3 a1"));

    // Also where nobody may look into the stream.
    let mut host = Host::new();
    host.redis.cuts = [Cut::First].into();
    host.add("a1 a2 a3");
    host.publish(9);
    host.deny_search();
    host.drain(9);
    assert_eq!(host.redis.read("io-0"), texts("a2 a3 a1"));
}

#[test]
fn what_is_refused_is_given_up_and_the_others_go() {
    let mut host = Host::new();
    host.redis.refused = texts("a2 a4");
    host.add("a1 a2 a3 b1 a4 a5");
    host.drain(9);
    assert_eq!(host.rejected, ["a2", "a4"]);
    assert_eq!(host.redis.all("io-0"), texts("a1 a3 a5"));
    assert_eq!(host.redis.all("io-1"), texts("b1"));
}

#[test]
fn what_was_trimmed_before_it_could_be_found_does_not_count_as_missing() {
    let mut host = Host::new();
    host.add("a0");
    host.publish(9);
    host.redis.max_len = Some(2);
    host.redis.cuts = [Cut::After {
        answered: 0,
        executed: 4,
    }]
    .into();
    host.add("a1 a2 a3 a4");
    host.publish(9);
    assert_eq!(host.redis.all("io-0"), texts("a3 a4"));
    host.redis.max_len = None;
    host.add("a5");
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a3 a4 a5"));
}

#[test]
fn without_the_right_to_look_it_sends_again_under_the_same_mark() {
    let mut host = Host::new();
    host.redis.cuts = [Cut::After {
        answered: 0,
        executed: 2,
    }]
    .into();
    host.add("a1 a2");
    host.publish(9);
    host.deny_search();
    assert!(
        host.warnings[0].contains("not granted"),
        "{:?}",
        host.warnings
    );
    assert_eq!(host.redis.all("io-0"), texts("a1 a2"));
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a1 a2 a1 a2"));
    assert_eq!(host.redis.read("io-0"), texts("a1 a2"));
}

#[test]
fn a_host_that_goes_on_with_something_else_loses_nothing() {
    let mut host = Host::new();
    host.redis.cuts = [Cut::After {
        answered: 0,
        executed: 2,
    }]
    .into();
    host.add("a1 a2");
    host.publish(9);
    // It has given up these two.
    host.queue.clear();
    host.first += 2;
    host.add("a3 a1");
    assert_eq!(host.publish(9), "2 ok");
    assert_eq!(host.redis.read("io-0"), texts("a1 a2 a3 a1"));
    assert!(host.delivery.tried.is_empty());
}
