//! The conformance kit as one call: holds a plugin's file to everything that a transport promises, with
//! real server processes, and says what is broken. `stranger.rs` configures servers for a plugin of
//! which nothing is known, `play.rs` runs one scenario, `report.rs` is what comes out.
//!
//! The programs must be chosen before ([`programs`](crate::programs)).

mod play;
mod report;
mod stranger;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use switchboard::plugins::PluginFile;

pub use self::report::{Kept, Report, Row};
use self::{play::play, stranger::Stranger};
use crate::{
    Error, NodeEvent, Parser, Transport,
    log::Logs,
    promises,
    scenarios::{self, Scenario, Setting},
    transport::Capabilities,
    until,
    wait::choose_patience,
};

/// Clusters that are tried at the same time at most, whatever the machine has. Each has three servers.
const MAX_JOBS: usize = 16;
/// How long one scenario may take unless said otherwise. Ours take a few seconds each.
const LIMIT: Duration = Duration::from_secs(120);
/// A transport that reports deaths does so at once; this is a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(3);

const NO_PROXY: &str = "the configuration names no connection that a proxy can stand in for";
const NO_SESSIONS: &str = "the transport keeps no sessions, as it is configured";

/// A plugin to be checked.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Check {
    plugin: PathBuf,
    config: Option<PathBuf>,
    only: Vec<String>,
    jobs: Option<usize>,
    limit: Duration,
}

/// Why a plugin cannot be checked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A server would refuse the file. The fault of the file.
    #[error("{0}")]
    Refused(String),
    /// The configuration cannot be used. The fault of who wrote it.
    #[error("{}: {reason}", file.display())]
    Config {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nobody answers where the backend should be. The fault of who runs it.
    #[error("the backend cannot be reached: {0}; start it, or correct the configuration")]
    NoBackend(String),
    /// Somebody answers there, but the plugin says that it is of no use: a wrong password, another
    /// protocol. The fault of who runs the backend, or of the plugin.
    #[error("the plugin cannot work with its backend: {0}")]
    Unusable(String),
    /// No promise has such a name. The fault of who asked.
    #[error(
        "there is no promise `{0}`: a name is GROUP, or GROUP::NAME; `switchboard check --list` names \
         them all"
    )]
    NoScenario(String),
    /// A server does not start with the plugin: it refuses its options, or has no connection.
    #[error("a server does not start with this plugin: {0}")]
    DoesNotStart(String),
    /// Something else than the plugin is in the way.
    #[error(transparent)]
    Kit(#[from] Error),
}

/// The names of all scenarios that there are, in the order in which they are tried.
pub fn list() -> impl Iterator<Item = &'static Scenario> {
    // The beyond first: they tell most about a plugin, and take longest.
    promises::all().iter().chain(scenarios::all())
}

impl Check {
    /// The plugin in a file `NAME.wasm`, with the manifest beside it.
    pub fn new(plugin: impl Into<PathBuf>) -> Self {
        Self {
            plugin: plugin.into(),
            config: None,
            only: Vec::new(),
            jobs: None,
            limit: LIMIT,
        }
    }

    /// With the connections, options and grants of this `switchboard.toml`. Without one the plugin gets
    /// a bus.
    pub fn config(mut self, file: Option<PathBuf>) -> Self {
        self.config = file;
        self
    }

    /// Only these scenarios, `GROUP` or `GROUP::NAME`; none: all.
    pub fn only(mut self, names: Vec<String>) -> Self {
        self.only = names;
        self
    }

    /// So many clusters at the same time; else by the machine's cores.
    pub fn jobs(mut self, jobs: Option<usize>) -> Self {
        self.jobs = jobs;
        self
    }

    /// So long may one scenario take; 120 s unless said.
    pub fn limit(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit.unwrap_or(LIMIT);
        self
    }

    /// How many promises it will be held to, the first of which is that servers find each other.
    ///
    /// # Errors
    /// A name that was asked for is of none.
    pub fn planned(&self) -> Result<usize, CheckError> {
        Ok(wanted(&self.only)?.len() + 1)
    }

