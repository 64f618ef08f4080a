//! The transport of the cluster: every page sees which one each node uses, and can move all of them
//! to another one while the chat goes on.
//!
//! A real server would leave this to its operator.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use socketioxide::{
    SocketIo,
    adapter::Adapter,
    extract::{AckSender, SocketRef, State, TryData},
};
use switchboard::{Board, SwitchPhase, Switched};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

/// How often a node looks where it stands.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A node tells it even if nothing has changed, for pages that have just been opened.
const TELL_EVERY: u32 = 20;
/// Bytes of a transport's name. A page could send any text instead of it.
const MAX_NAME_BYTES: usize = 64;

/// What the cluster can be moved to, and the way to do it.
pub(crate) struct Transports {
    board: Board,
    choices: Vec<String>,
}

/// Where one node stands; told to its own pages, which hear of the others from their nodes.
#[derive(Clone, PartialEq, Serialize)]
struct Standing {
    /// The node's id.
    node: String,
    on: String,
    phase: SwitchPhase,
    to: Option<String>,
    choices: Vec<String>,
}

/// The answer to `switch`.
#[derive(Default, Serialize)]
struct Report {
    error: Option<String>,
    switched: Option<Switched>,
}

#[derive(Deserialize)]
pub(crate) struct Choice {
    to: String,
}

impl Transports {
    pub(crate) fn new(board: Board, choices: Vec<String>) -> Self {
        Self { board, choices }
    }

    fn standing(&self) -> Option<Standing> {
        let report = self.board.status().switch?;
        Some(Standing {
            node: self.board.node().to_string(),
            on: report.on,
            phase: report.phase,
            to: report.to,
            choices: self.choices.clone(),
        })
    }

    async fn switch(&self, to: &str) -> Report {
        if to.len() > MAX_NAME_BYTES || !self.choices.iter().any(|choice| choice == to) {
            let error = "this cluster is not set up for such a transport".to_owned();
            return Report {
                error: Some(error),
                ..Report::default()
            };
        }
        match self.board.switch_to(to, false).await {
            Ok(switched) => Report {
                switched: Some(switched),
                ..Report::default()
            },
            Err(error) => Report {
                error: Some(error.to_string()),
                ..Report::default()
            },
        }
    }
}

/// A visitor wants all nodes on another transport.
pub(crate) async fn switch<A: Adapter>(
    socket: SocketRef<A>,
    State(transports): State<Arc<Transports>>,
    TryData(choice): TryData<Choice>,
    ack: AckSender<A>,
) {
    let report = match choice {
        Ok(Choice { to }) => transports.switch(&to).await,
        Err(error) => Report {
            error: Some(format!("this was not understood: {error}")),
            ..Report::default()
        },
    };
    if let Err(error) = ack.send(&report) {
        debug!(%error, socket = %socket.id, "a visitor left before the switch was over");
    }
}

/// Tells all pages where this node stands, until the task is aborted.
pub(crate) async fn tell<A: Adapter>(io: SocketIo<A>, transports: Arc<Transports>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut ticks) = (None, 0);
    loop {
        looks.tick().await;
        ticks += 1;
        let standing = transports.standing();
        if standing == told && ticks < TELL_EVERY {
            continue;
        }
        if let Some(standing) = &standing
            && let Err(error) = io.emit("transport", standing).await
        {
            warn!(%error, "not every page was told of this node's transport");
        }
        (told, ticks) = (standing, 0);
    }
}
