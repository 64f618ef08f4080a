//! What the server does for its clients: nothing that the tests do not need.
//!
//! A client that sends rooms along with its connection is put into them. Events: `join` and `leave`
//! with a list of rooms, and any other event that asks for an acknowledgement gets its own arguments
//! back.

use serde::Deserialize;
use socketioxide::{
    NsInsertError, SocketIo,
    extract::{AckSender, Data, SocketRef, TryData},
};
use switchboard_tests::value::Args;

use crate::Adapter;

/// Static namespaces; the first one must be `/`.
const NAMESPACES: [&str; 2] = ["/", "/chat"];
/// Namespaces that come into being when a client asks for them.
const DYNAMIC_NAMESPACES: &str = "/dyn-{id}";
/// Tells a client that its events will be heard from now on.
const READY: &str = "ready";

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    rooms: Vec<String>,
}

pub(crate) fn register(io: &SocketIo<Adapter>) -> Result<(), NsInsertError> {
    for namespace in NAMESPACES {
        io.ns(namespace, on_connect);
    }
    io.dyn_ns(DYNAMIC_NAMESPACES, on_connect)
}

async fn on_connect(socket: SocketRef<Adapter>, TryData(auth): TryData<Auth>) {
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
