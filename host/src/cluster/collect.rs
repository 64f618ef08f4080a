//! The answering side of a broadcast with acknowledgements: one task per such broadcast, which
//! sends what the local clients acknowledge back to the node that asked.
//!
//! The inbox owns the tasks and bounds their number (`max_ack_tasks`); unlike the inbox, a task
//! may wait for room in the outbox. The asking side is `acks.rs`.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use tokio::{task::JoinSet, time::timeout};

use super::{
    flags::ack_timeout,
    health::Throttle,
    local::{Local, LocalAck},
    message::{Body, Broadcast, Namespace, NodeId, Payload, RequestId},
    shared::Shared,
};

/// How much longer than it promised a stream of local acknowledgements may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// The tasks that collect acknowledgements.
pub(super) struct Collectors {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    refusals: Throttle,
}

/// Whom to answer, and under which id.
struct Asker {
    namespace: Namespace,
    node: Option<NodeId>,
    request: RequestId,
}

impl Collectors {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tasks: JoinSet::new(),
            refusals: Throttle::default(),
        }
    }

    /// Lets go of the tasks that have ended.
    pub(super) fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.shared.ack_tasks.set(self.tasks.len());
    }

    /// Gives the event to the local sockets, says how many there are, and starts to collect.
    pub(super) fn start(
        &mut self,
        local: &dyn Local,
        broadcast: &Broadcast,
        request: &RequestId,
        sender: NodeId,
    ) {
        let default = self.shared.options.request_timeout;
        let time = ack_timeout(broadcast.target.flags.as_deref(), default);
        // Always with acknowledgements, even when they will not be collected: a client's handler
        // that gets no callback would fail.
        let (clients, acks) = local.broadcast_with_ack(broadcast, time);
        let asker = Asker {
            namespace: local.namespace().clone(),
            node: (!sender.as_str().is_empty()).then_some(sender),
            request: request.clone(),
        };
        if clients == 0 {
            self.count(&asker, 0);
            return;
        }
        if self.tasks.len() >= self.shared.options.max_ack_tasks {
            self.reap();
        }
        if self.tasks.len() >= self.shared.options.max_ack_tasks {
            self.refuse(&asker);
            return;
        }
        self.count(&asker, clients);
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            // A stream that does not keep its word must not hold its place for ever.
            let _ = timeout(time + GRACE, collect(&shared, &asker, acks)).await;
        });
        self.shared.ack_tasks.set(self.tasks.len());
    }

    fn count(&self, asker: &Asker, clients: u32) {
        let request = asker.request.clone();
        let body = Body::ClientCount { request, clients };
        self.shared
            .outbox
            .answer(&asker.namespace, asker.node.clone(), body);
    }

    /// One error stands for all acknowledgements, so that the asker ends at once and knows why.
    fn refuse(&self, asker: &Asker) {
        let limit = self.shared.options.max_ack_tasks;
        self.shared.counters.refused_ack_tasks.add(1);
        if let Some(more) = self.refusals.pass() {
            tracing::warn!(
                limit,
                more,
                "cluster: acknowledgements of local clients are not collected for another node, \
                 because max_ack_tasks others are being collected"
            );
        }
        self.count(asker, 1);
        let why = format!(
            "node {} already collects the acknowledgements of {limit} broadcasts (max_ack_tasks)",
            self.shared.node
        );
        let error = Some(serde_json::Value::String(why).to_string().into());
        let body = ack_body(asker, None, Payload::text("[]"), error);
        self.shared
            .outbox
            .answer(&asker.namespace, asker.node.clone(), body);
    }
}

async fn collect(shared: &Shared, asker: &Asker, mut acks: BoxStream<'static, LocalAck>) {
    while let Some(LocalAck { socket, data }) = acks.next().await {
        let (data, error) = match data {
            Ok(data) => (data, None),
            Err(error) => (Payload::text("[]"), Some(error)),
        };
        let body = ack_body(asker, Some(socket), data, error);
        if shared
            .outbox
            .send_answer(&asker.namespace, asker.node.clone(), body)
            .await
            .is_err()
        {
            // Closed, or the namespace was left: the asker does not wait any more.
            return;
        }
    }
}

fn ack_body(
    asker: &Asker,
    socket: Option<Arc<str>>,
    data: Payload,
    error: Option<Arc<str>>,
) -> Body {
    Body::ClientAck {
        request: asker.request.clone(),
        socket,
        data,
        error,
    }
}
