//! Ports for the servers that tests start.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of this machine on which nobody listens, found without listening: a process that another
/// test starts at this moment has a copy of every socket until it runs its program, and a copy of a
/// listener would keep the port from who is to have it.
pub(super) fn free_port() -> u16 {
    bind(0).unwrap().port()
}

/// Whether nobody listens there.
pub(super) fn is_free(port: u16) -> bool {
    bind(port).is_some()
}

fn bind(port: u16) -> Option<SocketAddr> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).ok()?;
    socket.local_addr().ok()
}
