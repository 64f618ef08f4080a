//! Write a Switchboard transport plugin in Rust.
//!
//! A transport is two halves that run in separate instances: a [`Publisher`] that writes cluster
//! messages to a backend, and a [`Subscriber`] that reads them. Implement both, name them in
//! [`transport!`], build the crate as a `cdylib` for a Wasm target, and drop the `.wasm` into a
//! server's plugin folder. What a transport promises is written in the WIT package
//! `switchboard:transport`; the types here are generated from it.
//!
//! ```
//! use switchboard_plugin::{
//!     Batch, Config, Events, Failure, OpenFailure, PublishFailure, Publisher, Subscriber,
//!     TransportInfo, options,
//! };
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Options {
//!     #[serde(default)]
//!     greeting: String,
//! }
//!
//! /// A transport to nowhere.
//! struct Out;
//! impl Publisher for Out {
//!     fn open(config: Config) -> Result<(Self, TransportInfo), OpenFailure> {
//!         let _: Options = options(&config)?;
//!         Ok((Out, TransportInfo::default()))
//!     }
//!     fn publish(&mut self, _: Batch, _first: u64) -> Result<Vec<String>, PublishFailure> {
//!         Ok(Vec::new())
//!     }
//! }
//!
//! struct In;
//! impl Subscriber for In {
//!     fn open(_: Config, _resume_from: Option<String>) -> Result<Self, OpenFailure> {
//!         Ok(In)
//!     }
//!     fn poll(&mut self, _timeout_ms: u32, _max_events: u32) -> Result<Events, Failure> {
//!         Ok(Events::new())
//!     }
//! }
//!
//! switchboard_plugin::transport!(Out, In);
//! ```

mod batch;
#[doc(hidden)]
pub mod bindings;
mod events;
mod export;
pub mod host;
mod log;
#[cfg(not(target_family = "wasm"))]
mod native;
pub mod option;
pub mod redis;
pub mod redis_outcome;
pub mod socket;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod values;
pub mod wire;

use bindings::switchboard::transport as wit;

pub use batch::{Batch, BroadcastRef, MessageRef};
#[cfg(target_family = "wasm")]
pub use bindings::switchboard::bus::bus;
pub use bindings::switchboard::postgres::postgres;
#[cfg(target_family = "wasm")]
pub use bindings::switchboard::tcp::tcp;
#[cfg(target_family = "wasm")]
pub use bindings::switchboard::transport::node;
pub use events::{Events, Heard, Said};
pub use log::{debug, error, info, trace, warn};
#[cfg(not(target_family = "wasm"))]
pub use native::{bus, node, tcp};
pub use values::unless_empty;
pub use wit::lifecycle::{Config, Failure, Membership, OpenFailure, TransportInfo};

/// What nodes tell each other, and what a subscriber reports.
pub mod types {
    pub use crate::bindings::exports::switchboard::transport::subscriber::Lag;
    pub use crate::bindings::switchboard::transport::messages::Message as RunMessage;
    pub use crate::bindings::switchboard::transport::messages::*;
    pub use crate::bindings::with_recovery::exports::switchboard::transport::recovery::{
        Missed, Restored, Session,
    };
    pub use crate::events::{Event, Message, Received};
}

pub use bindings::exports::switchboard::transport::publisher::PublishFailure;

#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::export;
    pub use crate::bindings::exports::switchboard::transport::{publisher, subscriber};
    pub use crate::bindings::with_recovery::{
        export_recovery, exports::switchboard::transport::recovery,
    };
    pub use crate::export::{Slot, if_wanted, install_panic_hook, not_open};
}

impl Default for TransportInfo {
    /// Heartbeats count the nodes; no queries beyond those of Node's adapters.
    fn default() -> Self {
        Self {
            membership: Membership::Heartbeats,
            rooms_query: false,
            custom_query: false,
            reports_leaving: false,
        }
    }
}

