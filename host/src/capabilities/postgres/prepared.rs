//! Statements that one connection has met before: Postgres keeps them under a name, and neither
//! reads nor plans them again. A text is prepared when it comes the second time, so that what is
//! executed once costs no further round trip.
//!
//! Not through a pooler that gives every transaction another connection; see
//! [`PostgresOptions::prepare`](super::PostgresOptions::prepare).

use std::collections::HashMap;

use tokio_postgres::{Client, Error, Statement, error::SqlState};

use super::statement::Compiled;

/// Most texts that one connection remembers. Texts do not grow with their lists, so there are few;
/// a plugin that makes up more begins again.
const MAX_TEXTS: usize = 64;

/// See the module.
pub(super) struct Prepared {
    is_on: bool,
    /// None: it came once.
    met: HashMap<String, Option<Statement>>,
}

impl Prepared {
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            met: HashMap::new(),
        }
    }

    /// For each of them what it is executed by, if it is prepared.
    ///
    /// # Errors
    /// At which one it failed. Nothing was executed.
    pub(super) async fn of(
        &mut self,
        client: &Client,
        compiled: &[Compiled<'_>],
    ) -> Result<Vec<Option<Statement>>, (usize, Error)> {
        let mut all = Vec::with_capacity(compiled.len());
        for (index, one) in compiled.iter().enumerate() {
            let statement = self.one(client, one).await;
            all.push(statement.map_err(|error| (index, error))?);
        }
        Ok(all)
    }

    async fn one(
        &mut self,
        client: &Client,
        one: &Compiled<'_>,
    ) -> Result<Option<Statement>, Error> {
        if !self.is_on {
            return Ok(None);
        }
        match self.met.get(&one.text) {
            Some(Some(statement)) => Ok(Some(statement.clone())),
            Some(None) => {
                let types: Vec<_> = one.params.iter().map(|(_, of)| of.clone()).collect();
                let statement = client.prepare_typed(&one.text, &types).await?;
                self.met.insert(one.text.clone(), Some(statement.clone()));
                Ok(Some(statement))
            }
            None => {
                if self.met.len() == MAX_TEXTS {
                    self.met.clear();
                }
                self.met.insert(one.text.clone(), None);
                Ok(None)
            }
        }
    }

    /// The session was cleaned.
    pub(super) fn forget(&mut self) {
        self.met.clear();
    }
}

/// Did Postgres forget a prepared statement, or did its table change? Then the connection is of no
/// more use, and the next one is not concerned.
pub(super) fn is_stale(code: &SqlState, message: &str) -> bool {
    *code == SqlState::INVALID_SQL_STATEMENT_NAME
        || (*code == SqlState::FEATURE_NOT_SUPPORTED && message.contains("cached plan"))
}
