//! What Switchboard's own operators do in the whole cluster: `board.of("/chat")…`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use switchboard::{
    ApiError, Board, NodeId, Operators,
    cluster::{self, Namespace, Room},
};

use super::commands::{Outcome, text, to_json};
use crate::{
    protocol::{
        Acks, Answers, ClientAck, Command, Looked, NodeAnswer, NodeSeen, Partial, Remote,
        RemoteAction, RemoteSocket, Select,
    },
    value::{Arg, Args},
};

/// How long one socket has to acknowledge, as with socketioxide's operators.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn run(board: &Board, command: Command) -> Outcome<Value> {
    match command {
        Command::Broadcast {
            select,
            event,
            args,
        } => {
            let args = Args::from_json(&args)?;
            done(operators(board, &select)?.emit(&event, &args).await)
        }
        Command::BroadcastWithAck {
            select,
            event,
            args,
        } => {
            let args = Args::from_json(&args)?;
            let operators = operators(board, &select)?;
            let acks = operators.emit_with_ack::<Args, _>(&event, &args).await;
            to_json(acknowledged(acks.map_err(text)?))
        }
        Command::RemoteSockets { select } => {
            let found = operators(board, &select)?.fetch_sockets().await;
            let sockets = found.map_err(text)?.items;
            let sockets: Result<Vec<_>, _> = sockets.iter().map(describe).collect();
            to_json(sockets?)
        }
        Command::SocketIds { select } => {
            let ids = operators(board, &select)?.socket_ids().await;
            to_json(partial(ids.map_err(text)?, |id| id.to_string()))
        }
        Command::AllRooms { select } => {
            let rooms = operators(board, &select)?.rooms().await;
            to_json(partial(rooms.map_err(text)?, |room| room_json(&room)))
        }
        Command::Join { select, rooms } => done(operators(board, &select)?.join(rooms).await),
        Command::Leave { select, rooms } => done(operators(board, &select)?.leave(rooms).await),
        Command::Disconnect { select, close } => {
            done(operators(board, &select)?.disconnect(close).await)
        }
        Command::Remote(remote) => with_socket(board, remote).await,
        Command::SwitchTo { transport, force } => {
            to_json(board.switch_to(&transport, force).await.map_err(text)?)
        }
        Command::AbortSwitch => to_json(board.abort_switch().await),
        Command::RoomsOf { nsp, socket } => {
            let rooms = board.of(nsp).rooms_of(socket).await;
            looked(rooms.map(|rooms| rooms.iter().map(room_json).collect()))
        }
        Command::RemoteJoin { nsp, socket, rooms } => looked(
            board
                .of(nsp)
                .remote_join(socket, rooms)
                .await
                .map(|()| Value::Null),
        ),
        Command::RemoteLeave { nsp, socket, rooms } => looked(
            board
                .of(nsp)
                .remote_leave(socket, rooms)
                .await
                .map(|()| Value::Null),
        ),
        Command::RemoteDisconnect { nsp, socket, close } => looked(
            board
                .of(nsp)
                .remote_disconnect(socket, close)
                .await
                .map(|()| Value::Null),
        ),
        Command::ServerSideEmit { nsp, event, args } => {
            let args = Args::from_json(&args)?;
            done(board.of(nsp).server_side_emit(&event, &args).await)
        }
        Command::ServerSideEmitWithAck {
            nsp,
            event,
            args,
            timeout_ms,
        } => {
            let args = Args::from_json(&args)?;
            let servers = timed(board.of(nsp), timeout_ms);
            let answers = servers.server_side_emit_with_ack(&event, &args).await;
            answered(answers.map_err(text)?)
        }
        Command::CustomRequest {
            nsp,
            data,
            timeout_ms,
        } => {
            let data = Arg::from_json(&data)?;
            let answers = timed(board.of(nsp), timeout_ms).custom_request(&data).await;
            answered(answers.map_err(text)?)
        }
        Command::Nodes { nsp: None } => {
            let nodes = board.nodes();
            let nodes: Vec<_> = nodes
                .iter()
                .map(|node| seen(&node.id, &node.namespaces, node.since, node.last_heard))
                .collect();
            to_json(nodes)
        }
        Command::Nodes { nsp: Some(nsp) } => {
            let here = [Namespace::from(nsp.as_str())];
            let nodes = board.of(nsp).nodes();
            let nodes: Vec<_> = nodes
                .iter()
                .map(|node| seen(&node.id, &here, node.since, node.last_heard))
                .collect();
            to_json(nodes)
        }
        other => Err(format!("Switchboard's operators cannot do this: {other:?}")),
    }
}

/// `board.of(…).to(…).except(…)`, as a user would chain it.
fn operators(board: &Board, select: &Select) -> Outcome<Operators> {
    if select.from.is_some() {
        return Err("Switchboard's operators speak in no socket's name".into());
    }
    let mut operators = board
        .of(&select.nsp)
        .to(&select.rooms)
        .except(&select.except);
    if select.local {
        operators = operators.local();
    }
    if select.volatile {
        operators = operators.volatile();
    }
    Ok(timed(operators, select.timeout_ms))
}

