//! What an operation of the adapter can fail with, besides what socketioxide reports itself.

use socketioxide_core::{
    adapter::errors::{AdapterError, BroadcastError},
    parser::ParserError,
};

use crate::{cluster::SendError, payload::PayloadError};

/// An operation was applied to the sockets of this server, but not to those of the others.
///
/// What goes wrong later, in the backend or on another node, is retried and reported by the
/// cluster and never shows here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster did not take the message; its own error says why and whose fault that is.
    #[error("the other servers were not reached: {0}")]
    Cluster(#[from] SendError),
    /// The caller's fault: what it emits has no form that the other servers could read.
    #[error("the event was not sent to the other servers: {0}")]
    Payload(#[from] PayloadError),
}

impl From<Error> for AdapterError {
    fn from(error: Error) -> Self {
        Self(Box::new(error))
    }
}

impl From<Error> for BroadcastError {
    fn from(error: Error) -> Self {
        match error {
            Error::Payload(error) => Self::Serialize(ParserError::new(error)),
            Error::Cluster(_) => Self::Adapter(error.into()),
        }
    }
}
