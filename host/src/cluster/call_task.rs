//! The task that runs this server's handlers: starts them in the order of the calls, lets them go
//! on side by side, and sends their answers.
//!
//! A handler may take as long as it likes. Its answer is sent whenever it comes, because only the
//! asker knows how long it waits; one that comes too late is ignored there. Unlike the inbox this
//! task may wait for room in the outbox.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, poll};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    calls::{Asker, Queued, shortened},
    handlers::Reply,
    health::Throttle,
    shared::Shared,
};

tokio::task_local! {
    /// Of which cluster this task runs a handler.
    static CALLED_BY: usize;
}

/// The task's state.
pub(super) struct CallTask {
    context: Arc<Context>,
    queue: mpsc::Receiver<Queued>,
    /// The handlers that did not end before their first wait.
    running: JoinSet<()>,
}

struct Context {
    shared: Arc<Shared>,
    panics: Throttle,
}

impl CallTask {
    pub(super) fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Queued>) -> Self {
        Self {
            context: Arc::new(Context {
                shared,
                panics: Throttle::default(),
            }),
            queue,
            running: JoinSet::new(),
        }
    }

    /// Starts handlers until `closing` is set, then only lets those go on that run; ends with the
    /// last one, or with `stop` (or its drop), which aborts them.
    pub(super) async fn run(
        mut self,
        mut closing: watch::Receiver<Option<Instant>>,
        stop: oneshot::Receiver<()>,
    ) {
        tokio::select! {
            // An error says that the cluster itself is gone: the same end.
            _ = closing.wait_for(Option::is_some) => {}
            () = self.serve() => {}
        }
        // With it go the calls that wait.
        drop(self.queue);
        tokio::select! {
            _ = stop => self.running.shutdown().await,
            () = async { while self.running.join_next().await.is_some() {} } => {}
        }
    }

    async fn serve(&mut self) {
        loop {
            tokio::select! {
                queued = self.queue.recv() => match queued {
                    Some(queued) => self.start(queued).await,
                    None => return,
                },
                Some(_ended) = self.running.join_next() => {}
            }
        }
    }

    /// Runs a call to its first wait; if it has one, it goes on in a task of its own. Does not wait
    /// itself.
    async fn start(&mut self, queued: Queued) {
        let mut call = run(self.context.clone(), queued).boxed();
        if poll!(&mut call).is_pending() {
            self.running.spawn(call);
        }
    }
}

async fn run(context: Arc<Context>, queued: Queued) {
    let Queued {
        call,
        name,
        handler,
        asker,
        // Kept until the answer is in the outbox.
        place: _place,
    } = queued;
    let shared = &*context.shared;
    let serves = |asker: &Asker| match asker {
        Asker::Here(_) => true,
        Asker::Node(_) | Asker::Nobody => shared.namespaces.contains(&call.namespace),
    };
    if !serves(&asker) {
        return;
    }
    let namespace = call.namespace.clone();
    // In here the call that makes the future is guarded, too, and so is dropping it.
    let guarded = AssertUnwindSafe(async move { handler(call).await }).catch_unwind();
    let reply = CALLED_BY.scope(mark(shared), guarded).await;
    let reply = reply.unwrap_or_else(|panic| {
        context.panicked(&namespace, &name, &*panic);
        Reply::Failed("the handler panicked".into())
    });

    let answer = match reply {
        Reply::Value(value) => Ok(value),
        Reply::Failed(why) => Err(why),
        Reply::Silent => return,
    };
    match asker {
        Asker::Nobody => {}
        // The asker may have given up meanwhile.
        Asker::Here(asker) => _ = asker.send(answer),
        Asker::Node(remote) => {
            let body = remote.body(answer);
            // An error says that the cluster is closed or the namespace left: the asker does not
            // wait any more.
            let _ = shared
                .outbox
                .send_answer(&namespace, remote.node, body)
                .await;
        }
    }
}

impl Context {
    fn panicked(&self, namespace: &dyn std::fmt::Display, name: &str, panic: &(dyn Any + Send)) {
        self.shared.counters.panicked_calls.add(1);
        if let Some(more) = self.panics.pass() {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            tracing::error!(
                %namespace, name = %shortened(name), more,
                "cluster: a handler panicked: {}",
                text.unwrap_or("with a value that is no text")
            );
        }
    }
}

/// Is this code run by a handler of this cluster?
pub(super) fn in_handler_of(shared: &Shared) -> bool {
    CALLED_BY.try_with(|by| *by == mark(shared)) == Ok(true)
}

/// Tells a cluster from the others of this process, as long as it lives.
fn mark(shared: &Shared) -> usize {
    std::ptr::from_ref(shared).addr()
}
