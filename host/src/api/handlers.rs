//! What answers other servers: ordinary async functions that name what they need.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use socketioxide::extract::{Data, TryData};
use socketioxide_core::parser::ParserError;

use super::Operators;
use crate::{
    cluster::{Call, Handler, NodeId, Reply, WeakCluster},
    payload,
};

/// Characters of the text that tells why a handler was not called. It quotes what another server
/// sent.
const MAX_REFUSAL_CHARS: usize = 300;
/// Characters of an error that a handler answers with: room for a sentence or two, not for what was
/// asked.
const MAX_ERROR_CHARS: usize = 1000;
/// At most one line in this time tells of one handler that it was not called.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What a handler's arguments are made of: one call of another server.
#[derive(Debug)]
pub struct ServerContext {
    call: Call,
    form: Form,
    operators: Operators,
    refusals: Arc<Refusals>,
}

/// How a call carries its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON array: the event's name, then its arguments.
    Arguments,
    /// Any one value.
    Value,
}

impl ServerContext {
    /// The namespace that it was sent in.
    pub fn namespace(&self) -> &str {
        self.call.namespace.as_str()
    }

    /// The server that sent it: another one, this one (its own custom requests), `emitter`; empty
    /// over a transport that does not say.
    pub fn from(&self) -> &NodeId {
        &self.call.from
    }

    /// The sender waits for an answer. What a handler returns goes nowhere otherwise.
    pub fn answer_wanted(&self) -> bool {
        self.call.answer_wanted
    }

    /// The arguments: a tuple (also an array or a tuple struct) is several, anything else the first
    /// one. Of a custom request its one value, whatever type that is.
    ///
    /// # Errors
    /// When they are of another type. The text quotes them, cut to about 200 characters.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, ParserError> {
        match self.form {
            Form::Arguments => payload::to_args(&self.call.data),
            Form::Value => payload::to_value(&self.call.data),
        }
        .map_err(ParserError::new)
    }
}

/// An argument of a [`ServerHandler`].
///
/// ```
/// use switchboard::{Answer, Operators, api::{FromCall, ServerContext}};
///
/// /// The sender waits for an answer.
/// struct Wanted(bool);
///
/// impl FromCall for Wanted {
///     fn from_call(context: &ServerContext) -> Result<Self, String> {
///         Ok(Self(context.answer_wanted()))
///     }
/// }
///
/// fn listen(operators: &Operators) {
///     operators.on("count", async |Wanted(wanted): Wanted| {
///         Answer(if wanted { 7 } else { 0 })
///     });
/// }
/// ```
pub trait FromCall: Sized {
    /// Takes it from a call.
    ///
    /// # Errors
    /// When the call does not hold what is needed: the handler is not called, and the text, cut to
    /// 300 characters, is the answer that the asking server gets.
    fn from_call(context: &ServerContext) -> Result<Self, String>;
}

/// The arguments: a tuple (also an array or a tuple struct) is several, anything else the first one.
/// The handler is not called when they are of another type.
impl<T: DeserializeOwned> FromCall for Data<T> {
    fn from_call(context: &ServerContext) -> Result<Self, String> {
        context
            .data()
            .map(Data)
            .map_err(|error| format!("the arguments do not fit the handler: {error}"))
    }
}

/// The same, for a handler that wants to be called in any case.
impl<T: DeserializeOwned> FromCall for TryData<T> {
    fn from_call(context: &ServerContext) -> Result<Self, String> {
        Ok(TryData(context.data()))
    }
}

/// The server that sent the event; empty over a transport that does not say.
impl FromCall for NodeId {
    fn from_call(context: &ServerContext) -> Result<Self, String> {
        Ok(context.call.from.clone())
    }
}

/// The namespace that it was sent in.
impl FromCall for Operators {
    fn from_call(context: &ServerContext) -> Result<Self, String> {
        Ok(context.operators.clone())
    }
}

/// What a [`ServerHandler`] returns.
pub trait IntoReply {
    /// The answer, if one was asked for.
    fn into_reply(self) -> Reply;
}

/// An answer with this value.
#[derive(Clone, Copy, Debug)]
pub struct Answer<T>(pub T);

/// No answer at all: as a handler in Node.js that never calls back. The asking server waits until
/// its time is over.
#[derive(Clone, Copy, Debug)]
pub struct NoAnswer;

/// An answer without a value.
impl IntoReply for () {
    fn into_reply(self) -> Reply {
        Reply::Value(None)
    }
}

impl<T: Serialize> IntoReply for Answer<T> {
    fn into_reply(self) -> Reply {
        match payload::from_value(&self.0) {
            Ok(value) => Reply::Value(Some(value)),
            Err(error) => {
                let why = format!("the answer cannot be sent: {error}");
                Reply::Failed(payload::shortened(why, MAX_ERROR_CHARS).into())
            }
        }
    }
}

impl IntoReply for NoAnswer {
    fn into_reply(self) -> Reply {
        Reply::Silent
    }
}

/// An error is told to the asking server, where the transport has a place for it, in 1,000
/// characters at most.
impl<R: IntoReply, E: Display> IntoReply for Result<R, E> {
    fn into_reply(self) -> Reply {
        match self {
            Ok(reply) => reply.into_reply(),
            Err(error) => Reply::Failed(payload::shortened(error, MAX_ERROR_CHARS).into()),
        }
    }
}

/// An async function of up to four [`FromCall`] arguments that returns something
/// [`IntoReply`]. `M` only tells the forms of functions apart.
pub trait ServerHandler<M>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, context: ServerContext) -> BoxFuture<'static, Reply>;
}

