//! The commands that a test server takes and what it answers. Only data: how they are carried is
//! `process`'s work, how they are carried out that of the programs `test-server` and `test-emitter`,
//! and of their counterparts in `tests/node`.

mod answers;
mod command;
mod flood;
mod order;
mod parser;
mod select;

pub use answers::{
    Ack, Acks, Answers, ClientAck, Looked, NodeAnswer, NodeEvent, NodeSeen, Partial, RemoteSocket,
    ServerEvent, Socket,
};
pub use command::{Command, Remote, RemoteAction};
pub use flood::{Binary, Flood, FloodReport};
pub use order::Order;
pub use parser::Parser;
pub use select::Select;