/// The way out. One value lives in one instance; see the WIT interface `publisher`.
pub trait Publisher: Sized + 'static {
    /// Reads the options and opens what is needed; may connect later.
    ///
    /// # Errors
    /// [`OpenFailure::InvalidConfig`] names the key; [`OpenFailure::Unavailable`] is tried again.
    fn open(config: Config) -> Result<(Self, TransportInfo), OpenFailure>;

    /// Publishes 1 to 512 messages in order, in one round trip. Ok: all were accepted; the
    /// offsets are one per message or none; those that the host does not want ([`Config`]) do not
    /// reach it.
    ///
    /// `first` is the number of the first message, and the others count on from there. A message
    /// that comes again, also to the successor of an instance that died over it, has the number
    /// that it had: with [`Config::node`] it names the message for ever. So a transport that writes
    /// both beside a message can find out whether the backend has it already. An instance whose
    /// first batch has a number above 0 follows another one.
    ///
    /// # Errors
    /// How many from the front were accepted, and what became of the next one.
    fn publish(&mut self, batch: Batch, first: u64) -> Result<Vec<String>, PublishFailure>;

    /// How many nodes serve this namespace; only asked when [`TransportInfo::membership`] is
    /// [`Membership::Counted`].
    ///
    /// # Errors
    /// When the backend cannot be asked now.
    fn count_nodes(&mut self, _namespace: String) -> Result<Option<u32>, Failure> {
        Ok(None)
    }

    /// What was accepted is on its way when this returns.
    fn close(self) {}
}

/// The way in. One value lives in one instance; see the WIT interface `subscriber`.
pub trait Subscriber: Sized + 'static {
    /// Opens the subscription and goes on after `resume_from`.
    ///
    /// # Errors
    /// As [`Publisher::open`].
    fn open(config: Config, resume_from: Option<String>) -> Result<Self, OpenFailure>;

    /// This server now serves the namespace. Entering twice is harmless.
    ///
    /// # Errors
    /// When the backend cannot be told now; the host tries again.
    fn enter(&mut self, _namespace: String) -> Result<(), Failure> {
        Ok(())
    }

    /// This server no longer serves the namespace.
    fn leave(&mut self, _namespace: String) {}

    /// Waits up to `timeout_ms` in a capability and returns what there is, oldest first.
    ///
    /// # Errors
    /// When the backend is away. Events taken in this call are handed out again.
    fn poll(&mut self, timeout_ms: u32, max_events: u32) -> Result<Events, Failure>;

    /// Last call.
    fn close(self) {}
}

/// Sessions for connection state recovery, optional: name it in [`recovery!`]. One value lives in
/// an instance of its own; see the WIT interface `recovery`.
pub trait Recovery: Sized + 'static {
    /// Reads the options and opens what is needed.
    ///
    /// # Errors
    /// As [`Publisher::open`].
    fn open(config: Config) -> Result<Self, OpenFailure>;

    /// Keeps a session for `ttl_ms`.
    ///
    /// # Errors
    /// When the backend is away, or will never take this session.
    fn persist_session(&mut self, session: types::Session, ttl_ms: u32) -> Result<(), Failure>;

    /// Takes a session back, with at most `max_missed` packets that its rooms got after `offset`.
    /// None: unknown, expired, or too far behind.
    ///
    /// # Errors
    /// When the backend is away; the session is kept.
    fn restore_session(
        &mut self,
        namespace: String,
        pid: String,
        offset: String,
        max_missed: u32,
    ) -> Result<Option<types::Restored>, Failure>;

    /// Last call.
    fn close(self) {}
}

/// Reads the operator's options into a type of the plugin's own. Give it
/// `#[serde(deny_unknown_fields)]`, so that a misspelt key is an error that lists the right ones.
///
/// # Errors
/// [`OpenFailure::InvalidConfig`] with the key and serde's message.
pub fn options<T: serde::de::DeserializeOwned>(config: &Config) -> Result<T, OpenFailure> {
    let wrong =
        |why: String| OpenFailure::InvalidConfig(format!("in the transport's options: {why}"));
    // From a value: places in a text that nobody has written are of no use.
    let options: serde_json::Value =
        serde_json::from_str(&config.options).map_err(|error| wrong(error.to_string()))?;
    serde_path_to_error::deserialize(options).map_err(|error| {
        let key = error.path().to_string();
        wrong(match key.as_str() {
            "." => error.inner().to_string(),
            key => format!("`{key}`: {}", error.inner()),
        })
    })
}
