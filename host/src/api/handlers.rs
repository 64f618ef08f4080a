//! What answers other servers: ordinary async functions that name what they need.

use std::{fmt::Display, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use socketioxide::extract::{Data, TryData};
use socketioxide_core::parser::ParserError;

use super::Operators;
use crate::{
    cluster::{Call, Handler, NodeId, Reply, WeakCluster},
    payload,
};

/// What a handler's arguments are made of: one call of another server.
#[derive(Debug)]
pub struct ServerContext {
    call: Call,
    form: Form,
    operators: Operators,
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
    fn data<T: DeserializeOwned>(&self) -> Result<T, ParserError> {
        match self.form {
            Form::Arguments => payload::to_args(&self.call.data),
            Form::Value => payload::to_value(&self.call.data),
        }
        .map_err(ParserError::new)
    }
}

/// An argument of a [`ServerHandler`].
pub trait FromCall: Sized {
    /// Takes it from a call. The error text is the answer that the asking server gets.
    ///
    /// # Errors
    /// When the call does not hold what is needed.
    fn from_call(context: &ServerContext) -> Result<Self, String>;
}

/// The arguments: a tuple is several, anything else the first one. The handler is not called when
/// they are of another type.
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
            Err(error) => Reply::Failed(format!("the answer cannot be sent: {error}").into()),
        }
    }
}

impl IntoReply for NoAnswer {
    fn into_reply(self) -> Reply {
        Reply::Silent
    }
}

/// An error is told to the asking server, where the transport has a place for it.
impl<R: IntoReply, E: Display> IntoReply for Result<R, E> {
    fn into_reply(self) -> Reply {
        match self {
            Ok(reply) => reply.into_reply(),
            Err(error) => Reply::Failed(error.to_string().into()),
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
    tracing::warn!(
        namespace = %context.call.namespace,
        from = %context.call.from,
        "a handler was not called: {why}"
    );
    let reply = Reply::Failed(Arc::from(why));
    async move { reply }.boxed()
}

/// The handler as the cluster calls it.
pub(super) fn erase<M>(
    // Weak: the cluster owns its handlers.
    cluster: WeakCluster,
    handler: impl ServerHandler<M>,
    form: Form,
) -> Handler {
    Arc::new(move |call: Call| {
        let Some(cluster) = cluster.upgrade() else {
            return async { Reply::Silent }.boxed();
        };
        let operators = Operators::new(cluster, call.namespace.clone());
        handler.call(ServerContext {
            call,
            form,
            operators,
        })
    })
}
