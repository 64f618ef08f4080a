//! Commands that ask a running server over its admin socket.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use switchboard::{
    Config,
    admin::{AdminClient, PluginReport, Request},
};
use tokio::time::sleep;

use crate::{
    plugins,
    say::say,
    status::{self, Status},
    switch,
};

/// Rates are measured for so long.
const SAMPLE_MS: u32 = 1000;

/// Pause between two looks of `--watch`, beside the time for which rates are measured.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Moves the cursor home and clears what is below and behind it.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Which server.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Its admin socket; default: `admin.socket` of its configuration.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AskStatus {
    #[command(flatten)]
    server: Server,
    /// Look again and again, until it is interrupted.
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AskPlugins {
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct AskSwitch {
    /// The transport's name: that of a plugin in the folder of every server.
    transport: String,
    /// Leave behind what cannot come along: servers of Node.js.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct AskAbort {
    #[command(flatten)]
    server: Server,
}

impl Server {
    /// The configuration is read only if it has to say where the socket is.
    async fn connect(
        &self,
        config: impl FnOnce() -> anyhow::Result<Config>,
    ) -> anyhow::Result<AdminClient> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => config()?.admin.socket.context(
                "the configuration names no admin socket: add\n\n    [admin]\n    socket = \
                 \"admin.sock\"\n\nto the server's switchboard.toml and restart it, or name its \
                 socket with --socket PATH",
            )?,
        };
        Ok(AdminClient::connect(socket).await?)
    }
}

impl AskStatus {
    pub(crate) async fn run(
        self,
        config: impl FnOnce() -> anyhow::Result<Config>,
    ) -> anyhow::Result<()> {
        let mut client = self.server.connect(config).await?;
        let request = Request::Status {
            sample_ms: SAMPLE_MS,
        };
        loop {
            let answer: Value = client.ask(&request, |_| {}).await?;
            if !say(&self.page(answer)?)? || !self.watch {
                return Ok(());
            }
            sleep(WATCH_PAUSE).await;
        }
    }

    fn page(&self, answer: Value) -> anyhow::Result<String> {
        // One line each, so that a program can read one after the other.
        if self.server.json && self.watch {
            return Ok(format!("{answer}\n"));
        }
        if self.server.json {
            return Ok(format!("{answer:#}\n"));
        }
        let status: Status =
            serde_json::from_value(answer).context("the status has another form")?;
        let is_followed = self.watch && io::stdout().is_terminal();
        let clear = if is_followed { CLEAR } else { "" };
        Ok(format!("{clear}{}\n", status::lines(&status).join("\n")))
    }
}

impl AskPlugins {
    pub(crate) async fn run(
        self,
        config: impl FnOnce() -> anyhow::Result<Config>,
    ) -> anyhow::Result<()> {
        let mut client = self.server.connect(config).await?;
        let answer: Value = client.ask(&Request::Plugins, |_| {}).await?;
        let page = if self.server.json {
            format!("{answer:#}\n")
        } else {
            let plugins: Vec<PluginReport> =
                serde_json::from_value(answer).context("the list has another form")?;
            format!("{}\n", plugins::lines(&plugins).join("\n"))
        };
        say(&page)?;
        Ok(())
    }
}

impl AskSwitch {
    pub(crate) async fn run(
        self,
        config: impl FnOnce() -> anyhow::Result<Config>,
    ) -> anyhow::Result<()> {
        let mut client = self.server.connect(config).await?;
        let request = Request::Switch {
            transport: self.transport,
            force: self.force,
        };
        let is_json = self.server.json;
        let progress = |step: Value| {
            // Where nobody reads it, the switch goes on all the same.
            let _ = match is_json {
                true => say(&format!("{}\n", json!({ "progress": step }))),
                false => say(&switch::step(&step)),
            };
        };
        let switched: Value = client.ask(&request, progress).await?;
        say(&match is_json {
            true => format!("{}\n", json!({ "result": switched })),
            false => switch::end(&switched),
        })?;
        Ok(())
    }
}

impl AskAbort {
    pub(crate) async fn run(
        self,
        config: impl FnOnce() -> anyhow::Result<Config>,
    ) -> anyhow::Result<()> {
        let mut client = self.server.connect(config).await?;
        let aborted: bool = client.ask(&Request::Abort, |_| {}).await?;
        say(match (self.server.json, aborted) {
            (true, true) => "true\n",
            (true, false) => "false\n",
            (false, true) => "called off: everything stays as it was\n",
            (false, false) => "this server was not asked for a switch, or it is decided already\n",
        })?;
        Ok(())
    }
}
