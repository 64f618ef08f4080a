//! Pipelines whose caller is gone, because its instance died or its call was given up. What was
//! handed to a connection of them is executed all the same.
//!
//! What the plugin's next instance reads must show what they did, and what it sends must come after
//! them. But its commands may go over another connection than theirs (`pipeline`). So they wait until
//! nothing of an abandoned pipeline is under way: it was answered, or was lost with its connection.
//! That takes no longer than `command_timeout_ms`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::Shared};
use tokio::sync::oneshot;

/// A pipeline, or a part of it, that is under way as long as one of these lives.
#[derive(Clone)]
pub(super) struct UnderWay {
    _ends: Arc<oneshot::Sender<()>>,
}

/// Resolves when nothing of a pipeline is under way.
type Ended = Shared<oneshot::Receiver<()>>;

/// The abandoned pipelines of each plugin. A plugin has few: each of its instances makes one call
/// at a time, and waits for what was abandoned first.
#[derive(Default)]
pub(super) struct Abandoned(Mutex<HashMap<String, Vec<Ended>>>);

/// Sees to it that a pipeline counts as abandoned if its caller goes before it has its replies.
pub(super) struct Caller<'a> {
    list: &'a Abandoned,
    plugin: &'a str,
    /// None: it has them.
    ended: Option<oneshot::Receiver<()>>,
}

impl Abandoned {
    /// Begins a pipeline.
    pub(super) fn begin<'a>(&'a self, plugin: &'a str) -> (Caller<'a>, UnderWay) {
        let (ends, ended) = oneshot::channel();
        let caller = Caller {
            list: self,
            plugin,
            ended: Some(ended),
        };
        let _ends = Arc::new(ends);
        (caller, UnderWay { _ends })
    }

    /// Waits until nothing that the plugin has abandoned is under way.
    pub(super) async fn settled(&self, plugin: &str) {
        while let Some(ended) = self.next(plugin) {
            // Nothing is ever sent: it ends when the last sender is dropped.
            let _ = ended.await;
        }
    }

    fn next(&self, plugin: &str) -> Option<Ended> {
        let mut all = self.lock();
        let list = all.get_mut(plugin)?;
        list.retain(|ended| ended.peek().is_none());
        let next = list.first().cloned();
        if next.is_none() {
            all.remove(plugin);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Ended>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller<'_> {
    /// It has its replies.
    pub(super) fn done(mut self) {
        self.ended = None;
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            let mut all = self.list.lock();
            let list = all.entry(self.plugin.to_owned()).or_default();
            list.push(ended.shared());
        }
    }
}
