//! One connection to one server for commands that answer at once. All callers share it: commands
//! are written as they come, and replies are dealt out in the same order.
//!
//! A task owns the connection, keeps it alive, and finds a new one when it is lost. Nobody waits for
//! that longer than one attempt: while Redis is away, calls fail at once. When it is back, plugins'
//! commands are held a moment longer ([`return_pause`]).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncWriteExt, WriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    abandoned::UnderWay,
    backoff::{Backoff, STABLE_AFTER, return_pause},
    connect::{Connector, Reading, Stream, Wire},
    options::RedisOptions,
    place::Place,
    status::Health,
    trouble::Trouble,
    wire::{self, Frame},
};

/// Pipelines that may stand between the callers and the task.
const MAX_JOBS: usize = 256;
/// What is gathered before it is written; a larger pipeline goes alone.
const MAX_WRITE_BYTES: usize = 256 << 10;

/// What a pipeline came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Replies of the first commands.
    pub(super) frames: Vec<Frame>,
    /// The others: not sent at all, or in doubt. None if all were answered.
    pub(super) rest: Option<Rest>,
}

/// What became of commands without a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Redis has seen none of them.
    Unsent(Trouble),
    /// Redis may have executed them.
    InDoubt(Trouble),
}

impl Outcome {
    fn unsent(trouble: Trouble) -> Self {
        Self {
            frames: Vec::new(),
            rest: Some(Rest::Unsent(trouble)),
        }
    }
}

struct Job {
    bytes: BytesMut,
    count: usize,
    deadline: Instant,
    done: Option<oneshot::Sender<Outcome>>,
    _room: Option<OwnedSemaphorePermit>,
    /// None for what the host asks itself.
    _under_way: Option<UnderWay>,
}

#[derive(Clone)]
enum State {
    /// The first attempt, or the first since the connection was lost.
    Connecting,
    Up {
        jobs: mpsc::Sender<Job>,
        /// Plugins' commands wait until then.
        open_at: Instant,
    },
    Down(Trouble),
}

/// A connection for commands. Ends when it is dropped.
pub(super) struct Lane {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    place: Place,
    connector: Arc<Connector>,
    limits: Limits,
    state: watch::Sender<State>,
    room: Arc<Semaphore>,
    health: Arc<Health>,
}

#[derive(Clone, Copy)]
struct Limits {
    connect_timeout: Duration,
    command_timeout: Duration,
    ping_interval: Duration,
    ping_timeout: Duration,
    max_pending_bytes: usize,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lane {
    /// Starts to connect. Needs a tokio runtime.
    pub(super) fn start(
        place: Place,
        connector: Arc<Connector>,
        options: &RedisOptions,
        health: Arc<Health>,
    ) -> Self {
        let limits = Limits {
            connect_timeout: options.connect_timeout,
            command_timeout: options.command_timeout,
            ping_interval: options.ping_interval,
            ping_timeout: options.ping_timeout,
            max_pending_bytes: options.max_pending_bytes,
        };
        let shared = Arc::new(Shared {
            place,
            connector,
            limits,
            state: watch::Sender::new(State::Connecting),
            room: Arc::new(Semaphore::new(limits.max_pending_bytes)),
            health,
        });
        let task = tokio::spawn(Arc::clone(&shared).run());
        Self { shared, task }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.shared.state.borrow(), State::Up { .. })
    }

    /// Bytes of commands that are not answered yet.
    pub(super) fn pending_bytes(&self) -> usize {
        self.shared.limits.max_pending_bytes - self.shared.room.available_permits()
    }

    /// Sends commands of a plugin and waits for their replies: as long as an attempt to connect
    /// takes, if one has just begun, or the pause after an absence, plus the time for a reply.
    /// Dropped half-way, they are executed all the same.
    pub(super) async fn run(
        &self,
        bytes: BytesMut,
        count: usize,
        under_way: Option<UnderWay>,
    ) -> Outcome {
        match self.connected().await {
            Ok((jobs, open_at)) => {
                if Instant::now() < open_at {
                    sleep_until(open_at).await;
                }
                self.send(jobs, bytes, count, under_way).await
            }
            Err(trouble) => Outcome::unsent(trouble),
        }
    }

