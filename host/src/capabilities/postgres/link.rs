//! Postgres for guests: `switchboard:postgres`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use wasmtime::component::Resource;

use super::{
    Postgres, PostgresError, PostgresPermit, Subscription,
    statement::{
        Column, ColumnType, Delete, Filter, Insert, Kind, NewColumn, NewTable, Notice, Notify,
        Order, Outcome, Row, Select, Sql, Statement, Store, Value,
    },
    subscription::PostgresEvent,
};
use crate::{
    bindings::switchboard::postgres::postgres::{self as guest, Error, Event},
    capabilities::HasCapabilities,
    runtime::GuestState,
};

/// What one `next` may be asked for, whatever the guest says.
const MAX_EVENTS: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// How long one call may wait. Longer waits are made of several.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A guest's right to execute statements.
pub struct ClientHandle(Postgres, Arc<PostgresPermit>);

/// A guest's hold on a subscription.
pub struct SubscriptionHandle {
    postgres: Postgres,
    subscription: Subscription,
    /// Which opening this is: only the last may close.
    generation: u64,
    permit: Arc<PostgresPermit>,
}

impl<X: HasCapabilities> guest::Host for GuestState<X> {}

impl<X: HasCapabilities> guest::HostClient for GuestState<X> {
    async fn open(
        &mut self,
        connection: String,
    ) -> wasmtime::Result<Result<Resource<ClientHandle>, Error>> {
        Ok(
            match self.ext.capabilities().granted.postgres(&connection) {
                Ok((postgres, permit)) => Ok(self.table.push(ClientHandle(postgres, permit))?),
                Err(refused) => Err(Error::Denied(refused)),
            },
        )
    }

