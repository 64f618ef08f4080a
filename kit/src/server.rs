//! One real server process, started, asked and ended.

use std::{ops::Deref, path::PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::Command as Os;

use crate::{
    Ack, Error, Flood, FloodReport, Parser, Process, RemoteAction, Select, Socket,
    programs::{self, Role},
    protocol::{Command, Remote},
};

/// What a server prints when it takes connections, followed by its address.
const READY: &str = "LISTENING ";

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What it is called in messages.
    pub name: String,
    /// Its `switchboard.toml`.
    pub config: PathBuf,
    /// How it talks to clients.
    pub parser: Parser,
    /// Packets that wait for one client before they are dropped.
    pub buffer: usize,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
}

/// A running server. Also a [`Process`]: it can be killed, stopped, paused, and has a log.
#[derive(Debug)]
pub struct Server {
    process: Process,
    url: String,
}

impl Server {
    /// Starts a server and waits until it takes connections.
    ///
    /// # Errors
    /// [`Error::Setup`] if the program is not there; else like [`Process::start`].
    pub async fn start(launch: &Launch) -> Result<Self, Error> {
        let mut command = programs::command(Role::Server)?;
        command
            .arg("--exit-with-stdin")
            .args(["--name", &launch.name])
            .args(["--parser", &launch.parser.to_string()])
            .args(["--buffer", &launch.buffer.to_string()])
            .arg("--config")
            .arg(&launch.config)
            .envs(launch.env.iter().map(|(key, value)| (key, value)));
        Self::from_command(&launch.name, command).await
    }

