//! When to stop: at a signal, or when the process that started this one is gone.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing::warn;

/// Waits until somebody wants the server to stop.
pub(crate) async fn requested(with_stdin: bool) {
    tokio::select! {
        () = signalled(SignalKind::interrupt()) => {}
        () = signalled(SignalKind::terminate()) => {}
        () = stdin_ended(), if with_stdin => {}
    }
}

async fn signalled(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            warn!(%error, ?kind, "cannot listen to this signal; it will not stop the server cleanly");
            std::future::pending().await
        }
    }
}

/// Waits for the end of standard input: our parent has closed it, or has died.
async fn stdin_ended() {
    let (ended, when_ended) = oneshot::channel();
    // A thread of its own, which ends with the process: tokio's stdin would keep the runtime from
    // stopping until the read in progress returns.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = when_ended.await;
}
