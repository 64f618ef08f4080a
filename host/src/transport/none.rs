//! No transport: a server without a cluster (`transport = "none"`).

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};

use crate::cluster::{
    Event, Failure, Message, Namespace, Offset, PublishFailure, Publisher, Subscriber,
    TransportInfo,
};

/// Takes everything and tells nobody; nothing ever arrives.
#[derive(Debug)]
pub(crate) struct NoTransport;

impl Publisher for NoTransport {
    fn publish<'a>(
        &'a mut self,
        _: &'a [Message],
        _: u64,
    ) -> BoxFuture<'a, Result<Vec<Offset>, PublishFailure>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn count_nodes<'a>(
        &'a mut self,
        _: &'a Namespace,
    ) -> BoxFuture<'a, Result<Option<u32>, Failure>> {
        async { Ok(Some(1)) }.boxed()
    }

    fn info(&self) -> TransportInfo {
        TransportInfo {
            rooms_query: true,
            custom_query: true,
            ..TransportInfo::default()
        }
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

impl Subscriber for NoTransport {
    fn enter(&mut self, _: Namespace) -> BoxFuture<'_, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }

    fn leave<'a>(&'a mut self, _: &'a Namespace) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn poll(&mut self, timeout: Duration, _: usize) -> BoxFuture<'_, Result<Vec<Event>, Failure>> {
        async move {
            tokio::time::sleep(timeout).await;
            Ok(Vec::new())
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
