//! One connection of a member to a hub, from hello to its end.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::{Duration, timeout},
};

use super::{
    BusRole,
    frame::{BadFrame, CutCode, Frame, Hello},
    member::Member,
    options::MAX_BYTES,
    wire::{FrameReader, WriteBatch},
};

/// How long the hub has for its welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the hub has to take what is still to be written, and the goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// How a session ended.
pub(super) enum End {
    /// This process leaves.
    Closed,
    /// The hub's process has ended or leaves.
    HubGone,
    /// The hub ended, its process did not.
    Moved,
    /// The hub did not answer.
    Silent,
    /// The hub cut this member off because it took nothing.
    Stalled(String),
    /// One side found fault with the other.
    Refused(String),
}

impl From<BadFrame> for End {
    fn from(BadFrame(why): BadFrame) -> Self {
        Self::Refused(format!(
            "the process that serves the bus broke its protocol: {why}"
        ))
    }
}

fn cut(code: CutCode, why: String) -> End {
    match code {
        CutCode::Leaving => End::HubGone,
        CutCode::Moved => End::Moved,
        CutCode::Stalled => End::Stalled(why),
        CutCode::Refused => End::Refused(why),
    }
}

impl Member {
    /// One session. Whatever was not confirmed in it is repeated in the next.
    pub(super) async fn session(&self, mut stream: UnixStream) -> End {
        let (mut read, mut write) = stream.split();
        let mut reader = FrameReader::new(MAX_BYTES);
        match timeout(
            WELCOME_TIMEOUT,
            self.greet(&mut reader, &mut read, &mut write),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(end)) => return end,
            Err(_) => return End::Silent,
        }
        let writing = self.write_all(&mut write);
        tokio::pin!(writing);
        let reading = self.read_all(&mut reader, &mut read);
        tokio::pin!(reading);
        tokio::select! {
            end = &mut reading => return end,
            is_said = &mut writing => {
                if is_said {
                    return End::Closed;
                }
                // The hub has closed the connection. If it said why, that is still to be read.
                let why = timeout(GOODBYE_TIMEOUT, &mut reading).await;
                return why.unwrap_or(End::HubGone);
            }
            () = self.closing.notified() => {}
        }
        let goodbye = async {
            tokio::select! {
                _ = &mut reading => {}
                _ = &mut writing => {}
            }
        };
        // The hub notices the end of the connection in any case.
        let _ = timeout(GOODBYE_TIMEOUT, goodbye).await;
        End::Closed
    }

    /// Hello and welcome.
    async fn greet(
        &self,
        reader: &mut FrameReader,
        read: &mut (impl AsyncRead + Unpin),
        write: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), End> {
        let hello = self.hello();
        let mut batch = WriteBatch::new();
        batch.push(&Frame::Hello(hello));
        // A hub that refuses may do so before it has read this: its reason is waiting then.
        let _ = batch.write_to(write).await;
        let first = loop {
            if let Some(frame) = reader.next()? {
                break frame;
            }
            if !matches!(reader.fill(read).await, Ok(true)) {
                // It may be ending, or have no place: not at once again.
                return Err(End::Silent);
            }
        };
        match first {
            Frame::Welcome { hub, members, .. } => {
                let mut state = self.lock();
                let is_own = hub == self.id;
                state.role = if is_own {
                    BusRole::Hub
                } else {
                    BusRole::Member
                };
                state.hub = Some(hub);
                state.hub_in_doubt = false;
                state.trouble = None;
                state.taken = 0;
                state.confirmed = 0;
                state.outbox.start_over();
                state.inbox.welcome(members);
                drop(state);
                self.arrived.notify_waiters();
                Ok(())
            }
            Frame::Cut { code, text } => Err(cut(code, text)),
            other => Err(BadFrame(format!("{other:?} instead of a welcome")).into()),
        }
    }

    fn hello(&self) -> Hello {
        let state = self.lock();
        // A hub that died is not awaited under the next: everybody may know at once.
        let dead = state.hub.as_ref().filter(|_| state.hub_in_doubt);
        let others = state.inbox.peers().filter(|(id, _)| Some(*id) != dead);
        Hello {
            id: Arc::clone(&self.id),
            incarnation: self.incarnation,
            base: state.outbox.base(),
            max_frame_bytes: self.options.max_frame_bytes,
            max_unstable_bytes: self.options.max_unstable_bytes,
            others: others
                .map(|(id, incarnation)| (Arc::clone(id), incarnation))
                .collect(),
        }
    }

    async fn read_all(&self, reader: &mut FrameReader, read: &mut (impl AsyncRead + Unpin)) -> End {
        loop {
            match self.apply(reader) {
                Ok(true) => {}
                Ok(false) => {
                    self.await_room().await;
                    continue;
                }
                Err(end) => return end,
            }
            if !matches!(reader.fill(read).await, Ok(true)) {
                return End::HubGone;
            }
        }
    }

    /// Takes what has arrived whole. False: the plugin must take something first.
    fn apply(&self, reader: &mut FrameReader) -> Result<bool, End> {
        let mut state = self.lock();
        let before = state.taken;
        let result = loop {
            if state.inbox.is_full() {
                break Ok(false);
            }
            let frame = match reader.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(true),
                Err(bad) => break Err(bad.into()),
            };
            match frame {
                Frame::Data(data) => {
                    if let Err(bad) = state.inbox.data(&data) {
                        break Err(bad.into());
                    }
                    state.taken += 1;
                }
                Frame::Joined(member) => {
                    state.inbox.joined(&member);
                    state.taken += 1;
                }
                Frame::Left { id } => {
                    state.inbox.left(&id);
                    state.taken += 1;
                }
                Frame::Stable { seq } => self.is_stable(&mut state, seq),
                Frame::Cut { code, text } => break Err(cut(code, text)),
                other => {
                    break Err(BadFrame(format!("a hub may not send {other:?}")).into());
                }
            }
        };
        let has_taken = state.taken > before;
        drop(state);
        if has_taken {
            self.arrived.notify_waiters();
            self.outgoing.notify_one();
        }
        result
    }

    /// Waits for the plugin, but not for ever.
    async fn await_room(&self) {
        // Before the hub cuts this process off: a plugin that is stuck is no reason to lose the
        // connection, over which another may be sending.
        let patience = self.options.stall_timeout / 4 * 3;
        let room = async {
            while self.lock().inbox.is_full() {
                self.drained.notified().await;
            }
        };
        if timeout(patience, room).await.is_err() {
            self.lock().inbox.start_dropping();
            tracing::warn!(
                member = %self.id,
                "the plugin has taken nothing from its full bus queue for {} ms; frames are \
                 dropped and counted until it does",
                patience.as_millis()
            );
        }
    }

    /// Writes frames and confirmations. True: goodbye is said; false: the connection is broken.
    async fn write_all(&self, write: &mut (impl AsyncWrite + Unpin)) -> bool {
        let mut batch = WriteBatch::new();
        loop {
            let is_last = {
                let mut state = self.lock();
                if state.taken > state.confirmed {
                    state.confirmed = state.taken;
                    batch.push(&Frame::Ack { count: state.taken });
                }
                state.outbox.gather(&mut batch);
                // With an empty batch everything is written.
                let is_last = state.closing && batch.is_empty();
                if is_last {
                    batch.push(&Frame::Bye);
                }
                is_last
            };
            if batch.is_empty() {
                self.outgoing.notified().await;
            } else if batch.write_to(write).await.is_err() {
                return false;
            } else if is_last {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;
    use crate::{capabilities::bus::BusOptions, socket_place::Place};

    #[tokio::test]
    async fn the_reason_of_a_hub_that_closed_is_read_though_writing_failed_first() {
        // Which side is looked at first is left to chance.
        for _ in 0..50 {
            let place = Place::new("nowhere.sock".as_ref(), "path");
            let member = Member::new("me".into(), BusOptions::default(), place);
            member.send(vec![Bytes::from_static(b"frame")], 100);
            let (mut hub, stream) = UnixStream::pair().unwrap();
            let mut batch = WriteBatch::new();
            batch.push(&Frame::Welcome {
                hub: "hub".into(),
                incarnation: 1,
                members: Vec::new(),
            });
            batch.push(&Frame::Cut {
                code: CutCode::Stalled,
                text: "too slow".to_owned(),
            });
            batch.write_to(&mut hub).await.unwrap();
            drop(hub);
            let end = member.session(stream).await;
            assert!(matches!(end, End::Stalled(why) if why == "too slow"));
        }
    }
}
