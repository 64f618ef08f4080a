//! Real Socket.IO clients: one process that runs any number of them, and a handle for each. Which
//! process: [`programs`](crate::programs).
//!
//! A client keeps every event that it gets, so a test first lets things happen and then looks. To
//! prove that something did *not* arrive, send something else after it and wait for that.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Error, Parser, Process,
    programs::{self, Role},
    wait::{note, patience},
};

/// What the process prints when it takes commands.
const READY: &str = "READY";

/// A process with clients in it.
#[derive(Clone, Debug)]
pub struct Clients {
    process: Arc<Process>,
    next: Arc<AtomicU64>,
}

/// The transport below Socket.IO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A WebSocket from the start.
    #[default]
    Websocket,
    /// HTTP long polling to the end. (The kit's own clients speak WebSocket all the same: no
    /// transport can tell.)
    Polling,
}

/// How a client connects.
#[derive(Clone, Debug, Serialize)]
pub struct Connect {
    /// To which namespace.
    pub nsp: String,
    /// Over what.
    #[serde(rename = "transport")]
    pub way: Way,
    /// How packets are encoded; the server must agree.
    pub parser: Parser,
    /// Connects again when the connection breaks.
    pub reconnect: bool,
    /// Rooms to be in before [`Clients::connect`] returns.
    pub rooms: Vec<String>,
    /// Sent along with the connection to the namespace.
    pub auth: BTreeMap<String, String>,
    /// Parameters of the requests' URL.
    pub query: BTreeMap<String, String>,
    /// Headers of the requests.
    pub headers: BTreeMap<String, String>,
    /// A session to go on with.
    pub session: Option<Resume>,
}

/// What a client remembers of a session for connection state recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// The private id that the server gave it.
    pub pid: String,
    /// The offset of the last event that it got.
    pub offset: String,
}

/// What a client knows of its session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ClientSession {
    /// The socket's id, while it is connected.
    pub id: Option<String>,
    /// The private id, from servers that recover sessions.
    pub pid: Option<String>,
    /// The offset of the last event that it got.
    pub offset: Option<String>,
    /// The server has given it an earlier session back.
    pub recovered: bool,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            nsp: "/".into(),
            way: Way::Websocket,
            parser: Parser::Common,
            reconnect: false,
            rooms: Vec::new(),
            auth: BTreeMap::new(),
            query: BTreeMap::new(),
            headers: BTreeMap::new(),
            session: None,
        }
    }
}

impl Connect {
    /// To another namespace.
    pub fn nsp(mut self, nsp: impl Into<String>) -> Self {
        self.nsp = nsp.into();
        self
    }

    /// Over this transport.
    pub fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// With this parser.
    pub fn parser(mut self, parser: Parser) -> Self {
        self.parser = parser;
        self
    }

    /// Joins a room on connecting.
    pub fn room(mut self, room: impl Into<String>) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// Sends this along with the connection to the namespace.
    pub fn auth(mut self, key: &str, value: &str) -> Self {
        self.auth.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With this parameter in its requests' URL.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        self.query.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With this header in its requests.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Connects again when the connection breaks.
    pub fn reconnect(mut self) -> Self {
        self.reconnect = true;
        self
    }
}

/// How a client answers an event that asks for an acknowledgement. Without one of these it never
/// does.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// With these arguments, a JSON array.
    With(Value),
    /// With the arguments of the event.
    Echo,
}

/// What a client has got of one flood.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tally {
    /// Events of this flood.
    pub received: u64,
    /// The number that should come next.
    pub next: u64,
    /// Numbers that were skipped when a higher one came.
    pub skipped: u64,
    /// Events whose number had been passed already: repeated, or out of order.
    pub late: u64,
    /// Events with a payload that is not the one of their number.
    pub corrupt: u64,
    /// The first thing that was wrong.
    pub first_fault: Option<String>,
}

impl Tally {
    /// What a client has that got `count` events, complete, in order and intact.
    pub fn perfect(count: u64) -> Self {
        Self {
            received: count,
            next: count,
            skipped: 0,
            late: 0,
            corrupt: 0,
            first_fault: None,
        }
    }
}

impl Clients {
    /// Starts a process without clients.
    ///
    /// # Errors
    /// [`Error::Setup`] if the program is not there; else like [`Process::start`].
    pub async fn start() -> Result<Self, Error> {
        let command = programs::command(Role::Clients)?;
        let (process, _) = Process::start("the clients", command, READY).await?;
        Ok(Self {
            process: Arc::new(process),
            next: Arc::default(),
        })
    }

    /// Connects a client and waits until the server's handlers are in place.
    ///
    /// # Errors
    /// [`Error::Refused`] if it cannot connect within [`DEADLINE`](crate::DEADLINE).
    pub async fn connect(&self, url: &str, how: Connect) -> Result<Client, Error> {
        self.open(url, how, None).await
    }

