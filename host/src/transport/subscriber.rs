//! The way in: a plugin's `subscriber`, as the cluster core's inbox polls it.
//!
//! The instance lives in a task of its own. A poll whose future is dropped goes on there, and its
//! events wait for the next poll; a namespace that is entered wakes the instance out of its wait.
//! Two slots, one for a command and one for polled events, are all that is ever queued.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    from_guest,
    instance::{Away, Candidate, Live},
    keeper::Keeper,
    node::PluginState,
    plugin::{Role, TransportError, TransportPlugin},
    publisher::first_open,
    report::InstanceStatus,
};
use crate::{
    bindings::{
        exports::switchboard::transport::subscriber::Guest as Exports,
        switchboard::transport::lifecycle::{Config, Failure as WitFailure, OpenFailure},
    },
    capabilities::Wake,
    cluster::{Event, Failure, Namespace, Offset, Subscriber},
    runtime::{Fault, Guest},
};

/// Commands that wait for the instance. The inbox sends one at a time, and an upgrade another one.
const MAX_COMMANDS: usize = 4;

/// How long a poll may take beyond what it was asked to wait, before it counts as stuck.
const POLL_GRACE: Duration = Duration::from_secs(10);

/// How long a plugin that is to take over may take to open and to enter all namespaces, and no longer
/// than any call may: nothing is taken from the backend meanwhile.
const HANDOVER_LIMIT: Duration = Duration::from_secs(5);

/// What the task is asked to do.
enum Command {
    Poll {
        timeout: Duration,
        max_events: u32,
        reply: oneshot::Sender<Polled>,
    },
    Enter {
        namespace: Namespace,
        reply: oneshot::Sender<Result<(), Failure>>,
    },
    Leave {
        namespace: Namespace,
        reply: oneshot::Sender<()>,
    },
    Upgrade {
        candidate: Candidate,
        reply: oneshot::Sender<Upgraded>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// The instance that was at work before, to be dropped where that delays nobody.
type Upgraded = Result<Option<Live<Exports>>, Away>;

type Polled = Result<Vec<Event>, Failure>;

/// A plugin's way in.
pub(crate) struct PluginSubscriber {
    commands: mpsc::Sender<Command>,
    /// The poll that is still running in the task, if its future was dropped.
    polling: Option<oneshot::Receiver<Polled>>,
    wake: Arc<Wake>,
    relief: Arc<Wake>,
    status: Arc<InstanceStatus>,
    task: JoinHandle<()>,
}

/// What an upgrade needs of a way in.
#[derive(Clone)]
pub(super) struct SubscriberSeat {
    commands: mpsc::Sender<Command>,
    wake: Arc<Wake>,
    relief: Arc<Wake>,
    pub(super) status: Arc<InstanceStatus>,
}

impl SubscriberSeat {
    /// Makes an instance of another plugin; the one at work notices nothing.
    pub(super) async fn prepare(&self, plugin: &Arc<TransportPlugin>) -> Result<Candidate, Away> {
        Candidate::new(plugin, Role::Subscriber, &self.wake).await
    }

    /// Opens it between two polls and lets it take over; if it does not open, the one before goes
    /// on. None: the way in is closed.
    pub(super) async fn hand_over(&self, candidate: Candidate) -> Option<Result<(), Away>> {
        let (reply, answer) = oneshot::channel();
        // Room first: who is woken must find the command, or nobody would end the wake-up.
        let room = self.commands.reserve().await.ok()?;
        self.relief.wake();
        self.wake.wake();
        room.send(Command::Upgrade { candidate, reply });
        let upgraded = answer.await.ok()?;
        Some(upgraded.map(drop))
    }
}

impl PluginSubscriber {
    /// Starts the task and opens the instance for the first time. A backend that is away is no
    /// error: the polls say so until it is back.
    pub(crate) async fn open(plugin: Arc<TransportPlugin>) -> Result<Self, TransportError> {
        let name = plugin.name.clone();
        let mut worker = Worker {
            keeper: Keeper::new(plugin, Role::Subscriber).starting(),
            namespaces: BTreeSet::new(),
            resume_from: None,
        };
        if let Err(away) = worker.live().await {
            first_open(name, away)?;
        }
        worker.keeper.started();
        let (commands, queue) = mpsc::channel(MAX_COMMANDS);
        let wake = Arc::clone(&worker.keeper.wake);
        let relief = worker.keeper.relief();
        let status = worker.keeper.status();
        let task = tokio::spawn(worker.run(queue));
        Ok(Self {
            commands,
            polling: None,
            wake,
            relief,
            status,
            task,
        })
    }

    pub(crate) fn status(&self) -> Arc<InstanceStatus> {
        Arc::clone(&self.status)
    }

    pub(super) fn seat(&self) -> SubscriberSeat {
        SubscriberSeat {
            commands: self.commands.clone(),
            wake: Arc::clone(&self.wake),
            relief: Arc::clone(&self.relief),
            status: self.status(),
        }
    }

    /// Hands a command to the task, out of whatever wait its plugin is in.
    async fn ask<R>(
        &self,
        command: impl FnOnce(oneshot::Sender<R>) -> Command,
    ) -> Result<R, Failure> {
        let (reply, answer) = oneshot::channel();
        self.wake.wake();
        let asked = self.commands.send(command(reply)).await;
        let answer = if asked.is_ok() {
            answer.await.ok()
        } else {
            None
        };
        answer.ok_or_else(ended)
    }
}

fn ended() -> Failure {
    Failure::Unavailable("the subscriber's task has ended".to_owned())
}

impl Drop for PluginSubscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscriber for PluginSubscriber {
    fn enter(&mut self, namespace: Namespace) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            self.ask(|reply| Command::Enter { namespace, reply })
                .await?
        }
        .boxed()
    }

