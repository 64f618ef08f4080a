//! The way in: a plugin's `subscriber`, as the cluster core's inbox polls it.
//!
//! The instance works on the task of whoever asks it, so that what arrives wakes one task on its way to
//! the local sockets. A call cannot be broken off without killing the instance: one whose future is
//! dropped is kept, and goes on when something is asked the next time; the events of such a poll are
//! handed out by the next one. An upgrade is taken in between two calls.

use std::{collections::BTreeSet, mem, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{mpsc, oneshot};

use super::{
    from_guest::{self, Taken},
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
        switchboard::transport::lifecycle::{Failure as WitFailure, OpenFailure},
    },
    capabilities::Wake,
    cluster::{Event, Failure, Namespace, Offset, Subscriber},
    runtime::{Fault, Guest},
};

/// Upgrades that may wait for the instance. They come one at a time; another one may have been given
/// up by whoever asked for it.
const MAX_SUCCESSORS: usize = 2;

/// How long a poll may take beyond what it was asked to wait, before it counts as stuck.
const POLL_GRACE: Duration = Duration::from_secs(10);

/// How long a plugin that is to take over may take to open and to enter all namespaces, and no longer
/// than any call may: nothing is taken from the backend meanwhile.
const HANDOVER_LIMIT: Duration = Duration::from_secs(5);

/// One that is to take over, and who wants to know whether it has.
struct Successor {
    candidate: Candidate,
    reply: oneshot::Sender<Upgraded>,
}

/// The instance that was at work before, to be dropped where that delays nobody.
type Upgraded = Result<Option<Live<Exports>>, Away>;

type Polled = Result<Vec<Event>, Failure>;

/// A call into the instance, which gives it back.
type Call = BoxFuture<'static, (Box<Worker>, Outcome)>;

/// What a call came to.
enum Outcome {
    Polled(Polled),
    Entered(Result<(), Failure>),
    Done,
}

enum Work {
    Idle(Box<Worker>),
    /// It waits for events, in whatever its plugin waits.
    Polling(Call),
    Busy(Call),
    /// Closed.
    Over,
}

/// A plugin's way in.
pub(crate) struct PluginSubscriber {
    work: Work,
    /// What a poll brought that nobody waited for any more.
    polled: Option<Polled>,
    successors: mpsc::Receiver<Successor>,
    /// Its turn comes when the call in progress has ended.
    successor: Option<Successor>,
    seat: SubscriberSeat,
    wake: Arc<Wake>,
    relief: Arc<Wake>,
}

/// What an upgrade needs of a way in.
#[derive(Clone)]
pub(super) struct SubscriberSeat {
    successors: mpsc::Sender<Successor>,
    wake: Arc<Wake>,
    pub(super) status: Arc<InstanceStatus>,
}

impl SubscriberSeat {
    /// Makes an instance of another plugin; the one at work notices nothing.
    pub(super) async fn prepare(&self, plugin: &Arc<TransportPlugin>) -> Result<Candidate, Away> {
        Candidate::new(plugin, Role::Subscriber, &self.wake).await
    }

    /// Has it opened between two polls and lets it take over; if it does not open, the one before
    /// goes on. Waits until the way in is polled. None: it is closed.
    pub(super) async fn hand_over(&self, candidate: Candidate) -> Option<Result<(), Away>> {
        let (reply, answer) = oneshot::channel();
        let successor = Successor { candidate, reply };
        self.successors.send(successor).await.ok()?;
        let upgraded = answer.await.ok()?;
        Some(upgraded.map(drop))
    }
}