macro_rules! handler_of {
    ($($argument:ident),*) => {
        impl<F, Fut, R, $($argument),*> ServerHandler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoReply + 'static,
            $($argument: FromCall,)*
        {
            #[allow(non_snake_case, unused_variables)]
            fn call(&self, context: ServerContext) -> BoxFuture<'static, Reply> {
                $(
                    let $argument = match $argument::from_call(&context) {
                        Ok(argument) => argument,
                        Err(why) => return refuse(&context, why),
                    };
                )*
                self($($argument),*).map(IntoReply::into_reply).boxed()
            }
        }
    };
}

handler_of!();
handler_of!(A1);
handler_of!(A1, A2);
handler_of!(A1, A2, A3);
handler_of!(A1, A2, A3, A4);

fn refuse(context: &ServerContext, why: String) -> BoxFuture<'static, Reply> {
    let why = payload::shortened(why, MAX_REFUSAL_CHARS);
    if let Some(times) = context.refusals.add(Instant::now()) {
        tracing::warn!(
            namespace = %context.call.namespace,
            from = %context.call.from,
            times,
            "a handler was not called: {why}"
        );
    }
    let reply = Reply::Failed(Arc::from(why));
    async move { reply }.boxed()
}

/// How often one handler was not called. Other servers can send as much as they like that does not
/// fit it, and must not fill the log with that.
#[derive(Debug, Default)]
struct Refusals(Mutex<RefusalsState>);

#[derive(Debug, Default)]
struct RefusalsState {
    times: u64,
    reported_at: Option<Instant>,
}

impl Refusals {
    /// Counts one. Some, with the total, when it is time for a line.
    fn add(&self, now: Instant) -> Option<u64> {
        // Plain numbers, which a panic cannot leave half written.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.times += 1;
        let recent = |then| now.saturating_duration_since(then) < REPORT_INTERVAL;
        if state.reported_at.is_some_and(recent) {
            return None;
        }
        state.reported_at = Some(now);
        Some(state.times)
    }
}

/// The handler as the cluster calls it.
pub(super) fn erase<M>(
    // Weak: the cluster owns its handlers.
    cluster: WeakCluster,
    handler: impl ServerHandler<M>,
    form: Form,
) -> Handler {
    let refusals = Arc::new(Refusals::default());
    Arc::new(move |call: Call| {
        let Some(cluster) = cluster.upgrade() else {
            return async { Reply::Silent }.boxed();
        };
        let operators = Operators::new(cluster, call.namespace.clone());
        handler.call(ServerContext {
            call,
            form,
            operators,
            refusals: refusals.clone(),
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Cluster, ClusterOptions},
        transport::NoTransport,
    };

    /// A call of this server's event with one argument, as a handler gets it.
    fn context(argument: &str) -> ServerContext {
        let cluster = Cluster::start(
            NodeId::from("me"),
            ClusterOptions::default(),
            Box::new(NoTransport),
            Box::new(NoTransport),
        );
        ServerContext {
            call: Call {
                namespace: "/chat".into(),
                from: NodeId::from("you"),
                data: payload::from_event("note", argument).unwrap(),
                answer_wanted: true,
            },
            form: Form::Arguments,
            operators: Operators::new(cluster, "/chat"),
            refusals: Arc::default(),
        }
    }

    #[tokio::test]
    async fn an_argument_of_the_applications_own_is_made_of_the_call() {
        #[derive(Debug, PartialEq)]
        struct Everything(String, NodeId, bool, String);
        impl FromCall for Everything {
            fn from_call(context: &ServerContext) -> Result<Self, String> {
                let text = context.data().map_err(|error| error.to_string())?;
                let namespace = context.namespace().to_owned();
                let (from, wanted) = (context.from().clone(), context.answer_wanted());
                Ok(Self(namespace, from, wanted, text))
            }
        }
        let expected = Everything("/chat".into(), "you".into(), true, "hello".into());
        assert_eq!(Everything::from_call(&context("hello")), Ok(expected));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_not_quoted_at_length() {
        let long = context(&"x".repeat(1_000_000));
        let handler = async |_: Data<u32>| {};
        let Reply::Failed(why) = ServerHandler::call(&handler, long).await else {
            panic!("it was called");
        };
        assert!(why.contains("do not fit"), "{why}");
        assert!(why.chars().count() <= MAX_REFUSAL_CHARS, "{}", why.len());

        struct Wordy;
        impl FromCall for Wordy {
            fn from_call(_: &ServerContext) -> Result<Self, String> {
                Err("x".repeat(1_000_000))
            }
        }
        let handler = async |_: Wordy| {};
        let Reply::Failed(why) = ServerHandler::call(&handler, context("")).await else {
            panic!("it was called");
        };
        assert_eq!(why.chars().count(), MAX_REFUSAL_CHARS);
    }

    #[test]
    fn a_flood_of_calls_that_do_not_fit_is_one_line_in_the_log() {
        let refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!(refusals.add(start), Some(1));
        assert_eq!(refusals.add(start), None);
        assert_eq!(refusals.add(start + REPORT_INTERVAL / 2), None);
        assert_eq!(
            refusals.add(start + REPORT_INTERVAL),
            Some(4),
            "nothing is uncounted"
        );
    }

    #[test]
    fn an_error_of_a_handler_has_a_limit() {
        let reply = Err::<(), _>("x".repeat(1_000_000)).into_reply();
        let Reply::Failed(why) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(why.chars().count(), MAX_ERROR_CHARS);
        let Reply::Failed(why) = Err::<(), _>("not today").into_reply() else {
            panic!("an error is no value");
        };
        assert_eq!(&*why, "not today");
    }
}
