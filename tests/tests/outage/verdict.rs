//! What an outage has cost: who has heard what of whom, and what the servers say about it.

use std::time::Duration;

use serde_json::json;
use switchboard_tests::{Error, Select, Server, Tally, until};
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    load::Load,
    stage::{Meeting, ROOM, Stage},
};

/// Sent to prove that nothing else is under way.
const FENCE: &str = "fence";
/// What one server may have under way when the backend vanishes, in events: half a second of its load.
/// More than that is missing only if what was sent *during* an outage is.
pub(crate) const UNDER_WAY: u64 = 100;

/// The backend is back, and within this time everybody hears everybody. It should be less than two seconds,
/// which the output tells; a busy machine needs longer for everything.
const MAX_RETURN: Duration = Duration::from_secs(5);

/// How long the load goes on after everything is as before.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// What each client has of each server: `[client][server]`.
type Tallies = Vec<Vec<Tally>>;

/// What clients have so far.
async fn tallies(stage: &Stage) -> Result<Tallies, Error> {
    let mut all = Vec::new();
    for client in &stage.clients {
        let mut of_one = Vec::new();
        for server in stage.servers() {
            of_one.push(client.tally(server.name()).await?);
        }
        all.push(of_one);
    }
    Ok(all)
}

/// Waits until every client has got something of every server that was sent from now on, and checks
/// that this is soon enough after `since`.
pub(crate) async fn assert_all_heard_again(stage: &Stage, load: &Load, since: Instant) -> Outcome {
    let sent = load.sent();
    // One tick may be half out already.
    let is_new = |tally: &Tally, sent: u64| tally.next > sent + 10;
    until(
        "every client to hear every server",
        || tallies(stage),
        |tallies| {
            let mut heard = tallies.iter().flat_map(|of_one| of_one.iter().zip(&sent));
            heard.all(|(tally, sent)| is_new(tally, *sent))
        },
    )
    .await?;
    let took = since.elapsed();
    println!("everybody heard everybody {took:?} after the backend was back");
    assert!(took < MAX_RETURN, "it took {took:?}");
    Ok(())
}

/// What is missing at the end, and what was said about it.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Events of a server that a client never got: `[client][server]`.
    pub(crate) missing: Vec<Vec<u64>>,
    /// Gaps that each server has reported.
    pub(crate) lagged: Vec<u64>,
    /// Messages of which each server said that nobody can tell whether they were sent.
    pub(crate) doubted: Vec<u64>,
    /// The backend is given a moment more to answer.
    can_answer_late: bool,
    /// What was in the air is sent again, and known where it has arrived: nothing is in doubt.
    sends_again: bool,
}

impl Verdict {
    /// Ends the load, waits until everything has arrived, and checks what holds after any outage:
    /// nothing twice, nothing out of order, nothing changed, nothing kept from a server's own
    /// clients, everything there again at the end, and nothing missing in silence. Once what
    /// had gathered is out, nothing is lost any more.
    pub(crate) async fn of(stage: &Stage, load: Load) -> Result<Self, Error> {
        wait_until_sent(stage).await?;
        let before = tallies(stage).await?;
        sleep(AFTERWARDS).await;
        let sent = load.stop().await?;
        settle(stage).await?;
        stage.assert_whole().await?;
        let tallies = tallies(stage).await?;
        let mut missing = Vec::new();
        for (to, of_one) in tallies.iter().enumerate() {
            let mut of_each = Vec::new();
            for (from, tally) in of_one.iter().enumerate() {
                let who = format!("server {from} at the client of server {to}");
                assert_eq!((tally.late, tally.corrupt), (0, 0), "{who}: {tally:?}");
                assert_eq!(tally.next, sent[from], "{who}: the end is there");
                let earlier = before[to][from].skipped;
                assert_eq!(tally.skipped, earlier, "{who}: lost after the return");
                if from == to {
                    assert_eq!(*tally, Tally::perfect(sent[from]), "{who}");
                }
                of_each.push(tally.skipped);
            }
            missing.push(of_each);
        }
        let mut verdict = Self {
            missing,
            lagged: Vec::new(),
            doubted: Vec::new(),
            can_answer_late: matches!(stage.backend(), Ok(Meeting::Postgres(_))),
            sends_again: matches!(stage.backend(), Ok(Meeting::Nats(_))),
        };
        for server in stage.servers() {
            verdict.lagged.push(counter(server, "lagged").await?);
            verdict.doubted.push(doubted(server));
            let rejected = counter(server, "rejected").await?;
            assert_eq!(rejected, 0, "{} gave messages up", server.name());
        }
        println!("{verdict:?}");
        for (to, from, missing) in verdict.pairs() {
            let is_said = verdict.lagged[to] > 0 || missing <= verdict.doubted[from];
            assert!(
                is_said,
                "{missing} events of server {from} are missing at {to} in silence: {verdict:?}"
            );
        }
        Ok(verdict)
    }

