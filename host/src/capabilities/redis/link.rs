//! Redis for guests: `switchboard:redis`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use wasmtime::component::Resource;

use super::{
    Reader, Redis, RedisError, RedisPermit, Subscription,
    pipeline::{Node, Reply},
    subscription::{EntryId, Kind, RedisEvent, Source, Start},
};
use crate::{
    bindings::switchboard::redis::redis::{
        self, Error, Event, Kind as GuestKind, Lag, Messages, Node as GuestNode,
        Reply as GuestReply, StreamEntry, StreamStart,
    },
    capabilities::{HasCapabilities, handout::HandedOut},
    runtime::GuestState,
};

/// What one `next` may be asked for, whatever the guest says.
const MAX_EVENTS: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// How long one call may wait. Longer waits are made of several.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The largest integer that every float up to it can hold.
const MAX_EXACT: u64 = 1 << 53;

/// A guest's right to execute commands.
pub struct ClientHandle(Redis, Arc<RedisPermit>);

/// A guest's connection for commands that wait.
pub struct ReaderHandle {
    /// None when it is closed.
    reader: Option<Reader>,
    permit: Arc<RedisPermit>,
}

/// A guest's hold on a subscription.
pub struct SubscriptionHandle {
    redis: Redis,
    subscription: Subscription,
    /// Which opening this is: only the last may close.
    generation: u64,
    permit: Arc<RedisPermit>,
}

impl<X: HasCapabilities> redis::Host for GuestState<X> {}

impl<X: HasCapabilities> redis::HostClient for GuestState<X> {
    async fn open(
        &mut self,
        connection: String,
    ) -> wasmtime::Result<Result<Resource<ClientHandle>, Error>> {
        Ok(match self.ext.capabilities().granted.redis(&connection) {
            Ok((redis, permit)) => Ok(self.table.push(ClientHandle(redis, permit))?),
            Err(refused) => Err(Error::Denied(refused)),
        })
    }

