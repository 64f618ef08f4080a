//! What clients send as `auth` when they enter a namespace: socketioxide shows it to the connect
//! handler and forgets it.

use std::{convert::Infallible, sync::Arc};

use socketioxide::{
    adapter::{Adapter, Emitter},
    extract::SocketRef,
    handler::FromConnectParts,
    socket::Socket,
};
use socketioxide_core::Value;
use tracing::debug;

use crate::{cluster::message::Payload, payload};

/// An `auth` with more containers inside each other is not kept. It becomes a part of larger
/// values, and no server should fail to read those because of one client.
const MAX_AUTH_NESTING: usize = 64;

/// An argument of connect handlers and middlewares that keeps what the client sent as `auth`, so
/// that other servers find it in the handshake of the socket
/// ([`Handshake::auth`](crate::Handshake::auth), `socket.handshake.auth` in Node.js). Without it,
/// `auth` is `{}` there: socketioxide does not keep it, and not every application wants its tokens
/// to travel.
///
/// ```no_run
/// # use socketioxide::extract::SocketRef;
/// # fn run(board: switchboard::Board) {
/// let (layer, io) = board.layer(socketioxide::SocketIo::builder());
/// io.ns("/", async |socket: SocketRef<switchboard::Adapter<_>>, _: switchboard::KeepAuth| {
///     socket.join("everyone");
/// });
/// # let _ = layer;
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KeepAuth;

/// In the extensions of a socket.
#[derive(Clone)]
struct Kept(Arc<Payload>);

impl<A: Adapter> FromConnectParts<A> for KeepAuth {
    type Error = Infallible;

    fn from_connect_parts(
        socket: &Arc<Socket<A>>,
        auth: &Option<Value>,
    ) -> Result<Self, Infallible> {
        let Some(auth) = auth.clone() else {
            return Ok(Self);
        };
        match payload::encode_one_untrusted(auth, MAX_AUTH_NESTING) {
            Ok(auth) => {
                socket.extensions.insert(Kept(Arc::new(auth)));
            }
            Err(error) => debug!(socket = %socket.id, %error, "the auth of a client is not kept"),
        }
        Ok(Self)
    }
}

/// What was kept of a socket's.
pub(super) fn kept(socket: &SocketRef<crate::Adapter<Emitter>>) -> Option<Arc<Payload>> {
    socket.extensions.get::<Kept>().map(|Kept(auth)| auth)
}
