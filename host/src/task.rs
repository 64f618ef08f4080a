//! A task that belongs to somebody: it ends with its owner, and can be asked to.

use std::sync::{Mutex, PoisonError};

use tokio::{sync::oneshot, task::JoinHandle};

/// Ends with [`OwnedTask::close`], or when this is dropped. The default is none at all.
#[derive(Default)]
pub(crate) struct OwnedTask {
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl OwnedTask {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = stopped => {}
                () = work => {}
            }
        });
        let running = Some(Running { stop, task });
        Self {
            running: Mutex::new(running),
        }
    }

    /// Ends the task where it waits, and returns when it has ended.
    pub(crate) async fn close(&self) {
        let running = self.take();
        if let Some(Running { stop, task }) = running {
            // Fails when it has ended by itself.
            let _ = stop.send(());
            let _ = task.await;
        }
    }

    fn take(&self) -> Option<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.take()
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        if let Some(Running { task, .. }) = self.take() {
            task.abort();
        }
    }
}

/// Not on a thread that serves others.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // A panic is passed on; the work is never cancelled.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
