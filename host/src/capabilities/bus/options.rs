//! What an operator sets for a bus, and what can be wrong with it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer};

/// Longest path of a Unix socket in bytes (`sun_path`, less its end mark).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// One bus: where its socket is, and its limits. `[connections.bus.NAME]` in the configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusOptions {
    /// The Unix socket. At most 107 bytes; beside it lies a lock file of the same name with
    /// `.lock` appended. Empty: [`BusOptions::default_path`] of the cluster's name.
    pub path: PathBuf,
    /// Largest frame in bytes. Default 32 MiB.
    pub max_frame_bytes: usize,
    /// Bytes of own frames that some member has not taken; then sending waits. A larger frame goes
    /// alone. Default 16 MiB.
    pub max_unstable_bytes: usize,
    /// Bytes of frames of others that wait for the plugin; then this process stops reading and
    /// senders wait. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// A member that takes nothing for so long while others wait for it is cut off. Default 10 s.
    #[serde(rename = "stall_timeout_ms", deserialize_with = "millis")]
    pub stall_timeout: Duration,
    /// How long sending waits for room before it is refused as unavailable. Default 5 s.
    #[serde(rename = "send_timeout_ms", deserialize_with = "millis")]
    pub send_timeout: Duration,
    /// How long members have to come back after a takeover before they count as gone; until then
    /// frames are kept for them. Default 3 s.
    #[serde(rename = "rejoin_grace_ms", deserialize_with = "millis")]
    pub rejoin_grace: Duration,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            max_frame_bytes: 32 << 20,
            max_unstable_bytes: 16 << 20,
            max_queued_bytes: 64 << 20,
            stall_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(5),
            rejoin_grace: Duration::from_secs(3),
        }
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

impl BusOptions {
    /// A socket of this user's own: `$XDG_RUNTIME_DIR/switchboard/NAME.sock`, or
    /// `switchboard-UID/NAME.sock` in the folder for temporary files.
    pub fn default_path(name: &str) -> PathBuf {
        let folder = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .map(|path| path.join("switchboard"));
        let uid = rustix::process::getuid().as_raw();
        folder
            .unwrap_or_else(|| std::env::temp_dir().join(format!("switchboard-{uid}")))
            .join(format!("{name}.sock"))
    }

    /// The lock file beside the socket.
    pub(super) fn lock_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        path.into()
    }

    /// The folder of the socket.
    pub(super) fn folder(&self) -> &Path {
        self.path
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }

    pub(super) fn check(&self) -> Result<(), BusError> {
        let len = self.path.as_os_str().len();
        if len == 0 || len > MAX_SOCKET_PATH_BYTES {
            return Err(BusError::Config(format!(
                "path `{}` has {len} bytes, a Unix socket's has 1 to {MAX_SOCKET_PATH_BYTES}; set \
                 `path` to a shorter one, such as /tmp/NAME/bus.sock",
                self.path.display()
            )));
        }
        // Lengths travel as 32 bits, and permits are counted in 32 bits.
        for (key, value) in [
            ("max_frame_bytes", self.max_frame_bytes),
            ("max_unstable_bytes", self.max_unstable_bytes),
            ("max_queued_bytes", self.max_queued_bytes),
        ] {
            if !(1024..=1 << 30).contains(&value) {
                return Err(BusError::Config(format!(
                    "{key} = {value} is out of range; it may be 1024 to {}",
                    1 << 30
                )));
            }
        }
        Ok(())
    }
}

/// Why a bus cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// A setting, or the folder of the socket, is wrong: the operator's to mend.
    #[error("{0}")]
    Config(String),
    /// The sender's: a frame is too large. Nothing was sent.
    #[error("a frame is over the limit of {limit} bytes (max_frame_bytes)")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It cannot be reached now, or has no room.
    #[error("{0}")]
    Unavailable(String),
}
