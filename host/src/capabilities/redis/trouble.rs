//! Why a Redis cannot be used now: one text for the plugin, which holds no address, and one for the
//! operator, which does.

use std::io;

use super::url::Address;

/// A connection that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Trouble {
    /// The settings are at fault, not the network: trying again soon is of little use.
    pub(super) is_refusal: bool,
    /// Nothing has to change here: it can be set right on the other side, so what waits may wait on.
    pub(super) may_pass: bool,
    /// For the plugin: no address, no secret.
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
            may_pass: true,
            public: text.clone(),
            detail: text,
        }
    }

    /// It stays until the operator changes something.
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self {
            is_refusal: true,
            may_pass: false,
            ..Self::away(text)
        }
    }

    /// Redis does not let this server in. It stays until the operator changes something here or
    /// there: users and passwords are set in Redis as well.
    pub(super) fn locked_out(text: impl Into<String>) -> Self {
        Self {
            is_refusal: true,
            ..Self::away(text)
        }
    }

    /// Where it happened.
    pub(super) fn at(mut self, address: &Address) -> Self {
        self.detail = format!("{address}: {}", self.detail);
        self
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::away(error.to_string())
    }
}
