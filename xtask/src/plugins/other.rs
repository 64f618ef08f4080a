//! A plugin crate outside of this project, for authors on machines where only this project finds a
//! toolchain for Wasm.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{component, folder::Folder, remap_home};
use crate::{
    process::{cargo, forget_outer_cargo, output, run},
    project::Project,
    setup::wasm_target,
};

/// Builds the one plugin in a folder. The tools must be there.
pub(super) fn build(project: &Project, path: &Path, out: Option<&Path>) -> Result<()> {
    let path = fs::canonicalize(path).with_context(|| format!("there is no {}", path.display()))?;
    let mut metadata = cargo();
    let metadata = output(
        forget_outer_cargo(&mut metadata)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&path),
    )?;
    let metadata: Value = serde_json::from_str(&metadata).context("reading cargo's metadata")?;
    let package = &metadata["packages"][0];
    let Some(name) = package["name"].as_str() else {
        bail!("there is no crate in {}", path.display());
    };
    let builder = wasm_target::find()?;
    let mut command = builder.cargo_build();
    command
        .args(["--release", "--lib", "--target-dir"])
        .arg(project.wasm_target())
        .current_dir(&path);
    remap_home(&mut command);
    run(&mut command)?;

    let compiled = project.wasm_target().join(builder.target()).join("release");
    let module = compiled.join(format!("{}.wasm", name.replace('-', "_")));
    let module = fs::read(&module).with_context(|| {
        format!(
            "the build has not made {}: is it a cdylib?",
            module.display()
        )
    })?;
    let component = component::from_compiled(&module)
        .with_context(|| format!("the plugin {name} is not a valid component"))?;
    let folder = out.map_or_else(|| path.join("target"), Path::to_path_buf);
    let mut folder = Folder::shared(folder);
    if let Ok(manifest) = fs::read(path.join(format!("{name}.toml"))) {
        folder.write(&format!("{name}.toml"), &manifest)?;
    }
    folder.write(&format!("{name}.wasm"), &component)?;
    eprintln!("  {}", folder.path().join(format!("{name}.wasm")).display());
    folder.finish()
}
