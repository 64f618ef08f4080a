//! Why a Postgres cannot be used now: one text for the plugin, which holds no address, and one for
//! the operator, which does.

use std::error::Error as _;

use tokio_postgres::error::{DbError, SqlState};
use tokio_rustls::rustls;

/// A connection that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Trouble {
    /// The settings are at fault, not the network: trying again is of little use.
    pub(super) is_refusal: bool,
    /// For the plugin: no address, no user, no secret.
    pub(super) public: String,
    /// For the operator: with the address, without secrets.
    pub(super) detail: String,
}

impl Trouble {
    /// It may be over in a moment.
    pub(super) fn away(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            is_refusal: false,
            public: text.clone(),
            detail: text,
        }
    }

    /// It stays until the operator changes something.
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self {
            is_refusal: true,
            ..Self::away(text)
        }
    }

    /// Where it happened.
    pub(super) fn at(mut self, hosts: &str) -> Self {
        self.detail = format!("{hosts}: {}", self.detail);
        self
    }
}

impl From<&tokio_postgres::Error> for Trouble {
    fn from(error: &tokio_postgres::Error) -> Self {
        if let Some(refusal) = error.as_db_error() {
            return Self::from(refusal);
        }
        let mut detail = error.to_string();
        // A certificate does not get better by itself. What breaks on the way may.
        let is_tls = detail.starts_with("error performing TLS handshake");
        let mut is_broken = false;
        let mut cause = error.source();
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            let io = error.downcast_ref::<std::io::Error>();
            is_broken |= io.is_some_and(|error| !has_rustls(error));
            cause = error.source();
        }
        let is_settings = detail.starts_with("authentication error")
            || detail.starts_with("invalid configuration");
        match (is_tls && !is_broken) || is_settings {
            true => Self::refused(detail),
            false => Self::away(detail),
        }
    }
}

fn has_rustls(error: &std::io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// What the server said instead of a greeting, or as its last word.
impl From<&DbError> for Trouble {
    fn from(error: &DbError) -> Self {
        let code = error.code();
        let shown = code.code();
        // Wrong user or password, no such database, not allowed in.
        let is_refusal = shown.starts_with("28")
            || *code == SqlState::INVALID_CATALOG_NAME
            || *code == SqlState::INSUFFICIENT_PRIVILEGE
            || *code == SqlState::FEATURE_NOT_SUPPORTED;
        let public = match is_refusal {
            true => format!("it refuses this server ({shown})"),
            false => format!("it says {shown}"),
        };
        Self {
            is_refusal,
            public,
            detail: format!("{} ({shown})", error.message()),
        }
    }
}
