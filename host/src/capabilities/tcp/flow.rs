//! One connection as the plugin's calls and its task (`session`) share it: bytes in both directions,
//! how it ends, and what a successor of the plugin finds.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{sync::Notify, time::timeout};

use super::{MAX_FAULTS, MAX_NOTE_BYTES, TcpError, incoming::Incoming, options::Encryption};
use crate::capabilities::handout::Rollback;

/// What a read came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// At least one.
    Bytes(Vec<u8>),
    /// Time is up.
    Nothing,
    /// The peer has sent its last byte.
    End,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Flow {
    max_read_bytes: usize,
    max_write_bytes: usize,
    state: Mutex<State>,
    /// For the plugin's calls: something has arrived, has left, or is over.
    guest: Notify,
    /// For the task: there is something to do.
    work: Notify,
}

#[derive(Debug)]
struct State {
    incoming: Incoming,
    outgoing: BytesMut,
    /// Bytes that the task has taken out of `outgoing` and not sent yet.
    in_hand: usize,
    end: Option<End>,
    /// Why it ends, where the plugin did not ask for that.
    lost: Option<String>,
    /// Nothing more will be written.
    is_finishing: bool,
    /// Nobody is interested any more; what is to be sent is sent.
    is_closing: bool,
    tls: Tls,
    /// Committed: a successor may go on with this.
    note: Option<Arc<[u8]>>,
    next_note: Option<Arc<[u8]>>,
    /// Deaths of instances since something was consumed.
    faults: u32,
    received_bytes: u64,
    sent_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The peer has sent its last byte.
    Finished,
    /// Nothing goes either way.
    Broken(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Never,
    /// The plugin has to start it.
    NotYet,
    Wanted,
    On,
}

/// Bytes that wait and that have passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) waiting: usize,
    pub(super) unsent: usize,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Flow {
    pub(super) fn new(
        encryption: Encryption,
        max_read_bytes: usize,
        max_write_bytes: usize,
    ) -> Arc<Self> {
        let state = State {
            incoming: Incoming::default(),
            outgoing: BytesMut::new(),
            in_hand: 0,
            end: None,
            lost: None,
            is_finishing: false,
            is_closing: false,
            tls: match encryption {
                Encryption::Off => Tls::Never,
                Encryption::On => Tls::On,
                Encryption::Start => Tls::NotYet,
            },
            note: None,
            next_note: None,
            faults: 0,
            received_bytes: 0,
            sent_bytes: 0,
        };
        Arc::new(Self {
            max_read_bytes,
            max_write_bytes,
            state: Mutex::new(state),
            guest: Notify::new(),
            work: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is an answer; `notify` says when to look again.
    async fn when<T>(&self, notify: &Notify, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let notified = notify.notified();
            tokio::pin!(notified);
            // Registered before the state is looked at, so that nothing slips between.
            notified.as_mut().enable();
            if let Some(answer) = look(&mut self.lock()) {
                return answer;
            }
            notified.await;
        }
    }

    // What the plugin does.

    /// Waits for bytes and hands them out. Loses nothing when dropped before it returns.
    ///
    /// # Errors
    /// [`TcpError::Unavailable`]: the connection is broken. [`TcpError::TooLarge`]: everything was
    /// read, nothing consumed, and there is no room for more.
    pub(super) async fn read(&self, max: usize, wait: Duration) -> Result<Received, TcpError> {
        let limit = self.max_read_bytes;
        let reading = self.when(&self.guest, |state| {
            if state.incoming.unread() > 0 {
                let bytes = state.incoming.take(max.max(1));
                return Some(Ok(Received::Bytes(bytes)));
            }
            match &state.end {
                Some(End::Finished) => Some(Ok(Received::End)),
                Some(End::Broken(why)) => Some(Err(TcpError::Unavailable(why.clone()))),
                None if state.incoming.len() >= limit => Some(Err(TcpError::TooLarge { limit })),
                None => None,
            }
        });
        timeout(wait, reading)
            .await
            .unwrap_or(Ok(Received::Nothing))
    }

    pub(super) fn consume(&self, count: usize) {
        self.lock().incoming.consume(count);
    }

    /// # Errors
    /// [`TcpError::TooLarge`].
    pub(super) fn keep(&self, note: Vec<u8>) -> Result<(), TcpError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(TcpError::TooLarge {
                limit: MAX_NOTE_BYTES,
            });
        }
        self.lock().next_note = Some(note.into());
        Ok(())
    }

    /// Takes all of these bytes or none, as soon as there is room.
    ///
    /// # Errors
    /// [`TcpError::Unavailable`]: the connection is broken, or there was no room in time.
    /// [`TcpError::TooLarge`], [`TcpError::Denied`]: after `finish`.
    pub(super) async fn write(&self, data: &[u8], wait: Duration) -> Result<(), TcpError> {
        let limit = self.max_write_bytes;
        if data.len() > limit {
            return Err(TcpError::TooLarge { limit });
        }
        let writing = self.when(&self.guest, |state| {
            if let Some(End::Broken(why)) = &state.end {
                return Some(Err(TcpError::Unavailable(why.clone())));
            }
            if state.is_finishing {
                let why = "this stream is finished: nothing more can be written";
                return Some(Err(TcpError::Denied(why.to_owned())));
            }
            let waiting = state.outgoing.len() + state.in_hand;
            if waiting + data.len() > limit && waiting > 0 {
                return None;
            }
            state.outgoing.extend_from_slice(data);
            Some(Ok(()))
        });
        let written = timeout(wait, writing).await.unwrap_or_else(|_| {
            let why = "the peer takes nothing, and there is no room for more";
            Err(TcpError::Unavailable(why.to_owned()))
        });
        self.work.notify_waiters();
        written
    }

    pub(super) fn finish(&self) {
        self.lock().is_finishing = true;
        self.work.notify_waiters();
    }

    /// Encrypts the rest.
    ///
    /// # Errors
    /// [`TcpError::Denied`]: that is not configured, or it is encrypted already.
    /// [`TcpError::Unavailable`]: it did not come about, and the connection is broken.
    pub(super) async fn start_tls(&self, wait: Duration) -> Result<(), TcpError> {
        let refused = match self.lock().tls {
            Tls::Never => Some("TLS is off here: set `encryption` to \"start\" for the connection"),
            Tls::On => Some("it is encrypted already"),
            Tls::NotYet | Tls::Wanted => None,
        };
        if let Some(why) = refused {
            return Err(TcpError::Denied(why.to_owned()));
        }
        self.lock().tls = Tls::Wanted;
        self.work.notify_waiters();
        let starting = self.when(&self.guest, |state| match (&state.end, state.tls) {
            (Some(End::Broken(why)), _) => Some(Err(TcpError::Unavailable(why.clone()))),
            (_, Tls::On) => Some(Ok(())),
            _ => None,
        });
        match timeout(wait, starting).await {
            Ok(started) => started,
            Err(_) => {
                let why = "TLS did not come about in time";
                self.break_off(why);
                Err(TcpError::Unavailable(why.to_owned()))
            }
        }
    }

    /// Nobody is interested any more: what was written is sent, then it ends.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closing = true;
        state.is_finishing = true;
        state.note = None;
        state.end = Some(End::Broken("the stream was closed".to_owned()));
        drop(state);
        self.work.notify_waiters();
        self.guest.notify_waiters();
    }

