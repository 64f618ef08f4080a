//! What can go wrong in a test besides a broken promise, and whose fault it is.

use std::{fmt, io, time::Duration};

/// A test could not go on. Its `Debug` is its `Display`, because that is what a failing test prints.
#[derive(thiserror::Error)]
pub enum Error {
    /// This machine lacks something: not a fault of the code under test.
    #[error("{what}; {fix}")]
    Setup {
        /// What is missing.
        what: String,
        /// What to type.
        fix: String,
    },
    /// The test asked for something that makes no sense, for example TOML that does not parse.
    #[error("the test itself is wrong: {0}")]
    Test(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A process ended although the test still needed it.
    #[error("{process} has ended; the end of its log:\n{log}")]
    Ended {
        /// Which process.
        process: String,
        /// The last lines it wrote.
        log: String,
    },
    /// A process carried a command out and reports a failure.
    #[error("{process} answered `{command}` with an error: {reason}")]
    Refused {
        /// Which process.
        process: String,
        /// The command's name.
        command: String,
        /// The answer.
        reason: String,
    },
    /// A process answered something that the helper does not understand.
    #[error("{process} answered `{command}` with something unexpected: {reason}")]
    Answer {
        /// Which process.
        process: String,
        /// The command's name.
        command: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("waited {} s in vain for {what}; instead: {seen}", deadline.as_secs_f32())]
    Deadline {
        /// What was waited for.
        what: String,
        /// What there was when time was up.
        seen: String,
        /// How long.
        deadline: Duration,
    },
}

impl Error {
    /// For `map_err`: says what was tried.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
