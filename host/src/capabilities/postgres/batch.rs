//! One batch on one connection: all of it is sent before anything is awaited, and what comes back
//! says whether the transaction took place.
//!
//! What a connection has executed before is prepared (`prepared.rs`), but for free SQL.

use std::{future::Future, pin::Pin};

use futures_util::{StreamExt, future::maybe_done, pin_mut, poll};
use tokio_postgres::{
    Client, Error, RowStream,
    error::{DbError, Severity, SqlState},
};

use super::{
    Failure, PostgresError,
    prepared::{self, Prepared},
    statement::{Compiled, Outcome, Reads, Statement, Value, read},
    trouble::Trouble,
};

/// What came of a batch.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was executed.
    Done(Vec<Outcome>),
    /// It certainly was not.
    Refused(PostgresError),
    /// Nothing was sent: the connection was dead already.
    NotSent,
    /// Nobody knows.
    Unknown(String),
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It can serve others.
    Good,
    /// It is in a state that nobody knows, or at a server that is on its way out.
    Bad,
}

/// Begins a transaction. If its end does not come, because the network stands still just then, the
/// server ends it: it may hold a lock that all others need.
const BEGIN: &str = "BEGIN;SET LOCAL idle_in_transaction_session_timeout = '5s'";

type Pending<'a> = Pin<Box<dyn Future<Output = Result<RowStream, Error>> + Send + 'a>>;

/// Executes statements as one transaction.
///
/// Dropped half-way, the connection must be dropped as well.
pub(super) async fn run(
    client: &Client,
    prepared: &mut Prepared,
    statements: &[Statement],
    compiled: Vec<Compiled<'_>>,
    max_reply_bytes: usize,
) -> (Fate, After) {
    let has_sql = statements.iter().any(|s| matches!(s, Statement::Sql(_)));
    let mut batch = Batch {
        client,
        budget: max_reply_bytes,
        limit: max_reply_bytes,
        is_read: statements.iter().all(Statement::is_read),
    };
    match (has_sql, compiled.len()) {
        (true, _) => batch.free(prepared, compiled).await,
        // A statement alone is a transaction.
        (false, 1) => batch.pipelined(prepared, compiled, false).await,
        (false, _) => batch.pipelined(prepared, compiled, true).await,
    }
}

struct Batch<'a> {
    client: &'a Client,
    /// Bytes of results that may still come.
    budget: usize,
    limit: usize,
    /// Nothing is changed by it.
    is_read: bool,
}

/// Why a statement gave no outcome.
enum Fault {
    /// The server said no.
    Db(Box<DbError>),
    /// Its answer is of no use: too long, or of a type that is not known here.
    Answer(PostgresError),
    /// The connection is broken.
    Broken(Trouble),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(refusal) => Self::Db(Box::new(refusal.clone())),
            None => Self::Broken(Trouble::from(&error)),
        }
    }
}