impl PluginSubscriber {
    /// Opens the instance for the first time. A backend that is away is no error: the polls say so
    /// until it is back.
    pub(crate) async fn open(plugin: Arc<TransportPlugin>) -> Result<Self, TransportError> {
        let name = plugin.name.clone();
        let mut worker = Box::new(Worker {
            keeper: Keeper::new(plugin, Role::Subscriber).starting(),
            namespaces: BTreeSet::new(),
            resume_from: None,
            has_told: false,
        });
        if let Err(away) = worker.live().await {
            first_open(name, away)?;
        }
        worker.keeper.started();
        let (sender, successors) = mpsc::channel(MAX_SUCCESSORS);
        let wake = Arc::clone(&worker.keeper.wake);
        Ok(Self {
            polled: None,
            successors,
            successor: None,
            seat: SubscriberSeat {
                successors: sender,
                wake: Arc::clone(&wake),
                status: worker.keeper.status(),
            },
            wake,
            relief: worker.keeper.relief(),
            work: Work::Idle(worker),
        })
    }

    pub(crate) fn status(&self) -> Arc<InstanceStatus> {
        Arc::clone(&self.seat.status)
    }

    pub(super) fn seat(&self) -> SubscriberSeat {
        self.seat.clone()
    }

    async fn next(&mut self, timeout: Duration, max_events: usize) -> Polled {
        let max_events = u32::try_from(max_events).unwrap_or(u32::MAX);
        loop {
            if self.polled.is_none() {
                self.take_over().await;
            }
            if let Some(polled) = self.polled.take() {
                return polled;
            }
            self.begin(Work::Polling, |mut worker, _| {
                Box::pin(async move {
                    let polled = worker.poll(timeout, max_events).await;
                    (worker, Outcome::Polled(polled))
                })
            });
            match self.attend().await {
                // Whoever takes over need not hear of what the one before failed at.
                Some(Outcome::Polled(Err(_))) if self.successor.is_some() => {}
                Some(Outcome::Polled(polled)) => return polled,
                Some(_) => {}
                None => return Err(closed()),
            }
        }
    }

    /// Lets somebody take over who wants to.
    async fn take_over(&mut self) {
        if self.successor.is_none() {
            self.successor = self.successors.try_recv().ok();
        }
        if self.successor.is_none() {
            return;
        }
        self.relief.wake();
        self.free().await;
        // It need not hear of what the one before failed at.
        self.polled.take_if(|polled| polled.is_err());
        self.begin(Work::Busy, |mut worker, this| {
            let successor = this.successor.take();
            Box::pin(async move {
                worker.upgrade(successor).await;
                (worker, Outcome::Done)
            })
        });
        self.attend().await;
    }

    /// Begins a call, if the instance is idle.
    fn begin(&mut self, kind: fn(Call) -> Work, call: impl FnOnce(Box<Worker>, &mut Self) -> Call) {
        self.work = match mem::replace(&mut self.work, Work::Over) {
            Work::Idle(worker) => kind(call(worker, self)),
            other => other,
        };
    }

    /// Goes on with the call in progress to its end, and lets nobody wait who is to take over.
    async fn attend(&mut self) -> Option<Outcome> {
        let is_waiting = matches!(self.work, Work::Polling(_));
        let (Work::Polling(call) | Work::Busy(call)) = &mut self.work else {
            return None;
        };
        let (worker, outcome) = loop {
            tokio::select! {
                biased;
                ended = &mut *call => break ended,
                Some(successor) = self.successors.recv(), if self.successor.is_none() => {
                    self.successor = Some(successor);
                    self.relief.wake();
                    if is_waiting {
                        self.wake.wake();
                    }
                }
            }
        };
        self.work = Work::Idle(worker);
        Some(outcome)
    }

    /// Ends the call in progress, out of whatever wait its plugin is in.
    async fn free(&mut self) {
        if matches!(self.work, Work::Polling(_)) {
            self.wake.wake();
        }
        if let Some(Outcome::Polled(polled)) = self.attend().await {
            self.polled = Some(polled);
        }
        self.wake.clear();
        self.relief.clear();
    }

    /// Has one thing done when the instance is free.
    async fn ask(&mut self, call: impl FnOnce(Box<Worker>) -> Call) -> Option<Outcome> {
        self.take_over().await;
        self.ask_it(call).await
    }

