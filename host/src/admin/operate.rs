//! What a server must be able to answer.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::protocol::Failure;
use crate::{Status, SwitchReport, Switched};

/// A server as its operator sees it.
pub(crate) trait Operate: Send + Sync + 'static {
    /// How it stands; with rates, if they are measured for longer than zero.
    fn status(&self, sample: Duration) -> BoxFuture<'_, Result<Status, Failure>>;

    /// What is in its plugin folder.
    fn plugins(&self) -> BoxFuture<'_, Result<Vec<PluginReport>, Failure>>;

    /// Moves the cluster to another transport. Where the servers stand is told as it changes; steps
    /// that find no room are left out.
    fn switch(
        &self,
        transport: String,
        force: bool,
        steps: mpsc::Sender<SwitchReport>,
    ) -> BoxFuture<'_, Result<Switched, Failure>>;

    /// Calls that off. False: there is nothing to call off.
    fn abort(&self) -> BoxFuture<'_, Result<bool, Failure>>;
}

/// A plugin in the folder, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PluginReport {
    /// Its name, which is that of its file and of the transport.
    pub name: String,
    /// What it is to this server.
    pub state: PluginState,
    /// The version that the manifest says.
    pub version: Option<String>,
    /// What the manifest says about it.
    pub description: Option<String>,
    /// `sha256:` and 64 hex digits, of the file as it is now.
    pub digest: Option<String>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// What a plugin is to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PluginState {
    /// The server runs this very file.
    Running,
    /// The server runs another file of this name, read before this one was put there.
    Replaced,
    /// It could be used.
    Available,
    /// It cannot be used as it is.
    Broken,
}
