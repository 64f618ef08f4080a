//! What every transport must do, as scenarios that are written once: each is a function that gets
//! servers and clients and checks one promise. The list of them is in `registry.rs`, what they start
//! from in `setting.rs` and `stage.rs`; the other files are the scenarios by subject.
//!
//! A scenario knows no transport. Where transports differ it asks
//! [`Capabilities`](crate::transport::Capabilities) what this one promises, and checks that. It fails
//! by an error or by a panic, as a test does, and says what was expected.
//!
//! ```no_run
//! # async fn story() -> Result<(), switchboard_kit::Error> {
//! use switchboard_kit::{Parser, Transport, scenarios::{self, Setting}};
//!
//! for scenario in scenarios::all() {
//!     let setting = Setting::new(Transport::from("mine"), Parser::Common);
//!     scenario.run(setting).await?;
//!     println!("{scenario}");
//! }
//! # Ok(())
//! # }
//! ```

mod registry;
mod setting;
mod stage;

mod acks;
mod broadcast;
mod connections;
mod crowds;
mod custom;
mod deaths;
mod emitter;
mod lookup;
mod namespaces;
mod nodes;
mod operators;
mod order;
mod remote;
mod requests;
mod rooms;
mod server_events;
mod sizes;
mod sockets;

pub use registry::{Parsers, Scenario, all, find};
pub use setting::Setting;

pub(crate) use setting::Given;
pub(crate) use stage::{CLIENTS, CLIENTS_PER_NODE, NODES, PATIENCE, Stage};

use crate::Error;

/// How a scenario ends; the error says what did not happen.
pub type Outcome = Result<(), Error>;