impl Batch<'_> {
    /// Everything in one round trip.
    async fn pipelined(
        &mut self,
        prepared: &mut Prepared,
        compiled: Vec<Compiled<'_>>,
        framed: bool,
    ) -> (Fate, After) {
        let reads: Vec<Reads> = compiled.iter().map(|one| one.reads).collect();
        let client = self.client;
        if client.is_closed() {
            return (Fate::NotSent, After::Bad);
        }
        let by = match prepared.of(client, &compiled).await {
            Ok(by) => by,
            Err((index, error)) => {
                return match error.as_db_error() {
                    Some(refusal) => refused(Some(index), refusal),
                    None => (Fate::NotSent, After::Bad),
                };
            }
        };
        // Each is sent when it is polled first, so they are polled in order, once. Some may be
        // answered already.
        let begin = maybe_done(begin(client, framed));
        pin_mut!(begin);
        let _sent = poll!(begin.as_mut());
        let mut pending = Vec::with_capacity(compiled.len());
        for (one, by) in compiled.into_iter().zip(by) {
            let mut sent = Box::pin(maybe_done(send(client, by, one)));
            if poll!(sent.as_mut()).is_ready()
                && let Some(Err(error)) = sent.as_mut().output_mut()
                && error.as_db_error().is_none()
            {
                let text = Trouble::from(&*error).public;
                return match framed {
                    _ if is_unwritable(error) => {
                        (Fate::Refused(PostgresError::Invalid(text)), After::Bad)
                    }
                    // No commit was sent, so the transaction ends with the connection.
                    true => (Fate::NotSent, After::Bad),
                    false => (Fate::Unknown(text), After::Bad),
                };
            }
            pending.push(sent);
        }
        let commit = maybe_done(commit(client, framed));
        pin_mut!(commit);
        let _sent = poll!(commit.as_mut());

        let mut outcomes = Vec::with_capacity(pending.len());
        let mut fault = None;
        begin.as_mut().await;
        if let Some(Err(error)) = begin.as_mut().take_output() {
            fault = Some((None, Fault::from(error)));
        }
        for (index, (mut sent, reads)) in pending.into_iter().zip(reads).enumerate() {
            if let Some((_, Fault::Broken(_))) = &fault {
                break;
            }
            sent.as_mut().await;
            let result = match sent.as_mut().take_output() {
                Some(Ok(rows)) => self.collect(rows, reads).await,
                Some(Err(error)) => Err(Fault::from(error)),
                None => continue,
            };
            match result {
                Ok(outcome) => outcomes.push(outcome),
                // Only the first one is the cause; later statements suffer from it.
                Err(found) if fault.is_none() => fault = Some((Some(index), found)),
                Err(_) => {}
            }
        }
        if !matches!(fault, Some((_, Fault::Broken(_)))) {
            commit.as_mut().await;
            if let Some(Err(error)) = commit.as_mut().take_output() {
                let found = match Fault::from(error) {
                    // Its last words need not be about the commit.
                    Fault::Db(error) if is_leaving(&error) => Fault::Broken(Trouble::from(&*error)),
                    found => found,
                };
                fault = fault.or(Some((None, found)));
            }
        }
        match fault {
            None => (Fate::Done(outcomes), After::Good),
            Some((_, Fault::Answer(error))) if self.is_read => (Fate::Refused(error), After::Bad),
            // The rest was committed without waiting.
            Some((_, Fault::Answer(error))) => (Fate::Unknown(error.to_string()), After::Bad),
            Some((index, Fault::Db(error))) => refused(index, &error),
            Some((_, Fault::Broken(trouble))) => (Fate::Unknown(trouble.public), After::Bad),
        }
    }

    /// With free SQL the results are looked at before the commit, because they may be of any type;
    /// and the session is cleaned, because it may have been changed.
    async fn free(
        &mut self,
        prepared: &mut Prepared,
        compiled: Vec<Compiled<'_>>,
    ) -> (Fate, After) {
        if let Err(error) = self.client.batch_execute(BEGIN).await {
            return match (error.as_db_error(), error.is_closed()) {
                (Some(refusal), _) => refused(None, refusal),
                (None, true) => (Fate::NotSent, After::Bad),
                // Nothing that counts was sent.
                (None, false) => (
                    Fate::Refused(PostgresError::Unavailable(Trouble::from(&error).public)),
                    After::Bad,
                ),
            };
        }
        let mut outcomes = Vec::with_capacity(compiled.len());
        for (index, one) in compiled.into_iter().enumerate() {
            let reads = one.reads;
            let result = match send(self.client, None, one).await {
                Ok(rows) => self.collect(rows, reads).await,
                Err(error) => Err(Fault::from(error)),
            };
            match result {
                Ok(outcome) => outcomes.push(outcome),
                // Without a commit the transaction ends with the connection.
                Err(Fault::Answer(error)) => return (Fate::Refused(error), After::Bad),
                Err(Fault::Db(error)) => {
                    let (fate, _) = refused(Some(index), &error);
                    return (fate, After::Bad);
                }
                Err(Fault::Broken(trouble)) => {
                    let error = PostgresError::Unavailable(trouble.public);
                    return (Fate::Refused(error), After::Bad);
                }
            }
        }
        let commit = self.client.batch_execute("COMMIT");
        prepared.forget();
        let discard = self.client.batch_execute("DISCARD ALL");
        let (committed, discarded) = futures_util::join!(commit, discard);
        match committed {
            Ok(()) if discarded.is_ok() => (Fate::Done(outcomes), After::Good),
            Ok(()) => (Fate::Done(outcomes), After::Bad),
            Err(error) => match error.as_db_error() {
                Some(refusal) => {
                    let (fate, _) = refused(None, refusal);
                    (fate, After::Bad)
                }
                None => (Fate::Unknown(Trouble::from(&error).public), After::Bad),
            },
        }
    }

    async fn collect(&mut self, rows: RowStream, reads: Reads) -> Result<Outcome, Fault> {
        pin_mut!(rows);
        let mut outcome = Outcome::default();
        while let Some(row) = rows.next().await {
            let row = row?;
            let size = row.raw_size_bytes();
            let Some(left) = self.budget.checked_sub(size) else {
                let limit = self.limit;
                return Err(Fault::Answer(PostgresError::TooLarge { limit }));
            };
            self.budget = left;
            match reads {
                Reads::Rows => outcome.rows.push(read(&row).map_err(Fault::Answer)?),
                Reads::CountAndIds => {
                    let count: i64 = row.try_get(0)?;
                    let ids: Option<Vec<i64>> = row.try_get(1)?;
                    outcome.count = u64::try_from(count).unwrap_or_default();
                    let ids = ids.unwrap_or_default().into_iter();
                    outcome.rows = ids.map(|id| vec![Value::Integer(id)]).collect();
                }
            }
        }
        if reads == Reads::Rows {
            outcome.count = rows.rows_affected().unwrap_or_default();
        }
        Ok(outcome)
    }
}

