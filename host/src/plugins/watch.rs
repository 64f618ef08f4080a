//! What changes in a plugin folder, as values.
//!
//! The folder is looked at again and again instead of being told by the kernel: network folders, a
//! ConfigMap that is swapped by a link, and a file that is written slowly are all one case then. A
//! change counts when it has stood for one whole look: a file that is still being written, and a file
//! that is gone only until its successor is moved into its place, are left alone.

use std::collections::BTreeMap;

use super::{PluginError, PluginFile, PluginFolder, Stamp};
use crate::config::PluginName;

/// Looks at a folder and says what has changed since the last look.
///
/// The calls read files: make them on a thread that may block.
#[derive(Debug)]
pub struct FolderWatch {
    folder: PluginFolder,
    plugins: BTreeMap<PluginName, Watched>,
    /// Why the folder could not be looked at the last time.
    trouble: Option<String>,
}

/// Something has changed, and has stood so since the look before.
#[derive(Debug)]
#[non_exhaustive]
pub enum FolderChange {
    /// There is a plugin that was not there before.
    Appeared(PluginFile),
    /// A plugin or its manifest is another one.
    Changed(PluginFile),
    /// A plugin is gone.
    Vanished(PluginName),
    /// A plugin is new or has changed, and cannot be used. Told once, until it changes again.
    Broken(PluginName, PluginError),
    /// The folder itself cannot be looked at. Told once, until the reason is another one.
    Unreadable(PluginError),
}

/// One plugin: what was last told of it, and what was seen at the last look.
#[derive(Debug, Default)]
struct Watched {
    told: Seen,
    seen: Seen,
    /// What it is now is told, whether it has changed or not.
    is_unsure: bool,
}

/// A plugin at one look; none: there is none.
type Seen = Option<Stamps>;

/// Its file, and its manifest if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamps {
    plugin: Stamp,
    manifest: Option<Stamp>,
}

impl FolderWatch {
    /// Takes stock of a folder: what is there now is not told. But the plugins in `in_use` were
    /// read before, and may have changed or vanished since: what they are is told at the first look.
    pub fn new(folder: PluginFolder, in_use: &[PluginName]) -> Self {
        let mut watch = Self {
            folder,
            plugins: BTreeMap::new(),
            trouble: None,
        };
        let listed = watch.folder.list().unwrap_or_default();
        for name in listed.into_iter().chain(in_use.iter().cloned()) {
            let seen = watch.stamps(&name);
            let plugin = Watched {
                told: seen,
                seen,
                is_unsure: in_use.contains(&name),
            };
            watch.plugins.insert(name, plugin);
        }
        watch
    }

    /// What these plugins are is told at the next look, whether they have changed or not.
    pub(crate) fn doubt(&mut self, names: &[PluginName]) {
        for name in names {
            if let Some(plugin) = self.plugins.get_mut(name) {
                plugin.is_unsure = true;
            }
        }
    }

    /// Looks again. Call it at an interval: what it tells has stood since the call before.
    pub fn look(&mut self) -> Vec<FolderChange> {
        let listed = match self.folder.list() {
            Ok(names) => names,
            Err(error) => return self.unreadable(error),
        };
        self.trouble = None;
        for name in listed {
            self.plugins.entry(name).or_default();
        }
        let names: Vec<PluginName> = self.plugins.keys().cloned().collect();
        let mut changes = Vec::new();
        for name in names {
            changes.extend(self.look_at(name));
        }
        self.plugins
            .retain(|_, plugin| plugin.told.is_some() || plugin.seen.is_some() || plugin.is_unsure);
        changes
    }

    fn unreadable(&mut self, error: PluginError) -> Vec<FolderChange> {
        let why = error.to_string();
        if self.trouble.replace(why.clone()) == Some(why) {
            return Vec::new();
        }
        vec![FolderChange::Unreadable(error)]
    }

    fn look_at(&mut self, name: PluginName) -> Option<FolderChange> {
        let now = self.stamps(&name);
        let plugin = self.plugins.get_mut(&name)?;
        let has_stood = std::mem::replace(&mut plugin.seen, now) == now;
        if !has_stood || (plugin.told == now && !plugin.is_unsure) {
            return None;
        }
        let was_unsure = std::mem::take(&mut plugin.is_unsure);
        let before = std::mem::replace(&mut plugin.told, now);
        if now.is_none() {
            return Some(FolderChange::Vanished(name));
        }
        match self.folder.find(&name) {
            Ok(file) if before.is_none() => Some(FolderChange::Appeared(file)),
            Ok(file) => Some(FolderChange::Changed(file)),
            // Gone since it was looked at: the next look sees that.
            Err(PluginError::Missing { .. }) => {
                plugin.told = before;
                plugin.is_unsure = was_unsure;
                None
            }
            Err(error) => Some(FolderChange::Broken(name, error)),
        }
    }

    fn stamps(&self, name: &PluginName) -> Seen {
        let file = |ending: &str| Stamp::of(&self.folder.path().join(format!("{name}.{ending}")));
        Some(Stamps {
            plugin: file("wasm")?,
            manifest: file("toml"),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, io, os::unix::fs::symlink};

    use tempfile::TempDir;

    use super::*;

    /// The smallest component, and another one.
    const WASM: &[u8] = b"\0asm\x0d\0\x01\0";
    const OTHER: &[u8] = b"\0asm\x0d\0\x01\0\0\x01\0";

    struct Stage {
        dir: TempDir,
        watch: FolderWatch,
    }

    impl Stage {
        /// A folder with the plugin `local`.
        fn new(in_use: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("local.wasm"), WASM).unwrap();
            let in_use: Vec<_> = in_use.iter().map(|name| name.parse().unwrap()).collect();
            let watch = FolderWatch::new(PluginFolder::new(dir.path()), &in_use);
            Self { dir, watch }
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.dir.path().join(name), bytes).unwrap();
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.dir.path().join(name)).unwrap();
        }

