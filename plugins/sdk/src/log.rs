//! Lines for the server's log; they appear there under the plugin's name.

use crate::node::{Level, log};

/// For following a single message.
pub fn trace(message: &str) {
    log(Level::Trace, message);
}

/// For the plugin's author.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// What an operator wants to know once.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Something is wrong and may pass.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Something is wrong and stays so.
pub fn error(message: &str) {
    log(Level::Error, message);
}
