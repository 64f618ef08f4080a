//! What a process that only sends can be told.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Select;

/// An order for an emitter, ours or one of Node.js. All are answered with null: from Node.js when the
/// backend has taken what was sent, from ours when it is in the outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Emits an event to clients.
    Emit {
        /// To whom.
        select: Select,
        /// Its name.
        event: String,
        /// Its arguments (see [`crate::value`]).
        args: Vec<Value>,
    },
    /// Makes sockets join rooms.
    Join {
        /// Which ones.
        select: Select,
        /// Which rooms.
        rooms: Vec<String>,
    },
    /// Makes sockets leave rooms.
    Leave {
        /// Which ones.
        select: Select,
        /// Which rooms.
        rooms: Vec<String>,
    },
    /// Disconnects sockets.
    Disconnect {
        /// Which ones.
        select: Select,
        /// Their whole connection.
        #[serde(default)]
        close: bool,
    },
    /// Emits an event to servers.
    ServerSideEmit {
        /// In which namespace.
        nsp: String,
        /// Its name.
        event: String,
        /// Its arguments.
        args: Vec<Value>,
    },
}
