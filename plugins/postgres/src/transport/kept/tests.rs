use switchboard_plugin::{
    postgres::{Failure as Refusal, InlineNotice, StoredNotice},
    wire::{Format, envelope},
};

use super::*;
use crate::wire::{member, names::TableName};

/// As much of Postgres as the delivery sees.
#[derive(Default)]
struct Postgres {
    /// Key and last number.
    batches: BTreeMap<String, u64>,
    /// The texts of the rows, in order.
    rows: Vec<Vec<u8>>,
    inline: usize,
    /// What becomes of the next transactions.
    script: VecDeque<Act>,
    /// Transactions that a network holds back.
    held: Vec<Vec<Statement>>,
    /// How often somebody has looked through the rows.
    searches: usize,
}

#[derive(Clone, Copy)]
enum Act {
    /// Executed, but the answer is lost.
    LoseAnswer,
    /// The network holds it back.
    Hold,
    Away,
}

impl Postgres {
    fn batch(&mut self, statements: &[Statement]) -> Result<Vec<Outcome>, Error> {
        let unknown = || Error::Unknown("cut".to_owned());
        match self.script.pop_front() {
            None => self.execute(statements),
            Some(Act::Away) => Err(Error::Unavailable("away".to_owned())),
            Some(Act::LoseAnswer) => {
                let _ = self.execute(statements);
                Err(unknown())
            }
            Some(Act::Hold) => {
                self.held.push(statements.to_vec());
                Err(unknown())
            }
        }
    }

    fn release(&mut self) {
        for statements in std::mem::take(&mut self.held) {
            let _ = self.execute(&statements);
        }
    }

    fn execute(&mut self, statements: &[Statement]) -> Result<Vec<Outcome>, Error> {
        let too_large = |notice: &Notice| match notice {
            Notice::Stored(notice) => notice.body.len() > 1000,
            Notice::Inline(_) => false,
        };
        let mut outcomes = Vec::new();
        for statement in statements {
            outcomes.push(match statement {
                Statement::Insert(insert) => {
                    let row = &insert.rows[0];
                    let [Value::Text(key), Value::Integer(last)] = row.as_slice() else {
                        panic!("{row:?}");
                    };
                    if self.batches.contains_key(key) {
                        return Err(Error::Failed(Refusal {
                            statement: Some(0),
                            code: "23505".to_owned(),
                            message: "taken".to_owned(),
                        }));
                    }
                    if let Some(Statement::Notify(notify)) = statements.last()
                        && notify.notices.len() > 1
                        && notify.notices.iter().any(too_large)
                    {
                        return Err(Error::TooLarge(1000));
                    }
                    self.batches.insert(key.clone(), last.parse().unwrap());
                    outcome(Vec::new())
                }
                Statement::Delete(delete) => {
                    for key in keys(&delete.filter) {
                        self.batches.remove(&key);
                    }
                    outcome(Vec::new())
                }
                Statement::Select(select) if select.table == "t_batches" => {
                    let last = keys(&select.filter).into_iter();
                    let last = last.filter_map(|key| self.batches.get(&key));
                    outcome(last.map(|last| vec![integer(*last)]).collect())
                }
                Statement::Select(select) => {
                    self.searches += 1;
                    let rows = self.rows.iter().enumerate().rev();
                    let rows = rows.take(select.limit as usize);
                    let row = |(at, row): (usize, &Vec<u8>)| {
                        vec![integer(at + 1), Value::Bytes(row.clone())]
                    };
                    outcome(rows.map(row).collect())
                }
                Statement::Notify(notify) => {
                    let mut ids = Vec::new();
                    for notice in &notify.notices {
                        match notice {
                            Notice::Inline(_) => self.inline += 1,
                            Notice::Stored(notice) => {
                                self.rows.push(notice.body.clone());
                                ids.push(vec![integer(self.rows.len())]);
                            }
                        }
                    }
                    outcome(ids)
                }
                Statement::Sql(_) => panic!("there is none"),
            });
        }
        Ok(outcomes)
    }

    /// The numbers of the messages that are in the table.
    fn numbers(&self) -> Vec<u64> {
        let mark = |row: &Vec<u8>| mark(row).unwrap().unwrap();
        self.rows.iter().map(|row| mark(row).number).collect()
    }
}

fn integer(number: impl ToString) -> Value {
    Value::Integer(number.to_string())
}

fn outcome(rows: Vec<Vec<Value>>) -> Outcome {
    let count = rows.len() as u32;
    Outcome { count, rows }
}

fn keys(filter: &Filter) -> Vec<String> {
    let Filter::Keys(keys) = filter else {
        panic!("{filter:?}");
    };
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    keys.keys.iter().map(text).collect()
}

