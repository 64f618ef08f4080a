//! The `nats` transport: servers that share a NATS server or cluster, through core NATS. It speaks
//! NATS' client protocol itself over the capability `switchboard:tcp`, and is the example of how a
//! backend that the host knows nothing of becomes a transport.
//!
//! * [`wire`] is pure: what NATS says and hears, the names of subjects, what a message is wrapped in,
//!   and how gaps and repetitions are found.
//! * [`transport`] does the I/O, over `switchboard_plugin::socket::Socket`, so that its tests run
//!   natively.
//!
//! What is promised, and the options, are in the README beside this crate.

mod options;
pub mod transport;
pub mod wire;

pub use options::Options;

switchboard_plugin::transport!(transport::Out, transport::In);
