//! Acknowledgements: those of local and of remote clients as one stream, and local ones on their
//! way to a node that asked.
//!
//! Who is asked, and for how long they are waited for, is decided before a stream exists.

use std::{
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::{FusedStream, Stream, stream::BoxStream};
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use socketioxide_core::{
    Sid,
    adapter::{AckStreamItem, SocketEmitter},
};
use tracing::warn;

use super::{apply::LocalAcks, drops::Drops};
use crate::{
    cluster::{RemoteAck, RemoteAcks, local::LocalAck, message::Namespace},
    payload::{Codec, encode_untrusted},
};

/// Characters of another node's error that go into the log.
const MAX_LOGGED_CHARS: usize = 200;

/// What all clients that got an event acknowledge, on this server and on the others, as it comes.
///
/// The socket id is [`Sid::ZERO`] for clients whose id is unknown or not of socketioxide's form,
/// as those of Node.js servers are. The stream ends when every answer is there or the time is
/// over; nodes that were still missing then are named in the log. Dropping it stops the wait.
pub struct AckStream<E: SocketEmitter> {
    acks: BoxStream<'static, AckStreamItem<E::AckError>>,
    ended: bool,
}

impl<E: SocketEmitter> AckStream<E> {
    /// Joins both sides; neither can starve the other.
    pub(super) fn new(
        local: LocalAcks<E>,
        remote: BoxStream<'static, RemoteAck>,
        reader: AckReader,
    ) -> Self {
        let local = stream::select_all(local);
        let remote = remote.filter_map(move |ack| ready(reader.read::<E>(ack)));
        Self {
            acks: stream::select(local, remote).boxed(),
            ended: false,
        }
    }
}

impl<E: SocketEmitter> Stream for AckStream<E> {
    type Item = AckStreamItem<E::AckError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.acks.poll_next_unpin(cx);
        self.ended = matches!(polled, Poll::Ready(None));
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.acks.size_hint()
    }
}

impl<E: SocketEmitter> FusedStream for AckStream<E> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

/// The acknowledgements of other nodes' clients, with a line in the log at the end for those that
/// were not all there.
pub(super) fn with_report(
    mut acks: RemoteAcks,
    namespace: Namespace,
) -> BoxStream<'static, RemoteAck> {
    stream::poll_fn(move |cx| {
        let polled = acks.poll_next_unpin(cx);
        if let Poll::Ready(None) = polled {
            let (missing, unknown, dropped) =
                (acks.missing(), acks.missing_unknown(), acks.dropped());
            if !missing.is_empty() || unknown > 0 || dropped > 0 {
                warn!(
                    %namespace,
                    ?missing,
                    missing_unknown = unknown,
                    dropped,
                    "a broadcast ended without the acknowledgements of some nodes"
                );
            }
        }
        polled
    })
    .boxed()
}

/// Reads what other nodes send into what the server's parser would have made of it.
pub(super) struct AckReader {
    pub(super) namespace: Namespace,
    pub(super) codec: Codec,
    pub(super) unreadable: Arc<Drops>,
}

impl AckReader {
    /// None, with a count and a warning: not even an error can be made of it.
    fn read<E: SocketEmitter>(&self, ack: RemoteAck) -> Option<AckStreamItem<E::AckError>> {
        let sid = ack
            .socket
            .and_then(|id| id.parse().ok())
            .unwrap_or(Sid::ZERO);
        let failure = match ack.data {
            Ok(payload) => match self.codec.decode(payload) {
                Ok(value) => return Some((sid, Ok(value))),
                Err(error) => decode_error(&error.to_string()),
            },
            Err(text) => text,
        };
        let error = serde_json::from_str(&failure).or_else(|_| {
            // An error of the other node's own making: some text.
            let why = serde_json::from_str::<String>(&failure);
            serde_json::from_str(&decode_error(why.as_deref().unwrap_or(&failure)))
        });
        if error.is_err()
            && let Some(total) = self.unreadable.add(1)
        {
            warn!(
                namespace = %self.namespace,
                node = %ack.node,
                total,
                failure = %failure.chars().take(MAX_LOGGED_CHARS).collect::<String>(),
                "an acknowledgement of another node was left out: its error is of an unknown kind"
            );
        }
        Some((sid, Err(error.ok()?)))
    }
}

/// Local acknowledgements as another node gets them.
pub(super) fn for_remote<E: SocketEmitter>(acks: LocalAcks<E>) -> BoxStream<'static, LocalAck> {
    stream::select_all(acks)
        .map(|(sid, result)| {
            let data = match result {
                Ok(value) => {
                    encode_untrusted(value).map_err(|error| decode_error(&error.to_string()))
                }
                Err(error) => Err(serde_json::to_string(&error)
                    .map_or_else(|_| decode_error(&error.to_string()), Arc::from)),
            };
            LocalAck {
                socket: sid.as_str().into(),
                data,
            }
        })
        .boxed()
}

/// What socketioxide's error for an unreadable acknowledgement looks like on the wire.
fn decode_error(why: &str) -> Arc<str> {
    json!({ "Decode": why }).to_string().into()
}
