//! Sessions over a Redis of a few lines.

use switchboard_plugin::types::{Payload, Room};

use super::*;
use crate::transport::range::tests::reply as entries_reply;

const PID: &str = "7qqO3jS_N62n2ZzyAAAB";
const SID: &str = "NnDHzXGtdvgLPzYwAAAA";

/// What happens before the command of this name.
type Before = (&'static str, fn(&mut Redis));

/// One stream and one session.
#[derive(Default)]
struct Redis {
    session: Option<Vec<u8>>,
    ttl: String,
    stream: Vec<Entry>,
    /// Once.
    before: Option<Before>,
    /// The command of this name is not answered.
    silent: Option<&'static str>,
    pages: usize,
}

impl Redis {
    fn pipeline(&mut self, commands: &[Command]) -> Result<Vec<Reply>, Error> {
        commands
            .iter()
            .map(|command| self.execute(command))
            .collect()
    }

    fn execute(&mut self, command: &Command) -> Result<Reply, Error> {
        let arg = |at: usize| String::from_utf8(command.args[at].clone()).unwrap();
        if let Some((name, action)) = self.before
            && name == arg(0)
        {
            self.before = None;
            action(self);
        }
        if self.silent.is_some_and(|name| name == arg(0)) {
            return Ok(Reply::Unknown("cut".to_owned()));
        }
        let key = format!("sio:session:{PID}");
        Ok(match arg(0).as_str() {
            "SET" => {
                assert_eq!((arg(1), arg(3)), (key, "PX".to_owned()));
                self.session = Some(command.args[2].clone());
                self.ttl = arg(4);
                Reply::Status("OK".to_owned())
            }
            "GET" if arg(1) == key => self.session.clone().map_or(Reply::Nil, Reply::Bulk),
            "GET" => Reply::Nil,
            "DEL" => Reply::Integer(f64::from(u8::from(self.session.take().is_some()))),
            _ => {
                assert_eq!(
                    (arg(0), arg(1)),
                    ("XRANGE".to_owned(), "socket.io".to_owned())
                );
                self.pages += 1;
                let from = place(&arg(2));
                let found = self.stream.iter().filter(|entry| place(&entry.id) >= from);
                let found: Vec<_> = found.take(arg(5).parse().unwrap()).cloned().collect();
                entries_reply(&found)
            }
        })
    }

    /// Adds an event; its id is `1-` and its place.
    fn add(&mut self, nsp: &str, kind: &str, data: &str) {
        let fields = [
            ("uid", "other"),
            ("nsp", nsp),
            ("type", kind),
            ("data", data),
        ];
        let fields = fields.map(|(name, value)| (name.into(), value.into()));
        self.stream.push(Entry {
            id: format!("1-{}", self.stream.len()),
            fields: fields.into(),
        });
    }

    fn add_event(&mut self, name: &str, opts: &str) {
        let data = format!(r#"{{"packet":{{"type":2,"data":["{name}"]}},"opts":{opts}}}"#);
        self.add("/", "3", &data);
    }
}

fn place(id: &str) -> u64 {
    id.split('-').nth(1).unwrap().parse().unwrap()
}

fn session() -> Session {
    Session {
        pid: PID.to_owned(),
        sid: SID.to_owned(),
        rooms: vec![Room::Text("room1".into()), Room::Number(42.0)],
        data: Payload {
            json: r#"{"user":"u1"}"#.to_owned(),
            attachments: None,
        },
    }
}

fn store() -> Store {
    let config = Config {
        node: "me".to_owned(),
        options: "{}".to_owned(),
        wants_offsets: true,
    };
    Store::new(&Options::read(&config).unwrap())
}

/// A Redis with a session and one event that its client has got.
fn redis() -> Redis {
    let mut redis = Redis::default();
    redis.add_event("got", "{}");
    store()
        .persist(&session(), 120_000, |commands| redis.pipeline(commands))
        .unwrap();
    redis
}

fn restore_with(
    redis: &mut Redis,
    pid: &str,
    offset: &str,
    max_missed: usize,
) -> Result<Result<Restored, Why>, Failure> {
    let wanted = Wanted {
        namespace: "/",
        pid,
        offset,
        max_missed,
    };
    store().restore(&wanted, |commands| redis.pipeline(commands))
}

fn restore(redis: &mut Redis) -> Result<Result<Restored, Why>, Failure> {
    restore_with(redis, PID, "1-0", 1000)
}

fn names(restored: &Restored) -> Vec<(&str, &str)> {
    let missed = restored.missed.iter();
    missed
        .map(|missed| (missed.broadcast.data.json.as_str(), missed.offset.as_str()))
        .collect()
}

#[test]
fn a_session_comes_back_once_with_what_its_rooms_got() {
    let mut redis = redis();
    assert_eq!(redis.ttl, "120000");
    redis.add_event("everybody", "{}");
    redis.add_event("room1", r#"{"rooms":["room1"]}"#);
    redis.add_event("number", r#"{"rooms":["x",42],"except":["y"]}"#);
    redis.add_event("own", &format!(r#"{{"rooms":["{SID}"]}}"#));
    let restored = restore(&mut redis).unwrap().unwrap();
    assert_eq!(restored.session.sid, SID);
    assert_eq!(restored.session.data.json, r#"{"user":"u1"}"#);
    let expected = [
        ("[\"everybody\"]", "1-1"),
        ("[\"room1\"]", "1-2"),
        ("[\"number\"]", "1-3"),
        ("[\"own\"]", "1-4"),
    ];
    assert_eq!(names(&restored), expected);
    assert!(matches!(restore(&mut redis), Ok(Err(Why::Ordinary))));
}

#[test]
fn what_was_not_for_it_is_not_missed() {
    let mut redis = redis();
    redis.add_event("other room", r#"{"rooms":["room2"]}"#);
    redis.add_event("number as text", r#"{"rooms":["42"]}"#);
    redis.add_event("except", r#"{"rooms":["room1"],"except":["room1"]}"#);
    redis.add_event("except me", &format!(r#"{{"except":["{SID}"]}}"#));
    redis.add_event("volatile", r#"{"flags":{"volatile":true}}"#);
    let data = r#"{"packet":{"type":2,"data":["x"]},"opts":{}}"#;
    redis.add("/other", "3", data);
    redis.add("/", "03", data);
    redis.add("/", "4", r#"{"opts":{},"rooms":["room1"]}"#);
    let asked = data.replace("\"opts\"", "\"requestId\":\"q\",\"opts\"");
    redis.add("/", "3", &asked);
    redis.add_event("not volatile", r#"{"flags":{"volatile":false}}"#);
    let restored = restore(&mut redis).unwrap().unwrap();
    assert_eq!(names(&restored), [("[\"not volatile\"]", "1-10")]);
}

#[test]
fn a_long_stream_is_read_to_its_end() {
    let mut redis = redis();
    for index in 0..5000 {
        redis.add_event(&index.to_string(), "{}");
    }
    let restored = restore_with(&mut redis, PID, "1-0", 10_000)
        .unwrap()
        .unwrap();
    assert_eq!(restored.missed.len(), 5000);
    assert_eq!(restored.missed[4999].offset, "1-5000");
    assert!((6..10).contains(&redis.pages), "{}", redis.pages);
}

#[test]
fn a_client_that_is_too_far_behind_starts_anew_and_its_session_is_kept() {
    let mut redis = redis();
    for index in 0..11 {
        redis.add_event(&index.to_string(), "{}");
    }
    let refused = restore_with(&mut redis, PID, "1-0", 10).unwrap();
    assert!(matches!(refused, Err(Why::Remarkable(_))));
    assert!(redis.session.is_some());
    restore_with(&mut redis, PID, "1-0", 11).unwrap().unwrap();

    let mut redis = self::redis();
    let large = format!(
        r#"{{"flags":{{"x":"{}"}}}}"#,
        "x".repeat(MAX_MISSED_BYTES / 8)
    );
    for _ in 0..9 {
        redis.add_event("large", &large);
    }
    assert!(matches!(restore(&mut redis), Ok(Err(Why::Remarkable(_)))));

    let mut redis = self::redis();
    for _ in 0..200_000 {
        redis.add("/other", "3", "{}");
    }
    assert!(matches!(restore(&mut redis), Ok(Err(Why::Remarkable(_)))));
    assert_eq!(redis.pages, MAX_PAGES);
}

#[test]
fn a_restore_that_fails_keeps_the_session() {
    let mut redis = redis();
    for (pid, offset) in [
        (PID, "1-5"),
        (PID, "0-0"),
        (PID, "$"),
        (PID, "-"),
        (PID, ""),
        ("", "1-0"),
        ("unknown", "1-0"),
        (&"x".repeat(MAX_PID_BYTES + 1), "1-0"),
    ] {
        let restored = restore_with(&mut redis, pid, offset, 10).unwrap();
        assert!(matches!(restored, Err(Why::Ordinary)), "{pid} {offset}");
    }
    for silent in ["GET", "XRANGE", "DEL"] {
        redis.silent = Some(silent);
        assert!(
            matches!(restore(&mut redis), Err(Failure::Unavailable(_))),
            "{silent}"
        );
    }
    redis.silent = None;
    assert!(restore(&mut redis).unwrap().is_ok());
}

#[test]
fn nothing_is_restored_over_a_hole() {
    let mut redis = redis();
    for index in 0..300 {
        redis.add_event(&index.to_string(), "{}");
    }
    let mut whole = redis.stream.clone();
    // Trimmed while it is read.
    redis.stream.truncate(128);
    redis.before = Some(("XRANGE", |redis| {
        redis.before = Some(("XRANGE", |redis| {
            redis.stream.clear();
            redis.add_event("other", "{}");
        }));
    }));
    assert!(matches!(restore(&mut redis), Ok(Err(Why::Ordinary))));
    assert!(redis.session.is_some());
    redis.stream = std::mem::take(&mut whole);
    assert_eq!(restore(&mut redis).unwrap().unwrap().missed.len(), 300);
}

#[test]
fn of_two_servers_one_gets_it() {
    let mut redis = redis();
    redis.before = Some(("DEL", |redis| redis.session = None));
    assert!(matches!(restore(&mut redis), Ok(Err(Why::Ordinary))));
}

#[test]
fn a_key_that_holds_something_else_is_left_alone() {
    let mut redis = redis();
    for value in [
        b"garbage".to_vec(),
        session::write(&Session {
            pid: "another".to_owned(),
            ..session()
        })
        .unwrap()
        .into_bytes(),
    ] {
        redis.session = Some(value);
        assert!(matches!(restore(&mut redis), Ok(Err(Why::Remarkable(_)))));
        assert!(redis.session.is_some());
    }
}

#[test]
fn a_session_that_cannot_be_kept_is_refused() {
    let mut redis = Redis::default();
    let mut persist =
        |session: &Session, ttl| store().persist(session, ttl, |commands| redis.pipeline(commands));
    for pid in ["", &"x".repeat(MAX_PID_BYTES + 1)] {
        let session = Session {
            pid: pid.to_owned(),
            ..session()
        };
        assert!(matches!(persist(&session, 1), Err(Failure::Rejected(_))));
    }
    let mut broken = session();
    broken.data.json = "{".to_owned();
    assert!(matches!(persist(&broken, 1), Err(Failure::Rejected(_))));
    persist(&session(), 0).unwrap();
    assert_eq!(redis.ttl, "1", "Redis takes no zero");
    redis.silent = Some("SET");
    let unknown = store().persist(&session(), 1, |commands| redis.pipeline(commands));
    assert!(matches!(unknown, Err(Failure::Unavailable(_))));
}