    /// Starts whatever takes the same commands, and waits until it takes connections.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn from_command(name: &str, command: Os) -> Result<Self, Error> {
        let (process, url) = Process::start(name, command, READY).await?;
        Ok(Self { process, url })
    }

    /// Where clients find it: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its node id in the cluster.
    ///
    /// # Errors
    /// See [`Process::call`], here and in all methods that follow.
    pub async fn node(&self) -> Result<String, Error> {
        self.ask(Command::Node).await
    }

    /// What it says about itself.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn status(&self) -> Result<Value, Error> {
        self.ask(Command::Status).await
    }

    /// Moves its whole cluster to another transport, and returns how that went.
    ///
    /// # Errors
    /// [`Error::Refused`] if that did not happen, else see [`Process::call`].
    pub async fn switch_to(&self, transport: &str) -> Result<Value, Error> {
        self.switch(transport, false).await
    }

    /// The same, leaving those behind that cannot come along.
    ///
    /// # Errors
    /// See [`switch_to`](Self::switch_to).
    pub async fn force_switch_to(&self, transport: &str) -> Result<Value, Error> {
        self.switch(transport, true).await
    }

    async fn switch(&self, transport: &str, force: bool) -> Result<Value, Error> {
        let transport = transport.to_owned();
        self.ask(Command::SwitchTo { transport, force }).await
    }

    /// Calls a switch off that it has been asked for: whether there was one.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn abort_switch(&self) -> Result<bool, Error> {
        self.ask(Command::AbortSwitch).await
    }

    /// How many servers it knows in a namespace, itself included.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn server_count(&self, nsp: &str) -> Result<usize, Error> {
        let nsp = nsp.to_owned();
        self.ask(Command::ServerCount { nsp }).await
    }

    /// Emits an event; `args` is a JSON array.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn broadcast(&self, select: &Select, event: &str, args: Value) -> Result<(), Error> {
        self.ask(Command::Broadcast {
            select: select.clone(),
            event: event.to_owned(),
            args: list(args)?,
        })
        .await
    }

    /// Emits an event, `args` is a JSON array, and returns what clients acknowledge, by socket id.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn broadcast_with_ack(
        &self,
        select: &Select,
        event: &str,
        args: Value,
    ) -> Result<Vec<Ack>, Error> {
        let mut acks: Vec<Ack> = self
            .ask(Command::BroadcastWithAck {
                select: select.clone(),
                event: event.to_owned(),
                args: list(args)?,
            })
            .await?;
        acks.sort_by(|a, b| a.socket.cmp(&b.socket));
        Ok(acks)
    }

    /// Sockets of the cluster, sorted.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn fetch_sockets(&self, select: &Select) -> Result<Vec<Socket>, Error> {
        self.fetch(select, None).await
    }

    /// The same; everyone in the namespace gets the event `marker` as soon as the request is on its
    /// way.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn fetch_sockets_marked(
        &self,
        select: &Select,
        marker: &str,
    ) -> Result<Vec<Socket>, Error> {
        self.fetch(select, Some(marker.to_owned())).await
    }

    async fn fetch(&self, select: &Select, marker: Option<String>) -> Result<Vec<Socket>, Error> {
        let select = select.clone();
        let mut sockets: Vec<Socket> = self.ask(Command::FetchSockets { select, marker }).await?;
        sockets.sort();
        Ok(sockets)
    }

    /// The rooms of sockets, sorted.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn rooms(&self, select: &Select) -> Result<Vec<String>, Error> {
        let select = select.clone();
        let mut rooms: Vec<String> = self.ask(Command::Rooms { select }).await?;
        rooms.sort();
        Ok(rooms)
    }

    /// Makes sockets join rooms.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn join(&self, select: &Select, rooms: &[&str]) -> Result<(), Error> {
        self.ask(Command::Join {
            select: select.clone(),
            rooms: owned(rooms),
        })
        .await
    }

    /// Makes sockets leave rooms.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn leave(&self, select: &Select, rooms: &[&str]) -> Result<(), Error> {
        self.ask(Command::Leave {
            select: select.clone(),
            rooms: owned(rooms),
        })
        .await
    }

    /// Disconnects sockets.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn disconnect(&self, select: &Select) -> Result<(), Error> {
        self.end(select, false).await
    }

    /// Disconnects sockets and closes their whole connections.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn close(&self, select: &Select) -> Result<(), Error> {
        self.end(select, true).await
    }

    async fn end(&self, select: &Select, close: bool) -> Result<(), Error> {
        let select = select.clone();
        self.ask(Command::Disconnect { select, close }).await
    }

    /// Does something with one socket of the namespace `/`, wherever it is. What is returned depends
    /// on the action.
    ///
    /// # Errors
    /// See [`Process::call`]; also when there is no such socket, or the answer is not a `T`.
    pub async fn remote<T: DeserializeOwned>(
        &self,
        socket: &str,
        action: RemoteAction,
    ) -> Result<T, Error> {
        self.act(socket, action, false).await
    }

    /// The same with Switchboard's own operators.
    ///
    /// # Errors
    /// As [`remote`](Self::remote).
    pub async fn remote_by_board<T: DeserializeOwned>(
        &self,
        socket: &str,
        action: RemoteAction,
    ) -> Result<T, Error> {
        self.act(socket, action, true).await
    }

    async fn act<T: DeserializeOwned>(
        &self,
        socket: &str,
        action: RemoteAction,
        board: bool,
    ) -> Result<T, Error> {
        self.ask(Command::Remote(Remote {
            nsp: "/".into(),
            socket: socket.to_owned(),
            action,
            board,
        }))
        .await
    }

    /// Emits many numbered events; returns when the last one is accepted.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn flood(&self, flood: Flood) -> Result<FloodReport, Error> {
        self.ask(Command::Flood(flood)).await
    }

    pub(crate) async fn ask<T: DeserializeOwned>(&self, command: Command) -> Result<T, Error> {
        self.process.call(&command).await
    }
}

impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

pub(crate) fn owned(rooms: &[&str]) -> Vec<String> {
    rooms.iter().map(|&room| room.to_owned()).collect()
}

pub(crate) fn list(args: Value) -> Result<Vec<Value>, Error> {
    match args {
        Value::Array(args) => Ok(args),
        other => Err(Error::Test(format!(
            "arguments are a JSON array, not {other}"
        ))),
    }
}
