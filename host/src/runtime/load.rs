//! From the bytes of a `.wasm` file to code that can be instantiated.

use wasmtime::component::{InstancePre, Linker};

use super::{
    Runtime,
    examine::{Examined, examine},
    guest::GuestState,
};

/// Most exports that are named when there are none of the right ones.
const MAX_NAMED: usize = 4;

/// Why a plugin cannot be loaded. The plugin's fault, or a mismatch of versions; whoever knows the
/// file puts its name in front. Each says what the file is and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Not a WebAssembly file at all.
    #[error("it is not WebAssembly; was it copied whole?")]
    NotWasm,
    /// A core module that says nothing of a component.
    #[error(
        "it is a core WebAssembly module without component metadata, so it is no plugin; build it \
         with the crate `switchboard-plugin`, or with wit-bindgen for your language"
    )]
    NoMetadata,
    /// A program for WASI preview 1.
    #[error(
        "it is a core WebAssembly module for WASI preview 1, so it is no plugin; build it for \
         wasm32-unknown-unknown or wasm32-wasip2 with the crate `switchboard-plugin`, or with \
         wit-bindgen for your language"
    )]
    Preview1,
    /// A core module that no component can be made of.
    #[error(
        "it is a core WebAssembly module and no component can be made of it: {0}; build it with \
         wit-bindgen (the crate `switchboard-plugin` does) for wasm32-unknown-unknown, or for \
         wasm32-wasip2"
    )]
    NoComponent(String),
    /// The compiler refuses it.
    #[error("it cannot be compiled: {0}; build it anew with a current toolchain")]
    Compile(String),
    /// It needs something that this host does not have.
    #[error(
        "it imports `{import}`, which this host does not provide (it has {known}); build the \
         plugin for this version of Switchboard, or update the server"
    )]
    UnknownImport {
        /// What it asks for.
        import: String,
        /// What there is under a similar name, or all there is.
        known: String,
    },
    /// It imports WASI and the operator does not allow that.
    #[error(
        "it imports `{0}`, and WASI is refused for this plugin (`limits.allow_wasi = false`); allow \
         it, or build the plugin for wasm32-unknown-unknown"
    )]
    WasiRefused(String),
    /// A program with a `main`.
    #[error(
        "it is a WASI command (it exports `{0}`): a program to be run once, and no plugin; build a \
         library, `crate-type = [\"cdylib\"]` in Rust, that exports `{1}`"
    )]
    WasiCommand(
        /// What it exports.
        String,
        /// What it should.
        String,
    ),
    /// An export has the right name and another version.
    #[error(
        "it exports `{export}`, and this host knows `{known}`; build the plugin for this version of \
         Switchboard, or update the server"
    )]
    OtherVersion {
        /// What it exports.
        export: String,
        /// What it should.
        known: String,
    },
    /// A component for something else.
    #[error(
        "it is a component of another world: it exports {exports} and does not export `{missing}`; \
         a transport exports {wanted}"
    )]
    OtherWorld {
        /// What it exports, some of it.
        exports: String,
        /// What it should, the first of it.
        missing: String,
        /// What it should, all of it.
        wanted: String,
    },
    /// An export is missing.
    #[error("it does not export `{missing}`; a transport exports {wanted}")]
    MissingExport {
        /// Which one.
        missing: String,
        /// All that it should.
        wanted: String,
    },
    /// An import or export has another shape than the contract.
    #[error("it does not fit the contract: {0}; build it with the WIT files of this version")]
    Mismatch(String),
}

/// What a program may import, and what it must export: names of interfaces with their versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contract<'a> {
    pub(crate) imports: &'a [&'a str],
    pub(crate) exports: &'a [&'a str],
}

/// Compiled, linked code, ready to be instantiated any number of times.
pub(crate) struct Program<X: 'static> {
    pub(crate) pre: InstancePre<GuestState<X>>,
}

/// Compiles a component, or a core module that carries component metadata, and links it.
///
/// `link` adds the host's interfaces, those that the contract names. Compiling takes long: call this
/// on a blocking thread.
pub(crate) fn load<X: Send + 'static>(
    runtime: &Runtime,
    wasm: &[u8],
    contract: Contract<'_>,
    allow_wasi: bool,
    link: impl FnOnce(&mut Linker<GuestState<X>>) -> wasmtime::Result<()>,
) -> Result<Program<X>, LoadError> {
    let examined = examine(runtime, wasm)?;
    check_imports(&examined, contract.imports, allow_wasi)?;
    check_exports(&examined, contract.exports)?;
    let mut linker = Linker::new(runtime.engine());
    if allow_wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(mismatch)?;
    }
    link(&mut linker).map_err(mismatch)?;
    let pre = linker
        .instantiate_pre(&examined.component)
        .map_err(mismatch)?;
    Ok(Program { pre })
}

