//! Whether a file is still what it was, without reading it.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// What differs when a file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    File {
        device: u64,
        inode: u64,
        len: u64,
        modified: (i64, i64),
        /// Differs also where a copy has kept the time of its original.
        changed: (i64, i64),
    },
    /// It is there, but nothing can be learned of it; reading it says why.
    Unknown,
}

impl Stamp {
    /// None: there is no such file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(file) => Some(Self::File {
                device: file.dev(),
                inode: file.ino(),
                len: file.len(),
                modified: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
            }),
            // Of a link that leads nowhere, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => Some(Self::Unknown),
        }
    }
}
