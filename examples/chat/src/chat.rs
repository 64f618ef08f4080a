//! What visitors can do in the chat: come in, take a name, join and leave rooms, say something,
//! show a picture. These are ordinary socketioxide handlers. That a room's visitors may be on
//! other nodes is not visible here, and need not be.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use socketioxide::{
    BroadcastError, ParserError,
    adapter::Adapter,
    extract::{AckSender, SocketRef, State, TryData},
    socket::Sid,
};
use tracing::{debug, warn};

use crate::{
    input::{Name, Picture, RoomName, Text},
    ping,
    presence::{Node, Tag, Visitor},
    transport,
};

/// Rooms that one visitor can be in.
const MAX_ROOMS: usize = 12;

/// Why something was not done, in words for the visitor.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this was not understood: {0}")]
    NotUnderstood(#[from] ParserError),
    #[error("you are not in the room {0}")]
    NotInRoom(RoomName),
    #[error("you are in {MAX_ROOMS} rooms already; leave one first")]
    TooManyRooms,
    #[error("the message did not reach the other servers; try again")]
    NotSent,
}

/// The answer to every event below.
#[derive(Serialize)]
struct Answer {
    error: Option<String>,
}

/// What a page says of its visitor when it connects.
#[derive(Deserialize)]
pub(crate) struct Hello {
    name: Name,
}

#[derive(Serialize)]
struct Welcome<'a> {
    you: Sid,
    name: &'a Name,
    node: &'a Tag,
    room: &'a RoomName,
}

/// A visitor's page connects.
pub(crate) async fn connect<A: Adapter>(
    socket: SocketRef<A>,
    TryData(hello): TryData<Hello>,
    State(node): State<Arc<Node>>,
) {
    socket.on("rename", rename);
    socket.on("join", join);
    socket.on("leave", leave);
    socket.on("say", say);
    socket.on("show", show);
    socket.on("typing", typing);
    socket.on("ping-everyone", ping::everyone);
    socket.on("switch", transport::switch);
    socket.on_disconnect(async |State(node): State<Arc<Node>>| node.visitors_changed());

    let name = hello
        .map(|hello| hello.name)
        .unwrap_or_else(|_| Name::guest());
    let lobby = RoomName::lobby();
    socket.join(lobby.to_room());
    socket.extensions.insert(Visitor { name: name.clone() });
    node.visitors_changed();

    // The page waits for this before it sends anything: now every handler is in place.
    let welcome = Welcome {
        you: socket.id,
        name: &name,
        node: node.tag(),
        room: &lobby,
    };
    if let Err(error) = socket.emit("welcome", &welcome) {
        debug!(%error, socket = %socket.id, "a visitor left before the welcome");
    }
}

async fn rename<A: Adapter>(
    socket: SocketRef<A>,
    State(node): State<Arc<Node>>,
    TryData(name): TryData<Name>,
    ack: AckSender<A>,
) {
    answer(
        ack,
        name.map_err(Refusal::from).map(|name| {
            socket.extensions.insert(Visitor { name });
            node.visitors_changed();
        }),
    );
}

async fn join<A: Adapter>(
    socket: SocketRef<A>,
    State(node): State<Arc<Node>>,
    TryData(room): TryData<RoomName>,
    ack: AckSender<A>,
) {
    let join = |room: RoomName| {
        if !is_in(&socket, &room) && socket.rooms().len() >= MAX_ROOMS {
            return Err(Refusal::TooManyRooms);
        }
        socket.join(room.to_room());
        node.visitors_changed();
        Ok(())
    };
    answer(ack, room.map_err(Refusal::from).and_then(join));
}

async fn leave<A: Adapter>(
    socket: SocketRef<A>,
    State(node): State<Arc<Node>>,
    TryData(room): TryData<RoomName>,
    ack: AckSender<A>,
) {
    let leave = |room: RoomName| {
        socket.leave(room.to_room());
        node.visitors_changed();
    };
    answer(ack, room.map_err(Refusal::from).map(leave));
}

