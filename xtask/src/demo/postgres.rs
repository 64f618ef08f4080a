//! A Postgres server for the demo, with an empty database in a folder of its own.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{self, Child, Command},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::backends::apart;
use crate::process::output;

/// Ends with its data when it is dropped.
pub(super) struct Postgres {
    server: Child,
    programs: PathBuf,
    owner: Owner,
    // Last: it is removed when the server is gone.
    folder: TempDir,
}

/// Who it is run as: Postgres refuses to run as root, and its package makes a user for that.
#[derive(Clone, Copy)]
enum Owner {
    /// Who runs the demo.
    Ourselves,
    Other {
        user: u32,
        group: u32,
    },
}

impl Postgres {
    /// Makes a database and starts its server. None: there is nobody who could run it.
    pub(super) fn start(programs: &Path, port: u16) -> Result<Option<Self>> {
        let Some(owner) = Owner::find()? else {
            return Ok(None);
        };
        let folder = tempfile::Builder::new()
            .prefix("switchboard-demo-postgres-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        if let Owner::Other { user, group } = owner {
            chown(folder.path(), Some(user), Some(group))
                .context("cannot give a folder to the user `postgres`")?;
        }
        let data = folder.path().join("data");
        output(
            owner
                .command(&programs.join("initdb"))
                .arg("--pgdata")
                .arg(&data)
                .args(["--auth", "trust", "--username", "postgres"])
                .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"])
                .current_dir(folder.path()),
        )?;
        let server = apart(&mut owner.command(&programs.join("postgres")))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .current_dir(folder.path())
            .spawn()
            .context("cannot start postgres")?;
        Ok(Some(Self {
            server,
            programs: programs.to_owned(),
            owner,
            folder,
        }))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It ends its own processes; killed, it would leave them.
        let stopped = output(
            self.owner
                .command(&self.programs.join("pg_ctl"))
                .args(["stop", "-m", "immediate", "-D"])
                .arg(self.folder.path().join("data"))
                .current_dir(self.folder.path()),
        );
        if stopped.is_err() {
            // It has ended already, or ends now.
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

impl Owner {
    fn find() -> Result<Option<Self>> {
        let own = fs::metadata(format!("/proc/{}", process::id()))
            .context("cannot see who runs the demo")?;
        if own.uid() != 0 {
            return Ok(Some(Self::Ourselves));
        }
        let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        Ok(users.lines().find_map(Self::of_line))
    }

    /// The user `postgres`, if this line of `/etc/passwd` is about it.
    fn of_line(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        let mut id = || fields.next()?.parse().ok();
        Some(Self::Other {
            user: id()?,
            group: id()?,
        })
    }

    fn command(self, program: &Path) -> Command {
        match self {
            Self::Ourselves => Command::new(program),
            Self::Other { user, group } => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", &user.to_string()])
                    .args(["--regid", &group.to_string(), "--clear-groups", "--"])
                    .arg(program);
                command
            }
        }
    }
}
