//! The `redis-streams` transport: Redis (or Valkey) Streams, in one cluster with the servers of
//! Node's `@socket.io/redis-streams-adapter` 0.3.
//!
//! Whatever must not be lost is an entry of a stream: events, joins, leaves, disconnections, and the
//! requests among servers, so that they keep their order. The host reads the stream from where it
//! stands, so a server that was cut off for a while gets all of it. Answers and heartbeats go over
//! Pub/Sub.
//!
//! An entry whose outcome is unknown, because the connection broke before Redis answered, is looked
//! for in the stream before it is sent again; so are those of an instance that died, by the one that
//! follows it. Should an entry come twice all the same, servers with this plugin know it by its mark.
//!
//! The options, and what is added to Node's wire, are listed in the README beside this crate.
//! [`wire`] is what stands in Redis, free of I/O.

mod options;
pub mod recovery;
pub mod transport;
pub mod wire;

use recovery::Sessions;

switchboard_plugin::transport!(transport::Out, transport::In);
switchboard_plugin::recovery!(Sessions);
