//! Two servers that share a bus in a folder of their own.

use std::sync::Arc;

use switchboard::{Board, cluster::Namespace};
use switchboard_tests::until;
use tempfile::TempDir;
use toml::{Table, Value};

use super::{
    arrivals::{Arrivals, numbered, padding},
    setup::{self, Failure, Folder},
};

const PLUGINS: Folder = Folder {
    variable: "SWITCHBOARD_TEST_PLUGINS",
    name: "plugins",
    command: "cargo xtask plugins",
};

/// A server that sends and one that receives.
pub(crate) struct Pair {
    sender: Board,
    receiver: Board,
    namespace: Namespace,
    arrivals: Arc<Arrivals>,
    // Last, so that the bus is left before its socket vanishes.
    _folder: TempDir,
}

impl Pair {
    /// Opens both and waits until each knows the other.
    ///
    /// # Errors
    /// When the plugin is not built, or a server cannot be opened.
    pub(crate) async fn open() -> Result<Self, Failure> {
        // Short, because a Unix socket's path has room for about a hundred bytes.
        let folder = tempfile::Builder::new().prefix("sb-").tempdir()?;
        let namespace = Namespace::from("/");
        let arrivals = Arrivals::new(&namespace);
        let pair = Self {
            sender: open(&folder).await?,
            receiver: open(&folder).await?,
            namespace: namespace.clone(),
            arrivals: Arc::clone(&arrivals),
            _folder: folder,
        };
        pair.receiver.cluster().enter(arrivals);
        pair.sender.cluster().enter(Arrivals::new(&namespace));
        for board in [&pair.sender, &pair.receiver] {
            until(
                "the two servers to know each other",
                || async { Ok(board.cluster().server_count(&namespace)) },
                |&count| count == 2,
            )
            .await?;
        }
        Ok(pair)
    }

    /// Sends `count` messages as fast as the outbox takes them and waits until they have arrived.
    ///
    /// # Errors
    /// When a message is lost, repeated or out of order.
    pub(crate) async fn pass(&self, count: u64, json_bytes: usize) -> Result<(), Failure> {
        let padding = padding(json_bytes);
        let first = self.arrivals.count();
        self.arrivals.expect(first + count);
        for index in first..first + count {
            let body = numbered(index, &padding);
            self.sender.cluster().send(&self.namespace, body).await?;
        }
        self.arrivals.wait().await
    }

    /// Takes both out of the cluster.
    pub(crate) async fn close(self) {
        self.sender.close().await;
        self.receiver.close().await;
    }
}

async fn open(folder: &TempDir) -> Result<Board, Failure> {
    let path = setup::text(&folder.path().join("bus.sock"))?;
    let main = Table::from_iter([("path".to_owned(), path)]);
    let bus = Table::from_iter([("main".to_owned(), Value::Table(main))]);
    let connections = Table::from_iter([("bus".to_owned(), Value::Table(bus))]);
    let more = Table::from_iter([("connections".to_owned(), Value::Table(connections))]);
    let config = setup::config(&PLUGINS, "local", more)?;
    Ok(Board::open(config).await?)
}
