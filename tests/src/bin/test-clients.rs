//! The clients of the tests: Node.js's own, `tests/node/clients.mjs`. This program only becomes that
//! one, so that the kit need not know where it is.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
    if !folder.join("node_modules/socket.io-client").is_dir() {
        eprintln!(
            "the npm packages in {folder} are not installed; type: npm ci --prefix {folder}",
            folder = folder.display()
        );
        std::process::exit(1);
    }
    // Returns only if that fails.
    let error = Command::new("node").arg(folder.join("clients.mjs")).exec();
    eprintln!("cannot start node: {error}");
    std::process::exit(1);
}
