//! What an operator sets for a bus, and what can be wrong with it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer};

/// Longest path of a Unix socket in bytes (`sun_path`, less its end mark).
const MAX_PATH_BYTES: usize = 107;
/// The most that a limit in bytes may be: lengths travel as 32 bits.
pub(super) const MAX_BYTES: usize = 1 << 30;
const MIN_BYTES: usize = 1 << 10;
const MIN_TIME: Duration = Duration::from_millis(1);
const MAX_TIME: Duration = Duration::from_secs(3600);

/// One bus: where its socket is, and its limits. `[connections.bus.NAME]` in the configuration.
///
/// Processes of one bus may have different limits.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusOptions {
    /// The Unix socket, at most 107 bytes. Beside it lies a lock file of the same name with
    /// `.lock` appended. Empty: [`BusOptions::default_path`] of the cluster's name.
    pub path: PathBuf,
    /// Largest frame that may be sent, in bytes. Default 32 MiB.
    pub max_frame_bytes: usize,
    /// Bytes of own frames that some member has not taken; then sending waits. A larger frame goes
    /// alone. Each frame counts 64 bytes more than it holds. Default 16 MiB.
    pub max_unstable_bytes: usize,
    /// Bytes of events that wait for the plugin; then this process stops reading, and senders
    /// wait. Each event counts 64 bytes more than it holds. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// A member that takes nothing for so long while others wait for it is cut off. Default 10 s.
    #[serde(rename = "stall_timeout_ms", deserialize_with = "millis")]
    pub stall_timeout: Duration,
    /// How long sending waits for room before it is refused as unavailable. Default 5 s.
    #[serde(rename = "send_timeout_ms", deserialize_with = "millis")]
    pub send_timeout: Duration,
    /// How long members have to come back after a takeover before they count as gone. Default 1 s.
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
            rejoin_grace: Duration::from_secs(1),
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
        path_in(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), name)
    }

    /// # Errors
    /// Names the key that is wrong, and what would be right.
    pub(super) fn check(&self) -> Result<(), BusError> {
        let len = self.path.as_os_str().len();
        if len == 0 {
            return Err(BusError::Config(
                "`path` is empty; set it to a path".to_owned(),
            ));
        }
        if len > MAX_PATH_BYTES {
            return Err(BusError::Config(format!(
                "`path` has {len} bytes and a Unix socket's path at most {MAX_PATH_BYTES}; set a \
                 shorter one, for example {}",
                BusOptions::default_path("NAME").display()
            )));
        }
        for (key, value) in [
            ("max_frame_bytes", self.max_frame_bytes),
            ("max_unstable_bytes", self.max_unstable_bytes),
            ("max_queued_bytes", self.max_queued_bytes),
        ] {
            if !(MIN_BYTES..=MAX_BYTES).contains(&value) {
                return Err(BusError::Config(format!(
                    "{key} = {value} is out of range; {MIN_BYTES} to {MAX_BYTES} are allowed"
                )));
            }
        }
        for (key, value) in [
            ("stall_timeout_ms", self.stall_timeout),
            ("send_timeout_ms", self.send_timeout),
            ("rejoin_grace_ms", self.rejoin_grace),
        ] {
            if !(MIN_TIME..=MAX_TIME).contains(&value) {
                return Err(BusError::Config(format!(
                    "{key} = {} is out of range; {} to {} are allowed",
                    value.as_millis(),
                    MIN_TIME.as_millis(),
                    MAX_TIME.as_millis()
                )));
            }
        }
        Ok(())
    }
}

fn path_in(runtime_folder: Option<PathBuf>, name: &str) -> PathBuf {
    let folder = runtime_folder.filter(|folder| folder.is_absolute());
    let folder = folder
        .map(|folder| folder.join("switchboard"))
        .unwrap_or_else(|| {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("switchboard-{user}"))
        });
    folder.join(Path::new(&format!("{name}.sock")))
}

/// Why a bus cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The operator's fault: a setting, or the folder of the socket. Says what to change.
    #[error("{0}")]
    Config(String),
    /// The sender's fault: a frame, or the frames of one call together, are over the limit.
    /// Nothing was sent.
    #[error("frames over the limit of {limit} bytes cannot be sent on this bus")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Nobody's fault: the bus cannot be reached now, or has no room. Nothing was sent.
    #[error("{0}")]
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keys_are_checked_and_the_rest_has_defaults() {
        let text = "path = '/tmp/a.sock'\nstall_timeout_ms = 1500\nmax_frame_bytes = 2048";
        let options: BusOptions = toml::from_str(text).unwrap();
        let expected = BusOptions {
            path: "/tmp/a.sock".into(),
            stall_timeout: Duration::from_millis(1500),
            max_frame_bytes: 2048,
            ..BusOptions::default()
        };
        assert_eq!(options, expected);
        assert!(toml::from_str::<BusOptions>("stall_timeout = 1").is_err());
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_remedy() {
        let with = |change: fn(&mut BusOptions)| {
            let mut options = BusOptions {
                path: "/tmp/a.sock".into(),
                ..BusOptions::default()
            };
            change(&mut options);
            options.check()
        };
        assert_eq!(with(|_| {}), Ok(()));
        let long: fn(&mut BusOptions) = |options| options.path = "/tmp/".repeat(22).into();
        for (change, expected) in [
            (long, "at most 107"),
            (|options| options.path = "".into(), "`path` is empty"),
            (|options| options.max_frame_bytes = 0, "max_frame_bytes = 0"),
            (
                |options| options.max_queued_bytes = usize::MAX,
                "max_queued_bytes",
            ),
            (
                |options| options.stall_timeout = Duration::ZERO,
                "stall_timeout_ms = 0",
            ),
            (
                |options| options.rejoin_grace = Duration::MAX,
                "rejoin_grace_ms",
            ),
        ] {
            let error = with(change).unwrap_err().to_string();
            assert!(
                error.contains(expected),
                "expected {expected:?} in {error:?}"
            );
        }
    }

    #[test]
    fn the_default_path_is_the_users_own() {
        let own = path_in(Some("/run/user/7".into()), "chat");
        assert_eq!(own, Path::new("/run/user/7/switchboard/chat.sock"));
        let user = rustix::process::geteuid().as_raw();
        let temporary = std::env::temp_dir().join(format!("switchboard-{user}/chat.sock"));
        assert_eq!(path_in(None, "chat"), temporary);
        assert_eq!(path_in(Some("relative".into()), "chat"), temporary);
    }
}