    /// The same for questions of the host itself, which need no pause: subscriptions wait for them.
    pub(super) async fn ask(&self, bytes: BytesMut, count: usize) -> Outcome {
        match self.connected().await {
            Ok((jobs, _)) => self.send(jobs, bytes, count, None).await,
            Err(trouble) => Outcome::unsent(trouble),
        }
    }

    async fn send(
        &self,
        jobs: mpsc::Sender<Job>,
        bytes: BytesMut,
        count: usize,
        under_way: Option<UnderWay>,
    ) -> Outcome {
        let limits = self.shared.limits;
        let deadline = Instant::now() + limits.command_timeout;
        let need = u32::try_from(bytes.len().min(limits.max_pending_bytes)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.room).acquire_many_owned(need);
        let Ok(Ok(room)) = timeout_at(deadline, room).await else {
            return Outcome::unsent(Trouble::away(
                "`max_pending_bytes` of commands wait for replies already",
            ));
        };
        let (done, outcome) = oneshot::channel();
        let job = Job {
            bytes,
            count,
            // Counted from here: what waited for room was not late yet.
            deadline: Instant::now() + limits.command_timeout,
            done: Some(done),
            _room: Some(room),
            _under_way: under_way,
        };
        match timeout_at(deadline, jobs.send(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Outcome::unsent(Trouble::away("the connection was lost")),
            Err(_) => return Outcome::unsent(Trouble::away("too many commands wait already")),
        }
        // The task sees to the deadline.
        outcome.await.unwrap_or_else(|_| Outcome {
            frames: Vec::new(),
            rest: Some(Rest::InDoubt(Trouble::away("the connection was closed"))),
        })
    }

    async fn connected(&self) -> Result<(mpsc::Sender<Job>, Instant), Trouble> {
        if let State::Up { jobs, open_at } = &*self.shared.state.borrow() {
            return Ok((jobs.clone(), *open_at));
        }
        let mut states = self.shared.state.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Connecting));
        let limit = self.shared.limits.connect_timeout;
        match timeout(limit, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up { jobs, open_at } => Ok((jobs.clone(), *open_at)),
                State::Down(trouble) => Err(trouble.clone()),
                State::Connecting => Err(Trouble::away("not connected yet")),
            },
            Ok(Err(_)) => Err(Trouble::away("the connection is closed")),
            Err(_) => Err(Trouble::away("not connected yet")),
        }
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new();
        // Others that use this Redis may have lost it as well. A lane that is used for the first
        // time may be so because of what has gathered meanwhile.
        let mut hold = self.health.trouble().map(return_pause);
        loop {
            let trouble = match self.place.connect(&self.connector).await {
                Ok(wire) => {
                    let since = Instant::now();
                    self.health.up();
                    let open_at = since + hold.take().unwrap_or_default();
                    let trouble = self.session(wire, open_at).await;
                    if since.elapsed() >= STABLE_AFTER {
                        backoff = Backoff::new();
                        self.state.send_replace(State::Connecting);
                        continue;
                    }
                    trouble
                }
                Err(trouble) => {
                    self.health.failed(&trouble);
                    trouble
                }
            };
            hold = Some(return_pause(trouble.is_refusal));
            let pause = backoff.pause(trouble.is_refusal);
            self.state.send_replace(State::Down(trouble));
            sleep(pause).await;
        }
    }

    /// Serves the callers until the connection is lost.
    async fn session(&self, wire: Wire, open_at: Instant) -> Trouble {
        // One for each session, so that nothing that was meant for this one gets into the next.
        let (sender, mut jobs) = mpsc::channel(MAX_JOBS);
        self.state.send_replace(State::Up {
            jobs: sender,
            open_at,
        });
        let mut session = Session {
            limits: self.limits,
            waiting: VecDeque::new(),
            out: BytesMut::new(),
            queued: 0,
            written: 0,
            leaving: false,
        };
        let trouble = session.serve(wire, &mut jobs).await;
        // Nobody is to find this session any more; why it ended is told in a moment.
        self.state.send_replace(State::Connecting);
        jobs.close();
        // Before anybody is told of it who might ask.
        self.health.lost(&trouble);
        session.fail_all(&trouble);
        while let Some(job) = jobs.recv().await {
            if let Some(done) = job.done {
                let _ = done.send(Outcome::unsent(trouble.clone()));
            }
        }
        trouble
    }
}