fn delivery() -> Delivery {
    Delivery::new(Tables::of(&TableName::read("t").unwrap()), "me".to_owned())
}

fn row(number: u64) -> Notice {
    let message = switchboard_plugin::types::Message {
        namespace: "/".to_owned(),
        sender: "me".to_owned(),
        recipient: None,
        body: switchboard_plugin::types::Body::AdapterClose,
    };
    let number = number.to_string();
    let more = [(member::NUMBER, number.as_str())];
    Notice::Stored(StoredNotice {
        channel: "c".to_owned(),
        before: String::new(),
        after: String::new(),
        body: envelope::write_with(&message, Format::Msgpack, &more).unwrap(),
    })
}

fn large(number: u64) -> Notice {
    match row(number) {
        Notice::Stored(notice) => Notice::Stored(StoredNotice {
            body: vec![0; 2000],
            ..notice
        }),
        other => other,
    }
}

fn beat() -> Notice {
    Notice::Inline(InlineNotice {
        channel: "c".to_owned(),
        payload: "{}".to_owned(),
    })
}

fn rows(first: u64, count: u64) -> Vec<Notice> {
    (first..first + count).map(row).collect()
}

fn send(delivery: &mut Delivery, postgres: &mut Postgres, first: u64, count: u64) -> Sent {
    delivery.send(rows(first, count), first, 0.0, |s| postgres.batch(s))
}

fn is_unavailable(sent: &Sent) -> bool {
    matches!(sent.failure, Some(Failure::Unavailable(_)))
}

#[test]
fn a_batch_is_sent_once_and_says_where_it_is() {
    let (mut delivery, mut postgres) = (delivery(), Postgres::default());
    let sent = send(&mut delivery, &mut postgres, 0, 3);
    assert_eq!(sent.offsets, ["1", "2", "3"]);
    assert!(sent.failure.is_none());
    let mut notices = rows(3, 2);
    notices.insert(1, beat());
    let sent = delivery.send(notices, 3, 0.0, |s| postgres.batch(s));
    assert_eq!(sent.offsets, ["4", "", "5"]);
}

