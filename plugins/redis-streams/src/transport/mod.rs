//! The two halves: batches to Redis ([`Out`]), and messages from it ([`In`]).
//!
//! * `letters`: messages as commands.
//! * `delivery`: what became of them, and what has still to be sent. Pure.
//! * `search`: what became of entries whose outcome is unknown. Pure.
//! * `predecessor`: what became of those of an instance that died. Pure.
//! * `range`: reading a stream in pages.

mod delivery;
mod letters;
mod predecessor;
mod publisher;
pub(crate) mod range;
mod search;
mod subscriber;

pub use publisher::Out;
pub use subscriber::In;
