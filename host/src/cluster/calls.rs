//! The way of a call to its handler: who is called, who gets the answer, and how many may wait.
//!
//! Nothing here waits, because the inbox calls it. What is found to have a handler goes, in the
//! order of arrival, to the task that runs them (`call_task.rs`); what has none is answered here.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::{
    event_data::{self, QUERY_EVENT},
    handlers::{Call, CallKind, Handler},
    health::Throttle,
    message::{Body, Namespace, NodeId, Payload, RequestId},
    options::ClusterOptions,
    servers::Answer,
    shared::Shared,
};

/// What of a name goes into a text.
const MAX_NAME_CHARS: usize = 128;

/// Where calls go in.
pub(super) struct Calls {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Queued>,
    refusals: Throttle,
    unreadable: Throttle,
}

/// A call on its way to its handler.
pub(super) struct Queued {
    pub(super) call: Call,
    /// Of the event, or the kind of the query.
    pub(super) name: Arc<str>,
    pub(super) handler: Handler,
    pub(super) asker: Asker,
    pub(super) place: Place,
}

/// Who gets the answer.
pub(super) enum Asker {
    /// Nobody waits.
    Nobody,
    /// Another node.
    Node(Remote),
    /// This node. Dropped without a word: there is no answer.
    Here(oneshot::Sender<Answer>),
}

/// Another node that waits for an answer.
pub(super) struct Remote {
    pub(super) namespace: Namespace,
    /// None when the wire does not say who asks.
    pub(super) node: Option<NodeId>,
    request: RequestId,
    /// Which kind of message answers the one that came.
    answers: CallKind,
}

impl Remote {
    /// The answer as a message.
    pub(super) fn body(&self, answer: Answer) -> Body {
        let request = self.request.clone();
        let (data, error) = match answer {
            Ok(data) => (data, None),
            Err(why) => (None, Some(why)),
        };
        match self.answers {
            CallKind::ServerEvent => Body::ServerEventAnswer {
                request,
                data,
                error,
            },
            CallKind::Query => Body::CustomAnswer {
                request,
                data,
                error,
            },
        }
    }
}

impl Calls {
    /// The way in, and the queue for the task at its end.
    pub(super) fn new(shared: Arc<Shared>) -> (Self, mpsc::Receiver<Queued>) {
        // Every queued call has a place, so this limit is never met.
        let (queue, queued) = mpsc::channel(shared.options.max_calls);
        let calls = Self {
            shared,
            queue,
            refusals: Throttle::default(),
            unreadable: Throttle::default(),
        };
        (calls, queued)
    }

    /// A server event came.
    pub(super) fn server_event(
        &self,
        namespace: &Namespace,
        from: NodeId,
        data: Payload,
        request: Option<RequestId>,
    ) {
        let kind = CallKind::ServerEvent;
        let asker = request.map_or(Asker::Nobody, |request| {
            Asker::remote(namespace, &from, request, kind)
        });
        let Some(name) = event_data::event_name(&data).map(Arc::<str>::from) else {
            self.unreadable(
                namespace,
                &from,
                asker,
                "its data is no array that begins with a name",
            );
            return;
        };
        if &*name != QUERY_EVENT {
            self.call(kind, namespace, &name, from, data, asker);
            return;
        }
        match event_data::query_of(&data) {
            Some(query) => {
                self.call(
                    CallKind::Query,
                    namespace,
                    &query.kind,
                    from,
                    query.value,
                    asker,
                );
            }
            None => self.unreadable(namespace, &from, asker, "it is a query without a kind"),
        }
    }

    /// A custom query came.
    pub(super) fn query(
        &self,
        namespace: &Namespace,
        from: NodeId,
        kind: &str,
        data: Payload,
        request: RequestId,
    ) {
        let asker = Asker::remote(namespace, &from, request, CallKind::Query);
        self.call(CallKind::Query, namespace, kind, from, data, asker);
    }

    /// This node asks itself. An error of the receiver: there is no answer.
    pub(super) fn own_query(
        &self,
        namespace: &Namespace,
        kind: &str,
        data: Payload,
    ) -> oneshot::Receiver<Answer> {
        let (asker, answer) = oneshot::channel();
        let (from, asker) = (self.shared.node.clone(), Asker::Here(asker));
        self.call(CallKind::Query, namespace, kind, from, data, asker);
        answer
    }