fn timed(operators: Operators, timeout_ms: Option<u64>) -> Operators {
    match timeout_ms {
        Some(timeout_ms) => operators.timeout(Duration::from_millis(timeout_ms)),
        None => operators,
    }
}

async fn with_socket(board: &Board, remote: Remote) -> Outcome<Value> {
    let alone = board.of(&remote.nsp).to(&remote.socket);
    let socket = alone
        .fetch_sockets()
        .await
        .map_err(text)?
        .items
        .into_iter()
        .find(|socket| socket.id().as_str() == remote.socket)
        .ok_or_else(|| format!("no server has a socket {}", remote.socket))?;
    match remote.action {
        RemoteAction::Emit { event, args } => {
            let args = Args::from_json(&args)?;
            done(socket.emit(&event, &args).await)
        }
        RemoteAction::EmitWithAck { event, args } => {
            let args = Args::from_json(&args)?;
            let acks = socket.emit_with_ack::<Args, _>(&event, &args, ACK_TIMEOUT);
            to_json(acknowledged(acks.await.map_err(text)?))
        }
        RemoteAction::Join(rooms) => done(socket.join(rooms).await),
        RemoteAction::Leave(rooms) => done(socket.leave(rooms).await),
        RemoteAction::Rooms => Ok(socket.rooms().iter().map(room_json).collect()),
        RemoteAction::Disconnect => done(socket.disconnect(false).await),
        RemoteAction::Close => done(socket.disconnect(true).await),
    }
}

fn describe(socket: &switchboard::RemoteSocket) -> Outcome<RemoteSocket> {
    let data: Arg = socket.data().map_err(text)?;
    Ok(RemoteSocket {
        id: socket.id().to_string(),
        node: name(socket.node()),
        rooms: socket.rooms().iter().map(room_json).collect(),
        data: data.to_json(),
        handshake: serde_json::from_str(socket.handshake().as_json()).map_err(text)?,
    })
}

fn acknowledged(acks: switchboard::Acks<Args>) -> Acks {
    let answers = acks.answers.into_iter().map(|client| ClientAck {
        node: client.node.to_string(),
        socket: client.socket.map(|socket| socket.to_string()),
        answer: client.answer.map(|args| args.to_json()).map_err(text),
    });
    Acks {
        answers: answers.collect(),
        missing: names(&acks.missing),
        missing_unknown: acks.missing_unknown,
        unacknowledged: acks.unacknowledged,
        dropped: acks.dropped,
    }
}

fn answered(answers: switchboard::Partial<switchboard::NodeAnswer<Arg>>) -> Outcome<Value> {
    let Partial {
        items,
        missing,
        missing_unknown,
    } = partial(answers, |answer| {
        let (value, error) = match answer.answer {
            Ok(value) => (value.to_json(), None),
            Err(error) => (Value::Null, Some(error.to_string())),
        };
        NodeAnswer {
            node: name(&answer.node),
            value,
            error,
        }
    });
    to_json(Answers {
        answers: items,
        missing,
        missing_unknown,
    })
}

fn partial<T, U>(from: switchboard::Partial<T>, item: impl FnMut(T) -> U) -> Partial<U> {
    let cluster::Partial {
        items,
        missing,
        missing_unknown,
    } = from;
    Partial {
        items: items.into_iter().map(item).collect(),
        missing: names(&missing),
        missing_unknown,
    }
}

/// The two failures that a caller can tell apart are answers; others are faults.
fn looked(result: Result<Value, ApiError>) -> Outcome<Value> {
    to_json(match result {
        Ok(value) => Looked::Found(value),
        Err(ApiError::NoSuchSocket { .. }) => Looked::NoSuchSocket,
        Err(ApiError::Unanswered {
            missing,
            missing_unknown,
            ..
        }) => Looked::Unanswered {
            missing: names(&missing),
            missing_unknown,
        },
        Err(fault) => return Err(text(fault)),
    })
}

fn done(result: Result<(), ApiError>) -> Outcome<Value> {
    result.map(|()| Value::Null).map_err(text)
}

fn seen(
    id: &NodeId,
    namespaces: &[Namespace],
    since: SystemTime,
    last_heard: SystemTime,
) -> NodeSeen {
    let mut namespaces: Vec<_> = namespaces.iter().map(ToString::to_string).collect();
    namespaces.sort();
    NodeSeen {
        id: id.to_string(),
        namespaces,
        since_ms: millis(since),
        last_heard_ms: millis(last_heard),
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn room_json(room: &Room) -> Value {
    match room {
        Room::Text(text) => Value::String(text.to_string()),
        Room::Number(number) => Value::from(*number),
    }
}

fn names(nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}

/// Empty: the transport does not say.
fn name(node: &NodeId) -> Option<String> {
    Some(node.to_string()).filter(|name| !name.is_empty())
}
