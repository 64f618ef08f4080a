//! `cargo xtask demo`: several nodes of the chat example on this machine, as one cluster. Building
//! and starting are here; one node's process is in `node.rs`, opening the page in `page.rs`. The
//! chat itself is `examples/chat`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::{
    cli::{self, Args, Opt},
    plugins::{self, Wanted},
    process::{cargo, run, say},
    project::Project,
    setup::{self, Task},
};
use backends::Backends;
use node::{Line, Node, Start};

mod backends;
mod node;
mod page;
mod postgres;

pub(crate) const COMMAND: cli::Command = cli::Command {
    name: "demo",
    summary: "run the chat on several nodes that form one cluster",
    help: "\
Starts several nodes of the chat example on this machine. They form one cluster through the plugin
`local`, so whoever visits one of them talks to the visitors of all. Ctrl-C stops them.

With --all, the page has a menu that moves all of them to another transport while they run.

Usage: cargo xtask demo [--all] [--nodes N] [--port PORT] [--no-browser]

  --all         also start what other transports need (Redis, PostgreSQL), if it is installed
  --nodes N     how many nodes, 1 to 16 [default: 3]
  --port PORT   the first node listens here, the next on the ports after it [default: free ones]
  --no-browser  do not open the pages of the first two nodes",
    options: &[
        Opt::flag("--all"),
        Opt::value("--nodes"),
        Opt::value("--port"),
        Opt::flag("--no-browser"),
    ],
    max_words: 0,
    run: |project, args: &Args| {
        let ports = ports(
            args.number("--nodes")?.unwrap_or(DEFAULT_NODES),
            args.number("--port")?,
        )?;
        setup::ensure(project, Task::Demo)?;
        plugins::build(project, &Wanted::default())?;
        let chat = build_chat(project)?;
        let mut demo = Demo::prepare(project, chat, args.has("--all"))?;
        demo.start(&ports)?;
        demo.announce(!args.has("--no-browser"));
        demo.watch()
    },
};

const DEFAULT_NODES: u8 = 3;
/// More would only be slow: each is a server of its own.
const MAX_NODES: u8 = 16;
/// How long a node may take until it listens. The first one compiles the plugin.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a node may take to say goodbye to its clients before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How often to look whether Ctrl-C was pressed or a node has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Log lines that may wait to be printed; then the nodes wait too.
const MAX_WAITING_LINES: usize = 1024;

/// The port of each node; 0 is any free one.
fn ports(nodes: u8, first: Option<u16>) -> Result<Vec<u16>> {
    if !(1..=MAX_NODES).contains(&nodes) {
        bail!("--nodes can be 1 to {MAX_NODES}, not {nodes}");
    }
    let Some(first) = first.filter(|port| *port != 0) else {
        return Ok(vec![0; nodes.into()]);
    };
    (0..nodes)
        .map(|i| first.checked_add(i.into()))
        .collect::<Option<_>>()
        .with_context(|| format!("there are no {nodes} ports from {first} on; the last is 65535"))
}

/// Builds the chat server. The whole workspace takes part in choosing the dependencies' features,
/// and `--examples` lets the tests' dependencies do so too: then these are the same builds that
/// `cargo xtask test` uses, and Wasmtime is not built twice.
fn build_chat(project: &Project) -> Result<PathBuf> {
    run(cargo()
        .args(["build", "--workspace", "--bin", "chat", "--examples"])
        .current_dir(&project.root))?;
    Ok(project.target.join("debug/chat"))
}

struct Demo {
    chat: PathBuf,
    web: PathBuf,
    config: PathBuf,
    nodes: Vec<Node>,
    lines: Receiver<Line>,
    sender: mpsc::SyncSender<Line>,
    stop: Arc<AtomicBool>,
    // After the nodes, which use them.
    _backends: Backends,
    /// Holds the configuration and the bus. Last, so that it is removed after the nodes are gone.
    _folder: tempfile::TempDir,
}

impl Demo {
    fn prepare(project: &Project, chat: PathBuf, all: bool) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("switchboard-demo-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let config = folder.path().join("switchboard.toml");
        let backends = match all {
            true => Backends::start(folder.path())?,
            false => Backends::default(),
        };
        let mut text = configuration(&project.plugins(), folder.path());
        text.push_str(&backends.configuration);
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let (sender, lines) = mpsc::sync_channel(MAX_WAITING_LINES);
        Ok(Self {
            chat,
            web: project.root.join("examples/chat/web"),
            config,
            nodes: Vec::new(),
            lines,
            sender,
            stop: stop_at_signals()?,
            _backends: backends,
            _folder: folder,
        })
    }

