//! Printing to standard output.

use std::io::{self, Write};

/// False: nobody reads it any more (`switchboard status | head`), which is no mistake.
pub(crate) fn say(page: &str) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(page.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}
