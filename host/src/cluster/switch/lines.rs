//! The lines that are open, and what is done to them: opening, entering namespaces, speaking beside
//! the outbox, closing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{
    OpenLine, Opener,
    machine::{Input, LineId},
    merge::MergeLimits,
    message::Version,
    publisher::{Leave, Left, Numbered, WayOut},
    side::Side,
    subscriber::{Entered, Order},
};
use crate::cluster::{
    CLOSE_GRACE,
    link::Failure,
    message::{Message, Namespace, NodeId},
    namespaces::Namespaces,
};

/// A namespace that cannot be entered on a new line is tried again after this time.
const ENTER_AGAIN: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Lines {
    way: Arc<WayOut>,
    orders: mpsc::Sender<Order>,
    opener: Arc<dyn Opener>,
    /// Those that are open and not home.
    sides: HashMap<LineId, Side>,
    /// Lines that are being opened; closing one aborts it.
    opening: JoinSet<Opening>,
    attempts: HashMap<LineId, AbortHandle>,
    /// Lines that are being closed.
    closing: JoinSet<()>,
    /// Where this server goes, if it is going.
    leaving: Option<LineId>,
}

/// How opening a line has ended.
pub(super) struct Opening {
    line: LineId,
    result: Result<(Numbered, Entered), String>,
}

impl Lines {
    pub(super) fn new(
        way: Arc<WayOut>,
        orders: mpsc::Sender<Order>,
        opener: Arc<dyn Opener>,
    ) -> Self {
        Self {
            way,
            orders,
            opener,
            sides: HashMap::new(),
            opening: JoinSet::new(),
            attempts: HashMap::new(),
            closing: JoinSet::new(),
            leaving: None,
        }
    }

    /// Begins to open a transport, and to enter on it what this server serves.
    pub(super) fn open(&mut self, line: LineId, transport: &str, namespaces: Arc<Namespaces>) {
        let opened = self.opener.open(line, transport);
        let next = self.way.fresh_number();
        let attempt = self.opening.spawn(async move {
            let result = async {
                let OpenLine {
                    publisher,
                    subscriber,
                } = opened.await?;
                let mut entered = Entered {
                    subscriber,
                    namespaces: BTreeSet::new(),
                };
                let wanted = namespaces.names().into_iter().collect();
                enter(&mut entered, wanted).await?;
                let numbered = Numbered {
                    line,
                    publisher,
                    next,
                };
                Ok((numbered, entered))
            };
            Opening {
                line,
                result: result.await,
            }
        });
        self.attempts.insert(line, attempt);
    }

    /// The next line that is open, or could not be opened. Waits for ever when none is being opened.
    /// May be dropped.
    pub(super) async fn opened(&mut self) -> Opening {
        loop {
            match self.opening.join_next().await {
                Some(Ok(opening)) => return opening,
                // Aborted, because the line is closed again; a panic has been reported.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes a line in that was opened.
    pub(super) async fn take_in(&mut self, Opening { line, result }: Opening) -> Input {
        self.attempts.remove(&line);
        match result {
            Err(why) => {
                self.closing.spawn(self.opener.close(line));
                Input::OpenFailed(line, why)
            }
            Ok((numbered, entered)) => {
                self.listen(line, entered).await;
                self.sides.insert(line, Side::start(numbered));
                Input::Opened(line)
            }
        }
    }

    /// Gives a line to the way in. Namespaces that came meanwhile are entered first.
    async fn listen(&mut self, line: LineId, mut entered: Entered) {
        loop {
            let (reply, taken) = oneshot::channel();
            let order = Order::Add {
                line,
                entered,
                reply,
            };
            self.order(order).await;
            let Ok(Err((again, wanted))) = taken.await else {
                return;
            };
            entered = again;
            // What still fails is entered by the inbox, as on any line.
            if enter(&mut entered, wanted.clone()).await.is_err() {
                entered.namespaces = wanted;
            }
        }
    }

    /// Says something on a line that is not home. False: it is not open.
    pub(super) fn tell(&self, line: LineId, message: Message) -> bool {
        let side = self.sides.get(&line);
        side.map(|side| side.tell(message)).is_some()
    }

    /// From now on the outbox goes over to this line when it has sent the mark.
    pub(super) async fn leave(&mut self, to: LineId, mark: String) -> bool {
        let Some(side) = self.sides.remove(&to) else {
            return false;
        };
        let Some(to) = side.flush().await else {
            return false;
        };
        self.leaving = Some(to.line);
        self.way.leave(Leave {
            mark,
            to,
            now: false,
        });
        true
    }

    pub(super) fn leave_now(&self) {
        self.way.leave_now();
    }

    /// For [`WayOut::left`].
    pub(super) fn way(&self) -> Arc<WayOut> {
        Arc::clone(&self.way)
    }

    /// Books it: what was home is spoken on by the switch alone from now on.
    pub(super) async fn has_left(&mut self, Left { old, forced }: Left) -> Input {
        self.way.used(old.next);
        self.sides.insert(old.line, Side::start(old));
        if let Some(home) = self.leaving.take() {
            self.opener.home(home);
            self.order(Order::Home(home)).await;
        }
        Input::Left { forced }
    }

    /// Closes a line, in the background.
    pub(super) async fn close(&mut self, line: LineId) {
        if let Some(attempt) = self.attempts.remove(&line) {
            attempt.abort();
        }
        let (reply, removed) = oneshot::channel();
        self.order(Order::Remove { line, reply }).await;
        let side = self.sides.remove(&line);
        let (opener, way) = (Arc::clone(&self.opener), Arc::clone(&self.way));
        self.closing.spawn(async move {
            if let Some(side) = side
                && let Some(next) = side.close().await
            {
                way.used(next);
            }
            if let Ok(Some(mut subscriber)) = removed.await
                && timeout(CLOSE_GRACE, subscriber.close()).await.is_err()
            {
                tracing::warn!("switch: a transport took too long to close its way in");
            }
            opener.close(line).await;
        });
    }

    /// Gives an order to the way in.
    pub(super) async fn order(&self, order: Order) {
        // Fails only when the cluster is closed.
        let _ = self.orders.send(order).await;
    }

    pub(super) async fn merge(&self, old: LineId, new: LineId, after: Version, who: Vec<NodeId>) {
        let limits = MergeLimits::default();
        self.order(Order::Merge {
            old,
            new,
            after,
            awaited: who,
            limits,
        })
        .await;
    }

    /// Reaps what has ended, without waiting.
    pub(super) fn reap(&mut self) {
        while self.closing.try_join_next().is_some() {}
    }

    /// Closes all but home, which the cluster closes.
    pub(super) async fn shut(&mut self) {
        self.opening.shutdown().await;
        for (_, side) in self.sides.drain() {
            side.close().await;
        }
        while self.closing.join_next().await.is_some() {}
    }
}

/// Enters namespaces until all are entered. What a plugin refuses for good is left out, as on any
/// line.
///
/// # Errors
/// The plugin is given up.
async fn enter(entered: &mut Entered, wanted: BTreeSet<Namespace>) -> Result<(), String> {
    for namespace in wanted {
        while !entered.namespaces.contains(&namespace) {
            match entered.subscriber.enter(namespace.clone()).await {
                Ok(()) | Err(Failure::Rejected(_)) => {
                    entered.namespaces.insert(namespace.clone());
                }
                Err(Failure::GivenUp(why)) => return Err(why),
                // Whoever waits for it has a deadline.
                Err(Failure::Unavailable(_) | Failure::Faulted(_)) => sleep(ENTER_AGAIN).await,
            }
        }
    }
    Ok(())
}
