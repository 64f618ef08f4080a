//! The NATS server for the tests of the NATS transport. Looked for where those tests look
//! (`tests/src/nats.rs`).

use std::{
    env,
    path::{Path, PathBuf},
};

use super::Found;
use crate::process::find_program;

/// Names another program than the `nats-server` in the path.
const VARIABLE: &str = "SWITCHBOARD_TEST_NATS_SERVER";
/// Debian puts it where an ordinary user's path does not lead.
const DEBIAN: &str = "/usr/sbin/nats-server";

pub(super) fn find() -> Found {
    let wanted = env::var_os(VARIABLE).map(PathBuf::from);
    let usual = || Path::new(DEBIAN).exists().then(|| PathBuf::from(DEBIAN));
    let program = wanted
        .or_else(usual)
        .or_else(|| find_program(&["nats-server"]));
    match program {
        Some(program) => Found::Ready(program.display().to_string()),
        None => Found::Missing("no `nats-server`".to_owned()),
    }
}

pub(super) fn by_hand() -> String {
    format!("install nats-server from https://nats.io, or: export {VARIABLE}=/path/to/nats-server")
}
