//! Sessions for connection state recovery, with `durable`: a row each; missed packets are read from
//! the table of messages.
//!
//! A session is deleted last, and only who deletes it hands it out, so of several servers that
//! restore it at once one succeeds, and one that fails has lost nothing.
//!
//! Whether the table still reaches back to an offset: if the row is there, nothing behind it has been
//! deleted, as older rows are deleted first. If it is not, it may be that nothing was sent for long;
//! what matters then is that the session is younger than the rows that are kept.

use switchboard_plugin::{
    Config, Failure, OpenFailure, Recovery, node,
    postgres::{
        Client, Delete, Error, Filter, Insert, Keys, Kind, Outcome, Select, Statement, Value,
    },
    types::{Missed, Restored, Session},
    warn,
    wire::session::{self, MAX_PID_BYTES, Rooms},
};

use crate::{
    options::Options,
    transport::{
        outcome::{Trouble, open_failure},
        rows::{self, Fault, Step, column},
        tables::{Cleaning, EXPIRES, PAYLOAD, PID, SAVED, Tables},
    },
    wire::inbox::kept_event,
};

/// Missed packets that one restore hands out at most, in bytes as they stand in the table.
const MAX_MISSED_BYTES: usize = 16 * 1024 * 1024;
/// Rows that one restore looks at, at most. A client that is further behind starts anew.
const MAX_ROWS: usize = 100_000;
/// How long before a session is saved its client may have stopped hearing: 45 s until its server
/// misses it, with the usual settings of Socket.IO, and some seconds for clocks.
const UNHEARD_MS: f64 = 60_000.0;

/// Keeps sessions in Postgres.
pub struct Sessions {
    client: Client,
    store: Store,
    cleaning: Cleaning,
    has_table: bool,
    create_table: bool,
}

impl Recovery for Sessions {
    fn open(config: Config) -> Result<Self, OpenFailure> {
        let options = Options::read(&config)?;
        let Some(durable) = options.durable else {
            return Err(OpenFailure::Unsupported(
                "the `postgres` transport keeps sessions only with `durable` = true in its options"
                    .to_owned(),
            ));
        };
        let client = Client::open(&options.connection).map_err(open_failure)?;
        let tables = Tables::of(&options.table);
        let cleaning = Cleaning::of_sessions(
            &tables,
            options.cleanup_interval_ms,
            durable.retention_ms,
            node::now_ms(),
        );
        Ok(Self {
            client,
            cleaning,
            has_table: false,
            create_table: options.create_table,
            store: Store {
                tables,
                retention_ms: durable.retention_ms.into(),
            },
        })
    }

    fn persist_session(&mut self, session: Session, ttl_ms: u32) -> Result<(), Failure> {
        self.create_table()?;
        let (client, now_ms) = (&self.client, node::now_ms());
        let batch = |statements: &[_]| client.batch(statements);
        self.store.persist(&session, ttl_ms, now_ms, batch)?;
        // A session is kept, whatever comes of this.
        if let Err(Trouble::Setting(why)) = self.cleaning.step(now_ms, batch) {
            warn(&format!("old sessions cannot be deleted: {why}"));
        }
        Ok(())
    }

    fn restore_session(
        &mut self,
        namespace: String,
        pid: String,
        offset: String,
        max_missed: u32,
    ) -> Result<Option<Restored>, Failure> {
        self.create_table()?;
        let client = &self.client;
        let wanted = Wanted {
            namespace: &namespace,
            pid: &pid,
            offset: &offset,
            max_missed: max_missed as usize,
        };
        let outcome = self.store.restore(&wanted, node::now_ms(), |statements| {
            client.batch(statements)
        })?;
        match outcome {
            Ok(restored) => Ok(Some(restored)),
            Err(Why::Ordinary) => Ok(None),
            Err(Why::Remarkable(why)) => {
                warn(&format!("a session is not restored: {why}"));
                Ok(None)
            }
        }
    }

    fn close(self) {
        self.client.close();
    }
}

