//! A process that only sends into a cluster, started, told and ended.

use std::{ops::Deref, path::Path, process::Stdio};

use serde_json::Value;
use tokio::time::timeout;

use crate::{
    DEADLINE, Error, Process, Select,
    programs::{self, Role},
    protocol::Order,
    server::{list, owned},
};

/// What an emitter prints when it takes orders.
const READY: &str = "READY";

/// A running emitter. Also a [`Process`]; one that is [stopped](Process::stop) has sent everything
/// when it ends with success.
#[derive(Debug)]
pub struct Emitter(Process);

impl Emitter {
    /// Starts ours with the configuration of a cluster's servers.
    ///
    /// # Errors
    /// [`Error::Setup`] if the binary is not built; else like [`Process::start`].
    pub async fn start(config: &Path) -> Result<Self, Error> {
        let mut command = programs::command(Role::Emitter)?;
        command.arg(config);
        Self::from_command("the emitter", command).await
    }

    /// Starts whatever takes the same orders.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn from_command(name: &str, command: tokio::process::Command) -> Result<Self, Error> {
        let (process, _) = Process::start(name, command, READY).await?;
        Ok(Self(process))
    }

    /// Emits an event to clients; `args` is a JSON array.
    ///
    /// # Errors
    /// See [`Process::call`], here and in all methods that follow.
    pub async fn emit(&self, select: &Select, event: &str, args: Value) -> Result<(), Error> {
        self.tell(Order::Emit {
            select: select.clone(),
            event: event.to_owned(),
            args: list(args)?,
        })
        .await
    }

    /// Makes sockets join rooms.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn join(&self, select: &Select, rooms: &[&str]) -> Result<(), Error> {
        self.tell(Order::Join {
            select: select.clone(),
            rooms: owned(rooms),
        })
        .await
    }

    /// Makes sockets leave rooms.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn leave(&self, select: &Select, rooms: &[&str]) -> Result<(), Error> {
        self.tell(Order::Leave {
            select: select.clone(),
            rooms: owned(rooms),
        })
        .await
    }

    /// Disconnects sockets; with `close` their whole connection.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn disconnect(&self, select: &Select, close: bool) -> Result<(), Error> {
        let select = select.clone();
        self.tell(Order::Disconnect { select, close }).await
    }

    /// Emits an event to servers; `args` is a JSON array.
    ///
    /// # Errors
    /// See [`Process::call`].
    pub async fn server_side_emit(&self, nsp: &str, event: &str, args: Value) -> Result<(), Error> {
        self.tell(Order::ServerSideEmit {
            nsp: nsp.to_owned(),
            event: event.to_owned(),
            args: list(args)?,
        })
        .await
    }

    async fn tell(&self, order: Order) -> Result<(), Error> {
        self.0.call(&order).await
    }
}

impl Deref for Emitter {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

/// Runs the command `switchboard` with the configuration of a cluster's servers, as in a shell, and
/// returns what it prints.
///
/// # Errors
/// [`Error::Refused`] with its messages if it does not succeed, [`Error::Deadline`] if it does not
/// end, [`Error::Setup`] if it is not built.
pub async fn switchboard_command(config: &Path, args: &[&str]) -> Result<String, Error> {
    const NAME: &str = "switchboard";
    let mut command = programs::command(Role::Shell)?;
    command
        .arg("--config")
        .arg(config)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(DEADLINE, command.output())
        .await
        .map_err(|_| Error::Deadline {
            what: format!("{NAME} {args:?} to end"),
            seen: "it is still running".into(),
            deadline: DEADLINE,
        })?
        .map_err(Error::system(format!("cannot start {NAME}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Refused {
        process: NAME.into(),
        command: args.join(" "),
        reason: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
