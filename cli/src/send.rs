//! Commands that send something and end.

use anyhow::bail;
use clap::Args;
use switchboard::{Config, Emitter, EmitterOperators};

use crate::argument::{Argument, Arguments};

/// Which sockets.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// In which namespace.
    #[arg(long, short, default_value = "/", value_name = "NAME")]
    namespace: String,
    /// Only sockets in this room (a socket's id is one); may be given several times. Without it,
    /// all sockets of the namespace.
    #[arg(long = "to", short, value_name = "ROOM", allow_hyphen_values = true)]
    to: Vec<String>,
    /// But none that is in this room; may be given several times.
    #[arg(long, value_name = "ROOM", allow_hyphen_values = true)]
    except: Vec<String>,
}

/// Which sockets, of something that one does not do to all of them by mistake.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    #[command(flatten)]
    target: Target,
    /// All sockets of the namespace, on every server.
    #[arg(long, conflicts_with = "to")]
    all: bool,
}

impl Chosen {
    fn of(&self, emitter: &Emitter) -> EmitterOperators {
        self.target.of(emitter)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.target.to.is_empty() && !self.all {
            bail!("say which sockets: --to ROOM, or --all for every socket of the namespace");
        }
        Ok(())
    }
}

impl Target {
    fn of(&self, emitter: &Emitter) -> EmitterOperators {
        emitter
            .of(&self.namespace)
            .to(&self.to)
            .except(&self.except)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Emit {
    #[command(flatten)]
    target: Target,
    /// Clients that cannot take it now may miss it.
    #[arg(long, conflicts_with = "server_side")]
    volatile: bool,
    /// To the servers instead of the clients.
    #[arg(long, conflicts_with_all = ["to", "except"])]
    server_side: bool,
    /// The event's name.
    event: String,
    /// Arguments of the form @FILE stand for a file's content, as binary.
    #[arg(long)]
    files: bool,
    /// Its arguments: JSON, or plain text.
    #[arg(value_name = "ARGUMENT", allow_negative_numbers = true)]
    arguments: Vec<String>,
}

impl Emit {
    pub(crate) async fn run(self, config: Config) -> anyhow::Result<()> {
        let arguments: Vec<Argument> = self
            .arguments
            .iter()
            .map(|text| Argument::read(text, self.files).map_err(anyhow::Error::msg))
            .collect::<Result<_, _>>()?;
        let arguments = Arguments(&arguments);
        let emitter = Emitter::open(config).await?;
        let mut sockets = self.target.of(&emitter);
        if self.server_side {
            sockets.server_side_emit(&self.event, &arguments).await?;
        } else {
            if self.volatile {
                sockets = sockets.volatile();
            }
            sockets.emit(&self.event, &arguments).await?;
        }
        finish(emitter).await
    }
}

#[derive(Debug, Args)]
pub(crate) struct Rooms {
    #[command(flatten)]
    sockets: Chosen,
    /// Which rooms.
    #[arg(required = true, value_name = "ROOM")]
    rooms: Vec<String>,
}

impl Rooms {
    pub(crate) async fn join(self, config: Config) -> anyhow::Result<()> {
        self.sockets.check()?;
        let emitter = Emitter::open(config).await?;
        self.sockets.of(&emitter).join(self.rooms).await?;
        finish(emitter).await
    }

    pub(crate) async fn leave(self, config: Config) -> anyhow::Result<()> {
        self.sockets.check()?;
        let emitter = Emitter::open(config).await?;
        self.sockets.of(&emitter).leave(self.rooms).await?;
        finish(emitter).await
    }
}

#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    #[command(flatten)]
    sockets: Chosen,
    /// Close their whole connection, not only the namespace.
    #[arg(long)]
    close: bool,
}

impl Disconnect {
    pub(crate) async fn run(self, config: Config) -> anyhow::Result<()> {
        self.sockets.check()?;
        let emitter = Emitter::open(config).await?;
        self.sockets.of(&emitter).disconnect(self.close).await?;
        finish(emitter).await
    }
}

/// Success means that the backend has accepted it, not that any server was there to hear it.
async fn finish(emitter: Emitter) -> anyhow::Result<()> {
    emitter.close().await;
    let stats = emitter.stats();
    if stats.sent > 0 && stats.unsent == 0 && stats.rejected == 0 {
        return Ok(());
    }
    match stats.last_publish_error {
        Some(why) => bail!("it was not sent: {why}"),
        None => bail!("it was not sent: the transport did not take it in time"),
    }
}
