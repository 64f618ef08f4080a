//! A transport plugin: loaded code, what it may do, and how to make instances of it.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::HasSelf;

use super::{
    instance::Away,
    keeper::RestartPolicy,
    node::{LogLimit, NodeView, PluginState},
};
use crate::{
    bindings::{
        INTERFACES,
        exports::switchboard::transport::{publisher, recovery, subscriber},
        switchboard::{self, transport::lifecycle},
    },
    capabilities::{CapabilityState, Effects, Granted, Wake},
    cluster::NodeId,
    config::Resolved,
    plugins::PluginFile,
    runtime::{Contract, Fault, Guest, Limits, LoadError, Program, Runtime, load},
};

/// What a plugin is made of.
pub(crate) struct PluginSource {
    /// For the log and for errors.
    pub(crate) name: String,
    /// Where it was read, for errors.
    pub(crate) file: String,
    /// `sha256:` and 64 hex digits.
    pub(crate) digest: String,
    /// Its author's name for this state of it.
    pub(crate) version: Option<String>,
    pub(crate) wasm: Bytes,
    /// The operator's options as the text of a JSON object.
    pub(crate) options: String,
    /// Offsets of what is published are of use.
    pub(crate) wants_offsets: bool,
    pub(crate) limits: Limits,
    pub(crate) restarts: RestartPolicy,
    pub(crate) granted: Granted,
}

/// Why a transport cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The file cannot be used: the plugin's fault.
    #[error("cannot load the plugin {file}: {reason}")]
    Load {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        reason: LoadError,
    },
    /// The options are wrong: the configuration's fault.
    #[error("the transport `{plugin}` refuses its configuration: {reason}")]
    Configuration {
        /// Which plugin.
        plugin: String,
        /// What it says.
        reason: String,
    },
    /// It cannot work here.
    #[error("the transport `{plugin}` cannot work here: {reason}")]
    Unsupported {
        /// Which plugin.
        plugin: String,
        /// What it says.
        reason: String,
    },
    /// It died when it was opened: the plugin's fault.
    #[error("the transport `{plugin}` failed when it was opened: {fault}")]
    Fault {
        /// Which plugin.
        plugin: String,
        /// How.
        #[source]
        fault: Fault,
    },
}

impl TransportError {
    /// Why an instance did not open, where it is not merely the backend that is away.
    pub(super) fn from_away(plugin: String, away: Away) -> Self {
        match away {
            Away::Configuration(reason) => Self::Configuration { plugin, reason },
            Away::Fault(fault) => Self::Fault { plugin, fault },
            Away::Backend(reason) | Away::Unsupported(reason) | Away::Failed(reason) => {
                Self::Unsupported { plugin, reason }
            }
        }
    }
}

/// Which export an instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Subscriber,
    Recovery,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
            Self::Recovery => "recovery",
        }
    }
}

/// The exports without which a plugin is no transport.
const EXPORTS: &[&str] = &[
    "switchboard:transport/publisher@0.1.0",
    "switchboard:transport/subscriber@0.1.0",
];

/// A plugin that fits the contract.
pub(super) struct Linked {
    program: Program<PluginState>,
    publisher: publisher::GuestIndices,
    subscriber: subscriber::GuestIndices,
    recovery: Option<recovery::GuestIndices>,
}

/// Compiles a plugin and checks that it is a transport. Here is decided which files are refused, for
/// servers and for those who only want to know (`inspect.rs`).
pub(super) fn link(runtime: &Runtime, wasm: &[u8], allow_wasi: bool) -> Result<Linked, LoadError> {
    let contract = Contract {
        imports: INTERFACES,
        exports: EXPORTS,
    };
    let program = load(runtime, wasm, contract, allow_wasi, |linker| {
        switchboard::transport::node::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
        switchboard::bus::bus::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
        switchboard::redis::redis::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
        switchboard::postgres::postgres::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
        switchboard::tcp::tcp::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
    })?;
    let mismatch = |error: wasmtime::Error| LoadError::Mismatch(format!("{error:#}"));
    Ok(Linked {
        publisher: publisher::GuestIndices::new(&program.pre).map_err(mismatch)?,
        subscriber: subscriber::GuestIndices::new(&program.pre).map_err(mismatch)?,
        recovery: recovery::GuestIndices::new(&program.pre).ok(),
        program,
    })
}

