//! The `postgres` transport: PostgreSQL LISTEN/NOTIFY, in one cluster with the servers of Node's
//! `@socket.io/postgres-adapter` 0.5 and 0.4, and with `@socket.io/postgres-emitter`.
//!
//! A message is a notification; what is binary or too long for one is a row of a table, and the
//! notification names it. A batch is one statement and one transaction, whatever it holds.
//!
//! NOTIFY keeps nothing: what is sent while a server does not listen never reaches it. Such a gap is
//! reported as lagged. With `durable`, all messages go through the table, whose rows become visible
//! in the order of their ids: a server that was cut off goes on behind the last one that it had. A
//! batch of which nobody knows whether Postgres has it is settled by a unique key in the same
//! transaction, so nothing is lost and nothing comes twice.
//!
//! The options, and what is added to Node's wire, are listed in the README beside this crate.
//! [`wire`] is what goes through Postgres, free of I/O.

mod options;
pub mod recovery;
pub mod transport;
pub mod wire;

use recovery::Sessions;

switchboard_plugin::transport!(transport::Out, transport::In);
switchboard_plugin::recovery!(Sessions);
