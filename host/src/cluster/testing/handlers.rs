//! Handlers of the tests.

use std::sync::Arc;

use futures_util::FutureExt;

use crate::cluster::{Call, Handler, Payload, Reply};

/// A handler from an ordinary async closure.
pub(crate) fn handler<F, R>(handle: F) -> Handler
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Arc::new(move |call| handle(call).boxed())
}

/// A handler that answers with this JSON text.
pub(crate) fn answering(json: &'static str) -> Handler {
    handler(move |_| async move { Reply::Value(Some(Payload::text(json))) })
}

/// A handler that never answers, and ends at once.
pub(crate) fn say_nothing() -> Handler {
    handler(|_| async { Reply::Silent })
}

/// A handler that answers with this name and the data that it was called with.
pub(crate) fn with_name(name: &'static str) -> Handler {
    handler(move |call| async move {
        let mut data = call.data;
        data.json = format!("[\"{name}\",{}]", data.json).into();
        Reply::Value(Some(data))
    })
}

/// The data of an event with one argument.
pub(crate) fn event(name: &str, argument: &str) -> Payload {
    Payload::text(format!("[\"{name}\",{argument}]"))
}
