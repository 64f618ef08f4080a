//! Three servers that share a bus and a plugin folder, and send to each other all the time.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use switchboard::{
    Board, Config,
    cluster::{Local, Namespace},
    plugins::Digest,
};
use switchboard_tests::{Error, built, until};
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    Failure,
    gaps::{Gaps, tick},
};

/// How many servers.
const SERVERS: usize = 3;
/// Each sends one message in this time.
const TICK: Duration = Duration::from_millis(1);

pub(crate) struct Servers {
    boards: Vec<Board>,
    gaps: Vec<Arc<Gaps>>,
    stopping: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Result<u64, Error>>>,
    plugin: Vec<u8>,
    file: PathBuf,
    // Last, so that the bus is left before its socket vanishes.
    _folder: TempDir,
}

impl Servers {
    /// Opens them, and returns when each hears all others.
    ///
    /// # Errors
    /// When the plugin is not built, or a server cannot be opened.
    pub(crate) async fn open() -> Result<Self, Failure> {
        let from = built::plugins("local")?;
        // Short, because a Unix socket's path has room for about a hundred bytes.
        let folder = tempfile::Builder::new().prefix("sb-").tempdir()?;
        for file in ["local.wasm", "local.toml"] {
            fs::copy(from.join(file), folder.path().join(file))?;
        }
        let file = folder.path().join("local.wasm");
        let mut servers = Self {
            boards: Vec::new(),
            gaps: Vec::new(),
            stopping: Arc::default(),
            senders: Vec::new(),
            plugin: fs::read(&file)?,
            file,
            _folder: folder,
        };
        let namespace = Namespace::from("/");
        for _ in 0..SERVERS {
            let text = "plugins = \".\"\nwatch_plugins_ms = 10\n\
                        connections.bus.main.path = \"bus.sock\"";
            let config = Config::from_toml(text, servers._folder.path())?;
            let board = Board::open(config).await?;
            let gaps = Arc::new(Gaps::new(&namespace));
            board.cluster().enter(Arc::clone(&gaps) as Arc<dyn Local>);
            servers.boards.push(board);
            servers.gaps.push(gaps);
        }
        for board in &servers.boards {
            let count = || async { Ok(board.cluster().server_count(&namespace)) };
            until("the servers to know each other", count, |&count| {
                count == SERVERS
            })
            .await?;
        }
        for (id, board) in servers.boards.iter().enumerate() {
            let sending = send(
                id,
                board.clone(),
                namespace.clone(),
                Arc::clone(&servers.stopping),
            );
            servers.senders.push(tokio::spawn(sending));
        }
        for gaps in &servers.gaps {
            let heard = || async { Ok(gaps.next().len()) };
            until("all to be heard", heard, |&heard| heard == SERVERS - 1).await?;
        }
        Ok(servers)
    }

    /// Replaces the plugin's file, and returns when all servers run the new one.
    pub(crate) async fn replace(&self, number: usize) -> Result<(), Failure> {
        let mut bytes = self.plugin.clone();
        // A section that nobody reads, with another name and other content each time.
        let content = [&[1, b'x'][..], &number.to_le_bytes()].concat();
        bytes.extend([0, content.len() as u8]);
        bytes.extend(content);
        let new = self.file.with_extension("new");
        fs::write(&new, &bytes)?;
        fs::rename(&new, &self.file)?;
        let digest = Digest::of(&bytes).to_string();
        for board in &self.boards {
            let runs = || async { Ok(board.status().transport.map(|runs| runs.digest)) };
            let is_it = |runs: &Option<String>| runs.as_ref() == Some(&digest);
            until("the server to run the new plugin", runs, is_it).await?;
        }
        Ok(())
    }

    pub(crate) fn forget_gaps(&self) {
        self.gaps.iter().for_each(|gaps| gaps.forget());
    }

    pub(crate) fn longest_gaps(&self) -> Vec<Duration> {
        self.gaps.iter().flat_map(|gaps| gaps.longest()).collect()
    }

    /// Ends it all.
    ///
    /// # Errors
    /// When a message was lost, repeated or out of order.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.stopping.store(true, Ordering::Relaxed);
        let mut sent = Vec::new();
        for sender in self.senders {
            sent.push(sender.await??);
        }
        for (to, gaps) in self.gaps.iter().enumerate() {
            let all = |next: &std::collections::BTreeMap<usize, u64>| {
                next.iter().all(|(from, next)| *next == sent[*from])
            };
            let next = || async { Ok(gaps.next()) };
            until(format!("server {to} to have got everything"), next, all).await?;
            if gaps.faults() > 0 {
                return Err("a message was lost, repeated or out of order".into());
            }
        }
        for board in self.boards {
            board.close().await;
        }
        println!(
            "{} messages, none lost, repeated or out of order",
            sent.iter().sum::<u64>()
        );
        Ok(())
    }
}

async fn send(
    id: usize,
    board: Board,
    namespace: Namespace,
    stopping: Arc<AtomicBool>,
) -> Result<u64, Error> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    while !stopping.load(Ordering::Relaxed) {
        ticks.tick().await;
        let sent = board.cluster().send(&namespace, tick(id, number)).await;
        sent.map_err(|error| Error::Test(error.to_string()))?;
        number += 1;
    }
    Ok(number)
}