    async fn pipeline(
        &mut self,
        client: Resource<ClientHandle>,
        commands: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<GuestReply>, Error>> {
        let ClientHandle(redis, permit) = self.table.get(&client)?;
        Ok(match redis.pipeline(permit, commands).await {
            Ok(replies) => Ok(replies.into_iter().map(GuestReply::from).collect()),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn close(&mut self, client: Resource<ClientHandle>) -> wasmtime::Result<()> {
        // The handle stays valid until it is dropped; the connection is the host's anyway.
        self.table.get(&client)?;
        Ok(())
    }

    async fn drop(&mut self, client: Resource<ClientHandle>) -> wasmtime::Result<()> {
        self.table.delete(client)?;
        Ok(())
    }
}

impl<X: HasCapabilities> redis::HostReader for GuestState<X> {
    async fn open(
        &mut self,
        connection: String,
    ) -> wasmtime::Result<Result<Resource<ReaderHandle>, Error>> {
        let (redis, permit) = match self.ext.capabilities().granted.redis(&connection) {
            Ok(granted) => granted,
            Err(refused) => return Ok(Err(Error::Denied(refused))),
        };
        Ok(match redis.reader(&permit) {
            Ok(reader) => Ok(self.table.push(ReaderHandle {
                reader: Some(reader),
                permit,
            })?),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn read(
        &mut self,
        reader: Resource<ReaderHandle>,
        command: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Option<GuestReply>, Error>> {
        let wake = Arc::clone(&self.ext.capabilities().wake);
        let ReaderHandle { reader, permit } = self.table.get_mut(&reader)?;
        let Some(reader) = reader else {
            return Ok(Err(Error::Denied("this reader is closed".to_owned())));
        };
        let wait = Duration::from_millis(timeout_ms.into()).min(MAX_WAIT);
        let reply = tokio::select! {
            biased;
            reply = reader.read(permit, &command, wait) => reply,
            () = wake.wanted() => return Ok(Ok(None)),
        };
        Ok(match reply {
            Ok(reply) => Ok(reply.map(GuestReply::from)),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn close(&mut self, reader: Resource<ReaderHandle>) -> wasmtime::Result<()> {
        self.table.get_mut(&reader)?.reader = None;
        Ok(())
    }

    async fn drop(&mut self, reader: Resource<ReaderHandle>) -> wasmtime::Result<()> {
        self.table.delete(reader)?;
        Ok(())
    }
}

impl<X: HasCapabilities> redis::HostSubscription for GuestState<X> {
    async fn open(
        &mut self,
        connection: String,
        name: String,
    ) -> wasmtime::Result<Result<Resource<SubscriptionHandle>, Error>> {
        if !self.ext.capabilities().may_subscribe {
            let why = "only a plugin's subscriber may take messages from Redis";
            return Ok(Err(Error::Denied(why.to_owned())));
        }
        let (redis, permit) = match self.ext.capabilities().granted.redis(&connection) {
            Ok(granted) => granted,
            Err(refused) => return Ok(Err(Error::Denied(refused))),
        };
        Ok(match redis.subscription(&permit, &name) {
            Ok((subscription, generation)) => Ok(self.table.push(SubscriptionHandle {
                redis,
                subscription,
                generation,
                permit,
            })?),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn subscribe(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        kind: GuestKind,
        names: Vec<String>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let handle = self.table.get(&subscription)?;
        let subscribed = handle
            .subscription
            .subscribe(&handle.permit, kind.into(), names);
        Ok(subscribed.await.map_err(|error| Error::from(&error)))
    }

    async fn unsubscribe(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        kind: GuestKind,
        names: Vec<String>,
    ) -> wasmtime::Result<()> {
        let handle = self.table.get(&subscription)?;
        handle.subscription.unsubscribe(kind.into(), names);
        Ok(())
    }

    async fn names(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        kind: GuestKind,
    ) -> wasmtime::Result<Vec<String>> {
        let handle = self.table.get(&subscription)?;
        let names = handle.subscription.names(kind.into());
        Ok(names.into_iter().map(|name| name.to_string()).collect())
    }

    async fn ignore(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        beginnings: Vec<Vec<u8>>,
        endings: Vec<Vec<u8>>,
    ) -> wasmtime::Result<()> {
        let handle = self.table.get(&subscription)?;
        handle.subscription.ignore(beginnings, endings);
        Ok(())
    }

    async fn read_streams(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        names: Vec<String>,
        start: StreamStart,
        count: u32,
    ) -> wasmtime::Result<Result<(), Error>> {
        let handle = self.table.get(&subscription)?;
        let start = match start {
            StreamStart::New => Start::New,
            StreamStart::After(id) => match EntryId::read(id.as_bytes()) {
                Some(id) => Start::After(id),
                None => {
                    let shown: String = id.chars().take(64).collect();
                    let why = format!("{shown:?} is no id of an entry");
                    return Ok(Err(Error::Denied(why)));
                }
            },
        };
        let SubscriptionHandle {
            subscription,
            permit,
            ..
        } = handle;
        let read = subscription.read_streams(permit, names, start, count).await;
        Ok(read.map_err(|error| Error::from(&error)))
    }

    async fn leave_streams(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        names: Vec<String>,
    ) -> wasmtime::Result<()> {
        let handle = self.table.get(&subscription)?;
        handle.subscription.leave_streams(&names);
        Ok(())
    }

    async fn streams(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
    ) -> wasmtime::Result<Vec<String>> {
        let handle = self.table.get(&subscription)?;
        let names = handle.subscription.streams();
        Ok(names.into_iter().map(|name| name.to_string()).collect())
    }

    async fn next(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        timeout_ms: u32,
        max_events: u32,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Vec<Event>, Error>> {
        let subscription = &self.table.get(&subscription)?.subscription;
        let capabilities = self.ext.capabilities();
        capabilities.effects.took_messages_from(subscription);
        let timeout = Duration::from_millis(timeout_ms.into()).min(MAX_WAIT);
        let max_events = (max_events as usize).clamp(1, MAX_EVENTS);
        let max_bytes = (max_bytes as usize).min(MAX_BYTES);
        let wake = &capabilities.wake;
        let taken = tokio::select! {
            biased;
            taken = subscription.next(timeout, max_events, max_bytes, runs) => taken,
            () = wake.wanted() => return Ok(Ok(Vec::new())),
        };
        Ok(taken.map_err(|error| Error::from(&error)))
    }

    async fn close(&mut self, subscription: Resource<SubscriptionHandle>) -> wasmtime::Result<()> {
        let handle = self.table.get(&subscription)?;
        handle.redis.end(&handle.subscription, handle.generation);
        Ok(())
    }

    async fn drop(&mut self, subscription: Resource<SubscriptionHandle>) -> wasmtime::Result<()> {
        self.table.delete(subscription)?;
        Ok(())
    }
}

impl From<&RedisError> for Error {
    fn from(error: &RedisError) -> Self {
        match error {
            RedisError::TooLarge { limit } => {
                Self::TooLarge(u32::try_from(*limit).unwrap_or(u32::MAX))
            }
            RedisError::Unavailable(why) => Self::Unavailable(why.clone()),
            RedisError::Denied(_) | RedisError::Config(_) | RedisError::TooMany { .. } => {
                Self::Denied(error.to_string())
            }
        }
    }
}

impl From<GuestKind> for Kind {
    fn from(kind: GuestKind) -> Self {
        match kind {
            GuestKind::Channel => Self::Channel,
            GuestKind::Pattern => Self::Pattern,
            GuestKind::Shard => Self::Shard,
        }
    }
}

impl From<Kind> for GuestKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Channel => Self::Channel,
            Kind::Pattern => Self::Pattern,
            Kind::Shard => Self::Shard,
        }
    }
}

/// Messages of the same kind and channel that follow each other become one event: names cross the
/// border once, and the guest looks them up once.
fn runs(events: HandedOut<'_, RedisEvent>) -> Vec<Event> {
    // For the first run of more than one: mostly all of them, and more than they need.
    let mut room = Some((events.len(), events.bytes()));
    let mut runs: Vec<Event> = Vec::new();
    let mut open: Option<&Arc<Source>> = None;
    for event in events {
        match event {
            RedisEvent::Message { source, payload } => {
                // A payload is shorter than the connection's limit.
                let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                match runs.last_mut() {
                    Some(Event::Messages(run))
                        if open.is_some_and(|open| is_same(open, source)) =>
                    {
                        if let Some((messages, bytes)) = room.take() {
                            run.lengths.reserve(messages);
                            run.payloads.reserve(bytes);
                        }
                        run.payloads.extend_from_slice(payload);
                        run.lengths.push(length);
                    }
                    _ => {
                        runs.push(Event::Messages(Messages {
                            kind: source.kind.into(),
                            channel: text(&source.channel),
                            pattern: source.pattern.as_ref().map(text),
                            payloads: payload.to_vec(),
                            lengths: vec![length],
                        }));
                        open = Some(source);
                    }
                }
            }
            RedisEvent::Entry(entry) => runs.push(Event::Entry(StreamEntry {
                stream: entry.stream.to_string(),
                id: entry.id.to_string(),
                fields: entry.fields_written().to_vec(),
            })),
            RedisEvent::Lagged { missed, reason } => runs.push(Event::Lagged(Lag {
                missed: *missed,
                reason: reason.to_string(),
            })),
        }
    }
    runs
}

fn is_same(a: &Arc<Source>, b: &Arc<Source>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

impl From<Reply> for GuestReply {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Nil => Self::Nil,
            Reply::Integer(number) => match exact(number) {
                Some(number) => Self::Integer(number),
                None => Self::Bulk(number.to_string().into_bytes()),
            },
            Reply::Bulk(bytes) => Self::Bulk(Vec::from(bytes)),
            Reply::Status(bytes) => Self::Status(text(&bytes)),
            Reply::Error(bytes) => Self::Error(text(&bytes)),
            Reply::Array(nodes) => Self::Array(nodes.into_iter().map(GuestNode::from).collect()),
            Reply::NotExecuted(why) => Self::NotExecuted(why),
            Reply::Unknown(why) => Self::Unknown(why),
        }
    }
}

impl From<Node> for GuestNode {
    fn from(node: Node) -> Self {
        match node {
            Node::Nil => Self::Nil,
            Node::Integer(number) => match exact(number) {
                Some(number) => Self::Integer(number),
                None => Self::Bulk(number.to_string().into_bytes()),
            },
            Node::Bulk(bytes) => Self::Bulk(Vec::from(bytes)),
            Node::Status(bytes) => Self::Status(text(&bytes)),
            Node::Error(bytes) => Self::Error(text(&bytes)),
            Node::Array(len) => Self::Array(u32::try_from(len).unwrap_or(u32::MAX)),
        }
    }
}

fn exact(number: i64) -> Option<f64> {
    (number.unsigned_abs() <= MAX_EXACT).then_some(number as f64)
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
