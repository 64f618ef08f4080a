//! Opening a page in the developer's browser, where there is one.

use std::{
    env,
    io::IsTerminal,
    process::{Command, Stdio},
};

/// Opens an address if somebody sits in front of this machine. Never fails: the address has been
/// printed.
pub(super) fn open(address: &str) {
    let Some(opener) = opener() else {
        return;
    };
    // The child is not waited for: it may live as long as the browser.
    let _ = Command::new(opener)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

fn opener() -> Option<&'static str> {
    if !std::io::stdout().is_terminal() || env::var_os("CI").is_some() {
        return None;
    }
    if cfg!(target_os = "macos") {
        return Some("open");
    }
    let has_screen = ["WAYLAND_DISPLAY", "DISPLAY"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    has_screen.then_some("xdg-open")
}