    /// Starts the nodes, each when the one before it is ready: the first leaves the compiled
    /// plugin in the cache for the others.
    fn start(&mut self, ports: &[u16]) -> Result<()> {
        for (port, name) in ports.iter().zip('a'..) {
            let node = Node::start(
                &Start {
                    program: &self.chat,
                    name: name.to_string(),
                    port: *port,
                    config: &self.config,
                    web: &self.web,
                },
                self.sender.clone(),
            )?;
            self.nodes.push(node);
            self.wait_until_ready()?;
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let index = self.nodes.len() - 1;
        loop {
            self.print_lines();
            let node = &mut self.nodes[index];
            if node.address.is_some() {
                return Ok(());
            }
            if let Some(status) = node.ended()? {
                self.print_rest();
                bail!(
                    "node {} did not start ({status}); why is in its lines above",
                    self.nodes[index].name
                );
            }
            if self.stop.load(Ordering::Relaxed) {
                bail!("stopped");
            }
            if Instant::now() > deadline {
                bail!(
                    "node {} was not ready after {} s",
                    node.name,
                    START_LIMIT.as_secs()
                );
            }
        }
    }

    fn announce(&self, open_pages: bool) {
        say(format_args!(
            "\n  One cluster of {} nodes:\n",
            self.nodes.len()
        ));
        for node in &self.nodes {
            say(format_args!(
                "    node {}   {}   (process {})",
                node.name,
                node.address.as_deref().unwrap_or("?"),
                node.id()
            ));
        }
        say(
            "\n  Open two of them side by side and chat. Kill a node (`kill -9 PROCESS`) and\n  \
             see the others go on. Ctrl-C stops them all.\n",
        );
        if open_pages {
            let addresses = self.nodes.iter().filter_map(|node| node.address.as_deref());
            addresses.take(2).for_each(page::open);
        }
    }

    /// Prints what the nodes log until Ctrl-C, or until no node is left.
    fn watch(&mut self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            self.print_lines();
            let mut alive = 0;
            for node in &mut self.nodes {
                match node.ended()? {
                    None => alive += 1,
                    Some(status) if !node.reported => {
                        node.reported = true;
                        say(format_args!("{} | ended ({status})", node.name));
                    }
                    Some(_) => {}
                }
            }
            if alive == 0 {
                self.print_rest();
                bail!("all nodes have ended");
            }
        }
        self.stop_all()
    }

    fn stop_all(&mut self) -> Result<()> {
        say("\nstopping …");
        for node in &mut self.nodes {
            node.ask_to_stop();
        }
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            self.print_lines();
            let mut all_ended = true;
            for node in &mut self.nodes {
                all_ended &= node.ended()?.is_some();
            }
            if all_ended {
                self.print_rest();
                return Ok(());
            }
            if Instant::now() > deadline {
                // Dropping a node kills it.
                bail!("some nodes did not stop within {STOP_LIMIT:?} and were killed");
            }
        }
    }

    /// Prints what there is, and waits a little for more.
    fn print_lines(&mut self) {
        let mut wait = LOOK_INTERVAL;
        loop {
            match self.lines.recv_timeout(wait) {
                Ok(line) => self.print(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
            wait = Duration::ZERO;
        }
    }

    /// Prints what ended nodes have left behind.
    fn print_rest(&mut self) {
        for index in 0..self.nodes.len() {
            while self.nodes[index].has_left_output() {
                self.print_lines();
            }
        }
        self.print_lines();
    }

    fn print(&mut self, line: Line) {
        let node = self.nodes.iter_mut().find(|node| node.name == line.node);
        if let (Some(node), Some(address)) = (node, line.text.strip_prefix("LISTENING ")) {
            node.address = Some(address.trim().to_owned());
            return;
        }
        say(format_args!("{} | {}", line.node, line.text));
    }
}

/// One bus of their own for the nodes, so that two demos do not meet.
fn configuration(plugins: &Path, folder: &Path) -> String {
    format!(
        "# Written by `cargo xtask demo`.\n\
         transport = \"local\"\n\
         plugins = {plugins:?}\n\
         \n\
         [connections.bus.main]\n\
         path = {bus:?}\n",
        bus = folder.join("bus.sock")
    )
}

/// Becomes true at the first Ctrl-C; a second one ends this process at once. The nodes end with
/// it, since they watch their standard input.
fn stop_at_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .context("cannot listen to signals")?;
    }
    Ok(stop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_ones_or_follow_the_first() {
        assert_eq!(ports(2, None).unwrap(), [0, 0]);
        assert_eq!(ports(3, Some(3000)).unwrap(), [3000, 3001, 3002]);
        assert_eq!(ports(1, Some(65535)).unwrap(), [65535]);
    }

    #[test]
    fn what_cannot_be_started_is_refused_before_anything_is_built() {
        assert!(ports(0, None).is_err());
        assert!(ports(17, None).is_err());
        assert!(ports(2, Some(65535)).is_err());
    }

    #[test]
    fn paths_are_quoted_in_the_configuration() {
        let text = configuration(Path::new("/a \"b\"/plugins"), Path::new("/tmp/x"));
        assert!(text.contains(r#"plugins = "/a \"b\"/plugins""#), "{text}");
        assert!(text.contains(r#"path = "/tmp/x/bus.sock""#), "{text}");
    }
}
