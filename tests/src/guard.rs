//! The end of servers that do not watch their standard input. A [`Process`](crate::Process) is
//! killed when it is dropped, but nothing is dropped in a test run that is killed itself.

use std::{path::Path, process::Stdio};

use tokio::process::{Child, Command};

use crate::Error;

/// Waits for the end of standard input; then kills a process, if one is named, and removes a folder.
const SCRIPT: &str = r#"read -r _; [ -z "$1" ] || kill -9 "$1"; rm -rf "$2""#;

/// A shell that kills a server when this process ends, however it ends. Dropping it only ends the
/// watch, so drop it before the server is reaped: afterwards its number may be another process's.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Holds the other end of the shell's standard input. Killed when it is dropped, before that
    /// end is closed.
    _shell: Child,
}

impl Guard {
    /// Watches over a process that keeps its files in `folder`.
    pub(crate) fn over(pid: u32, folder: &Path) -> Result<Self, Error> {
        Self::watch(&pid.to_string(), folder)
    }

    /// Watches over a folder that no process uses at the end.
    pub(crate) fn over_folder(folder: &Path) -> Result<Self, Error> {
        Self::watch("", folder)
    }

    fn watch(pid: &str, folder: &Path) -> Result<Self, Error> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "guard", pid])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::system("cannot start a shell"))?;
        Ok(Self { _shell: shell })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;
    use tokio::time::{Duration, sleep, timeout};

    use super::{Guard, SCRIPT};

    fn sleeper() -> std::process::Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    #[tokio::test]
    async fn the_end_of_the_input_ends_the_server_and_removes_its_folder() {
        let mut server = sleeper();
        let folder = TempDir::new().unwrap();
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "guard", &server.id().to_string()])
            .arg(folder.path())
            .stdin(std::process::Stdio::null())
            .status();
        assert!(shell.unwrap().success());
        assert!(!server.wait().unwrap().success());
        assert!(!folder.path().exists());
    }

    #[tokio::test]
    async fn a_guard_that_is_dropped_harms_nobody() {
        let mut server = sleeper();
        let folder = TempDir::new().unwrap();
        drop(Guard::over(server.id(), folder.path()).unwrap());
        let ends = async {
            while server.try_wait().unwrap().is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(Duration::from_millis(300), ends).await.is_err());
        assert!(folder.path().exists());
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
