//! What a `.wasm` file is, before anybody runs it: compiled, with the names of what it needs and what
//! it offers.

use wasmtime::component::Component;

use super::{LoadError, Runtime};

/// Bytes 4 to 8 of a core module; a component has another version and a layer there.
const CORE_MODULE_VERSION: [u8; 4] = [1, 0, 0, 0];
/// Magic, version and layer.
const HEADER_BYTES: usize = 8;
const CUSTOM_SECTION: u8 = 0;
const IMPORT_SECTION: u8 = 2;
/// How wit-bindgen's metadata begins its name, in any language.
const METADATA_PREFIX: &[u8] = b"component-type";
/// What programs for WASI before the component model import from.
const PREVIEW_1: &[u8] = b"wasi_snapshot_preview1";
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// A compiled component, and what can be said of it.
#[derive(Clone)]
pub(crate) struct Examined {
    pub(crate) component: Component,
    /// It came as a core module that carries component metadata.
    pub(crate) was_core_module: bool,
    /// The names of its imports, sorted.
    pub(crate) imports: Vec<String>,
    /// The names of its exports, sorted.
    pub(crate) exports: Vec<String>,
    /// The linear memory that each instance begins with; none if that cannot be known.
    pub(crate) memory_bytes: Option<u64>,
}

/// Compiles a component, or a core module that carries component metadata.
pub(crate) fn examine(runtime: &Runtime, wasm: &[u8]) -> Result<Examined, LoadError> {
    let (magic, version) = (wasm.get(..4), wasm.get(4..HEADER_BYTES));
    if magic != Some(b"\0asm") {
        return Err(LoadError::NotWasm);
    }
    let was_core_module = version == Some(&CORE_MODULE_VERSION);
    let encoded;
    let wasm = if was_core_module {
        encoded = encode(wasm)?;
        encoded.as_slice()
    } else {
        wasm
    };
    let engine = runtime.engine();
    let component = Component::from_binary(engine, wasm)
        .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
    let names = component.component_type();
    let mut imports: Vec<_> = names
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut exports: Vec<_> = names
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    imports.sort_unstable();
    exports.sort_unstable();
    let memory_pages = component
        .resources_required()
        .and_then(|resources| resources.max_initial_memory_size);
    Ok(Examined {
        was_core_module,
        imports,
        exports,
        memory_bytes: memory_pages.map(|pages| pages.saturating_mul(WASM_PAGE_BYTES)),
        component,
    })
}

/// Makes a component of a core module.
fn encode(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let is_metadata = |(id, content): (u8, &[u8])| {
        id == CUSTOM_SECTION && name(content).is_some_and(|name| name.starts_with(METADATA_PREFIX))
    };
    if !sections(module).any(is_metadata) {
        let is_preview_1 = |(id, content): (u8, &[u8])| {
            let mut places = content.windows(PREVIEW_1.len());
            id == IMPORT_SECTION && places.any(|place| place == PREVIEW_1)
        };
        return Err(match sections(module).any(is_preview_1) {
            true => LoadError::Preview1,
            false => LoadError::NoMetadata,
        });
    }
    let encode = || {
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(module)?
            .encode()
    };
    encode().map_err(|error| LoadError::NoComponent(format!("{error:#}")))
}

/// The sections of a module: id and content. Ends where it is no longer one.
fn sections(module: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = module.get(HEADER_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (id, after) = rest.split_first()?;
        let (len, after) = number(after)?;
        let (content, after) = after.split_at_checked(len)?;
        rest = after;
        Some((*id, content))
    })
}

/// The name that the content of a custom section begins with.
fn name(content: &[u8]) -> Option<&[u8]> {
    let (len, after) = number(content)?;
    after.get(..len)
}

/// An unsigned LEB128 number of at most 32 bits, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{name, sections};

    #[test]
    fn sections_are_found_by_their_lengths_and_nonsense_ends_the_walk() {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([0, 3, 2, b'h', b'i', 2, 1, 9]);
        let all: Vec<_> = sections(&module).collect();
        assert_eq!(all, [(0, &[2, b'h', b'i'][..]), (2, &[9])]);
        assert_eq!(name(all[0].1), Some(&b"hi"[..]));
        module.extend([1, 200]);
        assert_eq!(sections(&module).count(), 2);
        assert_eq!(sections(b"\0asm").count(), 0);
    }
}
