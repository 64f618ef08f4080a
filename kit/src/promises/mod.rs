//! What a transport must do beyond the [`scenarios`](crate::scenarios): when senders are too fast, when
//! its instances are replaced, when its backend is away, over time, and with sessions. These need clusters whose
//! plugin folder is their own (`plugins` in the cluster's folder), as [`check`](crate::check) starts
//! them.

mod instances;
mod memory;
mod outage;
mod pressure;
mod sessions;

use serde_json::Value;

pub(crate) use self::sessions::are_kept as keeps_sessions;

use crate::{
    Client, Clients, Cluster, Error, Flood, FloodReport, Select, Server,
    scenarios::{Outcome, Scenario, Setting},
};

/// The only room that floods go to.
const ROOM: &str = "flooded";

const ALL: &[Scenario] = &[
    Scenario::beyond(
        "pressure",
        "senders_wait_for_a_slow_server_and_nothing_is_lost",
        |setting| Box::pin(async move { pressure::senders_wait(&setting).await }),
    ),
    Scenario::beyond(
        "instances",
        "a_plugin_is_upgraded_under_load_and_nothing_is_lost_or_repeated",
        |setting| Box::pin(async move { instances::upgraded(&setting).await }),
    ),
    Scenario::beyond(
        "instances",
        "instances_that_are_replaced_go_on_where_the_former_ones_were",
        |setting| Box::pin(async move { instances::replaced(&setting).await }),
    ),
    Scenario::beyond(
        "memory",
        "what_instances_keep_does_not_grow_with_what_they_have_done",
        |setting| Box::pin(async move { memory::does_not_grow(&setting).await }),
    ),
    Scenario::beyond(
        "outage",
        "a_backend_that_was_cut_off_is_used_again_and_what_is_missing_was_told",
        |setting| Box::pin(async move { outage::cut(&setting).await }),
    ),
    Scenario::beyond(
        "sessions",
        "what_one_server_has_saved_another_gives_back_once_with_what_was_missed",
        |setting| Box::pin(async move { sessions::given_back(&setting).await }),
    ),
];

/// All of them.
pub fn all() -> &'static [Scenario] {
    ALL
}

/// Two servers, and a client of the second one that the first one floods.
struct Pair {
    cluster: Cluster,
    client: Client,
    _clients: Clients,
}

impl Pair {
    async fn start(setting: &Setting, toml: &str) -> Result<Self, Error> {
        let cluster = setting.cluster().nodes(2).toml(toml).start().await?;
        let clients = Clients::start().await?;
        let client = clients
            .connect(cluster.node(1).url(), setting.connect().room(ROOM))
            .await?;
        Ok(Self {
            cluster,
            client,
            _clients: clients,
        })
    }

    fn sender(&self) -> &Server {
        self.cluster.node(0)
    }

    fn receiver(&self) -> &Server {
        self.cluster.node(1)
    }

    /// Sends numbered events and waits until all are accepted.
    async fn flood(&self, stream: &str, count: u64, sizes: &[usize]) -> Outcome {
        let report = self.sender().flood(flood(stream, count, sizes)).await?;
        assert_accepted(&report, count);
        Ok(())
    }
}

fn flood(stream: &str, count: u64, sizes: &[usize]) -> Flood {
    Flood::new(Select::all().to(ROOM), stream, count, 0).mixed(sizes)
}

#[track_caller]
fn assert_accepted(report: &FloodReport, count: u64) {
    assert_eq!(
        (report.accepted, &report.error),
        (count, &None),
        "the server refused an event"
    );
}

/// One of the cluster's counters of a server.
async fn counter(server: &Server, name: &str) -> Result<u64, Error> {
    let status = server.status().await?;
    let count = status["cluster"][name].as_u64();
    count.ok_or_else(|| Error::Test(format!("there is no counter `{name}` in the status")))
}

/// What a server says of the instances of its plugin.
async fn instances(server: &Server) -> Result<Vec<Value>, Error> {
    let status = server.status().await?;
    let instances = status["transport"]["instances"].as_array();
    instances
        .cloned()
        .ok_or_else(|| Error::Test("there are no instances in the status".into()))
}
