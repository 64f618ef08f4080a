//! Who is here: every node tells all pages of the cluster who is connected to it, whenever that
//! changes and every second anyway. A page forgets a node that it has not heard of for a while,
//! so a node that dies takes its visitors out of every list without anybody having to notice.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use socketioxide::{SocketIo, adapter::Adapter, extract::SocketRef, socket::Sid};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::warn;

use crate::input::{Name, RoomName};

/// How often a node announces itself when nothing changes. The page gives up on a node after
/// several of these (`SILENT_AFTER_MS` in `cluster.js`).
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);
/// Changes that follow each other more quickly are announced together.
const ANNOUNCE_GAP: Duration = Duration::from_millis(50);
/// Visitors that an announcement names; of all others it tells the number.
const MAX_VISITORS_NAMED: usize = 200;
/// How long the last announcement may take when the server stops.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// This node, as the pages know it.
pub(crate) struct Node {
    tag: Tag,
    changed: Notify,
}

/// A node's id, which is unique, its name, which is for people, and where its page is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tag {
    id: String,
    name: String,
    url: String,
}

impl Node {
    pub(crate) fn new(id: String, name: String, url: String) -> Self {
        Self {
            tag: Tag { id, name, url },
            changed: Notify::new(),
        }
    }

    pub(crate) fn tag(&self) -> &Tag {
        &self.tag
    }

    pub(crate) fn name(&self) -> &str {
        &self.tag.name
    }

    /// A visitor came, went, or did something that others see in their lists.
    pub(crate) fn visitors_changed(&self) {
        self.changed.notify_one();
    }
}

/// What we keep with a visitor's socket. The rooms it is in, socketioxide knows.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) name: Name,
}

#[derive(Serialize)]
struct Announcement<'a> {
    node: &'a Tag,
    /// How many visitors this node has.
    total: usize,
    visitors: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    id: Sid,
    name: Name,
    rooms: Vec<RoomName>,
}

/// Announces this node until the task is aborted.
pub(crate) async fn announce<A: Adapter>(io: SocketIo<A>, node: Arc<Node>) {
    let mut regularly = interval(ANNOUNCE_EVERY);
    regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = regularly.tick() => {}
            () = node.changed.notified() => {}
        }
        if let Err(error) = io.emit("node", &announcement(&io, &node)).await {
            warn!(%error, "not every page was told who is here");
        }
        sleep(ANNOUNCE_GAP).await;
    }
}

fn announcement<'a, A: Adapter>(io: &SocketIo<A>, node: &'a Node) -> Announcement<'a> {
    // Only this node's sockets: `sockets()` never asks the cluster.
    let mut visitors: Vec<Entry> = io.sockets().iter().filter_map(entry).collect();
    let total = visitors.len();
    visitors.sort_unstable_by_key(|visitor| visitor.id);
    visitors.truncate(MAX_VISITORS_NAMED);
    Announcement {
        node: &node.tag,
        total,
        visitors,
    }
}

/// `None` for a socket that is still being welcomed.
fn entry<A: Adapter>(socket: &SocketRef<A>) -> Option<Entry> {
    let Visitor { name } = socket.extensions.get()?;
    let mut rooms: Vec<_> = socket
        .rooms()
        .iter()
        .filter_map(|room| RoomName::from_room(room))
        .collect();
    rooms.sort_unstable();
    Some(Entry {
        id: socket.id,
        name,
        rooms,
    })
}

/// Tells all pages that this node is about to stop.
pub(crate) async fn say_goodbye<A: Adapter>(io: &SocketIo<A>, node: &Node) {
    if timeout(GOODBYE_LIMIT, io.emit("node-gone", &node.tag))
        .await
        .is_err()
    {
        warn!("the other nodes' pages were not told that this node stops");
    }
}
