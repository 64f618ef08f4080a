//! The browser for the tests of the demo's page. Looked for where those tests look
//! (`tests/node/chat-page.mjs`).

use std::{env, path::Path};

use super::Found;
use crate::project::Project;

/// Names another browser than those below.
const VARIABLE: &str = "SWITCHBOARD_TEST_CHROMIUM";
const PLACES: &[&str] = &[
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/snap/bin/chromium",
];

pub(super) fn find(project: &Project) -> Found {
    if !project.root.join("tests/node/browser.mjs").exists() {
        return Found::NotNeeded;
    }
    if let Ok(wanted) = env::var(VARIABLE) {
        return if Path::new(&wanted).is_file() {
            Found::Ready(wanted)
        } else {
            Found::Missing(format!("{VARIABLE} names {wanted}, which does not exist"))
        };
    }
    match PLACES.iter().find(|place| Path::new(place).exists()) {
        Some(place) => Found::Ready((*place).to_owned()),
        None => Found::Missing(format!("no {}", PLACES[0])),
    }
}

pub(super) fn by_hand() -> String {
    format!("export {VARIABLE}=/path/to/chromium    # after installing Chromium or Chrome")
}
