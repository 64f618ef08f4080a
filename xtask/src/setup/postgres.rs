//! The Postgres server and PgBouncer for the tests of the Postgres capability and transport. Looked
//! for where those tests look (`tests/src/postgres.rs`).

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Found, Version, first_version};
use crate::process::output;

/// Names the folder of `initdb` and `postgres`, where it is not the usual one.
const VARIABLE: &str = "SWITCHBOARD_TEST_POSTGRES_BIN";
/// Where Debian puts them, one folder for each version.
const USUAL: &str = "/usr/lib/postgresql";
/// Older ones get no fixes any more.
pub(super) const LEAST: Version = (13, 0);
/// Where Debian and others put PgBouncer, which need not be in an ordinary user's path.
const PGBOUNCER: [&str; 3] = [
    "/usr/sbin/pgbouncer",
    "/usr/bin/pgbouncer",
    "/usr/local/bin/pgbouncer",
];

/// The folder of the newest server's programs.
pub(super) fn programs() -> Option<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from).or_else(newest)
}

pub(super) fn find() -> Found {
    let Some(folder) = programs() else {
        return Found::Missing(format!("no `initdb` in {USUAL}/*/bin"));
    };
    let text = match output(Command::new(folder.join("postgres")).arg("--version")) {
        Ok(text) => text,
        Err(error) => return Found::Missing(error.to_string()),
    };
    match first_version(&text) {
        Some(version) if version >= LEAST => Found::Ready(format!(
            "{}.{} ({})",
            version.0,
            version.1,
            folder.display()
        )),
        _ => Found::Missing(format!(
            "{} is `{}`; version {} or later is needed",
            folder.display(),
            text.trim(),
            LEAST.0
        )),
    }
}

fn newest() -> Option<PathBuf> {
    let versions = fs::read_dir(USUAL).into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    folders
        .filter(|folder| folder.join("initdb").exists())
        .max()
}

pub(super) fn find_pgbouncer() -> Found {
    match PGBOUNCER.into_iter().find(|path| Path::new(path).exists()) {
        Some(path) => Found::Ready(path.to_owned()),
        None => Found::Missing("no `pgbouncer`".to_owned()),
    }
}

pub(super) fn by_hand() -> String {
    format!(
        "install PostgreSQL {} or later from https://www.postgresql.org, or: export \
         {VARIABLE}=/folder/of/initdb",
        LEAST.0
    )
}
