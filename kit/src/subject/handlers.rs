//! What the server does for its clients: nothing that the tests do not need.
//!
//! A client that sends rooms along with its connection is put into them. Events: `join` and `leave`
//! with a list of rooms, `data` with what other servers shall see as the socket's data, and any other
//! event that asks for an acknowledgement gets its own arguments back.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketioxide::{
    NsInsertError, SocketIo,
    extract::{AckSender, Data, SocketRef, TryData},
};
use switchboard::KeepAuth;

use super::Adapter;
use crate::value::{Arg, Args};

/// Static namespaces; the first one must be `/`.
pub(crate) const NAMESPACES: [&str; 2] = ["/", "/chat"];
/// Namespaces that come into being when a client asks for them.
const DYNAMIC_NAMESPACES: &str = "/dyn-{id}";
/// Tells a client that its events will be heard from now on.
const READY: &str = "ready";

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    rooms: Vec<String>,
}

/// The application's data of a socket, one of its extensions.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct SocketData(Arg);

impl SocketData {
    pub(crate) fn from_json(data: &Value) -> Result<Self, String> {
        Arg::from_json(data).map(Self)
    }
}

pub(crate) fn register(io: &SocketIo<Adapter>) -> Result<(), NsInsertError> {
    for namespace in NAMESPACES {
        io.ns(namespace, on_connect);
    }
    io.dyn_ns(DYNAMIC_NAMESPACES, on_connect)
}

async fn on_connect(socket: SocketRef<Adapter>, TryData(auth): TryData<Auth>, _: KeepAuth) {
    // A client that sends nothing along is in no room.
    socket.join(auth.unwrap_or_default().rooms);
    socket.on(
        "join",
        async |socket: SocketRef<Adapter>,
               Data(rooms): Data<Vec<String>>,
               ack: AckSender<Adapter>| {
            socket.join(rooms);
            acknowledge(ack, &Args::default());
        },
    );
    socket.on(
        "leave",
        async |socket: SocketRef<Adapter>,
               Data(rooms): Data<Vec<String>>,
               ack: AckSender<Adapter>| {
            socket.leave(rooms);
            acknowledge(ack, &Args::default());
        },
    );
    socket.on(
        "data",
        async |socket: SocketRef<Adapter>, Data(data): Data<Arg>, ack: AckSender<Adapter>| {
            socket.extensions.insert(SocketData(data));
            acknowledge(ack, &Args::default());
        },
    );
    socket.on_fallback(async |Data(args): Data<Args>, ack: AckSender<Adapter>| {
        acknowledge(ack, &args)
    });
    if let Err(error) = socket.emit(READY, &Args::default()) {
        tracing::warn!("{} is gone already: {error}", socket.id);
    }
}

fn acknowledge(ack: AckSender<Adapter>, args: &Args) {
    if let Err(error) = ack.send(args) {
        tracing::debug!("not acknowledged: {error}");
    }
}
