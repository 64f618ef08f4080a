//! Three servers that can be on a bus or on a Redis server of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use switchboard::{Board, Switched, cluster::Namespace};
use switchboard_tests::{Redis, until};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::interval};

use super::{
    arrivals::{Arrivals, numbered, padding},
    gaps::Gaps,
    setup::{self, Failure, Folder},
};

const PLUGINS: Folder = Folder {
    variable: "SWITCHBOARD_TEST_PLUGINS",
    name: "plugins",
    command: "cargo xtask plugins",
};
/// The length of an event's JSON text.
const JSON_BYTES: usize = 200;
/// How often one is sent.
const EVERY: Duration = Duration::from_millis(1);

/// One server that sends and two that receive.
pub(crate) struct Trio {
    boards: Vec<Board>,
    gaps: Vec<Arc<Gaps>>,
    namespace: Namespace,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    // Last, so that they are left before they vanish.
    _redis: Redis,
    _folder: TempDir,
}

impl Trio {
    pub(crate) async fn open(transport: &str) -> Result<Self, Failure> {
        let redis = Redis::start().await?;
        let folder = tempfile::Builder::new().prefix("sb-").tempdir()?;
        let namespace = Namespace::from("/");
        let mut boards = Vec::new();
        for _ in 0..3 {
            let more = format!(
                r#"
                [connections.bus.main]
                path = {bus}
                [connections.redis.main]
                url = "{url}"
                [transports]
                local = {{ grants = {{ bus = ["main"] }} }}
                redis = {{ grants = {{ redis = ["main"] }} }}
                redis-streams = {{ grants = {{ redis = ["main"] }} }}
                "#,
                bus = setup::text(&folder.path().join("bus.sock"))?,
                url = redis.url(),
            );
            let config = setup::config(&PLUGINS, transport, more.parse()?)?;
            boards.push(Board::open(config).await?);
        }
        let mut gaps = Vec::new();
        for (at, board) in boards.iter().enumerate() {
            let arrivals = Arrivals::new(&namespace);
            if at == 0 {
                board.cluster().enter(arrivals);
                continue;
            }
            let watched = Gaps::new(arrivals);
            board.cluster().enter(Arc::clone(&watched) as Arc<_>);
            gaps.push(watched);
        }
        for board in &boards {
            until(
                "the servers to know each other",
                || async { Ok(board.cluster().server_count(&namespace)) },
                |&count| count == 3,
            )
            .await?;
        }
        Ok(Self {
            boards,
            gaps,
            namespace,
            sent: Arc::default(),
            stop: Arc::default(),
            _redis: redis,
            _folder: folder,
        })
    }

    /// Sends one message after the other from now on.
    pub(crate) fn send(&self) -> JoinHandle<Result<(), String>> {
        let cluster = self.boards[0].cluster().clone();
        let namespace = self.namespace.clone();
        let (sent, stop) = (Arc::clone(&self.sent), Arc::clone(&self.stop));
        tokio::spawn(async move {
            let padding = padding(JSON_BYTES);
            let mut ticks = interval(EVERY);
            while !stop.load(Ordering::Relaxed) {
                ticks.tick().await;
                let index = sent.load(Ordering::Relaxed);
                let sending = cluster.send(&namespace, numbered(index, &padding)).await;
                sending.map_err(|error| error.to_string())?;
                sent.store(index + 1, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    pub(crate) fn gaps(&self, then: impl Fn(&Gaps)) {
        self.gaps.iter().for_each(|gaps| then(gaps));
    }

    /// The longest gap at either receiver.
    pub(crate) fn longest(&self) -> Duration {
        let gaps = self.gaps.iter().map(|gaps| gaps.longest());
        gaps.max().unwrap_or_default()
    }

    pub(crate) async fn switch_to(&self, transport: &str) -> Result<Switched, Failure> {
        Ok(self.boards[1].switch_to(transport, false).await?)
    }

    /// Stops sending, and checks that everything has arrived, in order.
    pub(crate) async fn close(
        self,
        sending: JoinHandle<Result<(), String>>,
    ) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        sending.await??;
        let sent = self.sent.load(Ordering::Relaxed);
        for gaps in &self.gaps {
            gaps.arrivals().expect(sent);
            gaps.arrivals().wait().await?;
        }
        for board in &self.boards {
            board.close().await;
        }
        Ok(())
    }
}
