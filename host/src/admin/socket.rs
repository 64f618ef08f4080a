//! The socket: where it is, who may use it, and the task that listens on it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{interval, sleep},
};

use super::{operate::Operate, serve};
use crate::socket_place::{Place, Served};

/// The key of the configuration that says where it is.
pub(super) const KEY: &str = "admin.socket";

/// Connections at the same time. A few people and a program that watches need no more; more are told
/// so and closed.
pub(super) const MAX_CONNECTIONS: usize = 16;

/// Pause before the socket is tried again, when another process has it or it cannot be used.
const RETRY: Duration = Duration::from_secs(1);

/// How often it is looked at whether the socket is still where others look for it.
const LOOK: Duration = Duration::from_secs(5);

/// The socket cannot be there. The operator's fault: another path, or other rights.
#[derive(Debug, thiserror::Error)]
#[error("`admin.socket` cannot be {}: {reason}", path.display())]
#[non_exhaustive]
pub struct AdminError {
    /// The socket.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: io::Error,
}

/// A place where a socket can be.
pub(crate) struct AdminPlace {
    place: Place,
    path: PathBuf,
}

impl AdminPlace {
    /// Makes its folder if it is missing.
    ///
    /// # Errors
    /// The folder cannot be used, or is open to other users.
    pub(crate) fn prepare(path: PathBuf) -> Result<Self, AdminError> {
        let place = Place::new(&path, KEY);
        match place.prepare() {
            Ok(()) => Ok(Self { place, path }),
            Err(reason) => Err(AdminError { path, reason }),
        }
    }
}

/// A socket that is served. It ends with [`AdminSocket::close`], or when this is dropped.
pub(crate) struct AdminSocket {
    running: Mutex<Option<Task>>,
}

struct Task {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl AdminSocket {
    /// Serves the socket. As long as another process does, this one waits for its turn.
    pub(crate) fn start(place: AdminPlace, server: Arc<dyn Operate>) -> Self {
        let AdminPlace { place, path } = place;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = stopped => {}
                () = run(&place, &path, &server) => {}
            }
        });
        Self {
            running: Mutex::new(Some(Task { stop, task })),
        }
    }

    /// Ends all connections, and returns when nobody listens any more.
    pub(crate) async fn close(&self) {
        if let Some(Task { stop, task }) = self.take() {
            // Fails when it has ended by itself.
            let _ = stop.send(());
            let _ = task.await;
        }
    }

    fn take(&self) -> Option<Task> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.take()
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Some(Task { task, .. }) = self.take() {
            task.abort();
        }
    }
}

async fn run(place: &Place, path: &Path, server: &Arc<dyn Operate>) {
    let mut told = None;
    loop {
        let trouble = match place.serve() {
            Ok(Some(served)) => {
                told = None;
                tracing::info!(socket = %path.display(), "the admin socket is open");
                listen(served, server).await;
                continue;
            }
            Ok(None) => format!(
                "another process serves it; this one does when that has ended (give each server of \
                 a machine a `{KEY}` of its own)"
            ),
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&trouble) {
            tracing::warn!(socket = %path.display(), "no admin socket: {trouble}");
            told = Some(trouble);
        }
        sleep(RETRY).await;
    }
}

/// Until the socket is gone.
async fn listen(served: Served, server: &Arc<dyn Operate>) {
    // Ended with this function.
    let mut connections = JoinSet::new();
    let mut looks = interval(LOOK);
    loop {
        let accepted = tokio::select! {
            accepted = served.listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = looks.tick() => {
                if served.is_in_place() {
                    continue;
                }
                tracing::warn!("the admin socket was removed; it is opened again");
                return;
            }
        };
        match accepted {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(serve::serve(stream, Arc::clone(server)));
            }
            Ok((stream, _)) => serve::refuse(&stream),
            // The process has too many open files, or the like: others need the processor.
            Err(_) => sleep(RETRY).await,
        }
    }
}
