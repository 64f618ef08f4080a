//! An empty database, made once in a test run and copied, which is quicker; and who it belongs to.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::PathBuf,
    process,
};

use tempfile::TempDir;
use tokio::{process::Command, sync::OnceCell};

use super::{programs, run};
use crate::{Error, guard::Guard};

/// It outlives all tests of this process. The folder is removed when the process ends, however that
/// happens.
static TEMPLATE: OnceCell<(TempDir, Guard)> = OnceCell::const_new();

/// The folder of an empty database.
pub(super) async fn template() -> Result<PathBuf, Error> {
    let made = TEMPLATE.get_or_try_init(make).await;
    made.map(|(folder, _)| folder.path().join("data"))
}

async fn make() -> Result<(TempDir, Guard), Error> {
    let folder = folder("sb-postgres-template-")?;
    let mut initdb = as_owner(programs()?.join("initdb"))?;
    initdb
        .arg("--pgdata")
        .arg(folder.path().join("data"))
        .args(["--auth", "trust", "--username", "postgres"])
        .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"])
        .current_dir(folder.path());
    run(initdb).await?;
    let guard = Guard::over_folder(folder.path())?;
    Ok((folder, guard))
}

/// A command of a user who may be Postgres.
pub(super) fn as_owner(program: impl Into<PathBuf>) -> Result<Command, Error> {
    let program = program.into();
    let Some((user, group)) = owner()? else {
        return Ok(Command::new(program));
    };
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user.to_string()])
        .args(["--regid", &group.to_string(), "--clear-groups", "--"])
        .arg(program);
    Ok(command)
}

/// A folder of that user.
pub(super) fn folder(prefix: &str) -> Result<TempDir, Error> {
    let folder = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .map_err(Error::system("cannot make a temporary folder"))?;
    if let Some((user, group)) = owner()? {
        chown(folder.path(), Some(user), Some(group))
            .map_err(Error::system("cannot give a folder to the user `postgres`"))?;
    }
    Ok(folder)
}

/// Who the server is run as: user and group. None: who runs the tests.
fn owner() -> Result<Option<(u32, u32)>, Error> {
    let own = fs::metadata(format!("/proc/{}", process::id()))
        .map_err(Error::system("cannot see who runs the tests"))?;
    if own.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        let mut id = || fields.next()?.parse().ok();
        Some((id()?, id()?))
    });
    user.map(Some).ok_or_else(|| Error::Setup {
        what: "Postgres does not run as root, and there is no user `postgres`".to_owned(),
        fix: "type: sudo apt-get install postgresql, or run the tests as another user".to_owned(),
    })
}