/// A loaded transport. Its instances share nothing but this and the host's connections.
pub(crate) struct TransportPlugin {
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) version: Option<String>,
    pub(super) node: NodeId,
    pub(super) options: String,
    wants_offsets: bool,
    pub(super) restarts: RestartPolicy,
    pub(super) publisher: publisher::GuestIndices,
    pub(super) subscriber: subscriber::GuestIndices,
    pub(super) recovery: Option<recovery::GuestIndices>,
    program: Program<PluginState>,
    limits: Limits,
    granted: Arc<Granted>,
    view: Arc<NodeView>,
    log: Arc<LogLimit>,
}

impl TransportPlugin {
    /// Compiles and links a plugin. Takes tenths of a second without a warm cache: call it on a
    /// blocking thread.
    pub(crate) fn load(
        runtime: &Runtime,
        source: PluginSource,
        node: NodeId,
        view: Arc<NodeView>,
    ) -> Result<Self, TransportError> {
        let PluginSource {
            name,
            file,
            digest,
            version,
            wasm,
            options,
            wants_offsets,
            limits,
            restarts,
            granted,
        } = source;
        let Linked {
            program,
            publisher,
            subscriber,
            recovery,
        } = link(runtime, &wasm, limits.allow_wasi)
            .map_err(|reason| TransportError::Load { file, reason })?;
        let log = Arc::new(LogLimit::new(limits.log_lines_per_second));
        Ok(Self {
            name,
            digest,
            version,
            node,
            options,
            wants_offsets,
            restarts,
            publisher,
            subscriber,
            recovery,
            program,
            limits,
            granted: Arc::new(granted),
            view,
            log,
        })
    }

    /// What its instances are told when they are opened.
    pub(super) fn config(&self) -> lifecycle::Config<'_> {
        lifecycle::Config {
            node: self.node.as_str(),
            options: &self.options,
            wants_offsets: self.wants_offsets,
        }
    }

    /// Can it keep sessions?
    pub(crate) fn has_recovery(&self) -> bool {
        self.recovery.is_some()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Is a connection away that this server uses?
    pub(super) fn is_cut_off(&self) -> bool {
        self.granted.connections.is_cut_off()
    }

    /// What it may use, for people.
    pub(super) fn grants(&self) -> Vec<String> {
        self.granted.resolved.grants()
    }

    /// Is it what would be made of this file with these settings?
    pub(super) fn is_made_of(&self, file: &PluginFile, resolved: &Resolved) -> bool {
        self.name == file.name.as_str()
            && self.digest == file.digest.to_string()
            && self.version == file.manifest.version
            && self.granted.resolved == *resolved
    }

    pub(super) async fn instantiate(
        &self,
        role: Role,
        wake: &Arc<Wake>,
    ) -> Result<Guest<PluginState>, Fault> {
        let state = PluginState {
            plugin: self.name.clone(),
            role: role.name(),
            view: Arc::clone(&self.view),
            log: Arc::clone(&self.log),
            capabilities: CapabilityState {
                may_subscribe: role == Role::Subscriber,
                role: role.name(),
                granted: Arc::clone(&self.granted),
                wake: Arc::clone(wake),
                effects: Effects::default(),
            },
        };
        let (name, log) = (self.name.clone(), Arc::clone(&self.log));
        let stdout = Arc::new(move |line: &str| log.info(&name, role.name(), line));
        Guest::instantiate(&self.program.pre, self.limits, state, stdout).await
    }
}
