//! Against real servers, started by the tests on free ports in temporary folders. A test fails where
//! `redis-server` is not installed.

#![allow(clippy::unwrap_used)]

mod cluster;
mod commands;
mod faults;
mod proxy;
mod secrets;
mod sentinel;
mod server;
mod streams;
mod subscriptions;

use std::{future::Future, time::Duration};

use bytes::BytesMut;
use tokio::time::{Instant, sleep, timeout};

use self::server::Server;
use super::{
    Redis, RedisError, RedisOptions, RedisPermit, RedisRights, Subscription,
    pipeline::Reply,
    subscription::{Kind, RedisEvent, Source},
    wire,
};
use crate::capabilities::handout::HandedOut;

/// For everything that is expected to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A permit for everything that is offered.
fn anything() -> RedisPermit {
    permit("commands = ['*', 'EVAL']\nkeys = ['*']")
}

pub(super) fn permit(asked: &str) -> RedisPermit {
    let all = RedisRights::default();
    RedisPermit::new("test", "main", vec![rights(asked)], Some(vec![all]))
}

fn rights(text: &str) -> RedisRights {
    #[derive(serde::Deserialize)]
    struct Table {
        commands: Option<Vec<super::CommandName>>,
        keys: Option<Vec<crate::capabilities::prefix::Prefix>>,
        channels: Option<Vec<crate::capabilities::prefix::Prefix>>,
    }
    let table: Table = toml::from_str(text).unwrap();
    RedisRights {
        commands: table.commands,
        keys: table.keys,
        channels: table.channels,
    }
}

/// Deadlines short enough that a test need not wait for the usual ones.
fn quick(options: RedisOptions) -> RedisOptions {
    RedisOptions {
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(2),
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(500),
        ..options
    }
}

fn client(server: &Server) -> Redis {
    at(&server.url())
}

fn at(url: &str) -> Redis {
    let options = quick(RedisOptions::new(url.parse().unwrap()));
    Redis::new("main", options).unwrap()
}

/// A command, its words separated by blanks.
/// Commands as a plugin writes them.
pub(super) fn written(commands: &[impl AsRef<str>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for command in commands {
        let args: Vec<_> = command.as_ref().split(' ').collect();
        wire::encode(&args, &mut out);
    }
    out.to_vec()
}

/// Executes commands and shows the replies.
async fn run(redis: &Redis, commands: &[&str]) -> Result<Vec<String>, RedisError> {
    let replies = timeout(PATIENCE, redis.pipeline(&anything(), written(commands)))
        .await
        .unwrap();
    Ok(replies?.iter().map(shown).collect())
}

fn shown(reply: &Reply) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match reply {
        Reply::Nil => "nil".to_owned(),
        Reply::Integer(number) => format!(":{number}"),
        Reply::Bulk(bytes) => text(bytes),
        Reply::Status(bytes) => format!("+{}", text(bytes)),
        Reply::Error(bytes) => format!("-{}", text(bytes)),
        Reply::Array(nodes) => format!("{nodes:?}"),
        Reply::NotExecuted(why) => format!("not executed: {why}"),
        Reply::Unknown(why) => format!("unknown: {why}"),
    }
}

fn subscription(redis: &Redis) -> Subscription {
    redis.subscription(&anything(), "sub").unwrap().0
}

async fn subscribe(to: &Subscription, kind: Kind, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    until_ok(|| to.subscribe_again(kind, &names)).await;
}

impl Subscription {
    async fn subscribe_again(&self, kind: Kind, names: &[String]) -> Result<(), RedisError> {
        self.subscribe(&anything(), kind, names.to_vec()).await
    }
}

/// Tries again until it works.
async fn until_ok<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(
    mut attempt: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) if Instant::now() > until => panic!("never worked: {error:?}"),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until something holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "never happened: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The next events, shown; at least this many.
async fn events(from: &Subscription, count: usize) -> Vec<String> {
    let mut shown = Vec::new();
    let until = Instant::now() + PATIENCE;
    while shown.len() < count {
        assert!(
            Instant::now() < until,
            "only {shown:?} of {count} events arrived"
        );
        // Away for a while is what many of these tests are about.
        let wait = Duration::from_millis(500);
        if let Ok(events) = from.next(wait, 1000, 1 << 20, copied).await {
            shown.extend(events.iter().map(event));
        }
        from.commit();
    }
    shown
}

fn copied(events: HandedOut<'_, RedisEvent>) -> Vec<RedisEvent> {
    events.cloned().collect()
}

fn event(event: &RedisEvent) -> String {
    match event {
        RedisEvent::Message { source, payload } => {
            let Source {
                kind,
                pattern,
                channel,
            } = &**source;
            let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
            let pattern = pattern
                .as_ref()
                .map_or(String::new(), |p| format!("({})", text(p)));
            let kind = match kind {
                Kind::Channel => "channel",
                Kind::Pattern => "pattern",
                Kind::Shard => "shard",
            };
            format!("{kind}{pattern} {}: {}", text(channel), text(payload))
        }
        RedisEvent::Entry(entry) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let fields = entry.fields();
            let fields: Vec<_> = fields
                .map(|(name, value)| format!("{}={}", text(name), text(value)))
                .collect();
            format!("{} {}: {}", entry.stream, entry.id, fields.join(" "))
        }
        RedisEvent::Lagged { .. } => "lagged".to_owned(),
    }
}
