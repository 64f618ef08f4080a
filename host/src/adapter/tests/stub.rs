//! Sockets for the unit tests of `adapter/`: they note what they get and acknowledge at once.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::stream::{self, BoxStream, Fuse, StreamExt as _};
use serde::{Deserialize, Serialize};
use socketioxide_core::{
    Sid, Str, Uid, Value,
    adapter::{
        BroadcastIter, CoreLocalAdapter, RemoteSocketData, SocketEmitter, errors::SocketError,
    },
    packet::Packet,
    parser::Parse,
};

pub(in crate::adapter) const SERVER_ID: Uid = Uid::ZERO;
pub(in crate::adapter) const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The sockets of one namespace `/chat`. Clones share them.
#[derive(Clone, Default)]
pub(in crate::adapter) struct Stub<P> {
    state: Arc<Mutex<State>>,
    parser: P,
}

#[derive(Default)]
pub(in crate::adapter) struct State {
    /// Those that are connected.
    pub(in crate::adapter) connected: BTreeSet<Sid>,
    /// Those of them whose buffers are full.
    pub(in crate::adapter) full: BTreeSet<Sid>,
    /// Those of them that are about to close.
    pub(in crate::adapter) closed: BTreeSet<Sid>,
    /// What was sent to whom.
    pub(in crate::adapter) sent: Vec<(Sid, Value)>,
    /// How much of that was volatile.
    pub(in crate::adapter) volatile: usize,
    /// What sockets acknowledge with; nothing: they time out.
    pub(in crate::adapter) ack: Option<Value>,
    pub(in crate::adapter) ack_timeout: Option<Duration>,
}

/// The same form as socketioxide's own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::adapter) enum StubAckError {
    Timeout,
    Decode(String),
}

impl fmt::Display for StubAckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for StubAckError {}

impl<P: Parse + Send + Sync + 'static> Stub<P> {
    pub(in crate::adapter) fn with<const N: usize>(
        sockets: [Sid; N],
    ) -> (Self, CoreLocalAdapter<Self>) {
        let stub = Self {
            state: Arc::default(),
            parser: P::default(),
        };
        stub.state().connected.extend(sockets);
        (stub.clone(), CoreLocalAdapter::new(stub))
    }

    pub(in crate::adapter) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was sent, by socket.
    pub(in crate::adapter) fn take_sent(&self) -> Vec<(Sid, Value)> {
        let mut sent = std::mem::take(&mut self.state().sent);
        sent.sort_by_key(|(sid, _)| *sid);
        sent
    }
}

impl<P: Parse + Send + Sync + 'static> SocketEmitter for Stub<P> {
    type AckError = StubAckError;
    type AckStream = Fuse<BoxStream<'static, (Sid, Result<Value, StubAckError>)>>;

    fn get_all_sids(&self, filter: impl Fn(&Sid) -> bool) -> Vec<Sid> {
        self.state()
            .connected
            .iter()
            .copied()
            .filter(|sid| filter(sid))
            .collect()
    }

    fn get_remote_sockets(&self, sids: BroadcastIter<'_>) -> Vec<RemoteSocketData> {
        let state = self.state();
        sids.filter(|sid| state.connected.contains(sid))
            .map(|id| RemoteSocketData {
                id,
                server_id: SERVER_ID,
                ns: self.path().clone(),
            })
            .collect()
    }

    fn send_many(&self, sids: BroadcastIter<'_>, data: Value) -> Result<(), Vec<SocketError>> {
        let mut state = self.state();
        let mut errors = Vec::new();
        for sid in sids {
            if state.full.contains(&sid) {
                errors.push(SocketError::InternalChannelFull);
            } else if state.closed.contains(&sid) {
                errors.push(SocketError::Closed);
            } else if state.connected.contains(&sid) {
                state.sent.push((sid, data.clone()));
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn send_many_volatile(&self, sids: BroadcastIter<'_>, data: Value) {
        let mut state = self.state();
        for sid in sids {
            state.volatile += 1;
            state.sent.push((sid, data.clone()));
        }
    }

    fn send_many_with_ack(
        &self,
        sids: BroadcastIter<'_>,
        packet: Packet,
        timeout: Option<Duration>,
    ) -> (Self::AckStream, u32) {
        let mut state = self.state();
        state.ack_timeout = timeout;
        let data = self.parser.encode(packet);
        let mut acks = Vec::new();
        for sid in sids
            .filter(|sid| state.connected.contains(sid))
            .collect::<Vec<_>>()
        {
            state.sent.push((sid, data.clone()));
            acks.push((sid, state.ack.clone().ok_or(StubAckError::Timeout)));
        }
        let count = acks.len() as u32;
        (stream::iter(acks).boxed().fuse(), count)
    }

    fn disconnect_many(&self, sids: Vec<Sid>) -> Result<(), Vec<SocketError>> {
        let mut state = self.state();
        let mut errors = Vec::new();
        for sid in sids {
            if state.full.contains(&sid) {
                errors.push(SocketError::InternalChannelFull);
            } else {
                state.connected.remove(&sid);
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn path(&self) -> &Str {
        static PATH: std::sync::LazyLock<Str> = std::sync::LazyLock::new(|| Str::from("/chat"));
        &PATH
    }

    fn parser(&self) -> impl Parse {
        self.parser
    }

    fn server_id(&self) -> Uid {
        SERVER_ID
    }

    fn ack_timeout(&self) -> Duration {
        ACK_TIMEOUT
    }
}
