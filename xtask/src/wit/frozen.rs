//! The list of published WIT versions and the digests of their files (`wit/FROZEN`). Plugins in
//! other people's hands were built against them, so they never change: a change is a new version
//! in a new folder. Reading WIT is not done here.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// A package in `wit/`, as it is now.
#[derive(Debug)]
pub(super) struct Package {
    /// Name and version, for example `switchboard:bus@0.1.0`.
    pub(super) id: String,
    /// Contents by file name.
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// Digests by package and file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Frozen(BTreeMap<String, Files>);

/// Digests by file name.
type Files = BTreeMap<String, String>;

const HEADER: &str = "\
# Published versions of the WIT packages: package@version, file, SHA-256 of the file.
# They never change; `cargo xtask wit` checks it, and `cargo xtask wit --freeze` adds new ones.
";

impl Frozen {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut frozen = BTreeMap::<String, Files>::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<_> = line.split_whitespace().collect();
            let [package, file, digest] = words[..] else {
                bail!(
                    "FROZEN, line {}: expected `package@version file sha256`, found {line:?}",
                    index + 1
                );
            };
            frozen
                .entry(package.to_owned())
                .or_default()
                .insert(file.to_owned(), digest.to_owned());
        }
        Ok(Self(frozen))
    }

    /// How many versions are frozen.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Fails if a frozen version is gone or has changed.
    pub(super) fn check(&self, packages: &[Package]) -> Result<()> {
        for (id, files) in &self.0 {
            let package = packages
                .iter()
                .find(|package| package.id == *id)
                .with_context(|| {
                    format!("{id} is published but no longer in wit/; put its folder back")
                })?;
            if let Some(change) = first_change(files, &digests(package)) {
                bail!(
                    "{id} is published and must not change, but {change}. Undo that, and make \
                     the change in a copy of its folder with a new version."
                );
            }
        }
        Ok(())
    }

    /// The same list with all versions that it does not have yet.
    pub(super) fn with(mut self, packages: &[Package]) -> Self {
        for package in packages {
            self.0
                .entry(package.id.clone())
                .or_insert_with(|| digests(package));
        }
        self
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        for (id, files) in &self.0 {
            for (file, digest) in files {
                writeln!(f, "{id} {file} {digest}")?;
            }
        }
        Ok(())
    }
}

fn digests(package: &Package) -> Files {
    package
        .files
        .iter()
        .map(|(name, content)| (name.clone(), hex(&Sha256::digest(content))))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn first_change(frozen: &Files, now: &Files) -> Option<String> {
    for (file, digest) in frozen {
        match now.get(file) {
            None => return Some(format!("its file {file} is gone")),
            Some(other) if other != digest => return Some(format!("its file {file} differs")),
            Some(_) => {}
        }
    }
    let new = now.keys().find(|file| !frozen.contains_key(*file))?;
    Some(format!("the file {new} was added"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn package(id: &str, files: &[(&str, &str)]) -> Package {
        Package {
            id: id.to_owned(),
            files: files
                .iter()
                .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
                .collect(),
        }
    }

    fn published() -> Frozen {
        Frozen::default().with(&[package("our:bus@0.1.0", &[("a.wit", "A"), ("b.wit", "B")])])
    }

    fn complaint(now: &[(&str, &str)]) -> String {
        let error = published().check(&[package("our:bus@0.1.0", now)]);
        error.unwrap_err().to_string()
    }

    #[test]
    fn an_unchanged_version_passes_and_new_versions_are_free() {
        let packages = [
            package("our:bus@0.1.0", &[("a.wit", "A"), ("b.wit", "B")]),
            package("our:bus@0.2.0", &[("a.wit", "anything")]),
        ];
        published().check(&packages).unwrap();
    }

    #[test]
    fn every_change_of_a_published_version_is_refused() {
        for (now, said) in [
            (vec![("a.wit", "A"), ("b.wit", "X")], "b.wit differs"),
            (vec![("a.wit", "A")], "b.wit is gone"),
            (
                vec![("a.wit", "A"), ("b.wit", "B"), ("c.wit", "")],
                "c.wit was added",
            ),
        ] {
            let complaint = complaint(&now);
            assert!(complaint.contains(said), "{complaint}");
        }
        let gone = published().check(&[]).unwrap_err().to_string();
        assert!(gone.contains("no longer in wit/"), "{gone}");
    }

    #[test]
    fn freezing_again_does_not_hide_a_change() {
        let changed = [package("our:bus@0.1.0", &[("a.wit", "X")])];
        assert_eq!(published().with(&changed), published());
    }

    #[test]
    fn the_list_reads_back_as_it_was_written() {
        let text = published().to_string();
        assert_eq!(Frozen::parse(&text).unwrap(), published());
        assert_eq!(Frozen::parse(HEADER).unwrap(), Frozen::default());
    }

    #[test]
    fn a_damaged_list_is_refused() {
        let error = Frozen::parse("# ok\nour:bus@0.1.0 a.wit\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
