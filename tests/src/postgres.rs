//! A real Postgres server for a test: on a port of its own, in a folder of its own, gone when it is
//! dropped. It can be killed, frozen and started again at the same address, with the same data.
//!
//! Postgres refuses to run as root; then it runs as the user `postgres`, which its package makes.

mod family;
mod template;

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;
use tokio::process::Command;

use self::template::{as_owner, folder, template};
use crate::{Error, Port, Process, guard::Guard};

/// Names the folder of `initdb` and `postgres`, where it is not the usual one.
const VARIABLE: &str = "SWITCHBOARD_TEST_POSTGRES_BIN";
/// Where Debian puts them, one folder for each version.
const USUAL: &str = "/usr/lib/postgresql";
/// Part of the line with which a server says that it takes connections.
const READY: &str = "database system is ready to accept connections";
/// A stranger may take a port between our look and the server's: then another one is tried.
const MAX_PORTS_TRIED: usize = 3;

/// A Postgres server with the superuser `postgres` and the database `postgres`, which lets everybody
/// in. All methods take `&self`, so that one story can kill it while another uses it.
///
/// It survives a kill with all that it has committed. (It would not survive the machine's.)
#[derive(Debug)]
pub struct Postgres {
    // First, so that the server is gone before its folder.
    running: Mutex<Option<Running>>,
    name: String,
    settings: Vec<String>,
    port: Port,
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    // First: see there.
    _guard: Guard,
    process: Arc<Process>,
}

