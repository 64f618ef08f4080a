//! The two halves, each with a connection of its own. What speaks the protocol is written over
//! [`switchboard_plugin::socket::Socket`], so that it runs natively in tests; what is made for the host
//! is [`Out`] and [`In`].

mod connection;
mod note;
mod publisher;
mod subscriber;

use switchboard_plugin::{OpenFailure, socket::text, tcp};

pub use connection::{Connection, Reached, Trouble};
pub use publisher::Publishing;
pub use subscriber::Receiving;

/// The way out, in a component.
pub type Out = Publishing<tcp::Socket>;
/// The way in, in a component.
pub type In = Receiving<tcp::Socket>;

/// The host's socket of this name. Publisher and subscriber share no names, so one name does for both.
fn open(connection: &str) -> Result<tcp::Socket, OpenFailure> {
    tcp::Socket::open(connection, "nats").map_err(|error| match error {
        tcp::Error::Unavailable(why) => OpenFailure::Unavailable(why),
        error => OpenFailure::Unsupported(text(error)),
    })
}
