//! Servers of which some die: what the others send to each other's clients is followed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use switchboard_tests::{
    Backends, Client, Clients, Cluster, Connect, Error, Flood, Proxy, Redis, Select, Server, Tally,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{Outcome, builder, stage::URL_VARIABLE};

/// The room that the load goes to.
pub(crate) const ROOM: &str = "survivors";
/// How long it goes on after everything is as before.
const AFTERWARDS: Duration = Duration::from_millis(200);
/// Sent to prove that nothing else is under way.
const FENCE: &str = "fence";

/// Where a server's configuration says what Redis the transport `redis-streams` uses.
const SECOND_VARIABLE: &str = "SWITCHBOARD_CONNECTIONS__REDIS__SECOND__URL";
/// Each of the two has a connection of its own, so that one can fail without the other.
const TWO_CONNECTIONS: &str = r#"
    [transports.redis-streams]
    grants = { redis = ["second"] }
    options = { connection = "second" }
"#;

/// Three servers, each with its own ways to Redis, and one client each.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    /// For the transport `redis`.
    pub(crate) ways: Vec<Proxy>,
    /// For the transport `redis-streams`.
    pub(crate) second_ways: Vec<Proxy>,
    clients: Vec<Client>,
    process: Clients,
}

impl Scene {
    /// They begin on this transport.
    pub(crate) async fn begin(transport: &str, settings: &[&str]) -> Result<Self, Error> {
        let mut builder = builder()
            .nodes(0)
            .toml(format!("transport = \"{transport}\""))
            .toml(TWO_CONNECTIONS);
        for more in settings {
            builder = builder.toml(*more);
        }
        let mut cluster = builder.start().await?;
        let (mut ways, mut second_ways) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let redis = cluster
                .redis()
                .ok_or_else(|| Error::Test("no Redis".into()))?;
            let way = Proxy::start(redis.addr()).await?;
            let second = Proxy::start(redis.addr()).await?;
            let url = |way: &Proxy| format!("redis://{}", way.addr());
            let urls = [
                (URL_VARIABLE, &*url(&way)),
                (SECOND_VARIABLE, &*url(&second)),
            ];
            cluster.add_node_with(&urls).await?;
            ways.push(way);
            second_ways.push(second);
        }
        let mut scene = Self {
            cluster,
            ways,
            second_ways,
            clients: Vec::new(),
            process: Clients::start().await?,
        };
        for server in scene.cluster.nodes() {
            let how = Connect::default().room(ROOM);
            let client = scene.process.connect(server.url(), how).await?;
            scene.clients.push(client);
        }
        Ok(scene)
    }

    pub(crate) fn server(&self, index: usize) -> &Arc<Server> {
        self.cluster.node(index)
    }

    /// One more server, which reaches Redis directly.
    pub(crate) async fn add_server(&mut self) -> Result<Arc<Server>, Error> {
        let url = self.redis()?.url();
        let urls = [(URL_VARIABLE, &*url), (SECOND_VARIABLE, &*url)];
        Ok(Arc::clone(self.cluster.add_node_with(&urls).await?))
    }

    pub(crate) fn redis(&self) -> Result<&Redis, Error> {
        let redis = self.cluster.redis();
        redis.ok_or_else(|| Error::Test("no Redis".into()))
    }

    /// Waits until a server stands in this phase of a switch.
    pub(crate) async fn in_phase(&self, index: usize, phase: &str) -> Outcome {
        let server = self.server(index);
        switchboard_tests::until(
            format!("{} to be {phase}", server.name()),
            || server.status(),
            |status| status["switch"]["phase"] == phase,
        )
        .await?;
        Ok(())
    }

    /// Those who will live send from now on.
    pub(crate) fn load(&self, living: &[usize]) -> Load {
        let ends = living.iter().map(|index| {
            let server = Arc::clone(self.server(*index));
            (server, self.clients[*index].clone())
        });
        Load::start(ends.collect(), &MODERATE)
    }
}

/// How much each server sends.
pub(crate) struct Pace {
    /// How often.
    pub(crate) every: Duration,
    /// Sizes of the payloads of one time, in bytes.
    pub(crate) sizes: &'static [usize],
}

/// Enough to notice what is lost.
const MODERATE: Pace = Pace {
    every: Duration::from_millis(20),
    sizes: &[64, 4_096, 200, 16_384],
};

/// Numbered events of every server to the clients of all.
pub(crate) struct Load {
    stopping: watch::Sender<bool>,
    tasks: JoinSet<Outcome>,
    sent: Vec<Arc<AtomicU64>>,
    ends: Vec<(Arc<Server>, Client)>,
}

impl Load {
    /// Starts it among these servers, each with a client that is in the room.
    pub(crate) fn start(ends: Vec<(Arc<Server>, Client)>, pace: &'static Pace) -> Self {
        let stopping = watch::Sender::new(false);
        let (mut tasks, mut sent) = (JoinSet::new(), Vec::new());
        for (server, _) in &ends {
            let counter = Arc::new(AtomicU64::new(0));
            let emitting = emit(
                Arc::clone(server),
                pace,
                Arc::clone(&counter),
                stopping.subscribe(),
            );
            tasks.spawn(emitting);
            sent.push(counter);
        }
        Self {
            stopping,
            tasks,
            sent,
            ends,
        }
    }

    /// Ends it and checks that everybody has got everything, once and in order. Returns how many
    /// events each server has sent.
    pub(crate) async fn assert_nothing_lost(mut self) -> Result<Vec<u64>, Error> {
        sleep(AFTERWARDS).await;
        self.stopping.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|panic| Error::Test(panic.to_string()))??;
        }
        let room = Select::all().to(ROOM);
        for (server, _) in &self.ends {
            server.broadcast(&room, FENCE, json!([])).await?;
        }
        let sent: Vec<u64> = self
            .sent
            .iter()
            .map(|n| n.load(Ordering::Acquire))
            .collect();
        for (to, client) in &self.ends {
            client.wait_for(FENCE, self.ends.len()).await?;
            for ((from, _), sent) in self.ends.iter().zip(&sent) {
                let tally = client.tally(from.name()).await?;
                assert!(*sent > 0, "{} sent nothing", from.name());
                let (from, to) = (from.name(), to.name());
                assert_eq!(tally, Tally::perfect(*sent), "{from} at {to}");
            }
        }
        Ok(sent)
    }
}

async fn emit(
    server: Arc<Server>,
    pace: &'static Pace,
    sent: Arc<AtomicU64>,
    stopping: watch::Receiver<bool>,
) -> Outcome {
    let mut number = 0;
    let count = pace.sizes.len() as u64;
    let mut ticks = interval(pace.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopping.borrow() {
        ticks.tick().await;
        let flood = Flood {
            first: number,
            ..Flood::new(Select::all().to(ROOM), server.name(), count, 0).mixed(pace.sizes)
        };
        let report = server.flood(flood).await?;
        assert_eq!((report.accepted, report.error), (count, None));
        number += count;
        sent.store(number, Ordering::Release);
    }
    Ok(())
}