    fn leave<'a>(&'a mut self, namespace: &'a Namespace) -> BoxFuture<'a, ()> {
        let namespace = namespace.clone();
        async move {
            // Only fails when the task has ended, and then nothing is subscribed.
            let _ = self.ask(|reply| Command::Leave { namespace, reply }).await;
        }
        .boxed()
    }

    fn poll(&mut self, timeout: Duration, max_events: usize) -> BoxFuture<'_, Polled> {
        async move {
            let answer = match &mut self.polling {
                Some(answer) => answer,
                none => {
                    let (reply, answer) = oneshot::channel();
                    let max_events = u32::try_from(max_events).unwrap_or(u32::MAX);
                    let command = Command::Poll {
                        timeout,
                        max_events,
                        reply,
                    };
                    self.commands.send(command).await.map_err(|_| ended())?;
                    none.insert(answer)
                }
            };
            let polled = answer.await;
            self.polling = None;
            polled.map_err(|_| ended())?
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async move {
            if self.ask(|reply| Command::Close { reply }).await.is_ok() {
                // It returns right after its answer.
                let _ = (&mut self.task).await;
            }
        }
        .boxed()
    }
}

/// The task's state.
struct Worker {
    keeper: Keeper<Exports>,
    /// Told to every fresh instance.
    namespaces: BTreeSet<String>,
    /// Offset of the last event that the host has taken.
    resume_from: Option<Offset>,
}

