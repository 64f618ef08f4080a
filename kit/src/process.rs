//! A process that takes commands as JSON lines on its standard input and answers on its standard
//! output: `{"id":1,"op":…}` is answered by `{"id":1,"ok":…}` or `{"id":1,"error":"…"}`, in any
//! order. It says with one plain line that it is ready. What commands there are is not known here.
//!
//! A process never outlives its test: it is killed when its handle is dropped, and if even that
//! cannot happen it sees the end of its standard input.

use std::{
    collections::HashMap,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{DEADLINE, Error, Log, lines::next_line, programs, until, wait::note};

/// Commands that wait to be written.
const MAX_QUEUED_COMMANDS: usize = 256;
/// An answer to a command may take longer than any wait that the command itself contains.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4 * DEADLINE.as_secs());

/// The number in an answer to a line of which not even the number could be read.
const UNKNOWN: u64 = 0;

/// How long an ended process's last words may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A running process. All methods take `&self`, so that one can be killed while a command to it is
/// under way; the command then ends with [`Error::Ended`].
#[derive(Debug)]
pub struct Process {
    /// None once somebody ends it.
    child: Mutex<Option<Child>>,
    pid: u32,
    commands: mpsc::Sender<Vec<u8>>,
    shared: Arc<Shared>,
    /// Owns the tasks that read and write its pipes: they end with it.
    _pipes: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    log: Arc<Log>,
    /// Its standard error has been read to its end.
    log_is_complete: watch::Sender<bool>,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    next_id: u64,
    ended: bool,
    waiting: HashMap<u64, oneshot::Sender<Result<Value, String>>>,
}

#[derive(Serialize)]
struct Request<'a, C> {
    id: u64,
    #[serde(flatten)]
    command: &'a C,
}

#[derive(Deserialize)]
struct Reply {
    id: u64,
    #[serde(default)]
    ok: Value,
    error: Option<String>,
}

impl Process {
    /// Starts a process and waits for the line that begins with `ready`; returns the rest of it.
    ///
    /// # Errors
    /// When it cannot be started, ends early, or is not ready within [`DEADLINE`].
    pub async fn start(
        name: impl Into<String>,
        command: Command,
        ready: &str,
    ) -> Result<(Self, String), Error> {
        let ready = ready.to_owned();
        Self::start_when(name, command, move |line| {
            line.strip_prefix(&ready).map(|rest| rest.trim().to_owned())
        })
        .await
    }

