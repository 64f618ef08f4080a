//! A real NATS server for a test: on a port of its own, gone when it is dropped. It can be killed,
//! frozen and started again at the same address.

use std::{
    env,
    ffi::OsString,
    io::ErrorKind,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{Error, Port, Process, guard::Guard};

/// Another program in the place of the `nats-server` in the path.
const BINARY_VARIABLE: &str = "SWITCHBOARD_TEST_NATS_SERVER";
/// Debian puts it where an ordinary user's path does not lead.
const DEBIAN: &str = "/usr/sbin/nats-server";
/// A part of the line with which it says that it takes connections.
const READY: &str = "Server is ready";
/// A stranger may take a port between our look and the server's: then another one is tried.
const MAX_PORTS_TRIED: usize = 3;

/// A NATS server. All methods take `&self`, so that one story can kill it while another uses it.
#[derive(Debug)]
pub struct Nats {
    // First, so that the server is gone before its folder.
    running: Mutex<Option<Running>>,
    port: Port,
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    // First: see there.
    _guard: Guard,
    process: Arc<Process>,
}

impl Nats {
    /// Starts one and waits until it takes connections.
    ///
    /// # Errors
    /// [`Error::Setup`] if there is no `nats-server` on this machine.
    pub async fn start() -> Result<Self, Error> {
        let mut tried = 1;
        loop {
            let nats = Self {
                running: Mutex::new(None),
                port: Port::claim()?,
                folder: tempfile::Builder::new()
                    .prefix("sb-nats-")
                    .tempdir()
                    .map_err(Error::system("cannot make a temporary folder"))?,
            };
            match nats.launch().await {
                Ok(()) => return Ok(nats),
                Err(Error::Ended { log, .. })
                    if log.contains("address already in use") && tried < MAX_PORTS_TRIED =>
                {
                    tried += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it listens, also while it is down.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Kills it (SIGKILL) and waits until it is gone. Does nothing if it is down.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn kill(&self) -> Result<(), Error> {
        let running = self.running().take();
        match running {
            Some(running) => running.process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again at the same address, killing it first if it runs.
    ///
    /// # Errors
    /// What [`Nats::start`] says.
    pub async fn restart(&self) -> Result<(), Error> {
        self.kill().await?;
        self.launch().await
    }

    async fn launch(&self) -> Result<(), Error> {
        let mut command = Command::new(program());
        command
            .args(["--addr", "127.0.0.1", "--port"])
            .arg(self.port.number().to_string())
            // What it says there is waited for.
            .args(["--log", "/dev/stdout"]);
        let name = format!("NATS at {}", self.port.number());
        let (process, _) =
            Process::start_when(name, command, |line| line.contains(READY).then(String::new))
                .await
                .map_err(explain)?;
        let running = Running {
            _guard: Guard::over(process.pid(), self.folder.path())?,
            process: Arc::new(process),
        };
        *self.running() = Some(running);
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn program() -> OsString {
    let usual = || match Path::new(DEBIAN).exists() {
        true => DEBIAN.into(),
        false => "nats-server".into(),
    };
    env::var_os(BINARY_VARIABLE).unwrap_or_else(usual)
}

/// Says what to type when there is no such program.
fn explain(error: Error) -> Error {
    match error {
        Error::System { source, .. } if source.kind() == ErrorKind::NotFound => Error::Setup {
            what: "there is no `nats-server` on this machine".into(),
            fix: format!(
                "type: cargo xtask setup, or: sudo apt-get install nats-server, or set {BINARY_VARIABLE}"
            ),
        },
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::TcpStream;

    use super::Nats;

    #[tokio::test]
    async fn a_server_that_is_killed_comes_back_at_the_same_address() {
        let nats = Nats::start().await.unwrap();
        nats.kill().await.unwrap();
        assert!(TcpStream::connect(nats.addr()).await.is_err());
        nats.restart().await.unwrap();
        assert!(TcpStream::connect(nats.addr()).await.is_ok());
    }
}
