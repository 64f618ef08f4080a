//! Instances that die while their batch is in the air, and those that follow them.

use super::*;
use crate::wire::mark;

/// The marks in a stream.
fn marks(redis: &Redis, stream: &str) -> Vec<String> {
    let entries = redis.streams.get(stream).into_iter().flatten();
    let field = |entry: &Entry| {
        entry
            .fields
            .iter()
            .find(|(name, _)| name == mark::FIELD)
            .cloned()
    };
    entries
        .map(|entry| String::from_utf8(field(entry).unwrap().1).unwrap())
        .collect()
}

fn numbered(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("{NODE}-{number}")).collect()
}

/// A host whose first message is out.
fn begun() -> Host {
    let mut host = Host::new();
    host.add("a0");
    assert_eq!(host.publish(9), "1 ok");
    host
}

/// An entry of another server.
fn strange(redis: &mut Redis, stream: &str) {
    redis.clock += 1;
    let entry = Entry {
        id: format!("{}-0", redis.clock),
        fields: vec![
            (b"strange".to_vec(), Vec::new()),
            (mark::FIELD.to_vec(), b"another-7".to_vec()),
        ],
    };
    redis
        .streams
        .entry(stream.to_owned())
        .or_default()
        .push(entry);
}

fn dies(host: &mut Host, answered: usize, executed: usize) {
    host.redis.cuts = [Cut::After { answered, executed }].into();
    host.publish_and_die(9);
}

#[test]
fn what_a_dead_instance_has_sent_is_not_sent_again() {
    for most in [1, 2, 9] {
        for executed in 0..=4 {
            let mut host = begun();
            host.add("a1 a2 a3 a4");
            dies(&mut host, 0, executed);
            strange(&mut host.redis, "io-0");
            host.add("a5");
            host.drain(most);
            let mut expected = texts("a0 a1 a2 a3 a4 a5");
            assert_eq!(host.redis.read("io-0").len(), expected.len() + 1);
            expected.insert(1 + executed, "strange".to_owned());
            assert_eq!(
                host.redis.all("io-0"),
                expected,
                "{executed} of 4, {most} at a time"
            );
            let mut marks = marks(&host.redis, "io-0");
            marks.remove(1 + executed);
            assert_eq!(marks, numbered(0..6));
            // The ids of the entries, whoever has written them.
            for (index, (message, id)) in host.offsets.iter().enumerate() {
                let behind = usize::from(index > executed);
                assert_eq!(*message, format!("a{index}"));
                assert_eq!(*id, format!("{}-0", index + 1 + behind));
            }
        }
    }
}

#[test]
fn an_instance_that_dies_after_redis_has_answered_has_sent_all_of_it() {
    let mut host = begun();
    host.add("a1 b1 p1 a2");
    host.publish_and_die(9);
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a0 a1 a2"));
    assert_eq!(host.redis.all("io-1"), texts("b1"));
    assert_eq!(
        host.redis.published,
        ["p1"],
        "it stood before one that is there"
    );
}

#[test]
fn what_was_published_behind_the_last_entry_that_is_there_is_published_again() {
    let mut host = begun();
    host.add("p1 a1 p2");
    dies(&mut host, 0, 2);
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a0 a1"));
    assert_eq!(host.redis.published, ["p1", "p2"]);
}

#[test]
fn many_instances_that_die_one_after_the_other_lose_and_repeat_nothing() {
    let mut host = begun();
    for round in 0..20 {
        let number = host.queue.len();
        host.add(&format!("a{number} b{round}"));
        dies(&mut host, round % 2, round % 5);
        // It dies before it has looked for long enough.
        host.publish_and_die(9);
        if round % 3 == 0 {
            host.drain(9);
        }
    }
    host.drain(9);
    for name in ["io-0", "io-1"] {
        let marks = marks(&host.redis, name);
        let mut sorted = marks.clone();
        sorted.sort_by_key(|mark| mark.rsplit('-').next().unwrap().parse::<u64>().unwrap());
        sorted.dedup();
        assert_eq!(marks, sorted);
    }
    let all = marks(&host.redis, "io-0").len() + marks(&host.redis, "io-1").len();
    assert_eq!(all, 41);
}

