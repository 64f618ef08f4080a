//! What a board tells its operator over the admin socket.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{sync::mpsc, task::spawn_blocking, time::interval};

use super::{Board, Inner};
use crate::{
    Status, SwitchError, SwitchReport, Switched,
    admin::{ErrorKind, Failure, Operate, PluginReport, PluginState},
    config::PluginName,
    plugins::PluginFolder,
};

/// How often to look where the servers stand while they change their transport.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A board that may be gone: its socket does not keep it alive.
pub(super) struct Operator(Weak<Inner>);

impl Operator {
    pub(super) fn new(board: &Board) -> Self {
        Self(Arc::downgrade(&board.0))
    }

    fn board(&self) -> Result<Board, Failure> {
        let closing = || Failure::new(ErrorKind::Closing, "the server is stopping");
        self.0.upgrade().map(Board).ok_or_else(closing)
    }
}

impl Operate for Operator {
    fn status(&self, sample: Duration) -> BoxFuture<'_, Result<Status, Failure>> {
        async move {
            let board = self.board()?;
            Ok(match sample.is_zero() {
                true => board.status(),
                false => board.measure(sample).await,
            })
        }
        .boxed()
    }

    fn plugins(&self) -> BoxFuture<'_, Result<Vec<PluginReport>, Failure>> {
        async move {
            let board = self.board()?;
            let running = board.0.lines.home().and_then(|line| line.status());
            let running = running.map(|transport| (transport.name, transport.digest));
            let folder = board.0.folder.clone();
            drop(board);
            let listed = spawn_blocking(move || list(&folder, running)).await;
            listed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        }
        .boxed()
    }

    fn switch(
        &self,
        transport: String,
        force: bool,
        steps: mpsc::Sender<SwitchReport>,
    ) -> BoxFuture<'_, Result<Switched, Failure>> {
        async move {
            let board = self.board()?;
            let failed = |error: SwitchError| Failure::new(ErrorKind::Failed, error.to_string());
            let mut switching = pin!(board.switch_to(&transport, force));
            let mut looks = interval(LOOK_EVERY);
            let mut told = None;
            loop {
                tokio::select! {
                    biased;
                    switched = &mut switching => return switched.map_err(failed),
                    _ = looks.tick() => {
                        let step = board.status().switch;
                        if let Some(step) = step.filter(|step| told != Some(step.outline())) {
                            told = Some(step.outline());
                            let _ = steps.try_send(step);
                        }
                    }
                }
            }
        }
        .boxed()
    }

    fn abort(&self) -> BoxFuture<'_, Result<bool, Failure>> {
        async move { Ok(self.board()?.abort_switch().await) }.boxed()
    }
}

/// Reads every plugin of a folder. `running`: the name and the digest of the one at work.
fn list(
    folder: &PluginFolder,
    running: Option<(String, String)>,
) -> Result<Vec<PluginReport>, Failure> {
    let names = folder.list();
    let names = names.map_err(|error| Failure::new(ErrorKind::Failed, error.to_string()))?;
    let report = |name: PluginName| {
        let runs = running.as_ref().filter(|(runs, _)| runs == name.as_str());
        match folder.find(&name) {
            Ok(file) => {
                let digest = file.digest.to_string();
                PluginReport {
                    name: name.to_string(),
                    state: match runs {
                        Some((_, runs)) if *runs == digest => PluginState::Running,
                        Some(_) => PluginState::Replaced,
                        None => PluginState::Available,
                    },
                    version: file.manifest.version,
                    description: file.manifest.description,
                    digest: Some(digest),
                    problem: None,
                }
            }
            Err(error) => PluginReport {
                name: name.to_string(),
                state: PluginState::Broken,
                version: None,
                description: None,
                digest: None,
                problem: Some(error.to_string()),
            },
        }
    };
    Ok(names.into_iter().map(report).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::plugins::Digest;

    #[test]
    fn a_folder_is_listed_with_what_each_plugin_is_to_the_server() {
        const WASM: &[u8] = b"\0asm\x0d\0\x01\0";
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("local", WASM), ("other", WASM), ("torn", &WASM[..5])] {
            fs::write(dir.path().join(format!("{name}.wasm")), bytes).unwrap();
        }
        fs::write(dir.path().join("local.toml"), "version = '7'").unwrap();
        let folder = PluginFolder::new(dir.path());
        let states = |digest: &[u8]| {
            let running = ("local".to_owned(), Digest::of(digest).to_string());
            let reports = list(&folder, Some(running)).unwrap();
            assert_eq!(reports[0].version.as_deref(), Some("7"));
            assert!(reports[2].problem.as_ref().unwrap().contains("not whole"));
            let states: Vec<PluginState> = reports.iter().map(|report| report.state).collect();
            states
        };
        use PluginState::{Available, Broken, Replaced, Running};
        assert_eq!(states(WASM), [Running, Available, Broken]);
        assert_eq!(states(b"before"), [Replaced, Available, Broken]);
    }
}