    /// Checks it. `progress` hears of every scenario as it ends. Starts threads and waits for them: call
    /// it where that may be done.
    ///
    /// # Errors
    /// When it cannot be checked. A broken promise is no error: it is in the report.
    pub fn run(self, progress: impl Fn(&Row) + Sync) -> Result<Report, CheckError> {
        let wanted = wanted(&self.only)?;
        let file = PluginFile::open(&self.plugin)
            .map_err(|error| CheckError::Refused(error.to_string()))?;
        let inspection = switchboard::transport::inspect(&self.plugin)
            .map_err(|error| CheckError::Refused(error.to_string()))?;
        if let Some(reason) = inspection.refused {
            let file = self.plugin.display();
            return Err(CheckError::Refused(format!("{file}: {reason}")));
        }
        // A wait that ends within the limit says what there is instead.
        choose_patience(self.limit / 2);
        let scratch = Scratch::new()?;
        let stranger = Stranger::new(&file, self.config.as_deref(), scratch.path())?;
        if let Some(why) = stranger.no_backend() {
            return Err(CheckError::NoBackend(why));
        }
        let jobs = match (stranger.may_share_its_backend(), self.jobs) {
            (false, _) => 1,
            (true, Some(jobs)) => jobs.clamp(1, MAX_JOBS),
            (true, None) => thread::available_parallelism()
                .map_or(1, usize::from)
                .min(MAX_JOBS),
        };
        let name = file.name.to_string();
        let through_proxies = stranger
            .proxied()
            .map(|proxied| Transport::new(name.clone(), Capabilities::default(), proxied));
        let (first, seen) = meet(&stranger, &name, self.limit)?;
        if let Some(why) = play::is_away(&first) {
            return Err(CheckError::Unusable(why.to_owned()));
        }
        progress(&first);
        let meets = first.kept == Kept::Ok;
        let mut report = Report::new(&name, &inspection.digest, first);
        if !meets {
            report.skip(&wanted, "the servers do not find each other");
            return Ok(report);
        }
        let can = Capabilities::default().reports_deaths(seen.tells_deaths);
        let direct = Transport::new(name.clone(), can, stranger);

        let next = AtomicUsize::new(0);
        let rows: Mutex<Vec<(usize, Row)>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(scenario) = wanted.get(index) else {
                            return;
                        };
                        let transport = match scenario.group {
                            "outage" => through_proxies.as_ref().ok_or(NO_PROXY),
                            "sessions" if !seen.keeps_sessions => Err(NO_SESSIONS),
                            _ => Ok(&direct),
                        };
                        let row = match transport {
                            Ok(transport) => play(
                                scenario,
                                Setting::new(transport, Parser::Common),
                                self.limit,
                            ),
                            Err(why) => Row::left_out(scenario, why),
                        };
                        progress(&row);
                        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                        rows.push((index, row));
                    }
                });
            }
        });
        let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        rows.sort_by_key(|(index, _)| *index);
        report.rows.extend(rows.into_iter().map(|(_, row)| row));
        Ok(report)
    }
}

/// What was asked for, each scenario once.
fn wanted(only: &[String]) -> Result<Vec<&'static Scenario>, CheckError> {
    let is_named = |scenario: &Scenario, name: &str| match name.split_once("::") {
        Some((group, name)) => (scenario.group, scenario.name) == (group, name),
        None => scenario.group == name,
    };
    // It is always tried, and first.
    for name in only.iter().filter(|name| *name != "cluster") {
        if !list().any(|scenario| is_named(scenario, name)) {
            return Err(CheckError::NoScenario(name.clone()));
        }
    }
    let is_wanted =
        |scenario: &&Scenario| only.is_empty() || only.iter().any(|name| is_named(scenario, name));
    Ok(list().filter(is_wanted).collect())
}

/// What a transport does that not every one has to do.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// A server that dies is reported at once.
    tells_deaths: bool,
    keeps_sessions: bool,
}

/// Two servers with the plugin: do they find each other, and what can it do?
fn meet(stranger: &Stranger, name: &str, limit: Duration) -> Result<(Row, Seen), CheckError> {
    const NAME: &str = "two_servers_find_each_other";

    let transport = Transport::new(name, Capabilities::default(), stranger.clone());
    let setting = Setting::new(transport, Parser::Common);
    let logs = Logs::default();
    let alone = play::run_alone(setting.clone().logs(logs.clone()), limit, async |setting| {
        setting.cluster().nodes(1).start().await.map(|_| ())
    });
    if let Some(trouble) = alone {
        return Err(match play::said(&logs, &play::AWAY).into_iter().next() {
            Some(why) => CheckError::Unusable(why),
            None => CheckError::DoesNotStart(last_words(&trouble).to_owned()),
        });
    }
    let mut seen = Seen::default();
    let row = play::run("cluster", NAME, setting, limit, async |setting| {
        let cluster = setting.patient_cluster().nodes(2).start().await?;
        seen.keeps_sessions = promises::keeps_sessions(&cluster).await?;
        let lost = cluster.node(1).node().await?;
        cluster.node(1).kill().await?;
        let observer = cluster.node(0);
        let is_it = |event: &NodeEvent| match event {
            NodeEvent::Left { node, reason, .. } => *node == lost && reason == "reported_gone",
            _ => false,
        };
        let look = async || Ok(observer.node_events().await?.iter().any(is_it));
        let told = until("the death of a server to be told", look, |&told| told);
        let told = tokio::time::timeout(AT_ONCE, told).await;
        seen.tells_deaths = matches!(told, Ok(Ok(_)));
        Ok(())
    });
    Ok((row, seen))
}

/// What a server has said that could not start.
fn last_words(trouble: &str) -> &str {
    let words = trouble.split_once("the end of its log:");
    let words = words.map_or(trouble, |(_, words)| words.trim());
    words.strip_prefix("server: ").unwrap_or(words)
}

/// A folder for what all clusters share.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("sb-check-").tempdir();
        let folder = folder.map_err(Error::system("cannot make a temporary folder"))?;
        fs::create_dir(folder.path().join("cache"))
            .map_err(Error::system("cannot make a temporary folder"))?;
        Ok(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::wanted;

    #[test]
    fn scenarios_are_chosen_by_group_or_by_name() {
        let all = wanted(&[]).unwrap().len();
        assert!(all > 80, "{all}");
        let order = wanted(&["order".into()]).unwrap();
        assert!(order.len() > 3 && order.iter().all(|s| s.group == "order"));
        let one = "rooms::sockets_leave_a_room".to_owned();
        let both = wanted(&[one.clone(), one, "memory".into()]).unwrap();
        assert_eq!(both.len(), 2);
        let error = wanted(&["odrer".into()]).unwrap_err().to_string();
        assert!(
            error.contains("`odrer`") && error.contains("--list"),
            "{error}"
        );
    }
}
