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
    Client, Clients, Cluster, Connect, Error, Flood, Proxy, Select, Server, Tally,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{Outcome, builder, stage::URL_VARIABLE};

/// How often each server emits.
const TICK: Duration = Duration::from_millis(20);
/// Sizes of the payloads of one tick, in bytes.
const SIZES: [usize; 4] = [64, 4_096, 200, 16_384];
const ROOM: &str = "survivors";
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
        let redis = self.cluster.redis();
        let url = redis.ok_or_else(|| Error::Test("no Redis".into()))?.url();
        let urls = [(URL_VARIABLE, &*url), (SECOND_VARIABLE, &*url)];
        Ok(Arc::clone(self.cluster.add_node_with(&urls).await?))
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
        let mut load = Load {
            stopping: watch::Sender::new(false),
            tasks: JoinSet::new(),
            sent: Vec::new(),
            living: living.to_vec(),
        };
        for index in living {
            let sent = Arc::new(AtomicU64::new(0));
            let (server, counted) = (Arc::clone(self.server(*index)), Arc::clone(&sent));
            load.tasks
                .spawn(emit(server, counted, load.stopping.subscribe()));
            load.sent.push(sent);
        }
        load
    }

    /// Ends the load and checks that everybody who lives has got everything, once and in order.
    pub(crate) async fn assert_nothing_lost(&self, mut load: Load) -> Outcome {
        sleep(10 * TICK).await;
        load.stopping.send_replace(true);
        while let Some(ended) = load.tasks.join_next().await {
            ended.map_err(|panic| Error::Test(panic.to_string()))??;
        }
        for index in &load.living {
            let room = Select::all().to(ROOM);
            self.server(*index)
                .broadcast(&room, FENCE, json!([]))
                .await?;
        }
        for to in &load.living {
            let client = &self.clients[*to];
            client.wait_for(FENCE, load.living.len()).await?;
            for (from, sent) in load.living.iter().zip(&load.sent) {
                let sent = sent.load(Ordering::Acquire);
                let tally = client.tally(self.server(*from).name()).await?;
                assert!(sent > 0, "server {from} sent nothing");
                assert_eq!(tally, Tally::perfect(sent), "server {from} at {to}");
            }
        }
        Ok(())
    }
}

/// What goes on among those who live.
pub(crate) struct Load {
    stopping: watch::Sender<bool>,
    tasks: JoinSet<Outcome>,
    sent: Vec<Arc<AtomicU64>>,
    living: Vec<usize>,
}

async fn emit(
    server: Arc<Server>,
    sent: Arc<AtomicU64>,
    stopping: watch::Receiver<bool>,
) -> Outcome {
    let mut number = 0;
    let count = SIZES.len() as u64;
    while !*stopping.borrow() {
        let flood = Flood {
            first: number,
            ..Flood::new(Select::all().to(ROOM), server.name(), count, 0).mixed(&SIZES)
        };
        let report = server.flood(flood).await?;
        assert_eq!((report.accepted, report.error), (count, None));
        number += count;
        sent.store(number, Ordering::Release);
        sleep(TICK).await;
    }
    Ok(())
}
