//! What clients can be told: the commands of [`Clients`](crate::Clients) and [`Client`](crate::Client).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    connection::Connection,
    packet,
    socket::{Answer, Socket, State},
};
use crate::{
    Parser,
    value::{Arg, Args},
};

/// A command: which client, and what.
#[derive(Debug, Deserialize)]
pub(super) struct Command {
    client: u64,
    #[serde(flatten)]
    operation: Operation,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Operation {
    Connect {
        url: String,
        how: How,
        beside: Option<u64>,
        deadline_ms: u64,
    },
    Received {
        event: String,
    },
    WaitFor {
        event: String,
        count: usize,
        deadline_ms: u64,
    },
    Answer {
        event: String,
        answer: Answer,
    },
    Emit {
        event: String,
        args: Vec<Value>,
    },
    EmitWithAck {
        event: String,
        args: Vec<Value>,
        deadline_ms: u64,
    },
    Tally {
        stream: String,
    },
    WaitForFlood {
        stream: String,
        count: u64,
        quiet_ms: u64,
    },
    WaitUntilDisconnected {
        deadline_ms: u64,
    },
    IsConnected,
    Session,
    BreakOff,
    Disconnect,
}

/// As [`Connect`](crate::Connect) is written.
#[derive(Debug, Deserialize)]
struct How {
    nsp: String,
    #[serde(default)]
    parser: Parser,
    #[serde(default)]
    reconnect: bool,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    auth: BTreeMap<String, Value>,
    #[serde(default)]
    query: BTreeMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    session: Option<Value>,
}

/// All clients of the process, by number.
#[derive(Debug, Default)]
pub(super) struct Everybody(Mutex<HashMap<u64, One>>);

#[derive(Clone, Debug)]
struct One {
    socket: Arc<Socket>,
    connection: Arc<Connection>,
}

type Outcome = Result<Value, String>;

impl Everybody {
    pub(super) async fn run(&self, command: Command) -> Outcome {
        let number = command.client;
        if let Operation::Connect {
            url,
            how,
            beside,
            deadline_ms,
        } = command.operation
        {
            let deadline = Duration::from_millis(deadline_ms);
            return timeout(deadline, self.connect(number, &url, how, beside))
                .await
                .unwrap_or_else(|_| Err(format!("not connected within {deadline_ms} ms")));
        }
        self.find(number)?.run(command.operation).await
    }

    async fn connect(&self, number: u64, url: &str, how: How, beside: Option<u64>) -> Outcome {
        if how.parser != Parser::Common || how.reconnect || how.session.is_some() {
            return Err(
                "these clients speak with the common parser and connect once; those of Node.js can \
                 more"
                    .into(),
            );
        }
        let connection = match beside {
            Some(other) => self.find(other)?.connection,
            None => Arc::new(Connection::open(url, &how.query, &how.headers).await?),
        };
        let mut auth = json!(how.auth);
        auth["rooms"] = json!(how.rooms);
        let socket = Arc::new(Socket::new(&how.nsp));
        let one = One {
            socket: Arc::clone(&socket),
            connection,
        };
        self.all().insert(number, one.clone());
        one.connection.enter(Arc::clone(&socket), &auth).await?;
        let mut changes = socket.changes();
        loop {
            changes.mark_unchanged();
            {
                let state = socket.state();
                if state.ready {
                    return Ok(json!({ "id": state.id }));
                }
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
            }
            changes.changed().await.map_err(|_| "it is gone")?;
        }
    }

