//! A program with Socket.IO clients in it, which does the same as `tests/node/clients.mjs` with the same
//! commands and needs nothing but itself: for machines without Node.js.
//!
//! It speaks as little of the protocol as a check of a transport needs: Engine.IO 4 over WebSocket, and
//! Socket.IO 5 with the common parser. It never connects again by itself. `packet.rs` is the protocol
//! without I/O, `connection.rs` one WebSocket, `socket.rs` what one client has got, `commands.rs` what it
//! can be told.
//!
//! By hand:
//!
//! ```text
//! READY
//! {"id":1,"op":"connect","client":0,"url":"http://127.0.0.1:40123","how":{"nsp":"/"},"deadline_ms":1000}
//! {"id":1,"ok":{"id":"Kx7bM0aVhz6OBsFT"}}
//! ```

mod commands;
mod connection;
mod packet;
mod socket;

use std::sync::Arc;

use crate::{console, subject::log_to_stderr};

/// Runs clients until standard input ends, and ends the process.
pub async fn run() -> ! {
    log_to_stderr();
    println!("READY");
    let clients = Arc::new(commands::Everybody::default());
    console::run(move |command| {
        let clients = Arc::clone(&clients);
        async move { clients.run(command).await }
    })
    .await;
    std::process::exit(0)
}
