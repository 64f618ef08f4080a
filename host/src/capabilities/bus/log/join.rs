//! How a member gets into the log: who may, what it is told, and whom it brings back to mind; and
//! how its connection is lost or replaced.

use std::sync::Arc;

use tokio::time::Instant;

use super::{ConnectionId, Log, Member, Receiver, Sender, What};
use crate::capabilities::bus::{
    frame::{BadFrame, CutCode, Frame, Hello, Known, MAX_MEMBERS},
    options::MAX_BYTES,
};

impl Log {
    /// A connection says who it is.
    ///
    /// # Errors
    /// The reason why it is not accepted.
    pub(in super::super) fn hello(
        &mut self,
        connection: ConnectionId,
        hello: &Hello,
        now: Instant,
    ) -> Result<(), BadFrame> {
        if hello.max_frame_bytes > MAX_BYTES || hello.max_unstable_bytes > MAX_BYTES {
            return Err(BadFrame(format!(
                "max_frame_bytes and max_unstable_bytes may be {MAX_BYTES} at most"
            )));
        }
        let id = &hello.id;
        let former = self.senders.get(id).and_then(|sender| {
            sender
                .connection
                .map(|connection| (connection, sender.incarnation))
        });
        match former {
            // The end of its former connection is just not noticed yet. It has not left, and what
            // it lacks must not be dropped before it is back in the log, below.
            Some((former, incarnation)) if incarnation == hello.incarnation => {
                self.detach(former);
                self.dismiss(
                    former,
                    CutCode::Refused,
                    "it came back on another connection".into(),
                );
            }
            Some(_) => {
                return Err(BadFrame(format!(
                    "another process is on this bus as `{id}`: ids must be unique"
                )));
            }
            None => {}
        }
        if self.receivers().count() >= MAX_MEMBERS {
            return Err(BadFrame(format!(
                "this bus has {MAX_MEMBERS} members already"
            )));
        }
        if now < self.grace_until {
            self.await_others(hello);
            // It has named everybody.
            self.awaits_strangers &= hello.others.is_empty();
        }
        self.awaited.retain(|awaited| awaited != id);

        let sender = self
            .senders
            .entry(Arc::clone(id))
            .or_insert_with(|| Sender {
                incarnation: hello.incarnation,
                last_seq: hello.base,
                stable_seq: hello.base,
                unstable_bytes: 0,
                connection: None,
            });
        if sender.incarnation == hello.incarnation {
            sender.last_seq = sender.last_seq.max(hello.base);
            sender.stable_seq = sender.stable_seq.max(hello.base);
        } else {
            sender.incarnation = hello.incarnation;
            sender.last_seq = hello.base;
            sender.stable_seq = hello.base;
        }
        sender.connection = Some(connection);
        let base = Some(sender.last_seq);
        let stable = sender.stable_seq;

        let members = self.membership_for(hello);
        let receiver = Receiver {
            id: Arc::clone(id),
            welcome: Some(Frame::Welcome {
                hub: Arc::clone(&self.hub),
                incarnation: self.incarnation,
                members,
            }),
            last_seq: hello.base,
            max_unstable_bytes: hello.max_unstable_bytes.max(hello.max_frame_bytes),
            sent: self.first,
            taken: self.first,
            sent_count: 0,
            taken_count: 0,
            moved: now,
            stable,
            stable_sent: hello.base,
        };
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.receiver = Some(receiver);
        }
        self.skip_own(connection);
        let incarnation = hello.incarnation;
        self.append(
            What::Joined(Known {
                id: Arc::clone(id),
                incarnation,
                base,
            }),
            now,
        );
        self.skip_own(connection);
        self.trim();
        self.wake_writers();
        Ok(())
    }

    /// The connection ended without goodbye. Soon after a takeover, members give up connections
    /// that were not answered in time and try again: until the grace is over, what they lack is
    /// kept.
    pub(super) fn lose(&mut self, connection: ConnectionId, now: Instant) {
        // Nobody may fill the memory by coming under one name after the other.
        if now >= self.grace_until || self.awaited.len() >= MAX_MEMBERS {
            self.leave(connection, now);
        } else if let Some(id) = self.detach(connection) {
            self.awaited.push(id);
        }
    }

    /// Takes the member off its connection, which says nothing to the others yet. Returns who it
    /// was.
    pub(super) fn detach(&mut self, connection: ConnectionId) -> Option<Arc<str>> {
        let receiver = self.connections.get_mut(&connection)?.receiver.take()?;
        if let Some(sender) = self.senders.get_mut(&receiver.id) {
            sender.connection = None;
        }
        Some(receiver.id)
    }

    /// Who is there at the front of the log, where this member begins to read.
    fn membership_for(&self, hello: &Hello) -> Vec<Known> {
        let here = self.members.iter().map(|(id, member)| Known {
            id: Arc::clone(id),
            incarnation: member.incarnation,
            base: member.base,
        });
        // Whom it knows and who came back just before it has not left in between.
        let came_back = hello.others.iter().filter(|(id, incarnation)| {
            !self.members.contains_key(id)
                && self.senders.get(id).is_some_and(|sender| {
                    let is_here = sender.connection.is_some() || self.awaited.contains(id);
                    is_here && sender.incarnation == *incarnation
                })
        });
        let came_back = came_back.map(|(id, incarnation)| Known {
            id: Arc::clone(id),
            incarnation: *incarnation,
            base: None,
        });
        here.chain(came_back)
            .filter(|member| member.id != hello.id)
            .collect()
    }

    /// Whom this member knew under the former hub: they may be on their way.
    fn await_others(&mut self, hello: &Hello) {
        for (id, incarnation) in &hello.others {
            let known = self.senders.contains_key(id) || self.members.contains_key(id);
            if known || *id == hello.id || self.members.len() >= MAX_MEMBERS {
                continue;
            }
            self.members.insert(
                Arc::clone(id),
                Member {
                    incarnation: *incarnation,
                    base: None,
                },
            );
            self.awaited.push(Arc::clone(id));
        }
    }
}
