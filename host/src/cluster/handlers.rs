//! What this server does when others call it: the handlers of server events and of custom
//! queries, by namespace and name.
//!
//! Who calls them, and when, is `calls.rs`; asking the other servers is `servers.rs`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::BoxFuture;

use super::{
    event_data::QUERY_EVENT,
    handle::Cluster,
    message::{Namespace, NodeId, Payload},
};

/// Handlers of one cluster, all namespaces together. One more is refused with an error in the log.
const MAX_HANDLERS: usize = 65_536;

/// What a handler of this server is called with.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// In which namespace.
    pub namespace: Namespace,
    /// Who calls: another node, this one (its own queries), `emitter`, or empty when the wire
    /// does not say.
    pub from: NodeId,
    /// Of a server event, the JSON array of its name and its arguments, of which only the name was
    /// checked; of a custom query, the value as it was sent.
    pub data: Payload,
    /// Somebody waits for the reply. Without, it is not looked at.
    pub answer_wanted: bool,
}

/// What a handler has to say to who called it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// An answer, with a value or without.
    Value(Option<Payload>),
    /// An answer that says why there is none. Not every wire can carry it: where it cannot, it is
    /// the same as [`Reply::Silent`].
    Failed(Arc<str>),
    /// No answer: this node will be missing in the result, as a Node.js server is whose handler
    /// never calls back.
    Silent,
}

/// Code of this server that other servers can call.
///
/// Handlers start in the order in which the calls arrived: each runs to its first wait before the
/// next one starts. After that they go on side by side. One that blocks its thread before its
/// first wait holds up those behind it.
pub type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Reply> + Send + Sync>;

/// What a handler is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    ServerEvent,
    Query,
}

/// The register.
#[derive(Default)]
pub(super) struct Handlers(Mutex<Register>);

#[derive(Default)]
struct Register {
    events: ByName,
    queries: ByName,
    count: usize,
    closed: bool,
}

type ByName = HashMap<Namespace, HashMap<Arc<str>, Handler>>;

impl Handlers {
    /// False: there are too many, or the cluster is closed.
    fn insert(
        &self,
        kind: CallKind,
        namespace: &Namespace,
        name: Arc<str>,
        handler: Handler,
    ) -> bool {
        let mut register = self.lock();
        let known = register.get(kind, namespace, &name).is_some();
        if register.closed || (!known && register.count >= MAX_HANDLERS) {
            return false;
        }
        register.count += usize::from(!known);
        let handlers = register.of(kind).entry(namespace.clone()).or_default();
        let replaced = handlers.insert(name, handler);
        drop(register);
        // Dropped outside the lock: it is foreign code.
        drop(replaced);
        true
    }

    fn remove(&self, kind: CallKind, namespace: &Namespace, name: &str) -> bool {
        let removed = self.lock().remove(kind, namespace, name);
        // Dropped outside the lock, too.
        removed.is_some()
    }

    /// The handler of this name, if there is one.
    pub(super) fn get(&self, kind: CallKind, namespace: &Namespace, name: &str) -> Option<Handler> {
        self.lock().get(kind, namespace, name).cloned()
    }

    /// Forgets all and takes no more.
    pub(super) fn close(&self) {
        let all = {
            let mut register = self.lock();
            std::mem::replace(
                &mut *register,
                Register {
                    closed: true,
                    ..Register::default()
                },
            )
        };
        drop(all);
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Register {
    fn of(&mut self, kind: CallKind) -> &mut ByName {
        match kind {
            CallKind::ServerEvent => &mut self.events,
            CallKind::Query => &mut self.queries,
        }
    }

    fn get(&self, kind: CallKind, namespace: &Namespace, name: &str) -> Option<&Handler> {
        let by_name = match kind {
            CallKind::ServerEvent => &self.events,
            CallKind::Query => &self.queries,
        };
        by_name.get(namespace)?.get(name)
    }

    fn remove(&mut self, kind: CallKind, namespace: &Namespace, name: &str) -> Option<Handler> {
        let by_name = self.of(kind);
        let handlers = by_name.get_mut(namespace)?;
        let removed = handlers.remove(name)?;
        if handlers.is_empty() {
            by_name.remove(namespace);
        }
        self.count -= 1;
        Some(removed)
    }
}

impl Cluster {
    /// Calls `handler` for each server event of this name that another node, or an emitter, sends
    /// in a namespace while this server serves it. Replaces an earlier handler of the name.
    ///
    /// May be called before the namespace is entered, and holds across leaving it. The cluster
    /// holds the handler until [`off_server_event`](Self::off_server_event) or
    /// [`close`](Self::close); so it may own a clone of the cluster, if one of the two is called
    /// one day. After `close`, or with 65,536 handlers, it is not registered; an error in the log
    /// says so.
    ///
    /// The name [`QUERY_EVENT`](super::QUERY_EVENT) is taken, because its events are queries: a
    /// handler of that name is not registered either, with an error in the log.
    pub fn on_server_event(
        &self,
        namespace: &Namespace,
        event: impl Into<Arc<str>>,
        handler: Handler,
    ) {
        let event = event.into();
        if &*event == QUERY_EVENT {
            tracing::error!(
                %namespace,
                "cluster: a handler for server events of the name {QUERY_EVENT} was not registered, \
                 because custom queries travel under it: use another name, or answer the queries"
            );
            return;
        }
        self.on(CallKind::ServerEvent, namespace, event, handler);
    }

    /// Takes the handler of a server event out. Calls that have arrived before still reach it.
    /// False: there was none.
    pub fn off_server_event(&self, namespace: &Namespace, event: &str) -> bool {
        let handlers = &self.shared().handlers;
        handlers.remove(CallKind::ServerEvent, namespace, event)
    }

    /// Calls `handler` for each custom query of this kind, of other nodes and of this one, and
    /// answers with its reply. In all else like [`on_server_event`](Self::on_server_event).
    pub fn on_query(&self, namespace: &Namespace, kind: impl Into<Arc<str>>, handler: Handler) {
        self.on(CallKind::Query, namespace, kind.into(), handler);
    }

    /// Takes the handler of a kind of query out. Calls that have arrived before still reach it.
    /// False: there was none.
    pub fn off_query(&self, namespace: &Namespace, kind: &str) -> bool {
        let handlers = &self.shared().handlers;
        handlers.remove(CallKind::Query, namespace, kind)
    }

    fn on(&self, kind: CallKind, namespace: &Namespace, name: Arc<str>, handler: Handler) {
        let handlers = &self.shared().handlers;
        if !handlers.insert(kind, namespace, name.clone(), handler) {
            tracing::error!(
                %namespace, name = &*name, ?kind,
                "cluster: a handler was not registered, because the cluster is closed or has \
                 {MAX_HANDLERS} handlers"
            );
        }
    }
}
