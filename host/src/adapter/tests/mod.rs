//! Servers of one cluster over memory: adapters of both parsers, a real `Cluster` each.
//!
//! `stub`, `hub`, `server` and `log` are what the tests are made of; the other files are the tests.

#![allow(clippy::unwrap_used)]

mod acks;
mod events;
mod hub;
pub(in crate::adapter) mod log;
mod peers;
mod recovery;
pub(in crate::adapter) mod server;
mod sockets;
pub(super) mod stub;

use socketioxide_core::adapter::SocketEmitter;
use socketioxide_parser_common::CommonParser;

use super::{AckStream, Adapter};

/// Adapters fit every emitter.
#[test]
fn the_stream_and_the_adapter_can_cross_threads() {
    fn is_send<T: Send + 'static>() {}
    fn check<E: SocketEmitter>() {
        is_send::<Adapter<E>>();
        is_send::<AckStream<E>>();
    }
    check::<stub::Stub<CommonParser>>();
}