    async fn batch(
        &mut self,
        client: Resource<ClientHandle>,
        statements: Vec<guest::Statement>,
    ) -> wasmtime::Result<Result<Vec<guest::Outcome>, Error>> {
        let ClientHandle(postgres, permit) = self.table.get(&client)?;
        let statements: Result<Vec<_>, _> = statements.into_iter().map(statement).collect();
        let statements = match statements {
            Ok(statements) => statements,
            Err(error) => return Ok(Err(Error::from(&error))),
        };
        Ok(match postgres.batch(permit, &statements).await {
            Ok(outcomes) => Ok(outcomes.into_iter().map(guest::Outcome::from).collect()),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn create_table(
        &mut self,
        client: Resource<ClientHandle>,
        table: guest::NewTable,
    ) -> wasmtime::Result<Result<bool, Error>> {
        let ClientHandle(postgres, permit) = self.table.get(&client)?;
        let created = postgres.create_table(permit, &NewTable::from(table)).await;
        Ok(created.map_err(|error| Error::from(&error)))
    }

    async fn close(&mut self, client: Resource<ClientHandle>) -> wasmtime::Result<()> {
        // The handle stays valid until it is dropped; the connections are the host's anyway.
        self.table.get(&client)?;
        Ok(())
    }

    async fn drop(&mut self, client: Resource<ClientHandle>) -> wasmtime::Result<()> {
        self.table.delete(client)?;
        Ok(())
    }
}

impl<X: HasCapabilities> guest::HostSubscription for GuestState<X> {
    async fn open(
        &mut self,
        connection: String,
        name: String,
    ) -> wasmtime::Result<Result<Resource<SubscriptionHandle>, Error>> {
        if !self.ext.capabilities().may_subscribe {
            let why = "only a plugin's subscriber may take notifications from Postgres";
            return Ok(Err(Error::Denied(why.to_owned())));
        }
        let (postgres, permit) = match self.ext.capabilities().granted.postgres(&connection) {
            Ok(granted) => granted,
            Err(refused) => return Ok(Err(Error::Denied(refused))),
        };
        Ok(match postgres.subscription(&permit, &name) {
            Ok((subscription, generation)) => Ok(self.table.push(SubscriptionHandle {
                postgres,
                subscription,
                generation,
                permit,
            })?),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn listen(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        channels: Vec<String>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let handle = self.table.get(&subscription)?;
        let listening = handle.subscription.listen(&handle.permit, channels);
        Ok(listening.await.map_err(|error| Error::from(&error)))
    }

    async fn unlisten(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        channels: Vec<String>,
    ) -> wasmtime::Result<()> {
        let handle = self.table.get(&subscription)?;
        handle.subscription.unlisten(&channels);
        Ok(())
    }

    async fn channels(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
    ) -> wasmtime::Result<Vec<String>> {
        let handle = self.table.get(&subscription)?;
        let names = handle.subscription.channels();
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
        capabilities.effects.took_notifications_from(subscription);
        let timeout = Duration::from_millis(timeout_ms.into()).min(MAX_WAIT);
        let max_events = (max_events as usize).clamp(1, MAX_EVENTS);
        let max_bytes = (max_bytes as usize).min(MAX_BYTES);
        let wake = &capabilities.wake;
        let taken = tokio::select! {
            biased;
            taken = subscription.next(timeout, max_events, max_bytes) => taken,
            () = wake.wanted() => return Ok(Ok(Vec::new())),
        };
        Ok(match taken {
            Ok(events) => Ok(events.into_iter().map(Event::from).collect()),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn close(&mut self, subscription: Resource<SubscriptionHandle>) -> wasmtime::Result<()> {
        let handle = self.table.get(&subscription)?;
        handle.postgres.end(&handle.subscription, handle.generation);
        Ok(())
    }

    async fn drop(&mut self, subscription: Resource<SubscriptionHandle>) -> wasmtime::Result<()> {
        self.table.delete(subscription)?;
        Ok(())
    }
}

impl From<&PostgresError> for Error {
    fn from(error: &PostgresError) -> Self {
        match error {
            PostgresError::Denied(_) | PostgresError::Config(_) => Self::Denied(error.to_string()),
            PostgresError::Unavailable(why) => Self::Unavailable(why.clone()),
            PostgresError::TooLarge { limit } => {
                Self::TooLarge(u32::try_from(*limit).unwrap_or(u32::MAX))
            }
            PostgresError::Invalid(why) => Self::Invalid(why.clone()),
            PostgresError::Failed(failure) => Self::Failed(guest::Failure {
                statement: failure
                    .statement
                    .and_then(|index| u32::try_from(index).ok()),
                code: failure.code.clone(),
                message: failure.message.clone(),
            }),
            PostgresError::Unknown(why) => Self::Unknown(why.clone()),
        }
    }
}

fn statement(statement: guest::Statement) -> Result<Statement, PostgresError> {
    Ok(match statement {
        guest::Statement::Notify(notify) => Statement::Notify(Notify {
            store: notify.store.map(|store| Store {
                table: store.table,
                body: store.body,
                id: store.id,
                ordered: store.ordered,
            }),
            notices: notify.notices.into_iter().map(Notice::from).collect(),
        }),
        guest::Statement::Insert(insert) => Statement::Insert(Insert {
            table: insert.table,
            columns: insert.columns.into_iter().map(Column::from).collect(),
            rows: insert
                .rows
                .into_iter()
                .map(values)
                .collect::<Result<_, _>>()?,
            returning: insert.returning.map(Column::from),
        }),
        guest::Statement::Select(select) => Statement::Select(Select {
            table: select.table,
            columns: select.columns.into_iter().map(Column::from).collect(),
            filter: filter(select.filter)?,
            order: select.order.map(|order| Order {
                column: order.column,
                descending: order.descending,
            }),
            limit: select.limit,
        }),
        guest::Statement::Delete(delete) => Statement::Delete(Delete {
            table: delete.table,
            filter: filter(delete.filter)?,
            limit: delete.limit,
        }),
        guest::Statement::Sql(sql) => Statement::Sql(Sql {
            text: sql.text,
            params: values(sql.params)?,
        }),
    })
}

fn filter(filter: guest::Filter) -> Result<Filter, PostgresError> {
    Ok(match filter {
        guest::Filter::All => Filter::All,
        guest::Filter::Keys(keys) => Filter::Keys {
            column: keys.column,
            keys: values(keys.keys)?,
        },
        guest::Filter::After(after) => Filter::After {
            column: after.column,
            value: integer(&after.value)?,
        },
        guest::Filter::Age(age) => Filter::Age {
            column: age.column,
            older_than_ms: age.older_than_ms,
        },
    })
}

fn values(values: Vec<guest::Value>) -> Result<Vec<Value>, PostgresError> {
    values.into_iter().map(value).collect()
}

fn value(value: guest::Value) -> Result<Value, PostgresError> {
    Ok(match value {
        guest::Value::Null => Value::Null,
        guest::Value::Text(text) => Value::Text(text),
        guest::Value::Bytes(bytes) => Value::Bytes(bytes),
        guest::Value::Integer(digits) => Value::Integer(integer(&digits)?),
        guest::Value::Float(number) => Value::Float(number),
        guest::Value::Boolean(is) => Value::Boolean(is),
    })
}

fn integer(digits: &str) -> Result<i64, PostgresError> {
    digits.parse().map_err(|_| {
        let shown: String = digits.chars().take(32).collect();
        PostgresError::Invalid(format!("{shown:?} is no bigint in decimal digits"))
    })
}

impl From<guest::Notice> for Notice {
    fn from(notice: guest::Notice) -> Self {
        match notice {
            guest::Notice::Inline(inline) => Self {
                channel: inline.channel,
                payload: inline.payload,
                row: None,
            },
            guest::Notice::Stored(stored) => Self {
                channel: stored.channel,
                payload: stored.before,
                row: Some(Row {
                    after: stored.after,
                    body: stored.body,
                }),
            },
        }
    }
}

impl From<guest::Column> for Column {
    fn from(column: guest::Column) -> Self {
        Self {
            name: column.name,
            kind: match column.kind {
                guest::Kind::Text => Kind::Text,
                guest::Kind::Bytes => Kind::Bytes,
                guest::Kind::Integer => Kind::Integer,
                guest::Kind::Float => Kind::Float,
                guest::Kind::Boolean => Kind::Boolean,
            },
        }
    }
}

impl From<guest::NewTable> for NewTable {
    fn from(table: guest::NewTable) -> Self {
        let columns = table.columns.into_iter().map(|column| NewColumn {
            name: column.name,
            kind: match column.type_ {
                guest::ColumnType::Id => ColumnType::Id,
                guest::ColumnType::Created => ColumnType::Created,
                guest::ColumnType::Text => ColumnType::Text,
                guest::ColumnType::Bytes => ColumnType::Bytes,
                guest::ColumnType::Integer => ColumnType::Integer,
                guest::ColumnType::Float => ColumnType::Float,
                guest::ColumnType::Boolean => ColumnType::Boolean,
            },
            key: column.key,
        });
        Self {
            table: table.table,
            columns: columns.collect(),
            unlogged: table.unlogged,
        }
    }
}

impl From<Outcome> for guest::Outcome {
    fn from(outcome: Outcome) -> Self {
        let row = |row: Vec<Value>| row.into_iter().map(guest::Value::from).collect();
        Self {
            count: u32::try_from(outcome.count).unwrap_or(u32::MAX),
            rows: outcome.rows.into_iter().map(row).collect(),
        }
    }
}

impl From<Value> for guest::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Text(text) => Self::Text(text),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::Integer(number) => Self::Integer(number.to_string()),
            Value::Float(number) => Self::Float(number),
            Value::Boolean(is) => Self::Boolean(is),
        }
    }
}

impl From<PostgresEvent> for Event {
    fn from(event: PostgresEvent) -> Self {
        match event {
            PostgresEvent::Notification {
                channel,
                payload,
                pid,
            } => Self::Notification(guest::Notification {
                channel: channel.to_string(),
                payload: text(&payload),
                pid,
            }),
            PostgresEvent::Lagged { missed, reason } => Self::Lagged(guest::Lag {
                missed,
                reason: reason.to_string(),
            }),
        }
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
