//! The two halves: batches to Redis ([`Out`]), and messages from it ([`In`]).
//!
//! * `commands`: publications as Redis reads them. Pure but for the sending.
//! * `fate`: what the fates of a batch mean to the host. Pure.
//! * `ahead`: what overtook a message that did not go. Pure.

mod ahead;
mod commands;
mod fate;
mod publisher;
mod subscriber;

pub use publisher::Out;
pub use subscriber::In;
