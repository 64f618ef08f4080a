//! What goes on at every server from before an outage until after it: numbered events to all
//! clients, events that stay on the server, and questions to the other servers and to all clients.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;
use switchboard_tests::{Client, Error, Flood, Select, Server};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use crate::{
    Outcome,
    stage::{ASK, LOCAL, ROOM, Stage},
};

/// How often each server emits.
const TICK: Duration = Duration::from_millis(50);
/// Sizes of the payloads of one tick, in bytes: 200 events a second from each server.
const SIZES: [usize; 10] = [64, 16_384, 200, 4_096, 64, 1_024, 512, 64, 8_192, 100];
/// How often each server asks the others.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// A question that nobody answers ends after the server's `request_timeout_ms`; acknowledgements of
/// clients after this time.
const ACK_TIMEOUT: Duration = Duration::from_secs(1);
/// No question takes longer than this, Redis or not. It may wait for the outbox as well.
const MAX_QUESTION: Duration = Duration::from_secs(10);

/// An event to clients of the same server arrives within this time, Redis or not.
fn max_local() -> Duration {
    match on_a_busy_machine() {
        true => Duration::from_secs(5),
        false => Duration::from_secs(1),
    }
}

/// Others decide there how much of the processor a test gets.
pub(crate) fn on_a_busy_machine() -> bool {
    std::env::var_os("CI").is_some()
}

/// A load keeps a core busy. More tests than these wait for servers, and may wait for their turn as well.
fn turns() -> &'static Arc<Semaphore> {
    static TURNS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    TURNS.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Semaphore::new(cores))
    })
}

/// The load; ends with [`Load::stop`], or when it is dropped.
pub(crate) struct Load {
    /// Its turn.
    _turn: OwnedSemaphorePermit,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<Outcome>,
    sent: Vec<Arc<AtomicU64>>,
    facts: Arc<Facts>,
}

/// What was seen while it ran.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    slowest_local_ms: AtomicU64,
    questions: AtomicU64,
    answers: AtomicU64,
}

// For the stories of upgrades, which share this file.
#[allow(dead_code)]
impl Facts {
    /// Every server has answered every question of every other one, and every client every server's.
    pub(crate) fn assert_every_question_answered(&self, servers: u64) {
        let questions = self.questions.load(Ordering::Relaxed);
        let answers = self.answers.load(Ordering::Relaxed);
        // Half of them go to the other servers, half to a client of each.
        assert_eq!(
            answers,
            questions / 2 * (2 * servers - 1),
            "of {questions} questions"
        );
    }
}

impl Load {
    /// Starts it, and returns when every client has heard every server.
    pub(crate) async fn start(stage: &Stage) -> Result<Self, Error> {
        Self::start_patient(stage, ACK_TIMEOUT).await
    }

    /// The same, where clients have so long for their acknowledgements.
    pub(crate) async fn start_patient(stage: &Stage, ack_timeout: Duration) -> Result<Self, Error> {
        let turn = Arc::clone(turns()).acquire_owned().await;
        let mut load = Self {
            _turn: turn.map_err(|closed| Error::Test(closed.to_string()))?,
            stopping: watch::Sender::new(false),
            tasks: JoinSet::new(),
            sent: Vec::new(),
            facts: Arc::default(),
        };
        for (server, client) in stage.cluster.nodes().iter().zip(&stage.clients) {
            let sent = Arc::new(AtomicU64::new(0));
            let stop = || load.stopping.subscribe();
            load.tasks
                .spawn(emit(Arc::clone(server), Arc::clone(&sent), stop()));
            let (locals, facts) = (client.clone(), Arc::clone(&load.facts));
            load.tasks
                .spawn(serve(Arc::clone(server), locals, facts, stop()));
            let facts = Arc::clone(&load.facts);
            load.tasks
                .spawn(ask(Arc::clone(server), facts, ack_timeout, stop()));
            load.sent.push(sent);
        }
        for server in stage.servers() {
            for client in &stage.clients {
                client.wait_for_flood(server.name(), 1).await?;
            }
        }
        Ok(load)
    }

    /// What is seen while it runs; complete when it has been stopped.
    #[allow(dead_code)] // As above.
    pub(crate) fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts)
    }

    /// The number of the next event of each server; all before it have been accepted.
    pub(crate) fn sent(&self) -> Vec<u64> {
        let read = |sent: &Arc<AtomicU64>| sent.load(Ordering::Acquire);
        self.sent.iter().map(read).collect()
    }

    /// Ends it and returns how many events each server has emitted.
    ///
    /// # Errors
    /// What was wrong with the load itself: a server did not serve its own clients, or gave a wrong
    /// answer.
    pub(crate) async fn stop(mut self) -> Result<Vec<u64>, Error> {
        self.stopping.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|panic| Error::Test(panic.to_string()))??;
        }
        let read = |fact: &AtomicU64| fact.load(Ordering::Relaxed);
        let facts = &self.facts;
        println!(
            "{} questions, {} answers; the slowest local event took {} ms",
            read(&facts.questions),
            read(&facts.answers),
            read(&facts.slowest_local_ms)
        );
        assert!(read(&facts.answers) > 0, "no question was ever answered");
        Ok(self.sent())
    }
}