    /// Connects to a further namespace over the connection of another client: of `how`, namespace,
    /// rooms and `auth` count.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_beside(&self, other: &Client, how: Connect) -> Result<Client, Error> {
        self.open("", how, Some(other.number)).await
    }

    async fn open(&self, url: &str, how: Connect, beside: Option<u64>) -> Result<Client, Error> {
        #[derive(Deserialize)]
        struct Connected {
            id: String,
        }

        let mut client = Client {
            process: Arc::clone(&self.process),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            id: String::new(),
        };
        let connected: Connected = client
            .ask(
                "connect",
                json!({ "url": url, "how": how, "beside": beside, "deadline_ms": deadline_ms() }),
            )
            .await?;
        client.id = connected.id;
        Ok(client)
    }

    /// The process that runs them.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// One client. Stays connected when the handle is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    process: Arc<Process>,
    number: u64,
    id: String,
}

impl Client {
    /// Its socket id on the server, from the first time it connected.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The arguments of every event of this name so far, oldest first: a JSON array for each.
    ///
    /// # Errors
    /// See [`Process::call`], here and in all methods that follow.
    pub async fn received(&self, event: &str) -> Result<Vec<Value>, Error> {
        self.ask("received", json!({ "event": event })).await
    }

    /// Waits until there are at least `count` events of this name and returns what there is.
    ///
    /// # Errors
    /// [`Error::Refused`] with what has arrived when there are fewer after [`DEADLINE`](crate::DEADLINE).
    pub async fn wait_for(&self, event: &str, count: usize) -> Result<Vec<Value>, Error> {
        let args = json!({ "event": event, "count": count, "deadline_ms": deadline_ms() });
        let ask = self.ask("wait_for", args);
        self.noted(|| format!("{count} times the event `{event}`"), ask)
            .await
    }

    /// From now on answers events of this name that ask for it.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn answer(&self, event: &str, answer: Answer) -> Result<(), Error> {
        self.ask("answer", json!({ "event": event, "answer": answer }))
            .await
    }

    /// Sends an event; `args` is a JSON array.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn emit(&self, event: &str, args: Value) -> Result<(), Error> {
        self.ask("emit", json!({ "event": event, "args": args }))
            .await
    }

    /// Sends an event and returns the arguments of the server's acknowledgement.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none after [`DEADLINE`](crate::DEADLINE).
    pub async fn emit_with_ack(&self, event: &str, args: Value) -> Result<Value, Error> {
        let args = json!({ "event": event, "args": args, "deadline_ms": deadline_ms() });
        self.ask("emit_with_ack", args).await
    }

    /// What it has got of a flood so far.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn tally(&self, stream: &str) -> Result<Tally, Error> {
        self.ask("tally", json!({ "stream": stream })).await
    }

    /// Waits until at least `count` events of a flood have arrived, or something is wrong with one:
    /// compare the result with [`Tally::perfect`].
    ///
    /// # Errors
    /// [`Error::Refused`] with the tally when nothing arrives for [`DEADLINE`](crate::DEADLINE) and there are fewer.
    pub async fn wait_for_flood(&self, stream: &str, count: u64) -> Result<Tally, Error> {
        let args = json!({ "stream": stream, "count": count, "quiet_ms": deadline_ms() });
        let ask = self.ask("wait_for_flood", args);
        self.noted(|| format!("all {count} events of a flood"), ask)
            .await
    }

    /// Waits until it has lost its connection and returns the reason, as `socket.io-client` names
    /// it.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is still connected after [`DEADLINE`](crate::DEADLINE).
    pub async fn wait_until_disconnected(&self) -> Result<String, Error> {
        let args = json!({ "deadline_ms": deadline_ms() });
        let ask = self.ask("wait_until_disconnected", args);
        self.noted(|| "a disconnection".into(), ask).await
    }

    /// Is it connected?
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn is_connected(&self) -> Result<bool, Error> {
        self.ask("is_connected", json!({})).await
    }

    /// What it knows of its session.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn session(&self) -> Result<ClientSession, Error> {
        self.ask("session", json!({})).await
    }

    /// Drops its connection without a farewell, as if the network were gone.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn break_off(&self) -> Result<(), Error> {
        self.ask("break_off", json!({})).await
    }

    /// Closes its connection.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn disconnect(&self) -> Result<(), Error> {
        self.ask("disconnect", json!({})).await
    }

    /// Says what is waited for, once the question is on its way.
    async fn noted<T>(
        &self,
        what: impl FnOnce() -> String,
        ask: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let id = self.id();
        let say = async {
            note(|| format!("client {id} to get {}", what()));
        };
        tokio::join!(biased; ask, say).0
    }

    async fn ask<T: DeserializeOwned>(&self, op: &str, mut args: Value) -> Result<T, Error> {
        args["op"] = json!(op);
        args["client"] = json!(self.number);
        self.process.call(&args).await
    }
}

fn deadline_ms() -> u128 {
    patience().as_millis()
}
