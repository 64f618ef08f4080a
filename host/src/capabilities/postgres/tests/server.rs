//! Real servers: started, stopped, killed and frozen.
//!
//! Postgres refuses to run as root; then it runs as the user `postgres`, which its package makes.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::capabilities::ports::free_port;

/// Names the folder of `initdb` and `postgres`, where it is not the usual one.
const VARIABLE: &str = "SWITCHBOARD_TEST_POSTGRES_BIN";
/// Where Debian puts them, one folder for each version.
const USUAL: &str = "/usr/lib/postgresql";
/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);

/// A Postgres of a test's own, with the superuser `postgres` and the database `postgres`. Killed when
/// it is dropped.
pub(super) struct Server {
    pub(super) port: u16,
    folder: TempDir,
    _template: Arc<TempDir>,
    arguments: Vec<String>,
    process: Option<Child>,
}

fn programs() -> PathBuf {
    if let Some(folder) = env::var_os(VARIABLE) {
        return folder.into();
    }
    let versions = fs::read_dir(USUAL).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin"))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    folders.sort();
    folders.pop().unwrap_or_else(|| {
        panic!("Postgres must be installed for these tests: {VARIABLE} names its bin folder")
    })
}

/// Who the server is run as: user and group.
fn owner() -> Option<(u32, u32)> {
    let probe = tempfile::tempfile().unwrap();
    if probe.metadata().unwrap().uid() != 0 {
        return None;
    }
    let id = |flag| {
        let output = Command::new("id")
            .args([flag, "postgres"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim()
            .parse()
            .expect("root needs the user `postgres` for these tests")
    };
    Some((id("-u"), id("-g")))
}

/// A command of a user who may be Postgres.
pub(super) fn command(program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    let Some((user, group)) = owner() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    let (user, group) = (user.to_string(), group.to_string());
    command
        .args(["--reuid", &user, "--regid", &group, "--clear-groups", "--"])
        .arg(program);
    command
}

/// A folder of that user.
pub(super) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    if let Some((user, group)) = owner() {
        chown(folder.path(), Some(user), Some(group)).unwrap();
    }
    folder
}

fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An empty database cluster, made once and copied, which is quicker. It goes with the last server.
fn template() -> Arc<TempDir> {
    static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut shared = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = shared.upgrade() {
        return folder;
    }
    let folder = Arc::new(folder());
    must(
        command(programs().join("initdb"))
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .args(["--auth", "trust", "--username", "postgres"])
            .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"])
            .current_dir(folder.path()),
    );
    *shared = Arc::downgrade(&folder);
    folder
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// `settings`: as `name=value`.
    pub(super) fn start_with(settings: &[&str]) -> Self {
        let (folder, template) = (folder(), template());
        must(
            command("cp")
                .arg("-r")
                .args([template.path().join("data"), folder.path().join("data")]),
        );
        let mut server = Self {
            port: free_port(),
            folder,
            _template: template,
            arguments: settings.iter().map(|text| (*text).to_owned()).collect(),
            process: None,
        };
        server.restart();
        server
    }

    /// Replaces `pg_hba.conf`, which lets everybody in; for the next start.
    pub(super) fn let_in(&self, lines: &str) {
        fs::write(self.folder.path().join("data/pg_hba.conf"), lines).unwrap();
    }

    /// Puts a file where the server can read it and nobody else, as it demands of keys.
    pub(super) fn hand_over(&self, file: &Path, name: &str) {
        let to = self.folder.path().join("data").join(name);
        fs::copy(file, &to).unwrap();
        must(Command::new("chmod").arg("600").arg(&to));
        if let Some((user, group)) = owner() {
            chown(&to, Some(user), Some(group)).unwrap();
        }
    }

    /// Settings for the next start.
    pub(super) fn set(&mut self, settings: &[&str]) {
        let settings = settings.iter().map(|text| (*text).to_owned());
        self.arguments.extend(settings);
    }

    /// Starts it again, at the same port and with the same data.
    pub(super) fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let path = self.folder.path();
        let mut command = command(programs().join("postgres"));
        command
            .arg("-D")
            .arg(path.join("data"))
            .args(["-p", &self.port.to_string()])
            .arg("-k")
            .arg(path)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", "shared_buffers=16MB", "-c", "log_min_messages=fatal"]);
        for setting in &self.arguments {
            command.args(["-c", setting]);
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path.join("log"))
            .unwrap();
        let process = command
            .current_dir(path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(process.unwrap());
        self.await_start();
    }

    fn await_start(&mut self) {
        let until = Instant::now() + START;
        loop {
            let ready = Command::new(programs().join("pg_isready"))
                .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
                .args(["-U", "postgres"])
                .output()
                .unwrap();
            if ready.status.success() {
                return;
            }
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            let is_late = Instant::now() > until;
            assert!(ended.is_none() && !is_late, "no start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the server has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The folder of its Unix socket.
    pub(super) fn socket(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn url(&self) -> String {
        self.url_of("postgres")
    }

    pub(super) fn url_of(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// Executes SQL over the Unix socket: what `psql` prints, rows without decoration.
    pub(super) fn psql(&self, sql: &str) -> String {
        let output = Command::new(programs().join("psql"))
            .args(["-h".as_ref(), self.socket().as_os_str()])
            .args([
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-d",
                "postgres",
            ])
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// As `kill -9` of all its processes.
    pub(super) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let main = process.id().to_string();
        // So that it makes no more of them while they are listed.
        send("-STOP", std::slice::from_ref(&main));
        let pids = family(&main);
        send("-KILL", &pids);
        process.wait().unwrap();
        // A server does not start over the memory of another one.
        let until = Instant::now() + START;
        // Dead, but nobody has asked how it ended: `Z`.
        let is_left = |pid: &String| {
            let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while pids.iter().any(is_left) {
            assert!(Instant::now() < until, "some of {pids:?} do not die");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// It says goodbye to its sessions.
    pub(super) fn stop(&mut self) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        must(Command::new("kill").args(["-INT", &pid]));
        self.process.take().unwrap().wait().unwrap();
    }

    /// It keeps its connections and answers nothing.
    pub(super) fn freeze(&self) {
        let main = self.process.as_ref().unwrap().id().to_string();
        // First the one that makes them, or a session that it is just making goes on.
        send("-STOP", std::slice::from_ref(&main));
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let main = self.process.as_ref().unwrap().id().to_string();
        send(signal, &family(&main));
    }
}

/// A server and the processes that it made for its sessions.
fn family(main: &str) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"));
    let children = children.unwrap_or_default();
    let mut pids = vec![main.to_owned()];
    pids.extend(children.split_whitespace().map(str::to_owned));
    pids
}

fn send(signal: &str, pids: &[String]) {
    // Sessions may end by themselves meanwhile.
    let _ended = Command::new("kill").arg(signal).args(pids).output();
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
