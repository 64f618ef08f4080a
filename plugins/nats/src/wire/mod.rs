//! What goes over the wire, as pure functions: no I/O, no host.
//!
//! * [`protocol`]: NATS' client protocol.
//! * [`subject`]: the subjects of namespaces and nodes.
//! * [`letter`]: what a cluster message is wrapped in, whole or in parts.
//! * [`inbox`]: from letters to messages, with what is missing and what comes twice.
//!
//! The messages themselves are those of Node's adapters (`switchboard_plugin::wire::envelope`): JSON,
//! or msgpack where they hold binary parts.

pub mod inbox;
pub mod letter;
pub mod protocol;
pub mod subject;
