//! A transport as the cluster core wants it, made of a plugin.
//!
//! `TransportPlugin` is a loaded `.wasm`. Its publisher and its subscriber each run in an
//! instance of their own, kept by a `Keeper` that replaces an instance which traps,
//! spins or outgrows its limits. A `Follower` watches the plugin folder and lets an `Upgrader` put
//! another version in their place while the server runs. Depends on `cluster` (the traits and the messages), `runtime` and
//! `capabilities`; nothing of it knows socketioxide.

mod follow;
mod from_guest;
mod handover;
mod inspect;
mod instance;
mod keeper;
mod lines;
mod loader;
mod node;
mod none;
mod open;
mod plugin;
mod publisher;
mod recovery;
mod report;
mod subscriber;
mod to_guest;
mod upgrade;

pub(crate) use follow::{Follower, Upgradable};
pub use inspect::{Ask, Inspection, inspect};
pub use keeper::RestartPolicy;
pub(crate) use lines::{LineOpener, Lines};
pub(crate) use loader::Loader;
pub(crate) use node::NodeView;
pub(crate) use none::NoTransport;
pub(crate) use open::Identity;
pub use open::{OpenTransport, TransportHandle, TransportStatus};
pub use plugin::TransportError;
pub(crate) use plugin::TransportPlugin;
pub(crate) use publisher::PluginPublisher;
pub use recovery::{MAX_MISSED, Missed, Recovery, RecoveryError, Restored, Session};
pub(crate) use report::InstanceStatus;
pub use report::{InstanceReport, InstanceState};
pub(crate) use subscriber::PluginSubscriber;
pub use upgrade::UpgradeError;
pub(crate) use upgrade::Upgrader;