fn mismatch(error: wasmtime::Error) -> LoadError {
    LoadError::Mismatch(format!("{error:#}"))
}

/// The linker would refuse too, but in the compiler's words.
fn check_imports(
    examined: &Examined,
    interfaces: &[&str],
    allow_wasi: bool,
) -> Result<(), LoadError> {
    for import in &examined.imports {
        if import.starts_with("wasi:") {
            if allow_wasi {
                continue;
            }
            return Err(LoadError::WasiRefused(import.to_owned()));
        }
        if interfaces.iter().any(|known| provides(known, import)) {
            continue;
        }
        let base = name(import);
        let versions: Vec<&str> = interfaces
            .iter()
            .filter(|known| name(known) == base)
            .copied()
            .collect();
        let known = if versions.is_empty() {
            interfaces.join(", ")
        } else {
            versions.join(", ")
        };
        return Err(LoadError::UnknownImport {
            import: import.to_owned(),
            known,
        });
    }
    Ok(())
}

/// Says what the component is instead, where it is not what is wanted.
fn check_exports(examined: &Examined, wanted: &[&str]) -> Result<(), LoadError> {
    let exports = &examined.exports;
    let is_there = |wanted: &str| exports.iter().any(|export| provides(export, wanted));
    let Some(missing) = wanted.iter().find(|wanted| !is_there(wanted)) else {
        return Ok(());
    };
    let all = wanted.join(" and ");
    if let Some(export) = exports.iter().find(|export| name(export) == name(missing)) {
        return Err(LoadError::OtherVersion {
            export: export.clone(),
            known: (*missing).to_owned(),
        });
    }
    if let Some(run) = exports.iter().find(|export| name(export) == "wasi:cli/run") {
        return Err(LoadError::WasiCommand(run.clone(), (*missing).to_owned()));
    }
    let missing = (*missing).to_owned();
    if exports.is_empty() || wanted.iter().any(|wanted| is_there(wanted)) {
        return Err(LoadError::MissingExport {
            missing,
            wanted: all,
        });
    }
    let named: Vec<_> = exports
        .iter()
        .take(MAX_NAMED)
        .map(|e| format!("`{e}`"))
        .collect();
    let more = match exports.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(LoadError::OtherWorld {
        exports: format!("{}{more}", named.join(", ")),
        missing,
        wanted: all,
    })
}

fn name(interface: &str) -> &str {
    interface
        .split_once('@')
        .map_or(interface, |(name, _)| name)
}

/// Does `known` serve a plugin that imports `wanted`? Same name, and the same version or, below
/// 1.0, a later patch level of the same minor version (the rule of the linker).
fn provides(known: &str, wanted: &str) -> bool {
    if name(known) != name(wanted) {
        return false;
    }
    let version = |interface: &str| -> Option<[u64; 3]> {
        let mut parts = interface
            .split_once('@')?
            .1
            .split('.')
            .map(|part| part.parse().ok());
        Some([parts.next()??, parts.next()??, parts.next()??])
    };
    match (version(known), version(wanted)) {
        (Some([k0, k1, k2]), Some([w0, w1, w2])) => {
            k0 == w0
                && if k0 == 0 {
                    k1 == w1 && k2 >= w2
                } else {
                    (k1, k2) >= (w1, w2)
                }
        }
        _ => known == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::provides;

    #[test]
    fn an_interface_serves_older_plugins_of_its_own_line_only() {
        let known = "switchboard:bus/bus@0.1.2";
        for (wanted, expected) in [
            ("switchboard:bus/bus@0.1.0", true),
            ("switchboard:bus/bus@0.1.2", true),
            ("switchboard:bus/bus@0.1.3", false),
            ("switchboard:bus/bus@0.2.0", false),
            ("switchboard:bus/bus@1.0.0", false),
            ("switchboard:bus/other@0.1.0", false),
            ("switchboard:bus/bus", false),
        ] {
            assert_eq!(provides(known, wanted), expected, "{wanted}");
        }
        assert!(provides("a:b/c@1.4.0", "a:b/c@1.2.9"));
        assert!(!provides("a:b/c@1.4.0", "a:b/c@2.0.0"));
    }
}
