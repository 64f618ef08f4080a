//! From what the compiler writes to a WebAssembly component. Nothing about files or crates.

use anyhow::{Context, Result};
use wit_component::{ComponentEncoder, DecodedWasm};

/// Bytes 4 to 8 of a component; a core module has `1 0 0 0` there.
const COMPONENT_LAYER: [u8; 4] = [0x0d, 0, 1, 0];

/// Makes a component of a core module that carries its component type in a custom section. Some
/// targets (`wasm32-wasip2`) make a component themselves: it is checked and passed on.
pub(super) fn from_compiled(wasm: &[u8]) -> Result<Vec<u8>> {
    if wasm.get(4..8) == Some(&COMPONENT_LAYER) {
        return match wit_component::decode(wasm)? {
            DecodedWasm::Component(..) => Ok(wasm.to_vec()),
            DecodedWasm::WitPackage(..) => anyhow::bail!("it holds a WIT package and no code"),
        };
    }
    ComponentEncoder::default()
        .module(wasm)
        .context("the compiler's output carries no readable component type")?
        .validate(true)
        .encode()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// An empty core module: magic number and version.
    const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn a_component_is_passed_on_as_it_is() {
        let component = from_compiled(EMPTY_MODULE).unwrap();
        assert_eq!(component[4..8], COMPONENT_LAYER);
        assert_eq!(from_compiled(&component).unwrap(), component);
    }

    #[test]
    fn what_is_no_wasm_is_refused() {
        for junk in [
            &b""[..],
            b"\0asm",
            b"not wasm at all",
            b"\0asm\x0d\0\x01\0junk",
        ] {
            assert!(from_compiled(junk).is_err(), "{junk:?} was accepted");
        }
    }
}
