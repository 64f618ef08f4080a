//! Following the configuration file while the server runs: another `transport` there moves the
//! cluster, and what is set for plugins and connections holds from now on.
//!
//! Where several servers have files of their own, the first whose file changes asks in vain, because
//! the others do not know the new transport yet. So each asks again for a while, until the cluster is
//! there.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Board, Inner};
use crate::{
    SwitchError,
    config::{Config, Transport},
    error::one_line,
    plugins::Stamp,
    task::blocking,
};

/// How long to ask for a switch that is refused or called off.
const ASK_FOR: Duration = Duration::from_secs(600);
/// The longest pause between two askings; the first is the interval of the looks.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// The task's state.
pub(super) struct FileFollow {
    board: Weak<Inner>,
    file: Watched,
    every: Duration,
    /// The file as it was read last.
    before: Arc<Config>,
    wanted: Option<Wanted>,
}

/// A transport that the file asks for, and that the cluster is not on yet.
struct Wanted {
    transport: String,
    /// Where the cluster was when the file changed. When it has gone somewhere else since, somebody
    /// has decided otherwise.
    from: String,
    at: Instant,
    pause: Duration,
    until: Instant,
    has_failed: bool,
}

impl FileFollow {
    /// Of a server that was started with this configuration. None: it was not read from a file, or
    /// is not to be looked at.
    pub(super) fn of(board: &Board, config: &Config) -> Option<Self> {
        let source = config.file.clone()?;
        if config.watch_plugins.is_zero() {
            return None;
        }
        Some(Self {
            board: Arc::downgrade(&board.0),
            file: Watched::new(source.path, source.stamp),
            every: config.watch_plugins,
            before: source.said,
            wanted: None,
        })
    }

    pub(super) async fn run(mut self) {
        let mut looks = interval_at(Instant::now() + self.every, self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let mut file = self.file.clone();
            let has_changed;
            (self.file, has_changed) = blocking(move || {
                let has_changed = file.look();
                (file, has_changed)
            })
            .await;
            if has_changed {
                self.take().await;
            }
            self.ask().await;
        }
    }

    async fn read(&self) -> Result<Config, crate::config::ConfigError> {
        let path = self.file.path.clone();
        blocking(move || Config::from_file(path)).await
    }

    async fn take(&mut self) {
        if self.file.told.is_none() {
            tracing::warn!(
                "configuration file: it was removed; what it said stays, but this server could not \
                 start again"
            );
            return;
        }
        let now = match self.read().await {
            Ok(now) => now,
            Err(why) => {
                tracing::error!(
                    "configuration file: it is wrong now, what it said before stays: {}",
                    one_line(&why)
                );
                return;
            }
        };
        let Some(board) = self.board.upgrade().map(Board) else {
            return;
        };
        let changes = board.0.lines.follow(&self.before, &now);
        self.before = Arc::new(now);
        if !changes.taken.is_empty() {
            tracing::info!(
                "configuration file: {} changed, for plugins that are loaded and connections that \
                 are made from now on",
                listed(&changes.taken)
            );
            board.0.follower.doubt();
        }
        if !changes.at_restart.is_empty() {
            tracing::warn!(
                "configuration file: {} changed, which takes effect when this server starts again",
                listed(&changes.at_restart)
            );
        }
        if let Some(transport) = changes.transport {
            self.want(&board, transport);
        }
    }

    fn want(&mut self, board: &Board, transport: Transport) {
        let report = board.status().switch;
        let (Transport::Plugin(transport), Some(report)) = (transport, report) else {
            tracing::warn!(
                "configuration file: `transport` changed from or to \"none\", which takes effect \
                 when this server starts again"
            );
            return;
        };
        tracing::info!("configuration file: the transport is to be `{transport}`");
        let now = Instant::now();
        self.wanted = Some(Wanted {
            transport: transport.to_string(),
            from: report.on,
            at: now,
            pause: self.every,
            until: now + ASK_FOR,
            has_failed: false,
        });
    }

    /// Asks for the transport that is wanted, if it is time.
    async fn ask(&mut self) {
        let now = Instant::now();
        let Some(mut wanted) = self.wanted.take_if(|wanted| wanted.at <= now) else {
            return;
        };
        let Some(board) = self.board.upgrade().map(Board) else {
            return;
        };
        let on = board.status().switch.map(|report| report.on);
        let on = on.unwrap_or_default();
        if on == wanted.transport {
            return;
        }
        if on != wanted.from {
            tracing::warn!(
                "configuration file: it asks for `{}`, but the cluster was moved to `{on}` \
                 meanwhile and stays there",
                wanted.transport
            );
            return;
        }
        let why = match board.switch_to(&wanted.transport, false).await {
            Ok(_) | Err(SwitchError::Closed) => return,
            Err(why) => why,
        };
        let may_pass = matches!(why, SwitchError::Refused(_) | SwitchError::Aborted(_));
        if !may_pass || Instant::now() > wanted.until {
            tracing::error!(
                "configuration file: the cluster stays on `{on}`, and this server would start on \
                 `{}`: {}",
                wanted.transport,
                one_line(&why)
            );
            return;
        }
        if !wanted.has_failed {
            tracing::warn!(
                "configuration file: the cluster cannot go to `{}` yet, and is asked again: {}",
                wanted.transport,
                one_line(&why)
            );
        }
        wanted.has_failed = true;
        wanted.at = Instant::now() + wanted.pause;
        wanted.pause = wanted
            .pause
            .saturating_mul(2)
            .min(MAX_PAUSE.max(self.every));
        self.wanted = Some(wanted);
    }
}

/// A file, what was last told of it, and what was seen at the last look.
#[derive(Clone)]
struct Watched {
    path: PathBuf,
    told: Option<Stamp>,
    seen: Option<Stamp>,
}

impl Watched {
    /// With what was known of the file when it was read.
    fn new(path: PathBuf, told: Option<Stamp>) -> Self {
        Self {
            path,
            told,
            seen: told,
        }
    }

    /// Has it changed, and stood so since the look before? Told once. As in
    /// [`FolderWatch`](crate::plugins::FolderWatch), a file that is being written is left alone.
    fn look(&mut self) -> bool {
        let now = Stamp::of(&self.path);
        let has_stood = std::mem::replace(&mut self.seen, now) == now;
        has_stood && std::mem::replace(&mut self.told, now) != now
    }
}

fn listed(keys: &[&str]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    keys.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_when_it_has_stood_for_a_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchboard.toml");
        std::fs::write(&path, "").unwrap();
        let mut file = Watched::new(path.clone(), Stamp::of(&path));
        assert!(!file.look());
        for text in [Some("name = 'a'"), Some("name = 'ab'"), None, Some("")] {
            match text {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert!(!file.look(), "it may still be written");
            assert!(file.look(), "{text:?}");
            assert!(!file.look(), "once");
        }
    }

    #[test]
    fn a_change_between_the_reading_and_the_first_look_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchboard.toml");
        std::fs::write(&path, "").unwrap();
        let config = Config::from_file(&path).unwrap();
        std::fs::write(&path, "name = 'later'").unwrap();
        let source = config.file.unwrap();
        let mut file = Watched::new(source.path, source.stamp);
        assert_eq!([file.look(), file.look()], [false, true]);
    }
}
