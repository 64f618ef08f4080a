//! What goes through Postgres, as bytes. Pure: no I/O, no host.
//!
//! * [`names`]: channels and tables.
//! * [`letter`]: messages as notifications, some with a row of the table.
//! * [`inbox`]: the other way.
//!
//! The messages themselves are those of Node's ClusterAdapter, see `switchboard_plugin::wire`.
//!
//! Whatever arrives is untrusted: nothing here panics, recurses without a limit, or holds more than
//! a small multiple of what was sent.

pub mod inbox;
pub mod letter;
pub mod names;

/// What a message carries beside the members that Node's adapter gives it when it is used alone.
pub mod member {
    /// Without it, workers behind Node's `setupPrimary` do not hear a message.
    pub const SOURCE: &str = "source";
    /// Its only value.
    pub const SOURCE_VALUE: &str = "_sio_adapter";
    /// Whose request an answer is for: others need not read it.
    pub const RECIPIENT: &str = "requesterUid";
    /// Ours: the number of the message among all that this server has handed out.
    pub const NUMBER: &str = "n";
    /// Ours: the sender keeps what it sends in the table, and its rows become visible in the order
    /// of their ids.
    pub const KEPT: &str = "kept";
    /// The value of [`KEPT`].
    pub const KEPT_VALUE: &str = "1";
    /// Of a header: the id of the row.
    pub const ATTACHMENT: &str = "attachmentId";
}