/// Ticks until the load is stopped. A slow machine makes pauses longer, not the ticks denser.
struct Ticks {
    interval: Interval,
    stopping: watch::Receiver<bool>,
}

impl Ticks {
    fn new(every: Duration, stopping: watch::Receiver<bool>) -> Self {
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, stopping }
    }

    /// Waits for the next tick; false: no more.
    async fn next(&mut self) -> bool {
        self.interval.tick().await;
        !*self.stopping.borrow()
    }
}

/// Numbered events to everybody.
async fn emit(
    server: Arc<Server>,
    sent: Arc<AtomicU64>,
    stopping: watch::Receiver<bool>,
) -> Outcome {
    let mut number = 0;
    let count = SIZES.len() as u64;
    let mut ticks = Ticks::new(TICK, stopping);
    while ticks.next().await {
        let flood = Flood {
            first: number,
            ..Flood::new(Select::all().to(ROOM), server.name(), count, 0).mixed(&SIZES)
        };
        let report = server.flood(flood).await?;
        assert_eq!((report.accepted, report.error), (count, None));
        number += count;
        sent.store(number, Ordering::Release);
    }
    Ok(())
}

/// Events to the clients of the same server, and how long they take.
async fn serve(
    server: Arc<Server>,
    client: Client,
    facts: Arc<Facts>,
    stopping: watch::Receiver<bool>,
) -> Outcome {
    let stream = format!("local to {}", server.name());
    let mut number = 0;
    let mut ticks = Ticks::new(TICK, stopping);
    while ticks.next().await {
        let since = Instant::now();
        let select = Select::all().to(LOCAL).local();
        let flood = Flood {
            first: number,
            ..Flood::new(select, &*stream, 1, 16)
        };
        server.flood(flood).await?;
        number += 1;
        let tally = client.wait_for_flood(&stream, number).await?;
        assert_eq!(tally, switchboard_tests::Tally::perfect(number), "{stream}");
        let took = since.elapsed();
        assert!(
            took < max_local(),
            "{stream}: number {number} took {took:?}"
        );
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        facts.slowest_local_ms.fetch_max(took, Ordering::Relaxed);
    }
    Ok(())
}

/// Questions to the other servers, and to the clients of all. During an outage answers are missing;
/// none is wrong, none comes twice, and no question takes for ever.
async fn ask(
    server: Arc<Server>,
    facts: Arc<Facts>,
    ack_timeout: Duration,
    stopping: watch::Receiver<bool>,
) -> Outcome {
    let mut number = 0;
    let mut ticks = Ticks::new(ASK_EVERY, stopping);
    while ticks.next().await {
        number += 1;
        let question = json!([server.name(), number]);
        let since = Instant::now();
        let everybody = Select::all().timeout(ack_timeout);
        let (answers, acks) = tokio::join!(
            server.server_side_emit_with_ack("/", "question", question.clone()),
            server.emit_with_ack(&everybody, ASK, question.clone()),
        );
        let took = since.elapsed();
        assert!(took < MAX_QUESTION, "question {number} took {took:?}");
        facts.questions.fetch_add(2, Ordering::Relaxed);
        let mut count = 0;
        if let Some(answers) = unless_refused(answers)? {
            let mut from = Vec::new();
            for answer in answers.answers {
                assert_eq!(answer.value["args"], question, "of another question");
                from.push(answer.value["from"].clone());
            }
            count += assert_distinct(from);
        }
        if let Some(acks) = unless_refused(acks)? {
            let mut from = Vec::new();
            for ack in acks.answers {
                if let Ok(args) = ack.answer {
                    assert_eq!(json!(args), question, "of another question");
                    from.push(json!(ack.socket));
                }
            }
            count += assert_distinct(from);
        }
        facts.answers.fetch_add(count, Ordering::Relaxed);
    }
    Ok(())
}

/// A server may say that it cannot ask now.
fn unless_refused<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[track_caller]
fn assert_distinct(from: Vec<serde_json::Value>) -> u64 {
    let all = from.len();
    let distinct: std::collections::BTreeSet<_> = from.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), all, "one answered twice: {from:?}");
    all as u64
}