#[derive(Deserialize)]
struct Say {
    room: RoomName,
    text: Text,
}

async fn say<A: Adapter>(
    socket: SocketRef<A>,
    State(node): State<Arc<Node>>,
    TryData(say): TryData<Say>,
    ack: AckSender<A>,
) {
    let result = match say {
        Ok(Say { room, text }) => post(&socket, &node, "said", room, text).await,
        Err(error) => Err(error.into()),
    };
    answer(ack, result);
}

#[derive(Deserialize)]
struct Show {
    room: RoomName,
    picture: Picture,
}

async fn show<A: Adapter>(
    socket: SocketRef<A>,
    State(node): State<Arc<Node>>,
    TryData(show): TryData<Show>,
    ack: AckSender<A>,
) {
    let result = match show {
        Ok(Show { room, picture }) => post(&socket, &node, "shown", room, picture).await,
        Err(error) => Err(error.into()),
    };
    answer(ack, result);
}

/// What everybody in the room receives: the event "said" with a text, or "shown" with a picture.
///
/// Not one event with an `Option` of each: the parser sees bytes as a binary attachment in structs
/// and lists, but inside an `Option` it writes them as a list of numbers.
#[derive(Serialize)]
struct Message<'a, C> {
    room: &'a RoomName,
    from: Sid,
    name: &'a Name,
    node: &'a Tag,
    /// Milliseconds since 1970 by the sender's server.
    at_ms: u64,
    content: C,
}

async fn post<A: Adapter>(
    socket: &SocketRef<A>,
    node: &Node,
    event: &str,
    room: RoomName,
    content: impl Serialize,
) -> Result<(), Refusal> {
    if !is_in(socket, &room) {
        return Err(Refusal::NotInRoom(room));
    }
    let name = &name_of(socket);
    let at_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let at_ms = u64::try_from(at_ms).unwrap_or(u64::MAX);
    let message = Message {
        room: &room,
        from: socket.id,
        name,
        node: node.tag(),
        at_ms,
        content,
    };

    // To the whole room, on every node, and to the sender too: what comes back has been sent.
    match socket.within(room.to_room()).emit(event, &message).await {
        Ok(()) => Ok(()),
        Err(BroadcastError::Socket(errors)) => {
            // Clients that are leaving or far behind; everybody else has the message.
            debug!(?errors, "some clients of this node missed a message");
            Ok(())
        }
        Err(error) => {
            warn!(%error, "a message was not sent");
            Err(Refusal::NotSent)
        }
    }
}

#[derive(Serialize)]
struct Typing<'a> {
    room: &'a RoomName,
    from: Sid,
    name: &'a Name,
}

async fn typing<A: Adapter>(socket: SocketRef<A>, TryData(room): TryData<RoomName>) {
    let Some(room) = room.ok().filter(|room| is_in(&socket, room)) else {
        return;
    };
    let typing = Typing {
        room: &room,
        from: socket.id,
        name: &name_of(&socket),
    };
    // Volatile: a client that cannot take it now is better off without it.
    let others = socket.to(room.to_room()).volatile();
    if let Err(error) = others.emit("typing", &typing).await {
        debug!(%error, "nobody was told that a visitor is typing");
    }
}

fn is_in<A: Adapter>(socket: &SocketRef<A>, room: &RoomName) -> bool {
    let room = room.to_room();
    socket.rooms().iter().any(|joined| *joined == room)
}

fn name_of<A: Adapter>(socket: &SocketRef<A>) -> Name {
    socket
        .extensions
        .get()
        .map_or_else(Name::guest, |visitor: Visitor| visitor.name)
}

fn answer<A: Adapter>(ack: AckSender<A>, result: Result<(), Refusal>) {
    let error = result.err().map(|refusal| refusal.to_string());
    if let Err(error) = ack.send(&Answer { error }) {
        debug!(%error, "a visitor left before the answer");
    }
}
