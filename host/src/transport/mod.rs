//! A transport as the cluster core wants it, made of a plugin.
//!
//! `TransportPlugin` is a loaded `.wasm`. Its publisher and its subscriber each run in an
//! instance of their own, kept by a `Keeper` that replaces an instance which traps,
//! spins or outgrows its limits. Depends on `cluster` (the traits and the messages), `runtime` and
//! `capabilities`; nothing of it knows socketioxide.

mod from_guest;
mod keeper;
mod lines;
mod node;
mod none;
mod open;
mod plugin;
mod publisher;
mod recovery;
mod subscriber;
mod to_guest;

pub(crate) use keeper::InstanceStatus;
pub use keeper::{InstanceReport, InstanceState, RestartPolicy};
pub(crate) use lines::{LineOpener, Lines};
pub(crate) use node::NodeView;
pub(crate) use none::NoTransport;
pub(crate) use open::Identity;
pub use open::{OpenTransport, TransportHandle, TransportStatus};
pub use plugin::TransportError;
pub(crate) use plugin::{PluginSource, TransportPlugin};
pub(crate) use publisher::PluginPublisher;
pub use recovery::{MAX_MISSED, Missed, Recovery, RecoveryError, Restored, Session};
pub(crate) use subscriber::PluginSubscriber;