#[test]
fn a_batch_whose_answer_was_lost_is_not_sent_again() {
    let (mut delivery, mut postgres) = (delivery(), Postgres::default());
    send(&mut delivery, &mut postgres, 0, 2);
    postgres.script = [Act::LoseAnswer].into();
    let sent = send(&mut delivery, &mut postgres, 2, 3);
    assert!(is_unavailable(&sent) && sent.offsets.is_empty());
    // More has gathered since.
    let sent = send(&mut delivery, &mut postgres, 2, 5);
    assert_eq!(sent.offsets, ["3", "4", "5", "6", "7"]);
    assert_eq!(postgres.numbers(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn one_that_the_network_held_back_is_refused_when_it_comes_at_last() {
    for is_in_time in [true, false] {
        let (mut delivery, mut postgres) = (delivery(), Postgres::default());
        postgres.script = [Act::Hold].into();
        assert!(is_unavailable(&send(&mut delivery, &mut postgres, 0, 3)));
        if is_in_time {
            postgres.release();
        }
        let sent = send(&mut delivery, &mut postgres, 0, 4);
        assert_eq!(sent.offsets.len(), 4);
        assert!(sent.offsets.iter().all(|offset| !offset.is_empty()));
        for first in 4..4 + 2 * KEYS_TOGETHER as u64 {
            send(&mut delivery, &mut postgres, first, 1);
        }
        postgres.release();
        let all: Vec<u64> = (0..4 + 2 * KEYS_TOGETHER as u64).collect();
        assert_eq!(postgres.numbers(), all);
    }
}

#[test]
fn a_successor_sends_what_is_left() {
    for (executed, handed) in [(3, 1), (3, 3), (3, 5), (0, 2)] {
        let mut postgres = Postgres::default();
        send(&mut delivery(), &mut postgres, 0, 2);
        let mut dead = delivery();
        dead.has_begun = true;
        let act = if executed > 0 {
            Act::LoseAnswer
        } else {
            Act::Hold
        };
        postgres.script = [act].into();
        send(&mut dead, &mut postgres, 2, 3);
        // The host hands in a few at a time, and the instances die one after the other.
        let mut first = 2;
        while first < 7 {
            let count = handed.min(7 - first);
            let sent = send(&mut delivery(), &mut postgres, first, count);
            assert_eq!(sent.offsets.len() as u64, count);
            first += count;
            postgres.release();
        }
        let expected: Vec<u64> = (0..7).collect();
        assert_eq!(postgres.numbers(), expected, "{executed} {handed}");
    }
}

#[test]
fn messages_that_are_handed_in_one_by_one_are_looked_for_once() {
    let mut postgres = Postgres::default();
    let mut dead = delivery();
    postgres.script = [Act::LoseAnswer].into();
    send(&mut dead, &mut postgres, 0, 300);
    let mut successor = delivery();
    successor.has_begun = true;
    for first in 0..300 {
        let sent = send(&mut successor, &mut postgres, first, 1);
        assert_eq!(sent.offsets, [(first + 1).to_string()]);
    }
    // From the end, and twice further back.
    assert_eq!(postgres.searches, 3);
    assert_eq!(postgres.rows.len(), 300);
}

#[test]
fn while_postgres_is_away_everything_waits() {
    let (mut first, mut postgres) = (delivery(), Postgres::default());
    postgres.script = [Act::Away, Act::Away].into();
    for _ in 0..2 {
        assert!(is_unavailable(&send(&mut first, &mut postgres, 0, 2)));
    }
    // The question after what a predecessor has sent waits as well.
    postgres.script = [Act::Away].into();
    let mut successor = delivery();
    assert!(is_unavailable(&send(&mut successor, &mut postgres, 9, 1)));
    assert!(postgres.rows.is_empty());
}

#[test]
fn a_message_that_can_never_go_is_found_and_the_others_are_sent() {
    let (mut delivery, mut postgres) = (delivery(), Postgres::default());
    let notices = vec![row(0), row(1), large(2), row(3)];
    let sent = delivery.send(notices, 0, 0.0, |statements| {
        let Some(Statement::Notify(notify)) = statements.last() else {
            return postgres.batch(statements);
        };
        let is_large = |n: &Notice| matches!(n, Notice::Stored(n) if n.body.len() > 1000);
        match notify.notices.iter().any(is_large) {
            true => Err(Error::TooLarge(1000)),
            false => postgres.batch(statements),
        }
    });
    assert_eq!(sent.offsets, ["1", "2"]);
    assert!(matches!(sent.failure, Some(Failure::Rejected(_))));
    let sent = send(&mut delivery, &mut postgres, 3, 1);
    assert_eq!(sent.offsets, ["3"]);
}

#[test]
fn a_batch_that_is_too_large_together_goes_in_parts() {
    let (mut delivery, mut postgres) = (delivery(), Postgres::default());
    let notices = (0..5).map(large).collect();
    let sent = delivery.send(notices, 0, 0.0, |s| postgres.batch(s));
    assert_eq!(sent.offsets, ["1", "2", "3", "4", "5"]);
}

#[test]
fn what_is_set_wrong_holds_everything_up_and_loses_nothing() {
    let mut delivery = delivery();
    let denied = |_: &[Statement]| Err(Error::Denied("42501".to_owned()));
    let sent = delivery.send(rows(0, 2), 0, 0.0, denied);
    assert!(is_unavailable(&sent) && sent.offsets.is_empty());
    let sent = delivery.send(rows(0, 2), 0, 0.0, |_| {
        Err(Error::Failed(Refusal {
            statement: Some(0),
            code: "42P01".to_owned(),
            message: "no such table".to_owned(),
        }))
    });
    assert!(is_unavailable(&sent) && sent.has_no_table);
}

#[test]
fn heartbeats_alone_leave_no_trace_and_are_not_missed() {
    let (mut delivery, mut postgres) = (delivery(), Postgres::default());
    let sent = delivery.send(vec![beat(), beat()], 0, 0.0, |s| postgres.batch(s));
    assert_eq!((sent.offsets.len(), postgres.inline), (2, 2));
    postgres.script = [Act::LoseAnswer].into();
    let sent = delivery.send(vec![beat()], 2, 0.0, |s| postgres.batch(s));
    assert!(sent.failure.is_none() && sent.offsets.len() == 1);
    assert!(postgres.batches.is_empty());
}

#[test]
fn keys_are_bounded_and_those_in_doubt_stay_for_a_while() {
    let (mut delivery, mut postgres) = (delivery(), Postgres::default());
    postgres.script = [Act::Hold].into();
    send(&mut delivery, &mut postgres, 0, 1);
    for first in 0..1000 {
        send(&mut delivery, &mut postgres, first, 1);
        assert!(postgres.batches.len() <= KEYS_TOGETHER + 2);
        assert!(postgres.batches.contains_key("me-0"));
    }
    for first in 1000..1000 + KEYS_TOGETHER as u64 {
        delivery.send(rows(first, 1), first, LATE_MS, |s| postgres.batch(s));
    }
    assert!(!postgres.batches.contains_key("me-0"));
}