    // What its instances leave to each other.

    /// The call returned: what was consumed is gone, and the new note holds.
    pub(crate) fn commit(&self) {
        let mut state = self.lock();
        if state.incoming.commit() {
            state.faults = 0;
        }
        if let Some(note) = state.next_note.take() {
            state.note = Some(note);
        }
        drop(state);
        // There may be room again.
        self.work.notify_waiters();
    }

    /// The instance is dead: nothing of its last call was consumed. True: it is not kept any longer,
    /// because instances die over it.
    pub(crate) fn rollback(&self, reason: Rollback) -> bool {
        let mut state = self.lock();
        state.incoming.rollback();
        state.next_note = None;
        if reason == Rollback::Harmless || state.note.is_none() {
            return false;
        }
        state.faults += 1;
        let is_deadly = state.faults >= MAX_FAULTS;
        if is_deadly {
            state.note = None;
        }
        is_deadly
    }

    /// Lets another instance go on, if one before has left a note.
    pub(super) fn resume(&self) -> Option<Arc<[u8]>> {
        let mut state = self.lock();
        let note = state.note.clone()?;
        state.incoming.rollback();
        state.next_note = None;
        Some(note)
    }

    /// Would it end with the instance?
    pub(super) fn is_fleeting(&self) -> bool {
        self.lock().note.is_none()
    }

