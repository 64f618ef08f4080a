//! A real Redis server for a test: on a port of its own, in a folder of its own, gone when it is
//! dropped. It can be killed, frozen and started again at the same address. A Redis Cluster and
//! Sentinels are made of the same servers (`redis/cluster.rs`, `redis/sentinel.rs`); `redis/resp.rs`
//! is a client that is just enough to command and to ask them.

mod cluster;
mod resp;
mod sentinel;

use std::{
    env,
    ffi::OsString,
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use cluster::RedisCluster;
pub use resp::Reply;
pub use sentinel::Sentinel;

use tempfile::TempDir;
use tokio::process::Command;

use crate::{Error, Port, Process, guard::Guard};

/// Another program in the place of the `redis-server` in the path.
const BINARY_VARIABLE: &str = "SWITCHBOARD_TEST_REDIS_SERVER";
/// Parts of the lines with which a server or a Sentinel says that it takes connections.
const READY: [&str; 2] = ["Ready to accept connections", "Sentinel ID is"];
/// A stranger may take a port between our look and the server's: then another one is tried.
const MAX_PORTS_TRIED: usize = 3;

/// How to start a server: empty, without persistence, unless said otherwise.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing happens before `start`"]
pub struct RedisBuilder {
    name: Option<String>,
    options: Vec<(String, String)>,
    /// With a second port, for the other nodes of a Redis Cluster.
    in_cluster: bool,
    /// The text of a configuration file; the server becomes a Sentinel.
    sentinel: Option<String>,
}

impl RedisBuilder {
    /// What it is called in messages.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Keeps its data on disk, every write before it is answered: what it had taken when it was
    /// killed is there after [`Redis::restart`].
    pub fn persistent(self) -> Self {
        self.option("appendonly", "yes")
            .option("appendfsync", "always")
    }

    /// A line of `redis.conf`, in the place of earlier ones with the same name; for example
    /// `option("requirepass", "secret")`.
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// [`Error::Setup`] if there is no `redis-server` on this machine; [`Error::Ended`] with its log
    /// if it does not like an option.
    pub async fn start(self) -> Result<Redis, Error> {
        let mut tried = 1;
        loop {
            let redis = Redis::new(self.clone())?;
            match redis.launch().await {
                Ok(()) => return Ok(redis),
                Err(Error::Ended { log, .. })
                    if log.contains("Address already in use") && tried < MAX_PORTS_TRIED =>
                {
                    tried += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A Redis server. All methods take `&self`, so that one story can kill it while another uses it.
#[derive(Debug)]
pub struct Redis {
    // First, so that the server is gone before its folder.
    running: Mutex<Option<Running>>,
    name: String,
    builder: RedisBuilder,
    port: Port,
    bus_port: Option<Port>,
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    // First: see there.
    _guard: Guard,
    process: Arc<Process>,
}

impl Redis {
    /// Starts an empty server without persistence; see [`Redis::builder`].
    ///
    /// # Errors
    /// What [`RedisBuilder::start`] says.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// A server to be started.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    fn new(builder: RedisBuilder) -> Result<Self, Error> {
        let port = Port::claim()?;
        Ok(Self {
            running: Mutex::new(None),
            name: builder
                .name
                .clone()
                .unwrap_or_else(|| format!("Redis at {}", port.number())),
            bus_port: builder.in_cluster.then(Port::claim).transpose()?,
            port,
            folder: tempfile::Builder::new()
                .prefix("sb-redis-")
                .tempdir()
                .map_err(Error::system("cannot make a temporary folder"))?,
            builder,
        })
    }

    /// Where it listens, also while it is down.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The same as `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills it (SIGKILL) and waits until it is gone. Does nothing if it is down.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn kill(&self) -> Result<(), Error> {
        match self.take() {
            Some(running) => running.process.kill().await,
            None => Ok(()),
        }
    }

    /// Asks it to end (SIGTERM) and waits for that. Does nothing if it is down.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it does not end; it is killed then.
    pub async fn stop(&self) -> Result<(), Error> {
        match self.take() {
            Some(running) => running.process.stop().await.map(drop),
            None => Ok(()),
        }
    }

    /// Starts it again at the same address, killing it first if it runs. It has its data only if it
    /// is [`persistent`](RedisBuilder::persistent).
    ///
    /// # Errors
    /// What [`RedisBuilder::start`] says.
    pub async fn restart(&self) -> Result<(), Error> {
        self.kill().await?;
        self.launch().await
    }

    /// Freezes it (SIGSTOP): connections stay, even new ones come about, and nothing is answered.
    ///
    /// # Errors
    /// When it is down.
    pub async fn pause(&self) -> Result<(), Error> {
        self.process()?.pause().await
    }

    /// Lets it go on after [`Redis::pause`].
    ///
    /// # Errors
    /// When it is down.
    pub fn resume(&self) -> Result<(), Error> {
        self.process()?.resume()
    }

    /// Sends one command on a connection of its own and returns the answer:
    /// `command(&["CLIENT", "KILL", "TYPE", "pubsub"])`. With the option `requirepass` it logs in.
    ///
    /// # Errors
    /// [`Error::Refused`] with Redis's words if it answers with an error, [`Error::System`] if it
    /// cannot be reached, [`Error::Deadline`] if it does not answer.
    pub async fn command(&self, words: &[&str]) -> Result<Reply, Error> {
        let password = self.builder.options.iter().rev();
        let password = password
            .filter(|(name, _)| name == "requirepass")
            .map(|(_, value)| value.as_str())
            .next();
        resp::ask(&self.name, self.addr(), password, words).await
    }

    fn process(&self) -> Result<Arc<Process>, Error> {
        self.running()
            .as_ref()
            .map(|running| Arc::clone(&running.process))
            .ok_or_else(|| Error::Test(format!("{} is down", self.name)))
    }

    async fn launch(&self) -> Result<(), Error> {
        let (process, _) = Process::start_when(self.name.clone(), self.server()?, |line| {
            READY
                .iter()
                .any(|ready| line.contains(ready))
                .then(String::new)
        })
        .await
        .map_err(explain)?;
        let running = Running {
            _guard: Guard::over(process.pid(), self.folder.path())?,
            process: Arc::new(process),
        };
        *self.running() = Some(running);
        Ok(())
    }

    fn server(&self) -> Result<Command, Error> {
        let program = env::var_os(BINARY_VARIABLE).unwrap_or_else(|| "redis-server".into());
        let mut command = Command::new(program);
        if let Some(text) = &self.builder.sentinel {
            // It writes what it learns into this file, so a later start must find it as it is.
            let path = self.folder.path().join("sentinel.conf");
            if !path.exists() {
                std::fs::write(&path, text)
                    .map_err(Error::system(format!("cannot write {}", path.display())))?;
            }
            command.arg(path).arg("--sentinel");
        }
        let mut set = |name: &str, value: OsString| {
            command.arg(format!("--{name}")).arg(value);
        };
        set("port", self.port.number().to_string().into());
        set("bind", "127.0.0.1".into());
        set("dir", self.folder.path().into());
        set("daemonize", "no".into());
        if let Some(bus) = &self.bus_port {
            set("cluster-enabled", "yes".into());
            set("cluster-port", bus.number().to_string().into());
        }
        if self.builder.sentinel.is_none() {
            set("save", "".into());
            // A replica gets its first copy at once.
            set("repl-diskless-sync-delay", "0".into());
        }
        for (name, value) in &self.builder.options {
            set(name, value.into());
        }
        Ok(command)
    }

    fn take(&self) -> Option<Running> {
        self.running().take()
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what to type when there is no such program.
fn explain(error: Error) -> Error {
    match error {
        Error::System { source, .. } if source.kind() == ErrorKind::NotFound => Error::Setup {
            what: "there is no `redis-server` on this machine".into(),
            fix: format!(
                "type: cargo xtask setup, or: sudo apt-get install redis-server, or set {BINARY_VARIABLE}"
            ),
        },
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpStream, time::timeout};

    use super::{Redis, Reply, explain};
    use crate::Error;

    #[tokio::test]
    async fn a_server_that_is_killed_comes_back_empty_at_the_same_address() {
        let redis = Redis::start().await.unwrap();
        let addr = redis.addr();
        redis.command(&["SET", "a", "1"]).await.unwrap();
        redis.kill().await.unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
        redis.restart().await.unwrap();
        assert_eq!(redis.addr(), addr);
        assert_eq!(redis.command(&["GET", "a"]).await.unwrap(), Reply::Nil);
    }

    #[tokio::test]
    async fn a_persistent_server_that_is_killed_has_its_data_again() {
        let redis = Redis::builder().persistent().start().await.unwrap();
        redis.command(&["SET", "a", "1"]).await.unwrap();
        redis.kill().await.unwrap();
        redis.restart().await.unwrap();
        let answer = redis.command(&["GET", "a"]).await.unwrap();
        assert_eq!(answer.as_text().as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn a_frozen_server_takes_connections_and_answers_later() {
        let redis = Redis::start().await.unwrap();
        redis.pause().await.unwrap();
        TcpStream::connect(redis.addr()).await.unwrap();
        let answer = redis.command(&["PING"]);
        tokio::pin!(answer);
        let early = timeout(Duration::from_millis(200), &mut answer).await;
        assert!(early.is_err(), "{early:?}");
        redis.resume().unwrap();
        assert_eq!(answer.await.unwrap().as_text().as_deref(), Some("PONG"));
    }

    #[tokio::test]
    async fn a_password_is_asked_of_others() {
        let redis = Redis::builder().option("requirepass", "x y");
        let redis = redis.start().await.unwrap();
        assert!(redis.command(&["PING"]).await.is_ok());
        let error = super::resp::ask("Redis", redis.addr(), None, &["PING"]).await;
        assert!(error.unwrap_err().to_string().contains("NOAUTH"));
    }

    #[tokio::test]
    async fn a_wrong_option_is_reported_in_the_words_of_the_server() {
        let error = Redis::builder().option("no-such-option", "1").start().await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no-such-option"), "{error}");
    }

    #[tokio::test]
    async fn a_server_ends_with_its_handle() {
        let redis = Redis::start().await.unwrap();
        let (addr, folder) = (redis.addr(), redis.folder.path().to_owned());
        drop(redis);
        // Killed, but perhaps not yet dead.
        let gone = async { while TcpStream::connect(addr).await.is_ok() {} };
        timeout(Duration::from_secs(10), gone).await.unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_machine_without_redis_is_told_what_to_type() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = explain(Error::System {
            what: "cannot start".into(),
            source,
        });
        assert!(
            error.to_string().contains("apt-get install redis-server"),
            "{error}"
        );
    }
}
