//! Clusters in memory for tests: a hub that carries messages between them, with switches for
//! every kind of trouble a transport can make, and a local side that remembers what it was told.

#![allow(clippy::unwrap_used)]

mod handlers;
mod hub;
mod local;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

pub(crate) use self::{
    handlers::{answering, event, handler, say_nothing, with_name},
    hub::{Hub, Member},
    local::FakeLocal,
};
use super::{Body, Broadcast, Namespace, Payload, Target};

pub(crate) fn root() -> Namespace {
    Namespace::from("/")
}

/// An event for all clients.
pub(crate) fn broadcast(text: &str) -> Broadcast {
    let (target, data) = (Target::default(), Payload::text(text.to_owned()));
    Broadcast {
        target,
        data,
        packet_id: None,
        request: None,
    }
}

pub(crate) fn text_broadcast(text: &str) -> Body {
    Body::Broadcast(broadcast(text))
}

/// A broadcast with so many bytes attached.
pub(crate) fn large_broadcast(text: &str, bytes: usize) -> Body {
    let mut broadcast = broadcast(text);
    broadcast.data.attachments.push(Bytes::from(vec![0; bytes]));
    Body::Broadcast(broadcast)
}

pub(crate) fn text_of(body: &Body) -> Option<String> {
    match body {
        Body::Broadcast(broadcast) => Some(broadcast.data.json.to_string()),
        _ => None,
    }
}

/// Waits until something is so; fails with its name when it is still not after a long time.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(120), waiting).await.is_ok(),
        "never: {what}"
    );
}

/// Lets everything happen that can happen without time passing (in paused time).
pub(crate) async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}