async fn begin(client: &Client, framed: bool) -> Result<(), Error> {
    match framed {
        true => client.batch_execute(BEGIN).await,
        false => Ok(()),
    }
}

async fn commit(client: &Client, framed: bool) -> Result<(), Error> {
    match framed {
        true => client.batch_execute("COMMIT").await,
        false => Ok(()),
    }
}

fn send<'a>(
    client: &'a Client,
    by: Option<tokio_postgres::Statement>,
    one: Compiled<'a>,
) -> Pending<'a> {
    Box::pin(async move {
        match by {
            Some(statement) => {
                let params = one.params.into_iter().map(|(param, _)| param);
                let params: Vec<_> = params.collect();
                client.query_raw(&statement, params).await
            }
            None => client.query_typed_raw(&one.text, one.params).await,
        }
    })
}

/// It cannot be put into a message, for example because it is over the protocol's limit. The
/// library's kinds of errors are private.
fn is_unwritable(error: &Error) -> bool {
    let text = error.to_string();
    text.starts_with("error encoding") || text.starts_with("error serializing")
}

/// The server said no: then nothing of the transaction took place, whatever the reason.
fn refused(index: Option<usize>, error: &DbError) -> (Fate, After) {
    let after = match is_leaving(error) || is_stale(error) {
        true => After::Bad,
        false => After::Good,
    };
    (Fate::Refused(refusal(index, error)), after)
}

/// What a plugin is told of a statement that the server refused.
pub(super) fn refusal(index: Option<usize>, error: &DbError) -> PostgresError {
    let code = error.code();
    let shown = code.code();
    let text = format!("{} ({shown})", error.message());
    if is_passing(error) || is_leaving(error) || is_stale(error) {
        PostgresError::Unavailable(text)
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        PostgresError::Denied(format!("Postgres refuses it to this server's role: {text}"))
    } else {
        PostgresError::Failed(Failure {
            statement: index,
            code: shown.to_owned(),
            message: error.message().to_owned(),
        })
    }
}

/// Is the connection of no more use? Perhaps because its server was the master before: the next
/// one may find the new one.
fn is_leaving(error: &DbError) -> bool {
    !matches!(error.parsed_severity(), Some(Severity::Error) | None)
        || *error.code() == SqlState::READ_ONLY_SQL_TRANSACTION
}

fn is_stale(error: &DbError) -> bool {
    prepared::is_stale(error.code(), error.message())
}

/// Will it work later, as it is?
fn is_passing(error: &DbError) -> bool {
    let code = error.code();
    let class = code.code().get(..2).unwrap_or_default();
    // Connection trouble; too few resources; the operator or the server intervenes.
    matches!(class, "08" | "53" | "57")
        || [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
        ]
        .contains(code)
        // "too many notifications in the NOTIFY queue" has no code of its own.
        || (*code == SqlState::PROGRAM_LIMIT_EXCEEDED
            && matches!(error.routine(), Some("PreCommit_Notify" | "asyncQueueAddEntries")))
}
