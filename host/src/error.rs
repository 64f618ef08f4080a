//! Why a server cannot join its cluster, and whose fault that is.

use crate::{
    admin::AdminError, config::ConfigError, plugins::PluginError, runtime::RuntimeError,
    transport::TransportError,
};

/// Why [`Board::open`](crate::Board::open) or [`Emitter::open`](crate::Emitter::open) failed. The text names the file or the key, the cause,
/// and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The plugin's file cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The plugin cannot be loaded or opened.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// WebAssembly cannot run here.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The operator's socket cannot be there.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// An emitter without a transport would send nowhere.
    #[error(
        "an emitter cannot work with transport = \"none\": use the configuration of the servers that \
         it is to reach"
    )]
    NoTransport,
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The operator: a setting is wrong.
    Configuration,
    /// The plugin's author, or whoever chose this file.
    Plugin,
    /// Whoever runs the machine: folders, rights, address space.
    Machine,
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Config(_) | Self::NoTransport | Self::Admin(_) => Fault::Configuration,
            Self::Plugin(error) => error.fault(),
            Self::Transport(
                TransportError::Configuration { .. } | TransportError::Unsupported { .. },
            ) => Fault::Configuration,
            Self::Transport(_) => Fault::Plugin,
            Self::Runtime(_) => Fault::Machine,
        }
    }
}

/// For a line of the log: errors of configuration have a line for each mistake.
pub(crate) fn one_line(why: &impl std::fmt::Display) -> String {
    why.to_string().replace('\n', "; ")
}
