//! The `local` transport: processes of one machine form a cluster over the `bus` capability, with
//! no server to install. The counterpart of Node's cluster adapter, and the default of the demo.
//!
//! Each published batch becomes one frame (more only when it is large), so the cost of the bus is
//! per batch, not per message. [`wire`] is the format of a frame, free of I/O.

pub mod transport;
pub mod wire;

switchboard_plugin::transport!(transport::Out, transport::In);