    fn call(
        &self,
        kind: CallKind,
        namespace: &Namespace,
        name: &str,
        from: NodeId,
        data: Payload,
        asker: Asker,
    ) {
        let Some(handler) = self.shared.handlers.get(kind, namespace, name) else {
            self.fail(asker, no_handler(kind, name));
            return;
        };
        let options = &self.shared.options;
        let place = match CallLoad::place(&self.shared.call_load, data.len(), options) {
            Ok(place) => place,
            Err(full) => {
                self.refuse(namespace, name, asker, &full);
                return;
            }
        };
        let call = Call {
            namespace: namespace.clone(),
            from,
            data,
            answer_wanted: !matches!(asker, Asker::Nobody),
        };
        // Fails only when the cluster is closed: then nobody can be answered any more.
        let _ = self.queue.try_send(Queued {
            call,
            name: name.into(),
            handler,
            asker,
            place,
        });
    }

    fn refuse(&self, namespace: &Namespace, name: &str, asker: Asker, full: &Full) {
        self.shared.counters.refused_calls.add(1);
        if let Some(more) = self.refusals.pass() {
            tracing::warn!(
                %namespace, name = %shortened(name), more,
                "cluster: a call of a handler was refused, because {full}: the handlers are slower \
                 than the calls come, or do not end"
            );
        }
        self.fail(asker, format!("{full} on node {}", self.shared.node));
    }

    fn unreadable(&self, namespace: &Namespace, from: &NodeId, asker: Asker, why: &str) {
        self.shared.counters.unreadable_calls.add(1);
        if let Some(more) = self.unreadable.pass() {
            tracing::warn!(
                %namespace, %from, more,
                "cluster: a server event could not be read and was given up: {why}"
            );
        }
        self.fail(asker, format!("the server event could not be read: {why}"));
    }

    /// Answers with an error, so that the asker ends at once and knows why.
    fn fail(&self, asker: Asker, why: String) {
        match asker {
            Asker::Nobody => {}
            Asker::Node(remote) => {
                let body = remote.body(Err(why.into()));
                let outbox = &self.shared.outbox;
                outbox.answer(&remote.namespace, remote.node, body);
            }
            // The asker may have given up meanwhile.
            Asker::Here(asker) => _ = asker.send(Err(why.into())),
        }
    }
}

impl Asker {
    fn remote(namespace: &Namespace, from: &NodeId, request: RequestId, answers: CallKind) -> Self {
        Self::Node(Remote {
            namespace: namespace.clone(),
            node: (!from.as_str().is_empty()).then(|| from.clone()),
            request,
            answers,
        })
    }
}

fn no_handler(kind: CallKind, name: &str) -> String {
    let name = shortened(name);
    match kind {
        CallKind::ServerEvent => format!("no handler for the server event {name:?}"),
        CallKind::Query => format!("unknown request kind {name:?}"),
    }
}

/// A name from another node, short enough for a text.
pub(super) fn shortened(name: &str) -> String {
    name.chars().take(MAX_NAME_CHARS).collect()
}

/// How many calls wait or run, and what they were given.
#[derive(Debug, Default)]
pub(super) struct CallLoad {
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

/// The place of one call. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    load: Arc<CallLoad>,
    bytes: usize,
}

/// There is no place.
#[derive(Debug, PartialEq, Eq)]
struct Full {
    option: &'static str,
    limit: usize,
}

impl Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { option, limit } = self;
        write!(f, "`{option}` = {limit} is reached")
    }
}

impl CallLoad {
    fn place(load: &Arc<Self>, bytes: usize, options: &ClusterOptions) -> Result<Place, Full> {
        // Taken before the look, so that two at a time cannot both have the last one.
        let calls = load.calls.fetch_add(1, Ordering::Relaxed);
        let held = load.bytes.fetch_add(bytes, Ordering::Relaxed);
        let place = Place {
            load: load.clone(),
            bytes,
        };
        if calls >= options.max_calls {
            return Err(Full {
                option: "max_calls",
                limit: options.max_calls,
            });
        }
        // One alone is always taken, however large: a limit below it would never be met.
        if held > 0 && held + bytes > options.max_call_bytes {
            return Err(Full {
                option: "max_call_bytes",
                limit: options.max_call_bytes,
            });
        }
        Ok(place)
    }

    /// Calls, and their bytes.
    pub(super) fn depth(&self) -> (usize, usize) {
        (
            self.calls.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.calls.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
