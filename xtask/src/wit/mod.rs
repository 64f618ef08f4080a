//! `cargo xtask wit`: checks the plugin contract. Every package in `wit/` must parse and resolve,
//! and published versions must stay as they were published, which is `frozen.rs`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use wit_parser::{Resolve, UnresolvedPackageGroup};

use crate::{
    cli::{self, Args, Opt},
    project::Project,
};
use frozen::{Frozen, Package};

mod frozen;

pub(crate) const COMMAND: cli::Command = cli::Command {
    name: "wit",
    summary: "check the plugin contract in wit/",
    help: "\
Checks the plugin contract: every package in wit/ must parse and resolve, and the versions listed
in wit/FROZEN must still be there, byte for byte.

Usage: cargo xtask wit [--freeze]

  --freeze  add every version that is not yet in wit/FROZEN; done once, when it is published",
    options: &[Opt::flag("--freeze")],
    max_words: 0,
    run: |project: &Project, args: &Args| {
        let folder = project.root.join("wit");
        let packages = read_packages(&folder)?;
        let list = folder.join("FROZEN");
        let text = fs::read_to_string(&list)
            .with_context(|| format!("cannot read {}", project.display(&list)))?;
        let frozen = Frozen::parse(&text)?;
        frozen.check(&packages)?;
        let count = |frozen: &Frozen| {
            eprintln!(
                "{} WIT packages are valid, {} of them frozen",
                packages.len(),
                frozen.len()
            );
        };
        if args.has("--freeze") {
            let frozen = frozen.with(&packages);
            fs::write(&list, frozen.to_string())
                .with_context(|| format!("cannot write {}", project.display(&list)))?;
            count(&frozen);
        } else {
            count(&frozen);
        }
        Ok(())
    },
};

/// Reads and resolves all packages: one for each folder that holds `.wit` files.
fn read_packages(folder: &Path) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    let mut groups = Vec::new();
    for path in package_folders(folder)? {
        let group = UnresolvedPackageGroup::parse_dir(&path)
            .with_context(|| format!("{} does not parse", path.display()))?;
        let name = &group.main.name;
        if name.version.is_none() {
            bail!(
                "{}: the package {name} has no version; write `package {name}@0.1.0;`",
                path.display()
            );
        }
        packages.push(Package {
            id: name.to_string(),
            files: wit_files(&path)?,
        });
        groups.push(group);
    }
    if groups.is_empty() {
        bail!("there is no WIT package in {}", folder.display());
    }

    let first = groups.remove(0);
    let mut resolve = Resolve::default();
    if let Err(error) = resolve.push_groups(first, groups) {
        return Err(anyhow!(error.render(&resolve.source_map)));
    }
    Ok(packages)
}

fn package_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !wit_files(&path)?.is_empty() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Names and contents of a package's files.
fn wit_files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let content =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.insert(name.into_owned(), content);
        }
    }
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> Result<Vec<String>> {
        let temp = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let packages = read_packages(temp.path())?;
        Ok(packages.into_iter().map(|package| package.id).collect())
    }

    const BASE: (&str, &str) = (
        "base/base.wit",
        "package our:base@0.1.0; interface types { record point { x: u32 } }",
    );

    #[test]
    fn packages_may_depend_on_each_other_whatever_their_folders_names() {
        let user = (
            "a-user/user.wit",
            "package our:user@0.2.0; interface i { use our:base/types@0.1.0.{point}; }",
        );
        assert_eq!(
            check(&[user, BASE]).unwrap(),
            ["our:user@0.2.0", "our:base@0.1.0"]
        );
    }

    #[test]
    fn two_versions_of_a_package_stand_side_by_side() {
        let newer = ("base-0.2.0/base.wit", "package our:base@0.2.0;");
        assert_eq!(
            check(&[BASE, newer]).unwrap(),
            ["our:base@0.1.0", "our:base@0.2.0"]
        );
    }

    #[test]
    fn mistakes_are_shown_with_their_place() {
        for (name, text, said) in [
            ("x/x.wit", "package our:x@0.1.0; interface {", "x.wit:1"),
            (
                "x/x.wit",
                "package our:x@0.1.0; interface i { use our:gone/t@0.1.0.{a}; }",
                "our:gone",
            ),
            ("x/x.wit", "package our:x;", "has no version"),
        ] {
            let error = format!("{:#}", check(&[BASE, (name, text)]).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