    /// The same for a line that `ready` accepts; returns what that makes of it.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn start_when(
        name: impl Into<String>,
        mut command: Command,
        ready: impl Fn(&str) -> Option<String> + Send + 'static,
    ) -> Result<(Self, String), Error> {
        let name = name.into();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::system(format!("cannot start {name} ({command:?})")))?;
        let (Some(pid), Some(stdin), Some(stdout), Some(stderr)) = (
            child.id(),
            child.stdin.take(),
            child.stdout.take(),
            child.stderr.take(),
        ) else {
            return Err(Error::Test(format!("{name} was started without pipes")));
        };

        let shared = Arc::new(Shared {
            name,
            log: Arc::new(Log::new()),
            log_is_complete: watch::Sender::new(false),
            answers: Mutex::default(),
        });
        let (commands, queue) = mpsc::channel(MAX_QUEUED_COMMANDS);
        let (is_ready, ready_line) = oneshot::channel();
        let mut pipes = JoinSet::new();
        pipes.spawn(write_commands(stdin, queue));
        pipes.spawn(read_answers(stdout, Arc::clone(&shared), ready, is_ready));
        pipes.spawn(read_log(stderr, Arc::clone(&shared)));

        let process = Self {
            child: Mutex::new(Some(child)),
            pid,
            commands,
            shared,
            _pipes: pipes,
        };
        match timeout(DEADLINE, ready_line).await {
            Ok(Ok(rest)) => Ok((process, rest)),
            Ok(Err(_)) => Err(process.ended().await),
            Err(_) => Err(Error::Deadline {
                what: format!("{} to say that it is ready", process.name()),
                seen: process.log().tail(),
                deadline: DEADLINE,
            }),
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its process id, also after its end.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written to its standard error.
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// The same, to be kept when the process is gone.
    pub(crate) fn kept_log(&self) -> Arc<Log> {
        Arc::clone(&self.shared.log)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// [`Error::Refused`] if the process reports a failure, [`Error::Ended`] if it ends before it
    /// answers, [`Error::Answer`] if the answer is not a `T`.
    pub async fn call<T: DeserializeOwned>(&self, command: &impl Serialize) -> Result<T, Error> {
        let command = serde_json::to_value(command)
            .map_err(|error| Error::Test(format!("a command that is not JSON: {error}")))?;
        let op = command["op"].as_str().unwrap_or("?").to_owned();

        let Some((answer, id)) = self.expect_answer() else {
            return Err(self.ended().await);
        };
        let mut line = serde_json::to_vec(&Request {
            id,
            command: &command,
        })
        .map_err(|error| Error::Test(format!("a command that is not JSON: {error}")))?;
        line.push(b'\n');
        if self.commands.send(line).await.is_err() {
            return Err(self.ended().await);
        }

        let name = self.name();
        note(|| format!("{name} to answer `{op}`"));
        match timeout(ANSWER_DEADLINE, answer).await {
            Ok(Ok(Ok(value))) => serde_json::from_value(value).map_err(|error| Error::Answer {
                process: self.name().to_owned(),
                command: op,
                reason: error.to_string(),
            }),
            Ok(Ok(Err(reason))) => Err(Error::Refused {
                process: self.name().to_owned(),
                command: op,
                reason,
            }),
            Ok(Err(_)) => Err(self.ended().await),
            Err(_) => Err(Error::Deadline {
                what: format!("the answer of {} to `{op}`", self.name()),
                seen: self.log().tail(),
                deadline: ANSWER_DEADLINE,
            }),
        }
    }

    /// Ends it without a chance to say goodbye (SIGKILL) and waits until it is gone. Does nothing
    /// the second time.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn kill(&self) -> Result<(), Error> {
        let Some(mut child) = self.take_child() else {
            return Ok(());
        };
        let name = self.name();
        child
            .kill()
            .await
            .map_err(Error::system(format!("cannot kill {name}")))
    }

    /// Asks it to end (SIGTERM) and waits for that. None if it was ended before.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it does not end within [`DEADLINE`]; it is killed then.
    pub async fn stop(&self) -> Result<Option<ExitStatus>, Error> {
        if self.child().is_none() {
            return Ok(None);
        }
        self.signal(Signal::TERM)?;
        let Some(mut child) = self.take_child() else {
            return Ok(None);
        };
        match timeout(DEADLINE, child.wait()).await {
            Ok(status) => status
                .map(Some)
                .map_err(Error::system(format!("cannot wait for {}", self.name()))),
            Err(_) => Err(Error::Deadline {
                what: format!("{} to stop", self.name()),
                seen: self.log().tail(),
                deadline: DEADLINE,
            }),
        }
    }

    /// Freezes it (SIGSTOP): it keeps its connections and does nothing. Returns when it does nothing.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)?;
        // The signal is not the deed: its threads stop one after the other.
        let look = || async { self.with_pid(is_stopped) };
        until(format!("{} to stand still", self.name()), look, |&is| is).await?;
        Ok(())
    }

    /// Lets it go on after [`Process::pause`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    /// Has it been ended, or has it ended by itself?
    pub fn has_ended(&self) -> bool {
        self.shared.answers().ended || self.child().is_none()
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.with_pid(|pid| kill_process(pid, signal))
    }

    /// The child is not reaped while we hold it, so its id cannot mean another process.
    fn with_pid<T>(&self, act: impl FnOnce(Pid) -> rustix::io::Result<T>) -> Result<T, Error> {
        let child = self.child();
        let pid = child
            .as_ref()
            .and_then(Child::id)
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| Error::Test(format!("{} has ended already", self.name())))?;
        act(pid)
            .map_err(|errno| Error::system(format!("cannot signal {}", self.name()))(errno.into()))
    }

    /// None: it has ended.
    fn expect_answer(&self) -> Option<(oneshot::Receiver<Result<Value, String>>, u64)> {
        let (sender, receiver) = oneshot::channel();
        let mut answers = self.shared.answers();
        if answers.ended {
            return None;
        }
        answers.next_id += 1;
        let id = answers.next_id;
        answers.waiting.insert(id, sender);
        Some((receiver, id))
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_child(&self) -> Option<Child> {
        self.child().take()
    }

    /// With all that it said: the reason for its end is there.
    async fn ended(&self) -> Error {
        let mut complete = self.shared.log_is_complete.subscribe();
        // A process of its own may hold the pipe open: then what there is must do.
        let _ = timeout(LAST_WORDS, complete.wait_for(|complete| *complete)).await;
        Error::Ended {
            process: self.name().to_owned(),
            log: self.log().tail(),
        }
    }
}

/// The test runner shows this only when the test fails.
impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails shows what its processes said; a command has a report for that.
        if programs::are_chosen() {
            return;
        }
        eprintln!("--- {} ---\n{}", self.name(), self.log().tail());
    }
}

impl Shared {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the commands was not understood, and nobody knows which: better that all end with the
    /// reason than that one waits for ever.
    fn refuse_all(&self, reason: String) {
        let waiting = std::mem::take(&mut self.answers().waiting);
        for waiting in waiting.into_values() {
            let _ = waiting.send(Err(reason.clone()));
        }
    }
}

