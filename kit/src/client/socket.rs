//! What one client has got so far, and how it answers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::{
    Flood,
    value::{Arg, Args},
};

/// What a server sends when its handlers are in place.
const HANDLERS_READY: &str = "ready";
/// Events kept for one client; more is a fault of the scenario, and said when somebody looks.
const MAX_EVENTS: usize = 100_000;

/// How a client answers an event that asks for an acknowledgement.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// With these arguments.
    With(Vec<Value>),
    /// With those of the event.
    Echo,
}

/// What a client has got of one flood; see [`Tally`](crate::Tally).
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Count {
    pub(super) received: u64,
    next: u64,
    skipped: u64,
    late: u64,
    corrupt: u64,
    pub(super) first_fault: Option<String>,
}

/// One client in one namespace.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) nsp: String,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) id: Option<String>,
    pub(super) ready: bool,
    pub(super) failure: Option<String>,
    pub(super) disconnected: Option<String>,
    pub(super) events: BTreeMap<String, Vec<Value>>,
    kept: usize,
    pub(super) answers: HashMap<String, Answer>,
    pub(super) counts: HashMap<String, Count>,
    asked: u64,
    pub(super) waiting: HashMap<u64, oneshot::Sender<Vec<Arg>>>,
}

impl Socket {
    pub(super) fn new(nsp: &str) -> Self {
        Self {
            nsp: nsp.to_owned(),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, and tells those who wait.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn ended(&self, reason: &str) {
        self.change(|state| {
            if state.disconnected.is_none() {
                state.disconnected = Some(reason.to_owned());
            }
            if !state.ready && state.failure.is_none() {
                state.failure = Some(reason.to_owned());
            }
            state.waiting.clear();
        });
    }

    /// An event; what is to be answered, if it asks for that.
    pub(super) fn event(&self, args: Vec<Arg>, asks: bool) -> Option<Vec<Arg>> {
        let mut args = args.into_iter();
        let Some(Arg::Text(event)) = args.next() else {
            self.change(|state| state.failure = Some("an event without a name".into()));
            return None;
        };
        let args: Vec<Arg> = args.collect();
        let mut answer = None;
        self.change(|state| match event.as_str() {
            HANDLERS_READY => state.ready = true,
            Flood::EVENT => state.count(&args),
            _ => answer = state.keep(&event, args, asks),
        });
        answer
    }

    /// The number of a question, and its answer when it comes.
    pub(super) fn ask(&self) -> (u64, oneshot::Receiver<Vec<Arg>>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.asked += 1;
        let id = state.asked;
        state.waiting.insert(id, sender);
        (id, receiver)
    }
}

impl State {
    fn keep(&mut self, event: &str, args: Vec<Arg>, asks: bool) -> Option<Vec<Arg>> {
        self.kept += 1;
        if self.kept > MAX_EVENTS {
            self.failure = Some(format!("more than {MAX_EVENTS} events for one client"));
            return None;
        }
        let json = Value::Array(args.iter().map(Arg::to_json).collect());
        self.events.entry(event.to_owned()).or_default().push(json);
        if !asks {
            return None;
        }
        match self.answers.get(event)? {
            Answer::Echo => Some(args),
            Answer::With(args) => Args::from_json(args).ok().map(Vec::from),
        }
    }

    fn count(&mut self, args: &[Arg]) {
        let number = |arg: Option<&Arg>| match arg {
            Some(Arg::Number(number)) => number.as_u64(),
            _ => None,
        };
        let (Some(Arg::Text(stream)), Some(n), Some(size)) =
            (args.first(), number(args.get(1)), number(args.get(2)))
        else {
            self.failure = Some("an event of a flood without its number".into());
            return;
        };
        let payload = args.get(3).unwrap_or(&Arg::Null);
        let count = self.counts.entry(stream.clone()).or_default();
        count.add(n, usize::try_from(size).unwrap_or(usize::MAX), payload);
    }
}

impl Count {
    fn add(&mut self, number: u64, size: usize, payload: &Arg) {
        self.received += 1;
        if number > self.next {
            self.fault(number, format!("expected {}", self.next));
            self.skipped += number - self.next;
        }
        if number < self.next {
            self.fault(number, format!("came after {}", self.next - 1));
            self.late += 1;
        } else {
            self.next = number + 1;
        }
        if !is_payload(number, size, payload) {
            self.fault(number, "wrong payload".into());
            self.corrupt += 1;
        }
    }

    fn fault(&mut self, number: u64, what: String) {
        self.first_fault
            .get_or_insert_with(|| format!("number {number}: {what}"));
    }
}

/// The first, the middle and the last byte tell the number; see `payload` in the server's `flood.rs`.
fn is_payload(number: u64, size: usize, payload: &Arg) -> bool {
    let (bytes, expected) = match payload {
        // The remainders are below 26 and 256.
        Arg::Text(text) => (text.as_bytes(), b'a' + (number % 26) as u8),
        Arg::Bytes(bytes) => (bytes.as_slice(), (number % 256) as u8),
        _ => return false,
    };
    let looked_at = [0, size / 2, size.saturating_sub(1)];
    bytes.len() == size && (size == 0 || looked_at.iter().all(|&at| bytes[at] == expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(number: u64) -> Vec<Arg> {
        let letter = char::from(b'a' + (number % 26) as u8);
        vec![
            Arg::Text(Flood::EVENT.into()),
            Arg::Text("s".into()),
            Arg::Number(number.into()),
            Arg::Number(2.into()),
            Arg::Text([letter, letter].iter().collect()),
        ]
    }

    #[test]
    fn a_flood_is_counted_and_its_faults_are_told_apart() {
        for (numbers, skipped, late, fault) in [
            (&[0, 1, 2][..], 0, 0, None),
            (&[0, 2], 1, 0, Some("number 2: expected 1")),
            (&[0, 1, 1], 0, 1, Some("number 1: came after 1")),
            (&[1, 0], 1, 1, Some("number 1: expected 0")),
        ] {
            let socket = Socket::new("/");
            for &number in numbers {
                assert!(socket.event(flood(number), false).is_none());
            }
            let state = socket.state();
            let count = &state.counts["s"];
            assert_eq!((count.skipped, count.late), (skipped, late), "{numbers:?}");
            assert_eq!(count.first_fault.as_deref(), fault, "{numbers:?}");
            assert_eq!(count.corrupt, 0);
        }
    }

    #[test]
    fn an_event_is_answered_only_as_it_was_told() {
        let socket = Socket::new("/");
        let event = || vec![Arg::Text("ask".into()), Arg::Null];
        assert!(socket.event(event(), true).is_none());
        socket.change(|state| {
            state.answers.insert("ask".into(), Answer::Echo);
        });
        assert_eq!(socket.event(event(), true), Some(vec![Arg::Null]));
        assert!(socket.event(event(), false).is_none());
        assert_eq!(socket.state().events["ask"].len(), 3);
    }
}
