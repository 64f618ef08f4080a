//! Which sockets a command is for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which sockets an operation is for: what a user writes as `io.of("/chat").to("room").except(…)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Select {
    /// In which namespace.
    pub nsp: String,
    /// Sockets in any of these; empty: all.
    pub rooms: Vec<String>,
    /// But none that is in any of these.
    pub except: Vec<String>,
    /// Only sockets of the asked server.
    pub local: bool,
    /// They may miss it.
    pub volatile: bool,
    /// A local socket in whose name the operation is done, as with `socket.to("room")`.
    pub from: Option<String>,
    /// How long to wait for answers, in milliseconds; else the server's default.
    pub timeout_ms: Option<u64>,
    /// With Switchboard's own operators, `board.of("/chat").to("room")`, instead of socketioxide's.
    #[serde(skip_serializing_if = "is_not")]
    pub board: bool,
}

impl Default for Select {
    fn default() -> Self {
        Self {
            nsp: "/".into(),
            rooms: Vec::new(),
            except: Vec::new(),
            local: false,
            volatile: false,
            from: None,
            timeout_ms: None,
            board: false,
        }
    }
}

impl Select {
    /// Every socket of the namespace `/`.
    pub fn all() -> Self {
        Self::default()
    }

    /// Every socket of a namespace.
    pub fn nsp(nsp: impl Into<String>) -> Self {
        Self {
            nsp: nsp.into(),
            ..Self::default()
        }
    }

    /// Only sockets in this room, or in one of those named before.
    pub fn to(mut self, room: impl Into<String>) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// No socket that is in this room.
    pub fn except(mut self, room: impl Into<String>) -> Self {
        self.except.push(room.into());
        self
    }

    /// Only sockets of the asked server.
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// They may miss it.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// In the name of a socket of the asked server.
    pub fn from(mut self, socket: impl Into<String>) -> Self {
        self.from = Some(socket.into());
        self
    }

    /// With Switchboard's own operators instead of socketioxide's. Not with `from`.
    pub fn by_board(mut self) -> Self {
        self.board = true;
        self
    }

    /// Waits so long for answers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

/// Servers that know no such field need not see it.
pub(super) fn is_not(flag: &bool) -> bool {
    !flag
}
