//! Real servers: started, stopped, killed and frozen.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::capabilities::ports;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);

/// A `redis-server` of a test's own. Killed when it is dropped.
pub(super) struct Server {
    pub(super) port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    process: Option<Child>,
}

/// A free port. The cluster bus needs another one, 10000 above.
pub(super) fn free_port() -> u16 {
    loop {
        let port = ports::free_port();
        if port < 50_000 && ports::is_free(port + 10_000) {
            return port;
        }
    }
}

impl Server {
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::start_at(free_port(), arguments)
    }

    pub(super) fn start_at(port: u16, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self {
            port,
            folder,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            process: None,
        };
        server.restart();
        server
    }

    /// Starts it again, at the same port and with the same data.
    pub(super) fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string()])
            .args(["--dir", self.folder.path().to_str().unwrap()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--unixsocket", self.socket().to_str().unwrap()])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed for these tests");
        self.process = Some(process);
        self.await_start();
    }

    /// Starts a server with a configuration file, as sentinels need one.
    pub(super) fn sentinel(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = folder.path().join("sentinel.conf");
        std::fs::write(
            &file,
            format!("port {port}\nbind 127.0.0.1\n{configuration}"),
        )
        .unwrap();
        let process = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            port,
            folder,
            arguments: Vec::new(),
            process: Some(process),
        };
        server.await_start();
        server
    }

    fn await_start(&self) {
        let until = std::time::Instant::now() + START;
        loop {
            let answer = self.cli(&["PING"]);
            if answer.contains("PONG") || answer.contains("NOAUTH") {
                return;
            }
            assert!(std::time::Instant::now() < until, "no start: {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` says.
    pub(super) fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli must be installed for these tests");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    /// As `kill -9`.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// It keeps its connections and answers nothing.
    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