impl Postgres {
    /// Starts an empty server.
    ///
    /// # Errors
    /// [`Error::Setup`] if there is no Postgres on this machine; [`Error::Ended`] with its log if it
    /// does not start.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(&[]).await
    }

    /// The same with lines of `postgresql.conf`, such as `max_connections=20`.
    ///
    /// # Errors
    /// See [`Postgres::start`].
    pub async fn start_with(settings: &[&str]) -> Result<Self, Error> {
        let mut tried = 1;
        loop {
            let server = Self::new(settings).await?;
            match server.launch().await {
                Ok(()) => return Ok(server),
                Err(Error::Ended { log, .. })
                    if log.contains("Address already in use") && tried < MAX_PORTS_TRIED =>
                {
                    tried += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn new(settings: &[&str]) -> Result<Self, Error> {
        let (template, folder) = (template().await?, folder("sb-postgres-")?);
        let mut copy = as_owner("cp")?;
        copy.args(["-r", "--reflink=auto"])
            .args([template, folder.path().join("data")]);
        run(copy).await?;
        let port = Port::claim()?;
        Ok(Self {
            running: Mutex::new(None),
            name: format!("Postgres at {}", port.number()),
            settings: settings.iter().map(|text| (*text).to_owned()).collect(),
            port,
            folder,
        })
    }

    /// Where it listens, also while it is down.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The same as a URL, for the superuser.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The same for another user, who needs no password.
    pub fn url_of(&self, user: &str) -> String {
        format!("postgres://{user}@{}/postgres", self.addr())
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills it with all its sessions (SIGKILL) and waits until they are gone. Does nothing if it is
    /// down.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn kill(&self) -> Result<(), Error> {
        let running = self.running().take();
        match running {
            Some(running) => family::kill(&running.process).await,
            None => Ok(()),
        }
    }

    /// Starts it again at the same address with its data, killing it first if it runs.
    ///
    /// # Errors
    /// What [`Postgres::start`] says.
    pub async fn restart(&self) -> Result<(), Error> {
        self.kill().await?;
        self.launch().await
    }

    /// Freezes it with all its sessions (SIGSTOP): connections stay, even new ones come about, and
    /// nothing is answered.
    ///
    /// # Errors
    /// When it is down.
    pub async fn pause(&self) -> Result<(), Error> {
        family::pause(&*self.process()?).await
    }

    /// Lets it go on after [`Postgres::pause`].
    ///
    /// # Errors
    /// When it is down.
    pub fn resume(&self) -> Result<(), Error> {
        family::resume(&*self.process()?)
    }

    /// Executes SQL as the superuser, on a connection of its own: what `psql` prints, rows without
    /// decoration.
    ///
    /// # Errors
    /// [`Error::Refused`] with the words of Postgres.
    pub async fn sql(&self, sql: &str) -> Result<String, Error> {
        let output = Command::new(programs()?.join("psql"))
            .arg(self.url())
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .await
            .map_err(Error::system("cannot start psql"))?;
        if !output.status.success() {
            return Err(Error::Refused {
                process: self.name.clone(),
                command: sql.to_owned(),
                reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The number that a query returns.
    ///
    /// # Errors
    /// As [`Postgres::sql`]; [`Error::Test`] if it returns something else.
    pub async fn number(&self, sql: &str) -> Result<u64, Error> {
        let text = self.sql(sql).await?;
        text.parse()
            .map_err(|_| Error::Test(format!("{sql} returned {text:?}, which is no number")))
    }

    fn process(&self) -> Result<Arc<Process>, Error> {
        self.running()
            .as_ref()
            .map(|running| Arc::clone(&running.process))
            .ok_or_else(|| Error::Test(format!("{} is down", self.name)))
    }

    async fn launch(&self) -> Result<(), Error> {
        let ready = |line: &str| line.contains(READY).then(String::new);
        let (process, _) = Process::start_when(self.name.clone(), self.server()?, ready).await?;
        let running = Running {
            _guard: Guard::over(process.pid(), self.folder.path())?,
            process: Arc::new(process),
        };
        *self.running() = Some(running);
        Ok(())
    }

    fn server(&self) -> Result<Command, Error> {
        // It says on standard error that it is ready.
        let mut command = as_owner("sh")?;
        command
            .args(["-c", r#"exec "$@" 2>&1"#, "sh"])
            .arg(programs()?.join("postgres"))
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.number().to_string()])
            .current_dir(self.folder.path());
        let ours = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // What was written survives the process, and the machine is not at stake.
            "fsync=off",
            "shared_buffers=16MB",
        ];
        let settings = ours
            .into_iter()
            .chain(self.settings.iter().map(String::as_str));
        for setting in settings {
            command.args(["-c", setting]);
        }
        Ok(command)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder of the newest Postgres.
fn programs() -> Result<PathBuf, Error> {
    if let Some(folder) = env::var_os(VARIABLE) {
        return Ok(folder.into());
    }
    let versions = fs::read_dir(USUAL).into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    folders
        .filter(|folder| folder.join("initdb").exists())
        .max()
        .ok_or_else(|| Error::Setup {
            what: format!("there is no Postgres in {USUAL} on this machine"),
            fix: format!(
                "type: cargo xtask setup, or: sudo apt-get install postgresql, or set {VARIABLE}"
            ),
        })
}

async fn run(mut command: Command) -> Result<(), Error> {
    let shown = format!("{command:?}");
    let output = command.output().await;
    let output = output.map_err(Error::system(format!("cannot start {shown}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Test(format!(
            "{shown}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpStream, time::timeout};

    use super::Postgres;

    #[tokio::test]
    async fn a_server_that_is_killed_comes_back_with_its_data_at_the_same_address() {
        let postgres = Postgres::start().await.unwrap();
        let addr = postgres.addr();
        postgres
            .sql("CREATE TABLE t AS SELECT 7 AS n")
            .await
            .unwrap();
        postgres.kill().await.unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
        postgres.restart().await.unwrap();
        assert_eq!(postgres.addr(), addr);
        assert_eq!(postgres.number("SELECT n FROM t").await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_frozen_server_takes_connections_and_answers_later() {
        let postgres = Postgres::start().await.unwrap();
        postgres.pause().await.unwrap();
        TcpStream::connect(postgres.addr()).await.unwrap();
        let answer = postgres.number("SELECT 1");
        tokio::pin!(answer);
        let early = timeout(Duration::from_millis(300), &mut answer).await;
        assert!(early.is_err(), "{early:?}");
        postgres.resume().unwrap();
        assert_eq!(answer.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_error_is_told_in_the_words_of_the_server() {
        let postgres = Postgres::start().await.unwrap();
        let error = postgres.sql("SELECT x FROM nowhere").await.unwrap_err();
        assert!(error.to_string().contains("\"nowhere\""), "{error}");
    }

    #[tokio::test]
    async fn a_server_ends_with_its_handle() {
        let postgres = Postgres::start().await.unwrap();
        let (addr, folder) = (postgres.addr(), postgres.folder.path().to_owned());
        drop(postgres);
        // Killed, but perhaps not yet dead.
        let gone = async { while TcpStream::connect(addr).await.is_ok() {} };
        timeout(Duration::from_secs(10), gone).await.unwrap();
        assert!(!folder.exists());
    }
}