    fn find(&self, number: u64) -> Result<One, String> {
        let one = self.all().get(&number).cloned();
        one.ok_or_else(|| format!("there is no client {number}"))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, One>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl One {
    async fn run(self, operation: Operation) -> Outcome {
        let socket = &*self.socket;
        match operation {
            Operation::Connect { .. } => Err("it is connected already".into()),
            Operation::Received { event } => received(&socket.state(), &event),
            Operation::WaitFor {
                event,
                count,
                deadline_ms,
            } => {
                self.wait_for(&event, count, Duration::from_millis(deadline_ms))
                    .await
            }
            Operation::Answer { event, answer } => {
                socket.change(|state| {
                    state.answers.insert(event, answer);
                });
                Ok(Value::Null)
            }
            Operation::Emit { event, args } => {
                let packet = packet::event(&socket.nsp, None, arguments(event, &args)?);
                self.connection.send(packet).await?;
                Ok(Value::Null)
            }
            Operation::EmitWithAck {
                event,
                args,
                deadline_ms,
            } => {
                let (id, answer) = socket.ask();
                let packet = packet::event(&socket.nsp, Some(id), arguments(event, &args)?);
                self.connection.send(packet).await?;
                let answer = timeout(Duration::from_millis(deadline_ms), answer).await;
                let args = answer
                    .map_err(|_| format!("no answer within {deadline_ms} ms"))?
                    .map_err(|_| "the connection ended before the answer came".to_owned())?;
                Ok(Value::Array(args.iter().map(Arg::to_json).collect()))
            }
            Operation::Tally { stream } => tally(&mut socket.state(), &stream),
            Operation::WaitForFlood {
                stream,
                count,
                quiet_ms,
            } => {
                self.wait_for_flood(&stream, count, Duration::from_millis(quiet_ms))
                    .await
            }
            Operation::WaitUntilDisconnected { deadline_ms } => {
                let deadline = Instant::now() + Duration::from_millis(deadline_ms);
                let gone = |state: &mut State| state.disconnected.clone();
                let waiting = self.until(deadline, |state| gone(state).is_some()).await;
                waiting.map_err(|()| format!("still connected after {deadline_ms} ms"))?;
                Ok(json!(gone(&mut socket.state())))
            }
            Operation::IsConnected => {
                let state = socket.state();
                Ok(json!(state.id.is_some() && state.disconnected.is_none()))
            }
            Operation::Session => Ok(json!({
                "id": socket.state().id, "pid": null, "offset": null, "recovered": false,
            })),
            Operation::BreakOff => {
                self.connection.end().await?;
                Ok(Value::Null)
            }
            Operation::Disconnect => {
                let packet = (packet::disconnect(&socket.nsp), Vec::new());
                self.connection.send(packet).await?;
                socket.ended("io client disconnect");
                Ok(Value::Null)
            }
        }
    }

    async fn wait_for(&self, event: &str, count: usize, patience: Duration) -> Outcome {
        let there = |state: &mut State| state.events.get(event).map_or(0, Vec::len) >= count;
        let waited = self.until(Instant::now() + patience, there).await;
        let events = received(&self.socket.state(), event)?;
        match waited {
            Ok(()) => Ok(events),
            Err(()) => Err(format!(
                "{count} times `{event}` not within {} ms; there is: {events:.400}",
                patience.as_millis()
            )),
        }
    }

    /// As long as something comes, the time to wait begins anew.
    async fn wait_for_flood(&self, stream: &str, count: u64, quiet: Duration) -> Outcome {
        let mut so_far = 0;
        loop {
            let mut is_over = false;
            let waited = self
                .until(Instant::now() + quiet, |state| {
                    let tally = state.counts.entry(stream.to_owned()).or_default();
                    is_over = tally.received >= count || tally.first_fault.is_some();
                    let moved = tally.received > so_far;
                    so_far = tally.received;
                    is_over || moved
                })
                .await;
            if is_over {
                return tally(&mut self.socket.state(), stream);
            }
            if waited.is_err() {
                let there = tally(&mut self.socket.state(), stream)?;
                return Err(format!(
                    "nothing more for {} ms, and {count} were expected; there is: {there}",
                    quiet.as_millis()
                ));
            }
        }
    }

    /// Waits until this holds, also if it does already. An error: time is up.
    async fn until(
        &self,
        deadline: Instant,
        mut holds: impl FnMut(&mut State) -> bool,
    ) -> Result<(), ()> {
        let mut changes = self.socket.changes();
        loop {
            changes.mark_unchanged();
            if holds(&mut self.socket.state()) {
                return Ok(());
            }
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(()),
            }
        }
    }
}

/// What a scenario must not overlook is an answer instead of the events.
fn received(state: &State, event: &str) -> Outcome {
    if let Some(failure) = &state.failure
        && state.ready
        && state.disconnected.is_none()
    {
        return Err(failure.clone());
    }
    let events = state.events.get(event).cloned();
    Ok(Value::Array(events.unwrap_or_default()))
}

fn tally(state: &mut State, stream: &str) -> Outcome {
    let tally = state.counts.entry(stream.to_owned()).or_default();
    to_json(tally)
}

fn to_json(value: impl Serialize) -> Outcome {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

fn arguments(event: String, args: &[Value]) -> Result<Vec<Arg>, String> {
    let mut all = vec![Arg::Text(event)];
    all.extend(Vec::from(Args::from_json(args)?));
    Ok(all)
}
