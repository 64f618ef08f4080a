//! Streams of a subscription: read from a fixed place on, entry after entry, into the same queue as
//! messages.
//!
//! * `table`: which streams are wanted, and what Redis said to it.
//! * `reader`: one stream, read over a connection of its own.
//! * `place`: where a reader stands, and how it finds out that entries are missing.
//! * `info`: what Redis tells about a stream.
//! * `pace`: how many entries are asked for at a time.
//! * `entry`, `id`: what arrives.
//!
//! Each stream has a connection of its own, with a single server as well. One `XREAD` for several
//! streams would save connections, but fails as a whole when one of them is no stream, gives all of
//! them the same `COUNT`, and has to prove for every one of them that nothing was trimmed, each time
//! that anything arrives.

mod entry;
mod id;
mod info;
mod pace;
mod place;
mod reader;
mod table;

use std::{collections::HashMap, sync::Arc};

use tokio::task::{AbortHandle, JoinSet};

pub(crate) use self::{
    entry::StreamEntry,
    id::EntryId,
    table::{Start, Streams},
};
use super::Core;

/// Most streams of one subscription: each costs a connection.
pub(super) const MAX_STREAMS: usize = 64;
/// The most entries that a plugin may have read at a time.
pub(super) const MAX_ASKED: u32 = 1000;

/// Keeps a reader for each stream that is wanted, until the task is aborted.
pub(super) async fn run(core: Arc<Core>) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<Arc<str>, (u64, AbortHandle)> = HashMap::new();
    loop {
        let wanted = core.lock().streams.wanted();
        running.retain(|name, (serial, handle)| {
            // One that was left and is wanted again begins anew.
            let is_wanted = wanted
                .iter()
                .any(|wanted| wanted.name == *name && wanted.serial == *serial);
            if !is_wanted {
                handle.abort();
            }
            is_wanted
        });
        for wanted in wanted {
            if running.contains_key(&wanted.name) {
                continue;
            }
            let (name, serial) = (Arc::clone(&wanted.name), wanted.serial);
            let handle = tasks.spawn(reader::run(Arc::clone(&core), wanted));
            running.insert(name, (serial, handle));
        }
        while tasks.try_join_next().is_some() {}
        core.restream.notified().await;
    }
}