impl Sessions {
    fn create_table(&mut self) -> Result<(), Failure> {
        if !self.has_table && self.create_table {
            let created = self.client.create_table(&self.store.tables.new_sessions());
            created.map_err(failure)?;
            self.has_table = true;
        }
        Ok(())
    }
}

/// What a client asks for.
struct Wanted<'a> {
    namespace: &'a str,
    pid: &'a str,
    offset: &'a str,
    max_missed: usize,
}

/// Why there is nothing to restore.
#[derive(Debug, PartialEq)]
enum Why {
    /// It is unknown or expired, or the table no longer reaches back.
    Ordinary,
    /// For the operator.
    Remarkable(String),
}

/// All but the host.
struct Store {
    tables: Tables,
    retention_ms: f64,
}

/// A session as it stands in the table.
struct Stored {
    session: Session,
    saved_ms: f64,
    expires_ms: f64,
}

impl Store {
    fn persist(
        &self,
        session: &Session,
        ttl_ms: u32,
        now_ms: f64,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> Result<(), Failure> {
        if !(1..=MAX_PID_BYTES).contains(&session.pid.len()) || session.pid.contains('\0') {
            return Err(Failure::Rejected(format!(
                "a session's private id has 1 to {MAX_PID_BYTES} bytes"
            )));
        }
        let written = session::write(session).map_err(|why| Failure::Rejected(why.to_string()))?;
        let columns = [
            (PID, Kind::Text),
            (SAVED, Kind::Integer),
            (EXPIRES, Kind::Integer),
            (PAYLOAD, Kind::Bytes),
        ];
        let insert = Insert {
            table: self.tables.sessions.clone(),
            columns: columns.map(|(name, kind)| column(name, kind)).into(),
            rows: vec![vec![
                Value::Text(session.pid.clone()),
                integer(now_ms),
                integer(now_ms + f64::from(ttl_ms)),
                Value::Bytes(written),
            ]],
            returning: None,
        };
        // In the place of an earlier one.
        let statements = [self.delete(&session.pid), Statement::Insert(insert)];
        batch(&statements).map_err(failure).map(drop)
    }

    fn restore(
        &self,
        wanted: &Wanted<'_>,
        now_ms: f64,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> Result<Result<Restored, Why>, Failure> {
        let is_pid = (1..=MAX_PID_BYTES).contains(&wanted.pid.len()) && !wanted.pid.contains('\0');
        let offset = wanted.offset.parse::<i64>().ok().filter(|id| *id >= 0);
        let (Some(offset), true) = (offset, is_pid) else {
            return Ok(Err(Why::Ordinary));
        };
        let stored = match self.load(wanted.pid, &mut batch)? {
            Ok(stored) if stored.expires_ms > now_ms => stored,
            Ok(_) => return Ok(Err(Why::Ordinary)),
            Err(why) => return Ok(Err(why)),
        };
        if !self.reaches_back(offset, &stored, now_ms, &mut batch)? {
            return Ok(Err(Why::Ordinary));
        }
        let missed = match self.missed(&stored.session, offset, wanted, &mut batch)? {
            Ok(missed) => missed,
            Err(why) => return Ok(Err(why)),
        };
        // Of several servers that got so far, one hands it out.
        let deleted = batch(&[self.delete(wanted.pid)]).map_err(failure)?;
        Ok(match deleted.first() {
            Some(outcome) if outcome.count > 0 => Ok(Restored {
                session: stored.session,
                missed,
            }),
            _ => Err(Why::Ordinary),
        })
    }

    fn load(
        &self,
        pid: &str,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> Result<Result<Stored, Why>, Failure> {
        let columns = [
            (SAVED, Kind::Integer),
            (EXPIRES, Kind::Integer),
            (PAYLOAD, Kind::Bytes),
        ];
        let select = Statement::Select(Select {
            table: self.tables.sessions.clone(),
            columns: columns.map(|(name, kind)| column(name, kind)).into(),
            filter: with_pid(pid),
            order: None,
            limit: 1,
        });
        let outcomes = batch(&[select]).map_err(failure)?;
        let row = outcomes.into_iter().flat_map(|outcome| outcome.rows).next();
        let Some(
            [
                Value::Integer(saved),
                Value::Integer(expires),
                Value::Bytes(payload),
            ],
        ) = row.as_deref()
        else {
            return Ok(Err(Why::Ordinary));
        };
        let number = |text: &str| text.parse().unwrap_or(0.0);
        Ok(match session::read(payload) {
            Ok(session) => Ok(Stored {
                session,
                saved_ms: number(saved),
                expires_ms: number(expires),
            }),
            Err(why) => Err(Why::Remarkable(why.to_string())),
        })
    }

    fn reaches_back(
        &self,
        offset: i64,
        stored: &Stored,
        now_ms: f64,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> Result<bool, Failure> {
        let table = &self.tables.attachments;
        if rows::exists(table, offset, &mut batch).map_err(given)? {
            return Ok(true);
        }
        let unheard_ms = now_ms - stored.saved_ms + UNHEARD_MS;
        if unheard_ms >= self.retention_ms {
            return Ok(false);
        }
        // Not if the table was made anew since.
        let last = rows::last_id(table, &mut batch).map_err(given)?;
        Ok(last == 0 || offset <= last)
    }

    /// What the session's rooms got after the offset.
    fn missed(
        &self,
        session: &Session,
        offset: i64,
        wanted: &Wanted<'_>,
        mut batch: impl FnMut(&[Statement]) -> Result<Vec<Outcome>, Error>,
    ) -> Result<Result<Vec<Missed>, Why>, Failure> {
        let rooms = Rooms::of(session);
        let mut step = Step::default();
        let (mut at, mut seen) = (offset, 0);
        let (mut missed, mut bytes) = (Vec::new(), 0);
        while seen < MAX_ROWS {
            let limit = step.get();
            let page = match rows::after(&self.tables.attachments, at, limit, &mut batch) {
                Ok(page) => page,
                Err(Fault::TooLarge) if step.shrink() => continue,
                Err(Fault::TooLarge) => return Ok(Err(behind())),
                Err(Fault::Other(trouble)) => return Err(given(trouble)),
            };
            step.learn(page.iter().map(|row| row.payload.len()).sum());
            let is_last = page.len() < limit as usize;
            seen += page.len();
            for row in page {
                at = row.id;
                let event = match kept_event(&row.payload, wanted.namespace) {
                    Ok(Some(event)) => event,
                    Ok(None) => continue,
                    Err(why) => {
                        // It did not get to those who were connected either.
                        warn(&format!("cannot read the missed row {at}: {why}"));
                        continue;
                    }
                };
                let is_meant = event.request.is_none()
                    && !event.target.volatile
                    && rooms.are_in(&event.target);
                if is_meant {
                    bytes += row.payload.len();
                    missed.push(Missed {
                        broadcast: event,
                        offset: at.to_string(),
                    });
                }
                if missed.len() > wanted.max_missed || bytes > MAX_MISSED_BYTES {
                    return Ok(Err(behind()));
                }
            }
            if is_last {
                return Ok(Ok(missed));
            }
        }
        Ok(Err(behind()))
    }

    fn delete(&self, pid: &str) -> Statement {
        Statement::Delete(Delete {
            table: self.tables.sessions.clone(),
            filter: with_pid(pid),
            limit: None,
        })
    }
}

fn with_pid(pid: &str) -> Filter {
    Filter::Keys(Keys {
        column: PID.to_owned(),
        keys: vec![Value::Text(pid.to_owned())],
    })
}

fn integer(number: f64) -> Value {
    Value::Integer((number as i64).to_string())
}

fn behind() -> Why {
    Why::Remarkable(
        "it has missed more than one restore hands out; the client starts anew".to_owned(),
    )
}

fn failure(error: Error) -> Failure {
    given(Trouble::of(error))
}

/// What the host is told.
fn given(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Message(why) => Failure::Rejected(why),
        other => Failure::Unavailable(other.why()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
