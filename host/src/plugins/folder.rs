//! Finding plugins in a folder, and reading one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    Digest, Manifest, PluginError,
    wasm::{self, Damage},
};
use crate::config::{PluginName, is_there};

/// Largest plugin.
pub const MAX_PLUGIN_BYTES: u64 = 64 << 20;

/// Most files that a plugin folder may hold.
pub const MAX_FOLDER_ENTRIES: usize = 4096;

/// A folder with plugins. It is looked at anew with each call, and need not exist before.
///
/// The calls read files: make them on a thread that may block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFolder {
    path: PathBuf,
}

/// A plugin as it was in the folder at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PluginFile {
    /// The file's name without `.wasm`.
    pub name: PluginName,
    /// Where it was read.
    pub path: PathBuf,
    /// The whole file, read once: what was checked is what runs.
    pub bytes: Bytes,
    /// The digest of those bytes.
    pub digest: Digest,
    /// What `NAME.toml` says; empty without one.
    pub manifest: Manifest,
}

impl PluginFolder {
    /// The folder at a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the plugins, sorted: files called `NAME.wasm`, whatever they hold. Other files
    /// are passed over. A folder that does not exist holds none.
    ///
    /// # Errors
    /// The folder cannot be read, or holds more than [`MAX_FOLDER_ENTRIES`].
    pub fn list(&self) -> Result<Vec<PluginName>, PluginError> {
        let unreadable = |reason| PluginError::Unreadable {
            path: self.path.clone(),
            reason,
        };
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut names = Vec::new();
        for (index, entry) in entries.enumerate() {
            if index == MAX_FOLDER_ENTRIES {
                return Err(PluginError::CrowdedFolder {
                    path: self.path.clone(),
                });
            }
            let file = entry.map_err(unreadable)?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".wasm"));
            names.extend(name.and_then(|name| name.parse::<PluginName>().ok()));
        }
        names.sort();
        Ok(names)
    }

    /// Reads a plugin and its manifest.
    ///
    /// # Errors
    /// See [`PluginError`]. [`PluginError::Incomplete`] may pass by itself.
    pub fn find(&self, name: &PluginName) -> Result<PluginFile, PluginError> {
        let path = self.path.join(format!("{name}.wasm"));
        match PluginFile::read(name.clone(), path) {
            Err(PluginError::Unreadable { path, reason })
                if reason.kind() == io::ErrorKind::NotFound =>
            {
                Err(PluginError::Missing {
                    name: name.clone(),
                    path,
                    there: self.list()?,
                })
            }
            read => read,
        }
    }
}

impl PluginFile {
    /// Reads a plugin and its manifest from wherever it is: `NAME.wasm`, and `NAME.toml` beside it. A
    /// compiler writes `_` where a plugin's name has `-`: both are understood here.
    ///
    /// # Errors
    /// See [`PluginError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, PluginError> {
        let path = path.into();
        let name = match path.extension().and_then(|ending| ending.to_str()) {
            Some("wasm") => path.file_stem().and_then(|stem| stem.to_str()),
            _ => None,
        };
        match name.and_then(|name| name.replace('_', "-").parse().ok()) {
            Some(name) => Self::read(name, path),
            None => Err(PluginError::Misnamed { path }),
        }
    }

    /// Where a plugin's manifest is.
    pub fn manifest_path(&self) -> PathBuf {
        self.path.with_extension("toml")
    }

    fn read(name: PluginName, path: PathBuf) -> Result<Self, PluginError> {
        let bytes = read(&path)?;
        match wasm::check_frame(&bytes) {
            Ok(()) => {}
            Err(Damage::NotWasm) => return Err(PluginError::NotWasm { path }),
            Err(Damage::CutOff) => return Err(PluginError::Incomplete { path }),
        }
        let digest = Digest::of(&bytes);
        let mut plugin = Self {
            name,
            path,
            bytes,
            digest,
            manifest: Manifest::default(),
        };
        let manifest_path = plugin.manifest_path();
        if is_there(&manifest_path) {
            plugin.manifest = Manifest::read(&manifest_path).map_err(PluginError::Manifest)?;
        }
        if let Some(expected) = &plugin.manifest.digest {
            plugin.verify(
                expected,
                &format!("`digest` in {}", manifest_path.display()),
            )?;
        }
        Ok(plugin)
    }

    /// Is this the very file that a digest stands for? `wanted_by` says where that is written.
    ///
    /// # Errors
    /// [`PluginError::DigestMismatch`].
    pub fn verify(&self, expected: &Digest, wanted_by: &str) -> Result<(), PluginError> {
        if self.digest == *expected {
            return Ok(());
        }
        Err(PluginError::DigestMismatch {
            path: self.path.clone(),
            found: self.digest,
            expected: *expected,
            wanted_by: wanted_by.to_owned(),
        })
    }
}

