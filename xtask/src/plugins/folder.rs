//! A folder of finished plugins. A running server may watch it, so a file is replaced in one step,
//! and only if its content changes: compiled code is cached by digest.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Everything in it comes from here, so what is not written any more is removed.
    own: bool,
    written: BTreeSet<String>,
}

impl Folder {
    /// A folder that holds nothing but what is written to it.
    pub(super) fn own(path: PathBuf) -> Self {
        Self {
            path,
            own: true,
            written: BTreeSet::new(),
        }
    }

    /// A folder in which others may keep files too.
    pub(super) fn shared(path: PathBuf) -> Self {
        Self {
            own: false,
            ..Self::own(path)
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file; false if it was there with this content.
    pub(super) fn write(&mut self, name: &str, content: &[u8]) -> Result<bool> {
        self.written.insert(name.to_owned());
        let path = self.path.join(name);
        if fs::read(&path).is_ok_and(|old| old == content) {
            return Ok(false);
        }
        self.replace(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(true)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        fs::create_dir_all(&self.path)?;
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(readable_by_all())
            .tempfile_in(&self.path)?;
        file.write_all(content)?;
        file.persist(path)?;
        Ok(())
    }

    /// Removes plugins that an earlier build has left behind.
    pub(super) fn finish(self) -> Result<()> {
        if !self.own || !self.path.exists() {
            return Ok(());
        }
        let files = fs::read_dir(&self.path)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        for file in files {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let is_plugin = name.ends_with(".wasm") || name.ends_with(".toml");
            if is_plugin && !self.written.contains(&name) {
                eprintln!("  removed   {name}");
                fs::remove_file(file.path())
                    .with_context(|| format!("cannot remove {}", file.path().display()))?;
            }
        }
        Ok(())
    }
}

/// Temporary files are private by default, but a server may run as another user.
fn readable_by_all() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o644)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_same_content_is_not_written_again() {
        let temp = tempfile::tempdir().unwrap();
        let mut folder = Folder::own(temp.path().join("new"));
        assert!(folder.write("a.wasm", b"1").unwrap());
        assert!(!folder.write("a.wasm", b"1").unwrap());
        assert!(folder.write("a.wasm", b"2").unwrap());
        assert_eq!(fs::read(folder.path().join("a.wasm")).unwrap(), b"2");
        assert_eq!(names(folder.path()), ["a.wasm"], "nothing else is left");
    }

    #[test]
    fn plugins_that_are_gone_are_removed_from_our_own_folder_only() {
        for (own, left) in [
            (true, vec!["a.wasm", "notes.txt"]),
            (false, vec!["a.wasm", "notes.txt", "old.toml", "old.wasm"]),
        ] {
            let temp = tempfile::tempdir().unwrap();
            for name in ["old.wasm", "old.toml", "notes.txt"] {
                fs::write(temp.path().join(name), "").unwrap();
            }
            let mut folder = Folder::own(temp.path().to_owned());
            folder.own = own;
            folder.write("a.wasm", b"1").unwrap();
            folder.finish().unwrap();
            assert_eq!(names(temp.path()), left, "own: {own}");
        }
    }
}