#[test]
fn what_redis_executes_while_the_successor_looks_is_found() {
    let mut host = begun();
    host.redis.cuts = [Cut::Late { answered: 0 }].into();
    host.add("a1 a2 a3");
    host.publish_and_die(9);
    // After the successor has read the stream backwards, and its end once.
    host.redis.commands_until_late = 3;
    host.drain(1);
    assert_eq!(host.redis.all("io-0"), texts("a0 a1 a2 a3"));
}

#[test]
fn what_redis_executes_long_after_a_death_is_read_once() {
    let mut host = begun();
    host.redis.cuts = [Cut::Late { answered: 0 }].into();
    host.add("a1 a2");
    host.publish_and_die(9);
    host.redis.commands_until_late = 100;
    host.drain(9);
    host.redis.commands_until_late = 1;
    host.add("a3");
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a0 a1 a2 a1 a2 a3"));
    assert_eq!(host.redis.read("io-0"), texts("a0 a1 a2 a3"));
}

#[test]
fn a_server_that_has_just_started_looks_for_nothing() {
    let mut host = Host::new();
    host.add("a1 b1");
    assert_eq!(host.publish(9), "2 ok");
    host.add("a2");
    assert_eq!(host.publish(9), "1 ok");
    assert_eq!(host.redis.looks_back, 0);
}

#[test]
fn an_instance_that_follows_another_looks_once_in_each_stream_that_it_writes_to() {
    let mut host = begun();
    host.delivery = delivery();
    for round in 0..2 {
        host.add("a a a");
        host.drain(9);
        assert_eq!(host.redis.looks_back, 1, "round {round}");
    }
    host.add("b");
    host.drain(9);
    assert_eq!(host.redis.looks_back, 2);
    // What an earlier instance had in the air is long settled, also where nobody has looked yet.
    let mut host = begun();
    host.delivery = delivery();
    for _ in 0..600 {
        host.add("a");
        host.drain(9);
    }
    host.add("b");
    assert_eq!(host.publish(9), "1 ok");
    assert_eq!(host.redis.looks_back, 1);
    assert!(host.delivery.predecessor.is_none(), "it is forgotten");
}

#[test]
fn it_looks_back_to_what_was_sent_before_the_batch_and_no_further() {
    let mut host = begun();
    for _ in 0..5000 {
        strange(&mut host.redis, "io-0");
    }
    host.add("a1 a2");
    host.publish(1);
    for _ in 0..300 {
        strange(&mut host.redis, "io-0");
    }
    dies(&mut host, 0, 1);
    host.drain(9);
    assert_eq!(
        marks(&host.redis, "io-0").last().unwrap(),
        &format!("{NODE}-2")
    );
    assert_eq!(
        host.redis
            .all("io-0")
            .iter()
            .filter(|text| *text == "a2")
            .count(),
        1
    );
    // The first page has 128 entries, and what was sent before stands in the second.
    assert_eq!(host.redis.looks_back, 2);

    let mut host = begun();
    for _ in 0..5000 {
        strange(&mut host.redis, "io-0");
    }
    host.add("a1 a2");
    dies(&mut host, 0, 1);
    host.drain(9);
    assert_eq!(host.redis.looks_back, 6);
    let read = host
        .redis
        .read("io-0")
        .into_iter()
        .filter(|text| text != "strange");
    assert_eq!(read.collect::<Vec<_>>(), texts("a0 a1 a2"));
}

