//! Against real servers, started by the tests on free ports in temporary folders. A test fails where
//! Postgres, or for `pooler` PgBouncer, is not installed.

#![allow(clippy::unwrap_used)]

mod batches;
mod catching_up;
mod faults;
mod pooler;
mod proxy;
mod secrets;
mod server;
mod subscriptions;
mod tables;

use std::{fmt::Debug, future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use self::{proxy::Proxy, server::Server};
use super::{
    Postgres, PostgresError, PostgresOptions, PostgresPermit, PostgresRights, PostgresState,
    Subscription,
    statement::{
        Column, Delete, Filter, Insert, Kind, Notice, Notify, Order, Outcome, Row, Select, Sql,
        Statement, Store, Value,
    },
    subscription::PostgresEvent,
};

/// For everything that is expected to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A permit for everything that is offered.
fn anything() -> PostgresPermit {
    permit("tables = ['*']\nchannels = ['*']\ncreate = true\nsql = true")
}

fn permit(text: &str) -> PostgresPermit {
    #[derive(serde::Deserialize)]
    struct Table {
        tables: Option<Vec<super::super::prefix::Prefix>>,
        channels: Option<Vec<super::super::prefix::Prefix>>,
        create: Option<bool>,
        sql: Option<bool>,
    }
    let table: Table = toml::from_str(text).unwrap();
    let rights = PostgresRights {
        tables: table.tables,
        channels: table.channels,
        create: table.create,
        sql: table.sql,
    };
    PostgresPermit::new("test", "main", vec![rights], None)
}

/// Deadlines short enough that a test need not wait for the usual ones.
fn quick(options: PostgresOptions) -> PostgresOptions {
    PostgresOptions {
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(2),
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(500),
        ..options
    }
}

fn options(url: &str) -> PostgresOptions {
    quick(PostgresOptions::new(url.parse().unwrap()))
}

fn client(server: &Server) -> Postgres {
    at(&server.url())
}

fn at(url: &str) -> Postgres {
    Postgres::new("main", options(url)).unwrap()
}

async fn run(postgres: &Postgres, statements: &[Statement]) -> Result<Vec<Outcome>, PostgresError> {
    let permit = anything();
    let batch = postgres.batch(&permit, statements);
    timeout(PATIENCE, batch).await.unwrap()
}

/// The rows of the only statement.
async fn rows(postgres: &Postgres, statement: Statement) -> Vec<Vec<Value>> {
    run(postgres, &[statement]).await.unwrap().remove(0).rows
}

fn sql(text: &str) -> Statement {
    Statement::Sql(Sql {
        text: text.to_owned(),
        params: Vec::new(),
    })
}

fn inline(channel: &str, payload: &str) -> Notice {
    Notice {
        channel: channel.to_owned(),
        payload: payload.to_owned(),
        row: None,
    }
}

fn stored(channel: &str, before: &str, after: &str, body: &[u8]) -> Notice {
    Notice {
        row: Some(Row {
            after: after.to_owned(),
            body: body.to_vec(),
        }),
        ..inline(channel, before)
    }
}

fn notify(notices: impl IntoIterator<Item = Notice>) -> Statement {
    Statement::Notify(Notify {
        store: None,
        notices: notices.into_iter().collect(),
    })
}

/// Into the table `t`, see [`ATTACHMENTS`].
fn notify_stored(notices: impl IntoIterator<Item = Notice>, ordered: bool) -> Statement {
    Statement::Notify(Notify {
        store: Some(Store {
            table: "t".to_owned(),
            body: "payload".to_owned(),
            id: "id".to_owned(),
            ordered,
        }),
        notices: notices.into_iter().collect(),
    })
}

/// A table as the Node.js adapter has it.
const ATTACHMENTS: &str = "CREATE TABLE t (id bigserial UNIQUE, created_at timestamptz DEFAULT \
                           now(), payload bytea)";

fn column(name: &str, kind: Kind) -> Column {
    Column {
        name: name.to_owned(),
        kind,
    }
}

fn subscription(postgres: &Postgres) -> Subscription {
    postgres.subscription(&anything(), "sub").unwrap().0
}

async fn listen(to: &Subscription, names: &[&str]) {
    let permit = anything();
    until_ok(|| to.listen(&permit, strings(names))).await;
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Tries again until it works.
async fn until_ok<T, E: Debug, F: Future<Output = Result<T, E>>>(
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
        if let Ok(events) = from.next(wait, 1000, 1 << 20).await {
            shown.extend(events.iter().map(event));
        }
        from.commit();
    }
    shown
}

fn event(event: &PostgresEvent) -> String {
    match event {
        PostgresEvent::Notification {
            channel, payload, ..
        } => format!("{channel}: {}", String::from_utf8_lossy(payload)),
        PostgresEvent::Lagged { .. } => "lagged".to_owned(),
    }
}