/// Reads a regular file whole, and notices when it changes meanwhile.
fn read(path: &Path) -> Result<Bytes, PluginError> {
    use io::Read as _;

    let owned = || path.to_owned();
    let unreadable = |reason| PluginError::Unreadable {
        path: owned(),
        reason,
    };
    // Before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(PluginError::NotAFile { path: owned() });
    }
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let before = file.metadata().map_err(unreadable)?;
    if before.len() > MAX_PLUGIN_BYTES {
        return Err(PluginError::TooLarge {
            path: owned(),
            bytes: before.len(),
        });
    }
    let mut bytes = Vec::with_capacity(before.len() as usize);
    // One byte more, to notice a file that grows.
    (&mut file)
        .take(before.len() + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let after = file.metadata().map_err(unreadable)?;
    let unchanged = bytes.len() as u64 == before.len()
        && after.len() == before.len()
        && after.modified().ok() == before.modified().ok();
    if !unchanged {
        return Err(PluginError::Incomplete { path: owned() });
    }
    Ok(bytes.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The smallest component.
    const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

    type Files<'a> = &'a [(&'a str, &'a [u8])];

    fn folder(files: Files<'_>) -> (TempDir, PluginFolder) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let folder = PluginFolder::new(dir.path());
        (dir, folder)
    }

    fn find(folder: &PluginFolder, name: &str) -> Result<PluginFile, PluginError> {
        folder.find(&name.parse().unwrap())
    }

    /// The message for plugin `local` in a folder with these files, `DIR` for the folder's path.
    fn message(files: Files<'_>) -> String {
        let (dir, folder) = folder(files);
        let error = find(&folder, "local").unwrap_err().to_string();
        error.replace(dir.path().to_str().unwrap(), "DIR")
    }

    #[test]
    fn a_plugin_is_read_with_its_manifest() {
        let manifest = format!(
            "description = 'd'\nversion = '1'\ndigest = '{}'\noptions = {{ a = 1 }}\n\
             grants.bus = ['main']",
            Digest::of(WASM)
        );
        let (dir, folder) = folder(&[("local.wasm", WASM), ("local.toml", manifest.as_bytes())]);
        let plugin = find(&folder, "local").unwrap();
        assert_eq!(plugin.name.as_str(), "local");
        assert_eq!(plugin.path, dir.path().join("local.wasm"));
        assert_eq!(plugin.bytes, WASM);
        assert_eq!(plugin.digest, Digest::of(WASM));
        assert_eq!(plugin.manifest.description.as_deref(), Some("d"));
        assert_eq!(plugin.manifest.version.as_deref(), Some("1"));
        assert_eq!(plugin.manifest.options["a"], 1);
        assert_eq!(plugin.manifest.grants.unwrap().bus.len(), 1);
    }

    #[test]
    fn a_plugin_needs_no_manifest() {
        let (_dir, folder) = folder(&[("local.wasm", WASM)]);
        assert_eq!(
            find(&folder, "local").unwrap().manifest,
            Manifest::default()
        );
    }

    #[test]
    fn the_list_holds_plugins_only_and_is_sorted() {
        let (dir, folder) = folder(&[
            ("redis.wasm", WASM),
            ("local.wasm", b"anything"),
            ("local.toml", b""),
            ("README", b""),
            ("Big.wasm", WASM),
            (".wasm", WASM),
        ]);
        let names: Vec<String> = folder
            .list()
            .unwrap()
            .iter()
            .map(|n| n.to_string())
            .collect();
        assert_eq!(names, ["local", "redis"]);
        assert_eq!(
            PluginFolder::new(dir.path().join("none")).list().unwrap(),
            []
        );
        let file = PluginFolder::new(dir.path().join("README"));
        assert!(matches!(file.list(), Err(PluginError::Unreadable { .. })));
    }

    #[test]
    fn a_missing_plugin_is_reported_with_what_is_there() {
        let built = "`cargo xtask plugins` builds those of Switchboard";
        let cases: [(Files<'_>, &str); 3] = [
            (&[], "the folder holds no plugins"),
            (
                &[("redis.wasm", WASM), ("nats.wasm", WASM)],
                "there are `nats`, `redis`",
            ),
            (
                &[("locale.wasm", WASM), ("redis.wasm", WASM)],
                "did you mean `locale`? There are `locale`, `redis`",
            ),
        ];
        for (files, there) in cases {
            assert_eq!(
                message(files),
                format!(
                    "there is no plugin `local`: DIR/local.wasm does not exist; {there}; {built}"
                )
            );
        }
    }

    #[test]
    fn what_is_no_whole_plugin_is_refused_by_name() {
        let cut_off = "DIR/local.wasm is not whole, or is still being written: write a new plugin \
                       under another name and rename it, so that it appears in one step";
        let cases: [(&[u8], &str); 4] = [
            (b"", cut_off),
            (b"\0as", cut_off),
            (b"\0asm\x0d\0\x01\0\x01", cut_off),
            (
                b"ELF",
                "DIR/local.wasm is not WebAssembly: copy a built plugin there",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(message(&[("local.wasm", bytes)]), expected, "for {bytes:?}");
        }
    }

    #[test]
    fn a_folder_in_the_place_of_a_plugin_is_refused() {
        let (dir, folder) = folder(&[]);
        fs::create_dir(dir.path().join("local.wasm")).unwrap();
        assert!(matches!(
            find(&folder, "local"),
            Err(PluginError::NotAFile { .. })
        ));
    }

    #[test]
    fn a_plugin_that_is_too_large_is_refused_unread() {
        let (dir, folder) = folder(&[]);
        let file = fs::File::create(dir.path().join("local.wasm")).unwrap();
        file.set_len(MAX_PLUGIN_BYTES + 1).unwrap();
        let error = find(&folder, "local").unwrap_err().to_string();
        assert!(
            error.contains("holds 67108865 bytes: a plugin holds at most 67108864"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_manifest_is_reported_whole() {
        let manifest = b"descripton = 'x'\nversion = 1\n[grants]\nbus = [1]\n[limits]\n";
        assert_eq!(
            message(&[("local.wasm", WASM), ("local.toml", manifest)]),
            "unknown key `descripton` at the top level (DIR/local.toml:1:1); did you mean \
             `description`?\n\
             `version` (DIR/local.toml:2:11) must be text, not 1\n\
             `grants.bus[0]` (DIR/local.toml:4:8) must be the name of a connection, or a table \
             with the key `connection`, not 1\n\
             unknown key `limits` at the top level (DIR/local.toml:5:2); known here: \
             `description`, `version`, `options`, `grants`, `digest`"
        );
        assert_eq!(
            message(&[
                ("local.wasm", WASM),
                ("local.toml", b"description = \"a\\nb\"")
            ]),
            "`description` (DIR/local.toml:1:15) must be one line of at most 1024 bytes"
        );
    }

    #[test]
    fn another_file_than_the_digest_allows_is_refused_with_both_digests() {
        let manifest = format!("digest = '{}'", Digest::of(b"abc"));
        assert_eq!(
            message(&[("local.wasm", WASM), ("local.toml", manifest.as_bytes())]),
            format!(
                "DIR/local.wasm is not the file that `digest` in DIR/local.toml allows: its digest \
                 is {}, allowed is {}; restore the file, or change the digest if the new one is \
                 meant",
                Digest::of(WASM),
                Digest::of(b"abc")
            )
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_dangling_ones_are_not_taken_for_absent_manifests() {
        let (dir, folder) = folder(&[("v1", WASM)]);
        std::os::unix::fs::symlink("v1", dir.path().join("local.wasm")).unwrap();
        assert_eq!(find(&folder, "local").unwrap().bytes, WASM);
        std::os::unix::fs::symlink("gone", dir.path().join("local.toml")).unwrap();
        assert!(matches!(
            find(&folder, "local"),
            Err(PluginError::Manifest(_))
        ));
    }
}
