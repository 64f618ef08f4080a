//! Sessions over a Postgres of a few lines.

use switchboard_plugin::{
    types::{Body, Broadcast, Message, Payload, Room, Target},
    wire::{Format, envelope},
};

use super::*;
use crate::wire::{member, names::TableName};

const PID: &str = "7qqO3jS_N62n2ZzyAAAB";
const SID: &str = "NnDHzXGtdvgLPzYwAAAA";
const RETENTION_MS: f64 = 300_000.0;

#[derive(Default)]
struct Postgres {
    session: Option<Vec<Value>>,
    /// Ids and payloads.
    rows: Vec<(i64, Vec<u8>)>,
    /// Somebody else restores the session before it is deleted.
    is_raced: bool,
    is_away: bool,
}

impl Postgres {
    fn batch(&mut self, statements: &[Statement]) -> Result<Vec<Outcome>, Error> {
        if self.is_away {
            return Err(Error::Unavailable("away".to_owned()));
        }
        Ok(statements.iter().map(|one| self.execute(one)).collect())
    }

    fn execute(&mut self, statement: &Statement) -> Outcome {
        let outcome = |count, rows| Outcome { count, rows };
        let integer = |id: &i64| Value::Integer(id.to_string());
        match statement {
            Statement::Insert(insert) => {
                self.session = Some(insert.rows[0].clone());
                outcome(1, Vec::new())
            }
            Statement::Delete(_) => {
                let is_there = self.session.take().is_some() && !self.is_raced;
                outcome(u32::from(is_there), Vec::new())
            }
            Statement::Select(select) if select.table == "t_sessions" => {
                let Filter::Keys(keys) = &select.filter else {
                    panic!("{select:?}");
                };
                let is_asked = |row: &&Vec<Value>| match (&row[0], &keys.keys[0]) {
                    (Value::Text(pid), Value::Text(asked)) => pid == asked,
                    _ => false,
                };
                let row = self.session.iter().filter(is_asked);
                let rows: Vec<_> = row.map(|row| row[1..].to_vec()).collect();
                outcome(rows.len() as u32, rows)
            }
            Statement::Select(select) => {
                let is_asked = |id: &i64| match &select.filter {
                    Filter::All => true,
                    Filter::After(after) => *id > after.value.parse().unwrap(),
                    Filter::Keys(keys) => {
                        matches!(&keys.keys[0], Value::Integer(asked) if *asked == id.to_string())
                    }
                    Filter::Age(_) => panic!("{select:?}"),
                };
                let mut found: Vec<_> = self.rows.iter().filter(|(id, _)| is_asked(id)).collect();
                if select.order.as_ref().is_some_and(|order| order.descending) {
                    found.reverse();
                }
                let row = |(id, payload): &(i64, Vec<u8>)| {
                    let all = [integer(id), Value::Bytes(payload.clone())];
                    all.into_iter().take(select.columns.len()).collect()
                };
                let rows: Vec<_> = found
                    .into_iter()
                    .take(select.limit as usize)
                    .map(row)
                    .collect();
                outcome(rows.len() as u32, rows)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Adds an event, with the next id.
    fn add(&mut self, name: &str, change: impl FnOnce(&mut Message, &mut bool)) {
        let mut message = Message {
            namespace: "/".to_owned(),
            sender: "other".to_owned(),
            recipient: None,
            body: event(name, |_| {}),
        };
        let mut is_kept = true;
        change(&mut message, &mut is_kept);
        let more = [(member::KEPT, member::KEPT_VALUE)];
        let more = if is_kept { &more[..] } else { &[] };
        let payload = envelope::write_with(&message, Format::Msgpack, more).unwrap();
        let id = self.rows.last().map_or(1, |(id, _)| id + 1);
        self.rows.push((id, payload));
    }

    fn restore(&mut self, offset: &str, now_ms: f64) -> Result<Vec<String>, Why> {
        self.restore_up_to(offset, now_ms, 1000)
    }

    fn restore_up_to(
        &mut self,
        offset: &str,
        now_ms: f64,
        max_missed: usize,
    ) -> Result<Vec<String>, Why> {
        let wanted = Wanted {
            namespace: "/",
            pid: PID,
            offset,
            max_missed,
        };
        let restored = store().restore(&wanted, now_ms, |s| self.batch(s)).unwrap();
        restored.map(|restored| {
            assert_eq!(
                (restored.session.sid.as_str(), restored.session.pid.as_str()),
                (SID, PID)
            );
            let missed = restored.missed.iter();
            missed
                .map(|missed| format!("{} {}", missed.offset, missed.broadcast.data.json))
                .collect()
        })
    }
}

fn event(name: &str, change: impl FnOnce(&mut Broadcast)) -> Body {
    let mut event = Broadcast {
        target: Target {
            rooms: Vec::new(),
            except: None,
            volatile: false,
            other_flags: None,
        },
        data: Payload {
            json: name.to_owned(),
            attachments: None,
        },
        packet_id: None,
        request: None,
    };
    event.data.json = format!("[\"{name}\"]");
    change(&mut event);
    Body::Broadcast(event)
}

fn store() -> Store {
    Store {
        tables: Tables::of(&TableName::read("t").unwrap()),
        retention_ms: RETENTION_MS,
    }
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

/// With a session, saved at 0 for a minute, and one event that its client has got.
fn postgres() -> Postgres {
    let mut postgres = Postgres::default();
    postgres.add("got", |_, _| {});
    store()
        .persist(&session(), 60_000, 0.0, |s| postgres.batch(s))
        .unwrap();
    postgres
}

#[test]
fn a_session_comes_back_once_with_what_its_rooms_got() {
    let mut postgres = postgres();
    let room = |name: &str| vec![Room::Text(name.to_owned())];
    postgres.add("all", |_, _| {});
    postgres.add("room1", |m, _| {
        m.body = event("room1", |e| e.target.rooms = room("room1"));
    });
    postgres.add("other", |m, _| {
        m.body = event("other", |e| e.target.rooms = room("other"));
    });
    postgres.add("own", |m, _| {
        m.body = event("own", |e| e.target.rooms = room(SID))
    });
    postgres.add("elsewhere", |m, _| m.namespace = "/else".to_owned());
    postgres.add("volatile", |m, _| {
        m.body = event("v", |e| e.target.volatile = true)
    });
    postgres.add("asked", |m, _| {
        m.body = event("a", |e| e.request = Some("q".to_owned()))
    });
    // Others of the same sender are not kept, so this one would be a hole more than a help.
    postgres.add("of a Node server", |_, is_kept| *is_kept = false);
    postgres.add("farewell", |m, _| m.body = Body::AdapterClose);
    let missed = postgres.restore("1", 1000.0).unwrap();
    assert_eq!(missed, ["2 [\"all\"]", "3 [\"room1\"]", "5 [\"own\"]"]);
    assert_eq!(postgres.restore("1", 1000.0), Err(Why::Ordinary), "once");
}

#[test]
fn many_missed_events_are_read_in_pages_up_to_what_the_host_wants() {
    let mut postgres = postgres();
    for number in 0..700 {
        postgres.add(&number.to_string(), |_, _| {});
    }
    let too_many = postgres.restore_up_to("1", 1000.0, 699);
    assert!(matches!(too_many, Err(Why::Remarkable(_))), "{too_many:?}");
    let missed = postgres.restore_up_to("1", 1000.0, 700).unwrap();
    assert_eq!(missed.len(), 700, "the session was not lost before");
    assert_eq!(missed[699], "701 [\"699\"]");
}

#[test]
fn a_session_expires() {
    assert!(postgres().restore("1", 59_999.0).is_ok());
    assert_eq!(postgres().restore("1", 60_000.0), Err(Why::Ordinary));
}

#[test]
fn nothing_is_restored_over_rows_that_are_gone() {
    let with = |change: fn(&mut Postgres), now_ms: f64| {
        let mut postgres = postgres();
        if let Some(session) = &mut postgres.session {
            session[2] = Value::Integer("9000000".to_owned());
        }
        postgres.add("new", |_, _| {});
        change(&mut postgres);
        postgres.restore("1", now_ms)
    };
    let new = vec!["2 [\"new\"]".to_owned()];
    assert_eq!(with(|_| {}, 1000.0), Ok(new.clone()));
    // The offset's row is there, so nothing behind it is gone, however long it took.
    assert_eq!(with(|_| {}, RETENTION_MS), Ok(new.clone()));
    // It is gone, but the session is young: nothing was sent for long before it was saved.
    let is_quiet = |postgres: &mut Postgres| drop(postgres.rows.remove(0));
    assert_eq!(with(is_quiet, 1000.0), Ok(new));
    assert_eq!(
        with(is_quiet, RETENTION_MS - UNHEARD_MS),
        Err(Why::Ordinary)
    );
    // Nothing was ever sent since.
    assert_eq!(
        with(|postgres| postgres.rows.clear(), 1000.0),
        Ok(Vec::new())
    );
    // The table was made anew.
    let is_new = |postgres: &mut Postgres| postgres.rows = vec![(0, Vec::new())];
    assert!(with(is_new, 1000.0).is_ok(), "an empty one cannot be told");
    let mut anew = postgres();
    assert_eq!(anew.restore("99", 1000.0), Err(Why::Ordinary));
}

#[test]
fn of_two_servers_that_restore_a_session_one_succeeds() {
    let mut postgres = postgres();
    postgres.is_raced = true;
    assert_eq!(postgres.restore("1", 1000.0), Err(Why::Ordinary));
}

#[test]
fn what_can_be_no_offset_and_no_id_is_nothing_special() {
    for offset in ["", "x", "-1", "1-0", "99999999999999999999"] {
        assert_eq!(
            postgres().restore(offset, 1000.0),
            Err(Why::Ordinary),
            "{offset}"
        );
    }
    let long = "x".repeat(MAX_PID_BYTES + 1);
    for pid in ["", "a\0", long.as_str()] {
        let session = Session {
            pid: pid.to_owned(),
            ..session()
        };
        let kept = store().persist(&session, 1, 0.0, |_| panic!("it is not asked"));
        assert!(matches!(kept, Err(Failure::Rejected(_))), "{pid:?}");
    }
}

#[test]
fn while_postgres_is_away_nothing_is_lost() {
    let mut postgres = postgres();
    postgres.is_away = true;
    let wanted = Wanted {
        namespace: "/",
        pid: PID,
        offset: "1",
        max_missed: 10,
    };
    let restored = store().restore(&wanted, 0.0, |s| postgres.batch(s));
    assert!(matches!(restored, Err(Failure::Unavailable(_))));
    let kept = store().persist(&session(), 1, 0.0, |s| postgres.batch(s));
    assert!(matches!(kept, Err(Failure::Unavailable(_))));
    postgres.is_away = false;
    assert!(postgres.restore("1", 0.0).is_ok());
}
