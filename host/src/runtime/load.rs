//! From the bytes of a `.wasm` file to code that can be instantiated.

use wasmtime::component::{Component, InstancePre, Linker};

use super::{Runtime, guest::GuestState};

/// Why a plugin cannot be loaded. The plugin's fault, or a mismatch of versions; whoever knows the
/// file puts its name in front.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Not a WebAssembly file at all.
    #[error("it is not WebAssembly; was it copied whole?")]
    NotWasm,
    /// A core module that no component can be made of.
    #[error(
        "it is a core WebAssembly module and no component can be made of it: {0}; build it with \
         wit-bindgen (the crate `switchboard-plugin` does) for wasm32-unknown-unknown, or for \
         wasm32-wasip2"
    )]
    NoComponent(String),
    /// The compiler refuses it.
    #[error("it cannot be compiled: {0}")]
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
    #[error("it imports `{0}`, and WASI is refused for this plugin (`limits.allow_wasi = false`)")]
    WasiRefused(String),
    /// An import or export has another shape than the contract.
    #[error("it does not fit the contract: {0}")]
    Mismatch(String),
}

/// Compiled, linked code, ready to be instantiated any number of times.
pub(crate) struct Program<X: 'static> {
    pub(crate) pre: InstancePre<GuestState<X>>,
}

/// Compiles a component, or a core module that carries component metadata, and links it.
///
/// `link` adds the host's interfaces and `interfaces` names them with their versions. Compiling
/// takes long: call this on a blocking thread.
pub(crate) fn load<X: Send + 'static>(
    runtime: &Runtime,
    wasm: &[u8],
    interfaces: &[&str],
    allow_wasi: bool,
    link: impl FnOnce(&mut Linker<GuestState<X>>) -> wasmtime::Result<()>,
) -> Result<Program<X>, LoadError> {
    let component = compile(runtime, wasm)?;
    check_imports(runtime, &component, interfaces, allow_wasi)?;
    let mut linker = Linker::new(runtime.engine());
    if allow_wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(mismatch)?;
    }
    link(&mut linker).map_err(mismatch)?;
    let pre = linker.instantiate_pre(&component).map_err(mismatch)?;
    Ok(Program { pre })
}

fn mismatch(error: wasmtime::Error) -> LoadError {
    LoadError::Mismatch(format!("{error:#}"))
}

/// Bytes 4 to 8 of a core module; a component has another version and a layer there.
const CORE_MODULE_VERSION: [u8; 4] = [1, 0, 0, 0];

fn compile(runtime: &Runtime, wasm: &[u8]) -> Result<Component, LoadError> {
    let (magic, version) = (wasm.get(..4), wasm.get(4..8));
    if magic != Some(b"\0asm") {
        return Err(LoadError::NotWasm);
    }
    let encoded;
    let wasm = if version == Some(&CORE_MODULE_VERSION) {
        let encode = || {
            wit_component::ComponentEncoder::default()
                .validate(true)
                .module(wasm)?
                .encode()
        };
        encoded = encode().map_err(|error| LoadError::NoComponent(format!("{error:#}")))?;
        encoded.as_slice()
    } else {
        wasm
    };
    Component::from_binary(runtime.engine(), wasm)
        .map_err(|error| LoadError::Compile(format!("{error:#}")))
}

/// The linker would refuse too, but in the compiler's words.
fn check_imports(
    runtime: &Runtime,
    component: &Component,
    interfaces: &[&str],
    allow_wasi: bool,
) -> Result<(), LoadError> {
    for (import, _) in component.component_type().imports(runtime.engine()) {
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
