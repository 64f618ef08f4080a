//! Is this a whole WebAssembly file? Walks its sections by their lengths and looks into none: a
//! file that is still being written must not be mistaken for a broken plugin.

/// What every WebAssembly file starts with.
const MAGIC: &[u8] = b"\0asm";
/// Magic, version and layer.
const HEADER_BYTES: usize = 8;
/// Holds the name of the section first, so it is never empty.
const CUSTOM_SECTION: u8 = 0;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// It is something else.
    NotWasm,
    /// It ends in the middle.
    CutOff,
}

/// Checks the frame of a module or a component.
pub(super) fn check_frame(bytes: &[u8]) -> Result<(), Damage> {
    let start = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(start) {
        return Err(Damage::NotWasm);
    }
    let mut rest = bytes.get(HEADER_BYTES..).ok_or(Damage::CutOff)?;
    while let Some((id, after)) = rest.split_first() {
        let (len, content) = length(after).ok_or(Damage::CutOff)?;
        if *id == CUSTOM_SECTION && len == 0 {
            // Room that was reserved on the disk and not written yet.
            return Err(Damage::CutOff);
        }
        rest = content.get(len..).ok_or(Damage::CutOff)?;
    }
    Ok(())
}

/// An unsigned LEB128 number of at most 32 bits.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut len = 0_usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((len, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with a custom section of 200 bytes and a section of one byte.
    fn module() -> Vec<u8> {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        bytes.extend([0, 0xc8, 0x01]);
        bytes.extend([b'x'; 200]);
        bytes.extend([1, 1, 0]);
        bytes
    }

    #[test]
    fn a_whole_file_passes() {
        assert_eq!(check_frame(&module()), Ok(()));
        assert_eq!(
            check_frame(b"\0asm\x0d\0\x01\0"),
            Ok(()),
            "an empty component"
        );
    }

    #[test]
    fn a_file_that_ends_in_the_middle_is_cut_off() {
        let module = module();
        let borders = [8, 8 + 3 + 200];
        for len in (0..module.len()).filter(|len| !borders.contains(len)) {
            assert_eq!(check_frame(&module[..len]), Err(Damage::CutOff), "at {len}");
        }
    }

    #[test]
    fn reserved_room_that_is_still_empty_is_cut_off() {
        let mut bytes = module();
        bytes.extend([0; 64]);
        assert_eq!(check_frame(&bytes), Err(Damage::CutOff));
    }

    #[test]
    fn anything_else_is_not_wasm() {
        for bytes in [&b"\x7fELF"[..], b"(module)", b"<html>", b"a"] {
            assert_eq!(check_frame(bytes), Err(Damage::NotWasm), "{bytes:?}");
        }
    }
}