    /// Nothing was lost, and nobody claims it.
    pub(crate) fn assert_nothing_lost(&self) {
        let nothing = self.pairs().all(|(_, _, missing)| missing == 0);
        assert!(nothing, "{self:?}");
        assert!(self.lagged.iter().all(|gaps| *gaps == 0), "{self:?}");
        assert!(self.doubted.iter().all(|doubts| *doubts == 0), "{self:?}");
    }

    /// This server says of which of its messages nobody can tell. (Postgres may have answered after all:
    /// then it says nothing, and those who did not listen then say that they lagged.)
    pub(crate) fn assert_doubted(&self, from: usize) {
        let others = self
            .pairs()
            .filter(|(to, of, _)| *of == from && *to != from);
        let most = others.map(|(.., missing)| missing).max();
        let is_answered = self.can_answer_late && most.is_none_or(|most| most <= UNDER_WAY);
        let is_said = self.doubted[from] >= 1 || is_answered || self.sends_again;
        assert!(is_said, "no doubt of {from} is reported: {self:?}");
    }

    /// Every event has arrived everywhere.
    pub(crate) fn assert_all_there(&self) {
        let nothing = self.pairs().all(|(_, _, missing)| missing == 0);
        assert!(nothing, "{self:?}");
    }

    /// No more of these servers is missing than was under way when the backend vanished, or than they
    /// say may not have been sent, so what was sent while it was away has arrived.
    pub(crate) fn assert_kept(&self, senders: &[usize], receivers: &[usize]) {
        for (to, from, missing) in self.pairs() {
            if senders.contains(&from) && receivers.contains(&to) {
                assert!(
                    missing <= UNDER_WAY.max(self.doubted[from]),
                    "server {from} did not keep {missing} events for {to}: {self:?}"
                );
            }
        }
    }

    /// Receiver, sender, and how much is missing.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        self.missing.iter().enumerate().flat_map(|(to, of_one)| {
            let each = of_one.iter().enumerate();
            each.map(move |(from, missing)| (to, from, *missing))
        })
    }
}

/// Waits until every server has sent what had gathered in its outbox.
async fn wait_until_sent(stage: &Stage) -> Outcome {
    for server in stage.servers() {
        let what = format!("the outbox of {} to be as empty as usual", server.name());
        let waiting = || counter(server, "outbox_messages");
        until(what, waiting, |&waiting| waiting < UNDER_WAY).await?;
    }
    Ok(())
}

/// Waits until everything that was sent has arrived wherever it ever will.
async fn settle(stage: &Stage) -> Outcome {
    let room = Select::all().to(ROOM);
    for server in stage.servers() {
        server.broadcast(&room, FENCE, json!([])).await?;
    }
    for client in &stage.clients {
        client.wait_for(FENCE, stage.clients.len()).await?;
    }
    Ok(())
}

/// One of a server's counters.
pub(crate) async fn counter(server: &Server, name: &str) -> Result<u64, Error> {
    let status = server.status().await?;
    status["cluster"][name]
        .as_u64()
        .ok_or_else(|| Error::Test(format!("no `{name}` in {status}")))
}

/// Messages whose fate a server did not know, as its log says.
fn doubted(server: &Server) -> u64 {
    const SAID: &str = " messages may not have been sent";
    let lines = server.log().all(|line| line.contains(SAID));
    let number = |line: &String| {
        let before = line.split(SAID).next()?;
        before.rsplit(' ').next()?.parse::<u64>().ok()
    };
    lines.iter().filter_map(number).sum()
}
