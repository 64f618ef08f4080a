//! JSON text, token by token: no tree is built, and what nobody asks for is only passed over.

mod number;
mod read;
mod scan;
mod write;

pub use number::{javascript, write_float};
pub use read::{Number, Reader, deeper};
pub(crate) use write::write_bytes;
pub use write::write_text;