    /// Does it stand?
    pub(super) fn is_open(&self) -> bool {
        self.lock().end.is_none()
    }

    pub(super) fn is_encrypted(&self) -> Option<bool> {
        match self.lock().tls {
            Tls::Never => None,
            Tls::NotYet | Tls::Wanted => Some(false),
            Tls::On => Some(true),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        Counts {
            waiting: state.incoming.len(),
            unsent: state.outgoing.len() + state.in_hand,
            received: state.received_bytes,
            sent: state.sent_bytes,
        }
    }

    // What the task does.

    /// Waits until there is room for more.
    pub(super) async fn room(&self) {
        let limit = self.max_read_bytes;
        let room = |state: &mut State| (state.incoming.len() < limit).then_some(());
        self.when(&self.work, room).await;
    }

    pub(super) fn arrived(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.is_closing {
            return;
        }
        state.incoming.push(bytes);
        state.received_bytes += bytes.len() as u64;
        drop(state);
        self.guest.notify_waiters();
    }

    /// The peer has sent its last byte.
    pub(super) fn finished(&self) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Finished);
        if !state.is_finishing {
            state.lose("the peer closed the connection");
        }
        drop(state);
        self.guest.notify_waiters();
    }

    /// Nothing goes either way any more. What has arrived can still be read.
    pub(super) fn break_off(&self, why: &str) {
        let mut state = self.lock();
        if !matches!(state.end, Some(End::Broken(_))) {
            state.end = Some(End::Broken(why.to_owned()));
        }
        if !state.is_closing {
            state.lose(why);
        }
        state.outgoing.clear();
        drop(state);
        self.guest.notify_waiters();
        self.work.notify_waiters();
    }

    /// What is to be sent next, if there is something.
    pub(super) fn next_out(&self) -> Option<Bytes> {
        let mut state = self.lock();
        if state.outgoing.is_empty() {
            return None;
        }
        let out = std::mem::take(&mut state.outgoing).freeze();
        state.in_hand = out.len();
        Some(out)
    }

    pub(super) fn sent(&self, count: usize) {
        let mut state = self.lock();
        state.in_hand = state.in_hand.saturating_sub(count);
        state.sent_bytes += count as u64;
        drop(state);
        self.guest.notify_waiters();
    }

    /// Waits for something to send. False: nothing more will come.
    pub(super) async fn more_out(&self) -> bool {
        self.when(&self.work, |state| {
            let more = !state.outgoing.is_empty();
            (more || state.is_finishing).then_some(more)
        })
        .await
    }

    /// Waits until the plugin wants TLS and all plain text is sent.
    pub(super) async fn tls_wanted(&self) {
        let wanted = |state: &mut State| {
            let is_sent = state.outgoing.is_empty() && state.in_hand == 0;
            (state.tls == Tls::Wanted && is_sent).then_some(())
        };
        // Both: that something is sent is told to the plugin's calls.
        tokio::select! {
            () = self.when(&self.work, wanted) => {}
            () = self.when(&self.guest, wanted) => {}
        }
    }

    /// Is there anything that the plugin has not read?
    pub(super) fn has_unread(&self) -> bool {
        self.lock().incoming.unread() > 0
    }

    pub(super) fn encrypted(&self) {
        self.lock().tls = Tls::On;
        self.guest.notify_waiters();
    }

    /// Waits until nobody is interested any more.
    pub(super) async fn closing(&self) {
        self.when(&self.work, |state| state.is_closing.then_some(()))
            .await;
    }

    /// Why it is over, if the plugin did not want that.
    pub(super) fn lost(&self) -> Option<String> {
        self.lock().lost.clone()
    }

    /// Has the plugin, or the host for it, closed it?
    pub(super) fn is_closing(&self) -> bool {
        self.lock().is_closing
    }
}

impl State {
    /// It ends, and the plugin has not asked for that. The first reason is the one.
    fn lose(&mut self, why: &str) {
        self.lost.get_or_insert_with(|| why.to_owned());
    }
}
