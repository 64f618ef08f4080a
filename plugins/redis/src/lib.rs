//! The `redis` transport: Redis (or Valkey) Pub/Sub, in one cluster with the servers of Node's
//! `@socket.io/redis-adapter` 8.x and, in the classic mode, with `@socket.io/redis-emitter` 5.x.
//!
//! Two modes, which do not hear each other:
//!
//! * `classic` speaks with `createAdapter`: `PUBLISH`, `SUBSCRIBE`, `PSUBSCRIBE`. Any Redis.
//! * `sharded` speaks with `createShardedAdapter`: `SPUBLISH`, `SSUBSCRIBE`. Redis 7 and later. A
//!   server needs `subscriptionMode = "static"`, on all Node servers as well; a process that only
//!   sends may publish in the other two modes.
//!
//! Pub/Sub keeps nothing: what is published while a server is not connected to Redis never reaches
//! it. Such a gap is reported as lagged. A message whose connection broke before Redis answered
//! counts as sent and is reported in the log; it is not sent again, so clients get nothing twice.
//!
//! On a single Redis (also with Sentinel) everything that one node sends arrives in its order. In
//! Redis Cluster that holds for each channel: for a namespace in the sharded mode `static`, for a
//! room in the classic mode.
//!
//! The options, and what is added to Node's wire, are listed in the README beside this crate.
//! [`wire`] is what is published, free of I/O.

mod options;
pub mod transport;
pub mod wire;

switchboard_plugin::transport!(transport::Out, transport::In);
