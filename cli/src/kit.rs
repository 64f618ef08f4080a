//! The programs that a check starts, which are this executable: `switchboard kit server|emitter|clients`.
//! Not for people.

use clap::{Args, ValueEnum};
use switchboard_kit::{client, sender, subject};

/// The subcommand's name.
pub(crate) const NAME: &str = "kit";

#[derive(Debug, Args)]
pub(crate) struct Kit {
    program: Program,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Program {
    Server,
    Emitter,
    Clients,
}

impl Kit {
    pub(crate) async fn run(self) -> ! {
        match self.program {
            Program::Server => subject::run("server", self.args).await,
            Program::Emitter => sender::run("emitter", self.args).await,
            Program::Clients => client::run().await,
        }
    }
}