#[test]
fn a_stream_that_is_too_long_to_be_searched_is_left_at_the_limit() {
    let mut host = begun();
    host.add("a1");
    dies(&mut host, 0, 1);
    for _ in 0..120_000 {
        strange(&mut host.redis, "io-0");
    }
    host.drain(9);
    let looked = host.redis.looks_back;
    assert!((95..=100).contains(&looked), "{looked}");
    let own = |texts: Vec<String>| texts.into_iter().filter(|text| text == "a1").count();
    assert_eq!(own(host.redis.all("io-0")), 2);
    assert_eq!(own(host.redis.read("io-0")), 1);
}

#[test]
fn what_was_trimmed_before_the_successor_could_find_it_is_not_sent_again() {
    let short = || Delivery::new(Streams::new("io", 2), NODE.to_owned(), 2);
    let mut host = begun();
    host.redis.max_len = Some(2);
    host.add("a1 a2 a3 a4");
    dies(&mut host, 0, 4);
    host.delivery = short();
    assert_eq!(host.redis.all("io-0"), texts("a3 a4"));
    host.redis.max_len = None;
    host.add("a5");
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a3 a4 a5"));

    // Where nothing was trimmed, what is missing was not executed.
    let mut host = Host::new();
    host.add("b0");
    host.publish(9);
    host.redis.cuts = [Cut::First].into();
    host.add("a1 a2");
    host.publish_and_die(9);
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a2 a1"));
}

#[test]
fn while_redis_is_away_the_successor_sends_nothing() {
    let mut host = begun();
    host.add("a1 a2");
    dies(&mut host, 0, 1);
    host.redis.is_away = true;
    assert_eq!(host.publish(9), "0 unavailable");
    assert_eq!(host.publish(9), "0 unavailable");
    host.redis.is_away = false;
    host.drain(9);
    assert_eq!(host.redis.all("io-0"), texts("a0 a1 a2"));
}

#[test]
fn a_successor_that_may_not_look_sends_again_under_the_same_marks() {
    let mut host = begun();
    host.add("a1 a2");
    dies(&mut host, 0, 1);
    let mut batch = host.batch(9);
    let redis = &mut host.redis;
    let report = host.delivery.send(
        &mut batch,
        host.first,
        || 0.0,
        |commands| match commands[0].args[0] == b"XREVRANGE" {
            true => Err(Error::Denied("XREVRANGE is not granted".to_owned())),
            false => redis.pipeline(commands),
        },
    );
    assert_eq!(report.offsets.len(), 2);
    assert!(
        report.warnings[0].contains("not granted"),
        "{:?}",
        report.warnings
    );
    assert_eq!(host.redis.all("io-0"), texts("a0 a1 a1 a2"));
    assert_eq!(host.redis.read("io-0"), texts("a0 a1 a2"));
    assert_eq!(
        marks(&host.redis, "io-0")[1..3],
        [format!("{NODE}-1"), format!("{NODE}-1")]
    );
}

#[test]
fn deaths_and_connections_that_break_at_random_lose_and_repeat_nothing() {
    for seed in 1..300u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut host = begun();
        let mut expected = BTreeMap::from([('a', texts("a0"))]);
        let mut deaths = 0;
        for round in 0..30 {
            for _ in 0..random(6) {
                let kind = ['a', 'a', 'b', 'p'][random(4)];
                let message = format!("{kind}{}", round % 3);
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
            match random(3) {
                _ if host.queue.is_empty() => {}
                0 => {
                    deaths += 1;
                    host.publish_and_die(most);
                }
                _ => drop(host.publish(most)),
            }
        }
        assert!(deaths > 0, "seed {seed}");
        host.redis.is_away = false;
        host.redis.cuts.clear();
        host.drain(8);
        for (kind, name) in [('a', "io-0"), ('b', "io-1")] {
            let expected = expected.remove(&kind).unwrap_or_default();
            assert_eq!(host.redis.all(name), expected, "seed {seed}");
            assert_eq!(host.redis.read(name), expected, "seed {seed}");
        }
    }
}
