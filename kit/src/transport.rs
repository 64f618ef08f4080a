//! What the servers of a cluster reach each other through, as a value: a scenario is written once
//! and runs over every [`Transport`].
//!
//! A transport says what it is called, what may be expected of it ([`Capabilities`], so that a scenario
//! never needs to be left out: it asserts what this transport promises), and how its servers are
//! configured ([`Meeting`]); what that starts lives as long as the cluster.

use std::{
    any::Any,
    fmt::Debug,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use toml::{Table, Value};

use crate::Error;

/// How the servers of a cluster reach each other. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Transport {
    name: String,
    can: Capabilities,
    meeting: Arc<dyn Meeting>,
}

/// What may be expected of a transport, where transports differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Answers say which node gave them, so that a node that gives none can be named. Else the
    /// missing ones are only counted.
    pub names_nodes: bool,
    /// A node that dies is reported at once. Else it is missed when its heartbeats stop.
    pub reports_deaths: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            names_nodes: true,
            reports_deaths: false,
        }
    }
}

impl Capabilities {
    /// A node that dies is reported at once.
    pub fn reports_deaths(mut self, it_does: bool) -> Self {
        self.reports_deaths = it_does;
        self
    }
}

/// What servers meet at.
pub trait Meeting: Debug + Send + Sync {
    /// Starts it for one cluster, whose files are in this folder, and says how servers find and use
    /// it.
    ///
    /// # Errors
    /// Why that is not possible.
    fn start<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Started, Error>>;
}

/// What a cluster needs to know of a transport that is ready.
#[derive(Debug)]
pub struct Started {
    /// The servers' configuration.
    pub config: Table,
    /// Written configuration, to be merged over it.
    pub more: String,
    /// What was started. It lives as long as the cluster, which hands it out as
    /// [`Cluster::backend`](crate::Cluster::backend).
    pub backend: Box<dyn Any + Send + Sync>,
}

impl Transport {
    /// A transport by what it is called in messages, what may be expected of it, and what its servers
    /// meet at.
    pub fn new(
        name: impl Into<String>,
        can: Capabilities,
        meeting: impl Meeting + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            can,
            meeting: Arc::new(meeting),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What may be expected of it.
    pub fn capabilities(&self) -> &Capabilities {
        &self.can
    }

    /// Starts what its servers meet at.
    pub(crate) async fn start(&self, folder: &Path) -> Result<Started, Error> {
        self.meeting.start(folder).await
    }
}

impl From<&Self> for Transport {
    fn from(transport: &Self) -> Self {
        transport.clone()
    }
}

/// A plugin of this name on a bus, whose socket is in the cluster's folder. Nothing is known of it, and
/// where it is must be said with [`ClusterBuilder::plugins`](crate::ClusterBuilder::plugins).
impl From<&str> for Transport {
    fn from(plugin: &str) -> Self {
        let meeting = OnABus(plugin.to_owned());
        Self::new(plugin, Capabilities::default(), meeting)
    }
}

/// A plugin on a bus.
#[derive(Debug)]
struct OnABus(String);

impl Meeting for OnABus {
    fn start<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Started, Error>> {
        Box::pin(async move {
            let bus = table("path", text(&bus_path(folder))?);
            let granted = Value::Array(vec![Value::String("main".into())]);
            let grants = table("grants", table("bus", granted));
            Ok(Started {
                config: Table::from_iter([
                    ("transport".to_owned(), Value::String(self.0.clone())),
                    ("connections".to_owned(), table("bus", table("main", bus))),
                    ("transports".to_owned(), table(&self.0, grants)),
                ]),
                more: String::new(),
                backend: Box::new(()),
            })
        })
    }
}

/// Where the bus of the cluster in a folder is.
pub fn bus_path(folder: &Path) -> PathBuf {
    folder.join("bus.sock")
}

/// A path as configuration.
///
/// # Errors
/// [`Error::Test`] if TOML cannot hold it.
pub fn text(path: &Path) -> Result<Value, Error> {
    path.to_str()
        .map(|path| Value::String(path.to_owned()))
        .ok_or_else(|| Error::Test(format!("{} is not UTF-8", path.display())))
}

/// A table with one key.
pub fn table(key: &str, value: Value) -> Value {
    Value::Table(Table::from_iter([(key.to_owned(), value)]))
}