/// True once all its threads stand still. It stays what it is for whoever waits for its end.
fn is_stopped(pid: Pid) -> rustix::io::Result<bool> {
    let look = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    Ok(waitid(WaitId::Pid(pid), look)?.is_some_and(|status| status.stopped()))
}

async fn write_commands(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = queue.recv().await {
        if stdin.write_all(&line).await.is_err() {
            // It has ended; the reading side reports that.
            return;
        }
    }
}

async fn read_answers(
    stdout: impl AsyncRead + Unpin,
    shared: Arc<Shared>,
    ready: impl Fn(&str) -> Option<String>,
    is_ready: oneshot::Sender<String>,
) {
    let mut is_ready = Some(is_ready);
    let mut stdout = BufReader::new(stdout);
    while let Some(line) = next_line(&mut stdout).await {
        if let Ok(reply) = serde_json::from_slice::<Reply>(&line) {
            let error = reply.error;
            if reply.id == UNKNOWN {
                shared.refuse_all(error.unwrap_or_default());
                continue;
            }
            let waiting = shared.answers().waiting.remove(&reply.id);
            if let Some(waiting) = waiting {
                // Nobody waits any more if the call's future was dropped.
                let _ = waiting.send(error.map_or(Ok(reply.ok), Err));
            }
            continue;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        if is_ready.is_some()
            && let Some(said) = ready(&line)
            && let Some(is_ready) = is_ready.take()
        {
            let _ = is_ready.send(said);
        }
        shared.log.push(line);
    }
    let mut answers = shared.answers();
    answers.ended = true;
    answers.waiting.clear();
}

async fn read_log(stderr: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let mut stderr = BufReader::new(stderr);
    while let Some(line) = next_line(&mut stderr).await {
        shared.log.push(String::from_utf8_lossy(&line).into_owned());
    }
    shared.log_is_complete.send_replace(true);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};
    use tokio::process::Command;

    use super::Process;
    use crate::Error;

    /// A process that answers the first line and ends with the second one.
    async fn shell(script: &str) -> Result<(Process, String), Error> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        Process::start("the shell", command, "READY").await
    }

    #[tokio::test]
    async fn a_command_gets_the_answer_with_its_number() {
        let (process, rest) =
            shell("echo READY now; read line; echo noise; echo '{\"id\":1,\"ok\":[7]}'; read line")
                .await
                .unwrap();
        assert_eq!(rest, "now");
        let answer: Vec<u32> = process.call(&json!({ "op": "x" })).await.unwrap();
        assert_eq!(answer, [7]);
        assert!(process.log().find(|line| line == "noise").is_some());
    }

    #[tokio::test]
    async fn a_failure_names_the_process_and_the_command() {
        let (process, _) =
            shell("echo READY; read line; echo '{\"id\":1,\"error\":\"no such room\"}'; read line")
                .await
                .unwrap();
        let error = process
            .call::<Value>(&json!({ "op": "join" }))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the shell answered `join` with an error: no such room"
        );
    }

    #[tokio::test]
    async fn a_command_that_is_not_understood_is_not_waited_for() {
        let (process, _) =
            shell("echo READY; read line; echo '{\"id\":0,\"error\":\"not JSON\"}'; read line")
                .await
                .unwrap();
        let error = process.call::<Value>(&json!({ "op": "x" })).await;
        assert!(error.unwrap_err().to_string().ends_with("not JSON"));
    }

    #[tokio::test]
    async fn commands_end_when_the_process_ends() {
        let (process, _) = shell("echo READY; read line; echo the reason >&2")
            .await
            .unwrap();
        let error = process
            .call::<Value>(&json!({ "op": "x" }))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Ended { .. }), "{error}");
        let error = process
            .call::<Value>(&json!({ "op": "y" }))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Ended { .. }), "{error}");
        assert!(error.to_string().contains("the reason"), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_is_never_ready_is_reported_with_its_log() {
        let error = shell("exec >&-; sleep 0.1; echo broken >&2; exit 3")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }

    #[tokio::test]
    async fn a_killed_process_is_gone_and_a_stopped_one_tells_its_status() {
        let (process, _) = shell("echo READY; read line").await.unwrap();
        process.kill().await.unwrap();
        assert!(process.has_ended());
        assert!(process.stop().await.unwrap().is_none());

        let (process, _) = shell("trap 'exit 0' TERM; echo READY; while :; do read line; done")
            .await
            .unwrap();
        process.pause().await.unwrap();
        process.resume().unwrap();
        assert!(
            process
                .stop()
                .await
                .unwrap()
                .is_some_and(|status| status.success())
        );
    }
}