impl Worker {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Poll {
                    timeout,
                    max_events,
                    reply,
                } => {
                    // Nobody listens any more only when the subscriber was dropped.
                    let _ = reply.send(self.poll(timeout, max_events).await);
                }
                Command::Enter { namespace, reply } => {
                    self.keeper.wake.clear();
                    let _ = reply.send(self.enter(&namespace).await);
                }
                Command::Leave { namespace, reply } => {
                    self.keeper.wake.clear();
                    self.leave(&namespace).await;
                    let _ = reply.send(());
                }
                Command::Upgrade { candidate, reply } => {
                    self.keeper.wake.clear();
                    self.keeper.relief().clear();
                    // Whoever asked may be gone; the instance takes over all the same.
                    let _ = reply.send(self.upgrade(candidate).await);
                }
                Command::Close { reply } => {
                    self.keeper.wake.clear();
                    self.close().await;
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    async fn live(&mut self) -> Result<&mut Live<Exports>, Away> {
        let (namespaces, resume_from) = (&self.namespaces, &self.resume_from);
        self.keeper
            .live(async |plugin, guest| {
                let limit = plugin.limits().call_timeout;
                open(plugin, guest, namespaces, resume_from, limit).await
            })
            .await
    }

    async fn upgrade(&mut self, candidate: Candidate) -> Upgraded {
        let (namespaces, resume_from) = (&self.namespaces, &self.resume_from);
        let opened = candidate
            .open(async |plugin, guest| {
                let limit = plugin.limits().call_timeout.min(HANDOVER_LIMIT);
                open(plugin, guest, namespaces, resume_from, limit).await
            })
            .await;
        match opened {
            Ok(opened) => Ok(self.keeper.succeed(opened)),
            // It waited for its backend, which the host sees to be away.
            Err(Away::Fault(fault @ Fault::Stuck { .. })) if self.keeper.plugin.is_cut_off() => {
                Err(Away::Backend(fault.to_string()))
            }
            Err(Away::Backend(why)) => Err(Away::Backend(why)),
            Err(away) => {
                self.enter_again().await;
                Err(away)
            }
        }
    }

    /// The one that did not open may have changed what the host delivers.
    async fn enter_again(&mut self) {
        for namespace in self.namespaces.clone() {
            if self.keeper.current().is_none() {
                // It enters them when it is opened.
                return;
            }
            if let Err(failure) = self.enter(&Namespace::from(namespace.as_str())).await {
                // The others would not fare better, and nothing is delivered meanwhile.
                tracing::warn!(namespace, "cannot enter it again: {failure}");
                return;
            }
        }
    }

    async fn poll(&mut self, timeout: Duration, max_events: u32) -> Polled {
        let Live { guest, api } = self.live().await.map_err(Failure::from)?;
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let deadline = timeout.saturating_add(POLL_GRACE);
        let polled = guest
            .call("poll", deadline, async |store, _| {
                api.call_poll(store, timeout_ms, max_events).await
            })
            .await;
        match polled {
            Ok(Ok(events)) => {
                self.keeper.returned(true);
                let events = from_guest::events(events);
                let last = events.iter().rev().find_map(|event| match event {
                    Event::Message(_, offset) => offset.clone(),
                    _ => None,
                });
                if last.is_some() {
                    self.resume_from = last;
                }
                Ok(events)
            }
            Ok(Err(failure)) => {
                self.keeper.returned(false);
                Err(from_guest::failure(failure))
            }
            Err(fault) => {
                self.keeper.died(&fault);
                Err(Failure::Faulted(fault.to_string()))
            }
        }
    }

    async fn enter(&mut self, namespace: &Namespace) -> Result<(), Failure> {
        self.namespaces.insert(namespace.to_string());
        // A fresh instance enters all of them, this one included.
        let Live { guest, api } = self.live().await.map_err(Failure::from)?;
        let timeout = guest.limits().call_timeout;
        let entered = guest
            .call("enter", timeout, async |store, _| {
                api.call_enter(store, namespace.as_str()).await
            })
            .await;
        match entered {
            Ok(result) => {
                self.keeper.returned(false);
                result.map_err(from_guest::failure)
            }
            Err(fault) => {
                self.keeper.died(&fault);
                Err(Failure::Faulted(fault.to_string()))
            }
        }
    }

    async fn leave(&mut self, namespace: &Namespace) {
        self.namespaces.remove(namespace.as_str());
        let Some(Live { guest, api }) = self.keeper.current() else {
            return;
        };
        if !guest.is_alive() {
            return;
        }
        let timeout = guest.limits().call_timeout;
        let left = guest
            .call("leave", timeout, async |store, _| {
                api.call_leave(store, namespace.as_str()).await
            })
            .await;
        match left {
            Ok(()) => self.keeper.returned(false),
            Err(fault) => self.keeper.died(&fault),
        }
    }

    async fn close(&mut self) {
        self.keeper
            .close(async |api, store| api.call_close(store).await)
            .await;
    }
}

/// Opens an instance and enters every namespace.
async fn open(
    plugin: &TransportPlugin,
    guest: &mut Guest<PluginState>,
    namespaces: &BTreeSet<String>,
    resume_from: &Option<Offset>,
    limit: Duration,
) -> Result<Result<Exports, OpenFailure>, Fault> {
    let opened = guest
        .call("subscriber.open", limit, async |store, instance| {
            let api = plugin.subscriber.load(&mut *store, instance)?;
            let config = Config {
                node: plugin.node.as_str(),
                options: &plugin.options,
            };
            let resume_from = resume_from.as_ref().map(Offset::as_str);
            let opened = api.call_open(&mut *store, config, resume_from).await?;
            if let Err(failure) = opened {
                return Ok(Err(failure));
            }
            for namespace in namespaces {
                match api.call_enter(&mut *store, namespace).await? {
                    Ok(()) => {}
                    Err(WitFailure::Unavailable(why)) => {
                        return Ok(Err(OpenFailure::Unavailable(why)));
                    }
                    // This namespace can never be entered; the others are not to blame.
                    Err(WitFailure::Rejected(why)) => {
                        tracing::warn!(namespace, "the plugin refuses a namespace: {why}");
                    }
                }
            }
            Ok(Ok(api))
        })
        .await?;
    if opened.is_ok() {
        guest.state_mut().capabilities.effects.commit(false);
    }
    // Else what it did is undone when it is dropped: another instance may go on in its place.
    Ok(opened)
}