    /// The same of the instance that is at work now.
    async fn ask_it(&mut self, call: impl FnOnce(Box<Worker>) -> Call) -> Option<Outcome> {
        self.free().await;
        self.begin(Work::Busy, |worker, _| call(worker));
        self.attend().await
    }
}

fn closed() -> Failure {
    Failure::Unavailable("the way in is closed".to_owned())
}

impl Subscriber for PluginSubscriber {
    fn enter(&mut self, namespace: Namespace) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            let entered = self.ask(|mut worker| {
                Box::pin(async move {
                    let entered = worker.enter(&namespace).await;
                    (worker, Outcome::Entered(entered))
                })
            });
            match entered.await {
                Some(Outcome::Entered(entered)) => entered,
                _ => Err(closed()),
            }
        }
        .boxed()
    }

    fn leave<'a>(&'a mut self, namespace: &'a Namespace) -> BoxFuture<'a, ()> {
        let namespace = namespace.clone();
        async move {
            self.ask(|mut worker| {
                Box::pin(async move {
                    worker.leave(&namespace).await;
                    (worker, Outcome::Done)
                })
            })
            .await;
        }
        .boxed()
    }

    fn poll(&mut self, timeout: Duration, max_events: usize) -> BoxFuture<'_, Polled> {
        self.next(timeout, max_events).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.ask_it(|mut worker| {
                Box::pin(async move {
                    worker.close().await;
                    (worker, Outcome::Done)
                })
            })
            .await;
            self.work = Work::Over;
            self.successor = None;
            self.successors.close();
            while self.successors.try_recv().is_ok() {}
        }
        .boxed()
    }
}

/// The instance and what a fresh one is told.
struct Worker {
    keeper: Keeper<Exports>,
    /// Told to every fresh instance.
    namespaces: BTreeSet<String>,
    /// Offset of the last event that the host has taken.
    resume_from: Option<Offset>,
    /// The log knows that its offsets are odd.
    has_told: bool,
}

impl Worker {
    async fn live(&mut self) -> Result<&mut Live<Exports>, Away> {
        let (namespaces, resume_from) = (&self.namespaces, &self.resume_from);
        self.keeper
            .live(async |plugin, guest| {
                let limit = plugin.limits().call_timeout;
                open(plugin, guest, namespaces, resume_from, limit).await
            })
            .await
    }

    /// Whoever asked for it may be gone; it takes over all the same.
    async fn upgrade(&mut self, successor: Option<Successor>) {
        if let Some(Successor { candidate, reply }) = successor {
            let _ = reply.send(self.succeed(candidate).await);
        }
    }

    async fn succeed(&mut self, candidate: Candidate) -> Upgraded {
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
                let Taken { events, odd } = match from_guest::events(events) {
                    Ok(taken) => taken,
                    Err(reason) => {
                        return Err(self.faulted(&Fault::Trap {
                            call: "poll",
                            reason,
                        }));
                    }
                };
                self.keeper.returned(true);
                self.told_of(odd);
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
            Err(fault) => Err(self.faulted(&fault)),
        }
    }

    fn faulted(&mut self, fault: &Fault) -> Failure {
        self.keeper.died(fault);
        Failure::Faulted(fault.to_string())
    }

    /// A broken promise that can be borne is told once.
    fn told_of(&mut self, odd: Option<(usize, usize)>) {
        if let Some((offsets, messages)) = odd
            && !mem::replace(&mut self.has_told, true)
        {
            tracing::warn!(
                "the transport plugin gave {offsets} offsets for {messages} messages that \
                 arrived; that is its fault, and they are taken for messages without offsets"
            );
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
            let resume_from = resume_from.as_ref().map(Offset::as_str);
            let opened = api
                .call_open(&mut *store, plugin.config(), resume_from)
                .await?;
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
