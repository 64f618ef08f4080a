//! The Redis server for the tests of the Redis transports. Looked for where those tests look
//! (`tests/src/redis.rs`).

use std::{env, path::PathBuf, process::Command};

use super::{Found, Version, first_version};
use crate::process::{find_program, output};

/// Names another program than the `redis-server` in the path.
const VARIABLE: &str = "SWITCHBOARD_TEST_REDIS_SERVER";
/// The oldest version with sharded PUB/SUB.
pub(super) const LEAST: Version = (7, 0);

/// The program, whatever its version.
pub(super) fn program() -> Option<PathBuf> {
    let wanted = env::var_os(VARIABLE).map(PathBuf::from);
    wanted.or_else(|| find_program(&["redis-server"]))
}

pub(super) fn find() -> Found {
    let Some(program) = program() else {
        return Found::Missing("no `redis-server`".to_owned());
    };
    if find_program(&["redis-cli"]).is_none() {
        return Found::Missing("no `redis-cli` beside it".to_owned());
    }
    let text = match output(Command::new(&program).arg("--version")) {
        Ok(text) => text,
        Err(error) => return Found::Missing(error.to_string()),
    };
    match version_in(&text) {
        Some(version) if version >= LEAST => Found::Ready(format!(
            "{}.{} ({})",
            version.0,
            version.1,
            program.display()
        )),
        _ => Found::Missing(format!(
            "{} is `{}`; version {}.{} or later is needed",
            program.display(),
            text.trim(),
            LEAST.0,
            LEAST.1
        )),
    }
}

/// The version in `Redis server v=7.0.15 sha=00000000:0 malloc=…`; Valkey names itself likewise.
fn version_in(text: &str) -> Option<Version> {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix("v="))
        .and_then(first_version)
}

pub(super) fn by_hand() -> String {
    format!(
        "install Redis {}.{} or later from https://redis.io, or: export {VARIABLE}=/path/to/redis-server",
        LEAST.0, LEAST.1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_prints() {
        for (text, version) in [
            (
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c97",
                Some((7, 0)),
            ),
            ("Valkey server v=8.1.1 sha=00000000:0", Some((8, 1))),
            ("something else", None),
        ] {
            assert_eq!(version_in(text), version, "of {text:?}");
        }
    }
}