struct Session {
    limits: Limits,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    /// To be written.
    out: BytesMut,
    /// Bytes that ever came into `out`, and that left it.
    queued: u64,
    written: u64,
    /// Redis is no longer what it was: nothing new is sent here.
    leaving: bool,
}

struct Waiting {
    job: Job,
    /// Where it begins in all that is written.
    start: u64,
    frames: Vec<Frame>,
}

impl Session {
    async fn serve(&mut self, wire: Wire, jobs: &mut mpsc::Receiver<Job>) -> Trouble {
        let Wire {
            mut read,
            mut write,
        } = wire;
        let mut alive = Instant::now();
        loop {
            if self.leaving && self.waiting.is_empty() {
                return Trouble::away("the server is no longer the master");
            }
            let alarm = match self.waiting.front() {
                Some(waiting) => waiting.job.deadline,
                None => alive + self.limits.ping_interval,
            };
            let has_room = self.out.len() < MAX_WRITE_BYTES && !self.leaving;
            tokio::select! {
                filled = read.fill() => {
                    alive = Instant::now();
                    if let Err(trouble) = filled.and_then(|()| self.deal_out(&mut read)) {
                        return trouble;
                    }
                }
                written = write_some(&mut write, &mut self.out), if !self.out.is_empty() => {
                    match written {
                        Ok(bytes) => self.written += bytes,
                        Err(trouble) => return trouble,
                    }
                }
                job = jobs.recv(), if has_room => match job {
                    Some(job) => self.push(job),
                    None => return Trouble::away("the connection is closed"),
                },
                () = sleep_until(alarm) => {
                    if !self.waiting.is_empty() {
                        return Trouble::away("Redis does not answer in time");
                    }
                    self.push(self.ping());
                }
            }
        }
    }

    fn ping(&self) -> Job {
        let mut bytes = BytesMut::new();
        wire::encode(&["PING"], &mut bytes);
        Job {
            bytes,
            count: 1,
            deadline: Instant::now() + self.limits.ping_timeout,
            done: None,
            _room: None,
            _under_way: None,
        }
    }

    fn push(&mut self, mut job: Job) {
        let start = self.queued;
        self.queued += job.bytes.len() as u64;
        if self.out.is_empty() {
            self.out = std::mem::take(&mut job.bytes);
        } else {
            self.out.extend_from_slice(&job.bytes);
            job.bytes = BytesMut::new();
        }
        let frames = Vec::with_capacity(job.count);
        self.waiting.push_back(Waiting { job, start, frames });
    }

    fn deal_out(&mut self, read: &mut Reading) -> Result<(), Trouble> {
        while let Some(frame) = read.next()? {
            let Some(front) = self.waiting.front_mut() else {
                return Err(Trouble::away("Redis sent a reply to nothing"));
            };
            self.leaving |= frame
                .error()
                .is_some_and(|text| text.starts_with(b"READONLY"));
            front.frames.push(frame);
            if front.frames.len() < front.job.count {
                continue;
            }
            if let Some(Waiting { job, frames, .. }) = self.waiting.pop_front()
                && let Some(done) = job.done
            {
                let _ = done.send(Outcome { frames, rest: None });
            }
        }
        Ok(())
    }

    fn fail_all(&mut self, trouble: &Trouble) {
        for Waiting { job, start, frames } in self.waiting.drain(..) {
            let rest = match start < self.written {
                true => Rest::InDoubt(trouble.clone()),
                false => Rest::Unsent(trouble.clone()),
            };
            if let Some(done) = job.done {
                let rest = Some(rest);
                let _ = done.send(Outcome { frames, rest });
            }
        }
    }
}

async fn write_some(
    write: &mut WriteHalf<Box<dyn Stream>>,
    out: &mut BytesMut,
) -> Result<u64, Trouble> {
    let before = out.remaining();
    match write.write_buf(out).await? {
        0 => Err(Trouble::away("the connection takes no more")),
        _ => {
            // TLS keeps records back until it is told to send them.
            write.flush().await?;
            Ok((before - out.remaining()) as u64)
        }
    }
}