        /// What is told at one look, in short.
        fn look(&mut self) -> Vec<String> {
            let short = |change: FolderChange| match change {
                FolderChange::Appeared(file) => format!("{} appeared", file.name),
                FolderChange::Changed(file) => format!("{} changed", file.name),
                FolderChange::Vanished(name) => format!("{name} vanished"),
                FolderChange::Broken(name, _) => format!("{name} broken"),
                FolderChange::Unreadable(_) => "unreadable".to_owned(),
            };
            self.watch.look().into_iter().map(short).collect()
        }
    }

    #[test]
    fn what_was_there_is_not_told_but_for_what_is_in_use() {
        assert_eq!(Stage::new(&[]).look(), [""; 0]);
        let mut stage = Stage::new(&["local"]);
        assert_eq!(stage.look(), ["local changed"]);
        assert_eq!(stage.look(), [""; 0]);
    }

    #[test]
    fn what_is_in_use_and_gone_by_the_first_look_has_vanished() {
        let mut stage = Stage::new(&["local", "gone-before"]);
        stage.remove("local.wasm");
        assert_eq!(stage.look(), ["gone-before vanished"]);
        assert_eq!(stage.look(), ["local vanished"]);
        assert_eq!(stage.look(), [""; 0]);
    }

    #[test]
    fn a_change_is_told_once_when_it_has_stood_for_a_look() {
        let mut stage = Stage::new(&[]);
        for (file, bytes, told) in [
            ("local.wasm", OTHER, "local changed"),
            ("local.toml", b"version = '2'", "local changed"),
            ("redis.wasm", WASM, "redis appeared"),
        ] {
            stage.write(file, bytes);
            assert_eq!(stage.look(), [""; 0], "{file}");
            assert_eq!(stage.look(), [told], "{file}");
            assert_eq!(stage.look(), [""; 0], "{file}");
        }
        for (file, told) in [
            ("local.toml", "local changed"),
            ("local.wasm", "local vanished"),
        ] {
            stage.remove(file);
            assert_eq!(stage.look(), [""; 0], "{file}");
            assert_eq!(stage.look(), [told], "{file}");
            assert_eq!(stage.look(), [""; 0], "{file}");
        }
    }

    #[test]
    fn a_file_that_is_still_being_written_is_left_alone() {
        let mut stage = Stage::new(&[]);
        for len in [1, 9, OTHER.len()] {
            stage.write("local.wasm", &OTHER[..len]);
            assert_eq!(stage.look(), [""; 0], "{len} bytes");
        }
        assert_eq!(stage.look(), ["local changed"]);
    }

    #[test]
    fn a_file_that_is_replaced_between_two_looks_never_vanishes() {
        let mut stage = Stage::new(&[]);
        stage.remove("local.wasm");
        assert_eq!(stage.look(), [""; 0]);
        stage.write("local.wasm", OTHER);
        assert_eq!(stage.look(), [""; 0]);
        assert_eq!(stage.look(), ["local changed"]);
    }

    #[test]
    fn a_broken_file_is_told_once_for_each_state_of_it() {
        let mut stage = Stage::new(&[]);
        for bytes in [b"ELF".as_slice(), &OTHER[..9]] {
            stage.write("local.wasm", bytes);
            stage.look();
            assert_eq!(stage.look(), ["local broken"]);
            assert_eq!(stage.look(), [""; 0]);
        }
        stage.write("local.wasm", OTHER);
        stage.look();
        assert_eq!(stage.look(), ["local changed"]);
    }

    #[test]
    fn a_copy_with_the_time_and_the_size_of_the_original_is_a_change() {
        let mut stage = Stage::new(&[]);
        let path = stage.dir.path().join("local.wasm");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        // Some kernels' clocks for files tick every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(50));
        io::Write::write_all(&mut &file, WASM).unwrap();
        file.set_modified(modified).unwrap();
        drop(file);
        stage.look();
        assert_eq!(stage.look(), ["local changed"]);
    }

    #[test]
    fn a_folder_that_is_swapped_by_a_link_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        for (version, bytes) in [("v1", WASM), ("v2", OTHER)] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("local.wasm"), bytes).unwrap();
        }
        // As Kubernetes mounts a ConfigMap.
        symlink("v1", dir.path().join("..data")).unwrap();
        symlink("..data/local.wasm", dir.path().join("local.wasm")).unwrap();
        let watch = FolderWatch::new(PluginFolder::new(dir.path()), &[]);
        let mut stage = Stage { dir, watch };
        assert_eq!(stage.look(), [""; 0]);
        symlink("v2", stage.dir.path().join("..next")).unwrap();
        fs::rename(
            stage.dir.path().join("..next"),
            stage.dir.path().join("..data"),
        )
        .unwrap();
        stage.look();
        assert_eq!(stage.look(), ["local changed"]);
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_told_once_and_nothing_vanishes() {
        let dir = tempfile::tempdir().unwrap();
        let (path, away) = (dir.path().join("plugins"), dir.path().join("away"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("local.wasm"), WASM).unwrap();
        let watch = FolderWatch::new(PluginFolder::new(&path), &[]);
        let mut stage = Stage { dir, watch };
        fs::rename(&path, &away).unwrap();
        fs::write(&path, "no folder").unwrap();
        assert_eq!(stage.look(), ["unreadable"]);
        assert_eq!(stage.look(), [""; 0]);
        fs::remove_file(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        assert_eq!(stage.look(), [""; 0]);
        assert_eq!(stage.look(), [""; 0]);
    }
}
