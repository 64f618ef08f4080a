//! What one event that arrived does: to the registry of nodes, to the requests that wait, to the
//! local sockets, to the handlers of the application.
//!
//! All of it is synchronous, in the order of arrival, and never waits for the outbox. When and
//! how events are taken from the transport is `inbox.rs`.

use std::sync::Arc;

use super::{
    calls::Calls,
    collect::Collectors,
    health::Throttle,
    link::Event,
    local::Local,
    message::{Body, Broadcast, Message, NodeId, Offset},
    nodes::counts_as_node,
    offsets,
    shared::Shared,
};

/// The dispatcher's state.
pub(super) struct Dispatch {
    shared: Arc<Shared>,
    collectors: Collectors,
    calls: Arc<Calls>,
    lags: Throttle,
    last: Option<Last>,
}

/// Who was heard last, and where: messages mostly come in runs, and need not look both up again. Kept
/// for a slice of the inbox only, in which neither is gone unnoticed.
struct Last {
    sender: NodeId,
    local: Arc<dyn Local>,
}

impl Last {
    fn said(&self, message: &Message) -> bool {
        self.sender == message.sender
            && *self.local.namespace() == message.namespace
            && message.body != Body::AdapterClose
    }
}

impl Dispatch {
    pub(super) fn new(shared: Arc<Shared>, calls: Arc<Calls>) -> Self {
        let collectors = Collectors::new(shared.clone());
        Self {
            shared,
            collectors,
            calls,
            lags: Throttle::default(),
            last: None,
        }
    }

    /// Begins a slice: lets go of what may have ended in the background.
    pub(super) fn reap(&mut self) {
        self.last = None;
        self.collectors.reap();
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Message(message, offset) => self.message(message, offset),
            Event::NodeLeft(node) => {
                self.last = None;
                if let Some(gone) = self.shared.nodes.gone(&node) {
                    self.shared
                        .node_gone(&gone, "the backend reports that it is gone");
                }
            }
            Event::Lagged { missed, reason } => self.lagged(missed, &reason),
        }
    }

    fn lagged(&self, missed: Option<u32>, reason: &str) {
        self.shared.counters.lagged.add(1);
        self.shared
            .counters
            .missed
            .add(missed.unwrap_or(0) as usize);
        if let Some(more) = self.lags.pass() {
            tracing::warn!(
                missed,
                reason,
                more,
                "cluster: messages of other nodes were missed"
            );
        }
    }

    fn message(&mut self, mut message: Message, offset: Option<Offset>) {
        let shared = &self.shared;
        shared.counters.received.add(1);
        let for_another = message
            .recipient
            .as_ref()
            .is_some_and(|node| *node != shared.node);
        if message.sender == shared.node {
            shared.counters.ignored.add(1);
            return;
        }
        let local = match &self.last {
            Some(last) if last.said(&message) => Some(last.local.clone()),
            _ => {
                let local = shared.namespaces.local(&message.namespace);
                self.note_sender(&message, local.is_some());
                let stays = message.body != Body::AdapterClose;
                self.last = local.clone().filter(|_| stays).map(|local| Last {
                    sender: message.sender.clone(),
                    local,
                });
                local
            }
        };
        if for_another {
            self.shared.counters.ignored.add(1);
            return;
        }
        let Some(local) = local else { return };
        if self.shared.options.connection_state_recovery
            && let (Body::Broadcast(event), Some(offset)) = (&mut message.body, offset)
        {
            offsets::append(event, &offset);
        }
        self.apply(message, &*local);
    }

    /// A message is a sign of life, and of membership, unless it is a farewell.
    fn note_sender(&self, message: &Message, served: bool) {
        let (shared, node, namespace) = (&self.shared, &message.sender, &message.namespace);
        if !counts_as_node(node) {
            return;
        }
        if message.body == Body::AdapterClose {
            shared.nodes.heard(node, None);
            if shared.nodes.left(node, namespace) {
                tracing::info!(%node, %namespace, "cluster: a node left: it said goodbye");
                shared.requests.node_gone(node, Some(namespace));
            }
            return;
        }
        if !shared.nodes.heard(node, served.then_some(namespace)) {
            return;
        }
        tracing::info!(
            %node, %namespace,
            "cluster: a node joined: first heard by its {}", message.body.name()
        );
        // This server may have left the namespace between the look-up and now.
        if !shared.namespaces.contains(namespace) {
            shared.nodes.forget(node, namespace);
        }
    }

    fn apply(&mut self, message: Message, local: &dyn Local) {
        if message.body.answers().is_some() {
            self.shared.requests.answer(message);
            return;
        }
        let Message {
            namespace,
            sender,
            body,
            ..
        } = message;
        match body {
            Body::InitialHeartbeat => self.shared.outbox.heartbeat(&namespace),
            Body::Heartbeat | Body::AdapterClose => {}
            Body::Broadcast(broadcast) => self.broadcast(local, broadcast, sender),
            Body::SocketsJoin { target, rooms } => local.join(&target, &rooms),
            Body::SocketsLeave { target, rooms } => local.leave(&target, &rooms),
            Body::DisconnectSockets { target, close } => local.disconnect(&target, close),
            Body::FetchSockets { request, target } => {
                let sockets = local.sockets(&target);
                self.answer(local, sender, Body::SocketsAnswer { request, sockets });
            }
            Body::FetchRooms { request, target } => {
                let rooms = local.rooms(&target);
                self.answer(local, sender, Body::RoomsAnswer { request, rooms });
            }
            Body::CustomQuery {
                request,
                kind,
                data,
            } => self.calls.query(&namespace, sender, &kind, data, request),
            Body::ServerEvent { data, request } => {
                self.calls.server_event(&namespace, sender, data, request);
            }
            Body::SocketsAnswer { .. }
            | Body::ClientCount { .. }
            | Body::ClientAck { .. }
            | Body::ServerEventAnswer { .. }
            | Body::RoomsAnswer { .. }
            | Body::CustomAnswer { .. } => {}
        }
    }

    fn broadcast(&mut self, local: &dyn Local, broadcast: Broadcast, sender: NodeId) {
        if let Some(request) = &broadcast.request {
            self.collectors.start(local, &broadcast, request, sender);
            return;
        }
        self.shared.packets_dropped(local.broadcast(broadcast));
    }

    fn answer(&self, local: &dyn Local, asker: NodeId, body: Body) {
        let recipient = (!asker.as_str().is_empty()).then_some(asker);
        self.shared
            .outbox
            .answer(local.namespace(), recipient, body);
    }
}
