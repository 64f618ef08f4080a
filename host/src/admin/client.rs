//! The other end of the socket, for programs: the command `switchboard` is one.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::{
    protocol::{Answer, Failure, MAX_ANSWER_BYTES, Request},
    socket::KEY,
};
use crate::socket_place::{NoConnection, Place};

/// How long a server may take for one line of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to a running server. Its requests are answered one after the other; after an error
/// other than [`ClientError::Failed`] it is of no more use.
#[derive(Debug)]
pub struct AdminClient {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// Why a server could not be asked. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No server serves this socket.
    #[error(
        "no server listens on {}: is it running, and is `{KEY}` in its configuration this path?",
        path.display()
    )]
    NobodyThere {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is another user's.
    #[error(
        "you may not use {}: {reason}; run this as the user that the server runs as",
        path.display()
    )]
    NoRights {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The connection failed or was lost.
    #[error("the connection to the server failed: {0}; try again")]
    Lost(
        /// What the system says.
        #[from]
        io::Error,
    ),
    /// The server does not answer.
    #[error("the server did not answer within {} s: is it stopped or overloaded?", ANSWER_TIMEOUT.as_secs())]
    NoAnswer,
    /// What it answers cannot be understood.
    #[error("the server's answer cannot be read: {0}; is it of another version than this program?")]
    Unreadable(
        /// What is wrong with it.
        String,
    ),
    /// The server could not do it.
    #[error(transparent)]
    Failed(
        /// Why.
        Failure,
    ),
}

impl AdminClient {
    /// Connects to the socket of a server.
    ///
    /// # Errors
    /// [`ClientError::NobodyThere`], [`ClientError::NoRights`] and [`ClientError::Lost`].
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let place = Place::new(path, KEY);
        let stream: UnixStream = place.connect().await.map_err(|why| {
            let path = path.to_owned();
            match why {
                NoConnection::Nobody => ClientError::NobodyThere { path },
                NoConnection::Busy => {
                    ClientError::Lost(io::Error::other("the server has too much to do"))
                }
                NoConnection::Trouble(reason)
                    if reason.kind() == io::ErrorKind::PermissionDenied =>
                {
                    ClientError::NoRights { path, reason }
                }
                NoConnection::Trouble(error) => ClientError::Lost(error),
            }
        })?;
        let (read, write) = stream.into_split();
        Ok(Self {
            read: BufReader::new(read),
            write,
        })
    }

    /// Asks for something, and waits for the end of the answer. `progress` is told what comes before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ask<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        mut progress: impl FnMut(Value),
    ) -> Result<T, ClientError> {
        let unreadable = |error: serde_json::Error| ClientError::Unreadable(error.to_string());
        let mut line = serde_json::to_vec(request).map_err(unreadable)?;
        line.push(b'\n');
        self.write.write_all(&line).await?;
        loop {
            match self.line().await? {
                Answer::Progress(step) => progress(step),
                Answer::Done(result) => {
                    return serde_json::from_value(result).map_err(unreadable);
                }
                Answer::Error(failure) => return Err(ClientError::Failed(failure)),
            }
        }
    }

    async fn line(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.read).take(MAX_ANSWER_BYTES as u64);
        let read = timeout(ANSWER_TIMEOUT, limited.read_until(b'\n', &mut line)).await;
        read.map_err(|_| ClientError::NoAnswer)??;
        if line.last() != Some(&b'\n') {
            if line.len() >= MAX_ANSWER_BYTES {
                return Err(ClientError::Unreadable(format!(
                    "over {MAX_ANSWER_BYTES} bytes"
                )));
            }
            let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it");
            return Err(ClientError::Lost(ended));
        }
        serde_json::from_slice(&line).map_err(|error| ClientError::Unreadable(error.to_string()))
    }
}
