//! How sockets of this server look from the others, and what only the whole server can do to them.
//!
//! An adapter sees one namespace of its server, without its requests and its sockets' own values.
//! So the application attaches the server to the board ([`Board::attach`], [`Board::layer`]), and
//! the adapters look there. Without it they tell ids and rooms only.
//!
//! `handshake` is what Node.js tells of the request that opened the connection, made of `headers`,
//! `query`, of what the handshake layer has noted, and of `auth` if the application keeps it.

mod auth;
mod board;
mod handshake;
mod headers;
mod query;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;
use socketioxide::{SocketIo, adapter::Emitter, extract::SocketRef, operators::BroadcastOperators};
use socketioxide_core::{Sid, adapter::errors::SocketError};
use tracing::warn;

pub use self::{auth::KeepAuth, board::BoardLayer};
use super::{Adapter, drops::Drops};
#[cfg(doc)]
use crate::Board;
use crate::{
    cluster::message::Payload,
    payload::{self, PayloadError},
};

/// A server of which nothing is known: the members that other servers look into are there, and
/// empty; nothing is invented.
const UNKNOWN_HANDSHAKE: &str = r#"{"headers":{},"query":{},"auth":{}}"#;
/// No data.
const NO_DATA: &str = "{}";

/// The server of a board, once it is attached. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Attachment(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: RwLock<State>,
    failures: Drops,
    /// It was said that no server is attached.
    missing_reported: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The server holds the board, and the board this: [`Attachment::close`] ends it.
    io: Option<SocketIo<Adapter<Emitter>>>,
    data: Option<Arc<DataOf>>,
    /// In lower case.
    hidden_headers: Arc<HashSet<String>>,
    closed: bool,
}

/// None: the socket has no data.
type DataOf =
    dyn Fn(&SocketRef<Adapter<Emitter>>) -> Result<Option<Payload>, PayloadError> + Send + Sync;

impl Attachment {
    /// Replaces what was attached before. After [`close`](Self::close) it has no effect.
    fn attach(&self, io: SocketIo<Adapter<Emitter>>) {
        let replaced = self.change(|state| match state.closed {
            true => Some(io),
            false => state.io.replace(io),
        });
        // Outside the lock: a server that goes may come by here.
        drop(replaced);
    }

    fn set_data<T: Serialize>(
        &self,
        data: impl Fn(&SocketRef<Adapter<Emitter>>) -> Option<T> + Send + Sync + 'static,
    ) {
        let data: Arc<DataOf> = Arc::new(move |socket| {
            data(socket)
                .map(|data| payload::from_value(&data))
                .transpose()
        });
        let replaced = self.change(|state| match state.closed {
            true => Some(data),
            false => state.data.replace(data),
        });
        drop(replaced);
    }

    fn hide_headers(&self, names: impl Iterator<Item = String>) {
        let names: Vec<String> = names.collect();
        self.change(|state| Arc::make_mut(&mut state.hidden_headers).extend(names));
    }

    /// Lets go of the server and of the application's functions, for good.
    pub(crate) fn close(&self) {
        let released = self.change(|state| {
            state.closed = true;
            (state.io.take(), state.data.take())
        });
        drop(released);
    }

    /// The data that the application gives a socket; `{}` if it gives none.
    pub(crate) fn data_of(&self, socket: &SocketRef<Adapter<Emitter>>) -> Payload {
        let data = {
            let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
            state.data.clone()
        };
        let data = data.and_then(|data| self.call(&*data, socket));
        data.unwrap_or_else(|| Payload::text(NO_DATA))
    }

    /// The application's function can fail in any way; who calls it goes on.
    fn call(&self, data: &DataOf, socket: &SocketRef<Adapter<Emitter>>) -> Option<Payload> {
        let why = match catch_unwind(AssertUnwindSafe(|| data(socket))) {
            Ok(Ok(data)) => return data,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the function that makes it panicked".to_owned(),
        };
        if let Some(total) = self.0.failures.add(1) {
            warn!(
                namespace = socket.ns(),
                socket = %socket.id,
                total,
                "a socket was described without its data: {why}"
            );
        }
        None
    }

    /// What is needed to describe sockets of one namespace; none without a server that has it.
    pub(super) fn describer(&self, namespace: &str) -> Option<Describer> {
        let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
        Some(Describer {
            sockets: state.io.as_ref()?.of(namespace)?,
            data: state.data.clone(),
            hidden_headers: state.hidden_headers.clone(),
            attachment: self.clone(),
        })
    }

    /// Disconnects sockets from the namespaces that they are in besides this one, which, with this
    /// one, makes a Socket.IO client close its connection: socketioxide has no way to close it from
    /// here. None without a server; else one error for each namespace that a socket could not be
    /// disconnected from.
    pub(super) fn disconnect_besides(
        &self,
        namespace: &str,
        sockets: &[Sid],
    ) -> Option<Vec<SocketError>> {
        let io = {
            let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
            state.io.clone()?
        };
        let mut errors = Vec::new();
        for other in io.nsps() {
            if other.ns_path() != namespace {
                let present = sockets.iter().filter_map(|sid| other.get_socket(*sid));
                errors.extend(present.filter_map(|socket| socket.disconnect().err()));
            }
        }
        Some(errors)
    }

    /// A whole connection was meant, and only a namespace could be reached. A mistake of the
    /// application, so one line is enough.
    pub(super) fn report_missing(&self, namespace: &str) {
        let closed = {
            let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
            state.closed
        };
        // A closed board has let go of its server, and is attached no more.
        if !closed && !self.0.missing_reported.swap(true, Ordering::Relaxed) {
            warn!(
                namespace,
                "sockets were disconnected from this namespace only, although their whole \
                 connections were to be closed: the server is not attached to its board; build it \
                 with Board::layer, or call Board::attach"
            );
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut state)
    }
}

/// Describes the sockets of one namespace.
pub(super) struct Describer {
    sockets: BroadcastOperators<Adapter<Emitter>>,
    data: Option<Arc<DataOf>>,
    hidden_headers: Arc<HashSet<String>>,
    attachment: Attachment,
}

/// What a socket is besides its id and its rooms.
pub(super) struct Description {
    pub(super) handshake: Payload,
    pub(super) data: Payload,
}

impl Description {
    /// Of a socket that nothing is known of.
    pub(super) fn unknown() -> Self {
        Self {
            handshake: Payload::text(UNKNOWN_HANDSHAKE),
            data: Payload::text(NO_DATA),
        }
    }

    /// Bytes of text and binary parts.
    pub(super) fn len(&self) -> usize {
        self.handshake.len() + self.data.len()
    }
}

impl Describer {
    /// Of one that is gone: [`Description::unknown`].
    pub(super) fn describe(&self, sid: Sid) -> Description {
        let Some(socket) = self.sockets.get_socket(sid) else {
            return Description::unknown();
        };
        let auth = auth::kept(&socket);
        Description {
            handshake: handshake::of(socket.req_parts(), auth, &self.hidden_headers),
            data: self.data(&socket).unwrap_or_else(|| Payload::text(NO_DATA)),
        }
    }

    fn data(&self, socket: &SocketRef<Adapter<Emitter>>) -> Option<Payload> {
        self.attachment.call(&**self.data.as_ref()?, socket)
    }
}
