//! Carries out one command: each is what a user of socketioxide or Switchboard would write, and its
//! result as JSON. Here is what socketioxide's operators do; `whole_cluster.rs` has the rest.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use socketioxide::{
    AckError, SocketIo,
    operators::BroadcastOperators,
    socket::{RemoteSocket, Sid},
};
use switchboard::Board;

use super::{
    Adapter, flood,
    handlers::{NAMESPACES, SocketData},
    records::Records,
    whole_cluster,
};
use crate::{
    protocol::{Ack, Command, Remote, RemoteAction, Select, Socket},
    value::Args,
};

/// What commands work on.
pub(crate) struct Commands {
    pub(crate) io: SocketIo<Adapter>,
    pub(crate) board: Board,
    pub(crate) records: Records,
}

/// A failure is reported as text: tests compare it with nothing, people read it.
pub(crate) type Outcome<T> = Result<T, String>;

impl Commands {
    pub(crate) async fn run(&self, command: Command) -> Outcome<Value> {
        match command {
            Command::Node => Ok(json!(self.board.node().to_string())),
            Command::Status => to_json(self.board.status()),
            Command::ServerCount { nsp } => Ok(json!(self.board.server_count(&nsp).await)),
            Command::Broadcast {
                select,
                event,
                args,
            } if !select.board => {
                let args = Args::from_json(&args)?;
                self.operators(&select)?
                    .emit(event, &args)
                    .await
                    .map_err(text)?;
                Ok(Value::Null)
            }
            Command::BroadcastWithAck {
                select,
                event,
                args,
            } if !select.board => {
                let args = Args::from_json(&args)?;
                let acks = self.operators(&select)?.emit_with_ack(event, &args).await;
                collect(acks.map_err(text)?).await
            }
            Command::FetchSockets { select, marker } => self.fetch_sockets(&select, marker).await,
            Command::Rooms { select } => {
                let rooms = self.operators(&select)?.rooms().await.map_err(text)?;
                Ok(json!(rooms))
            }
            Command::Join { select, rooms } if !select.board => {
                self.operators(&select)?.join(rooms).await.map_err(text)?;
                Ok(Value::Null)
            }
            Command::Leave { select, rooms } if !select.board => {
                self.operators(&select)?.leave(rooms).await.map_err(text)?;
                Ok(Value::Null)
            }
            Command::Disconnect {
                select,
                close: false,
            } if !select.board => {
                self.operators(&select)?.disconnect().await.map_err(text)?;
                Ok(Value::Null)
            }
            Command::Remote(remote) if !remote.board => self.remote(remote).await,
            Command::Flood(flood) => {
                let operators = self.operators(&flood.select)?;
                to_json(flood::run(operators, &flood).await?)
            }
            Command::ServerEvents { nsp } => to_json(self.records.server_events(&nsp)),
            Command::NodeEvents => to_json(self.records.node_events()),
            Command::SetData { socket, data } => self.set_data(&socket, &data),
            other => whole_cluster::run(&self.board, other).await,
        }
    }

    /// `io.of(…).to(…).except(…)`, as a user would chain it.
    fn operators(&self, select: &Select) -> Outcome<BroadcastOperators<Adapter>> {
        if select.board {
            return Err(
                "only Switchboard's operators were asked for, and they cannot do this".into(),
            );
        }
        let namespace = self
            .io
            .of(&select.nsp)
            .ok_or_else(|| format!("this server has no namespace {}", select.nsp))?;
        let mut operators = match &select.from {
            Some(socket) => {
                let id: Sid = socket.parse().map_err(text)?;
                let socket = namespace
                    .get_socket(id)
                    .ok_or_else(|| format!("this server has no socket {socket}"))?;
                socket.broadcast()
            }
            None => namespace,
        };
        if !select.rooms.is_empty() {
            operators = operators.to(select.rooms.clone());
        }
        if !select.except.is_empty() {
            operators = operators.except(select.except.clone());
        }
        if select.local {
            operators = operators.local();
        }
        if select.volatile {
            operators = operators.volatile();
        }
        if let Some(timeout_ms) = select.timeout_ms {
            operators = operators.timeout(Duration::from_millis(timeout_ms));
        }
        Ok(operators)
    }

    async fn fetch_sockets(&self, select: &Select, marker: Option<String>) -> Outcome<Value> {
        let everyone = self.operators(&Select::nsp(&select.nsp))?;
        let fetch = self.operators(select)?.fetch_sockets();
        let mark = async {
            match marker {
                Some(event) => everyone.emit(event, &Args::default()).await.map_err(text),
                None => Ok(()),
            }
        };
        // In this order: the marker follows the request.
        let (sockets, marked) = tokio::join!(biased; fetch, mark);
        marked?;
        let sockets: Vec<_> = sockets.map_err(text)?.iter().map(describe).collect();
        to_json(sockets)
    }

    async fn remote(&self, remote: Remote) -> Outcome<Value> {
        let sockets = self.operators(&Select::nsp(&remote.nsp))?.fetch_sockets();
        let socket = sockets
            .await
            .map_err(text)?
            .into_iter()
            .find(|socket| socket.data().id.to_string() == remote.socket)
            .ok_or_else(|| format!("no server has a socket {}", remote.socket))?;
        match remote.action {
            RemoteAction::Emit { event, args } => {
                let args = Args::from_json(&args)?;
                socket.emit(event, &args).await.map_err(text)?;
                Ok(Value::Null)
            }
            RemoteAction::EmitWithAck { event, args } => {
                let args = Args::from_json(&args)?;
                let acks = socket.emit_with_ack::<_, Args>(event, &args).await;
                collect(acks.map_err(text)?).await
            }
            RemoteAction::Join(rooms) => {
                socket.join(rooms).await.map_err(text)?;
                Ok(Value::Null)
            }
            RemoteAction::Leave(rooms) => {
                socket.leave(rooms).await.map_err(text)?;
                Ok(Value::Null)
            }
            RemoteAction::Rooms => Ok(json!(socket.rooms().await.map_err(text)?)),
            RemoteAction::Disconnect => {
                socket.disconnect().await.map_err(text)?;
                Ok(Value::Null)
            }
            RemoteAction::Close => Err("only Switchboard's operators close connections".into()),
        }
    }

    fn set_data(&self, socket: &str, data: &Value) -> Outcome<Value> {
        let id: Sid = socket.parse().map_err(text)?;
        let data = SocketData::from_json(data)?;
        let socket = NAMESPACES
            .iter()
            .filter_map(|namespace| self.io.of(*namespace))
            .find_map(|namespace| namespace.get_socket(id))
            .ok_or_else(|| format!("this server has no socket {socket}"))?;
        socket.extensions.insert(data);
        Ok(Value::Null)
    }
}

fn describe(socket: &RemoteSocket<Adapter>) -> Socket {
    let data = socket.data();
    Socket {
        id: data.id.to_string(),
        server: data.server_id.to_string(),
        nsp: data.ns.to_string(),
    }
}

async fn collect(acks: impl Stream<Item = (Sid, Result<Args, AckError>)>) -> Outcome<Value> {
    let acks: Vec<Ack> = acks
        .map(|(socket, answer)| Ack {
            socket: socket.to_string(),
            answer: answer.map(|args| args.to_json()).map_err(text),
        })
        .collect()
        .await;
    to_json(acks)
}

pub(crate) fn to_json(value: impl Serialize) -> Outcome<Value> {
    serde_json::to_value(value).map_err(text)
}

pub(crate) fn text(error: impl ToString) -> String {
    error.to_string()
}
