//! What a process has written for people, kept so that a failing test can show it and any test can
//! wait for a line.

use std::{
    collections::VecDeque,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::watch, time::timeout};

use crate::{DEADLINE, Error};

/// Lines kept of one process; older ones are dropped.
const MAX_LINES: usize = 10_000;
/// Lines shown when something fails.
const TAIL_LINES: usize = 60;

/// The last lines of one process, 10,000 at most.
#[derive(Debug)]
pub struct Log {
    lines: Mutex<VecDeque<String>>,
    written: watch::Sender<u64>,
}

/// The logs of all servers that a scenario has started, kept when they are gone. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<Arc<Log>>>>);

impl Logs {
    pub(crate) fn add(&self, log: Arc<Log>) {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.push(log);
    }

    /// The first line in any of them that `is_it` accepts.
    pub(crate) fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.iter().find_map(|log| log.find(&is_it))
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            lines: Mutex::default(),
            written: watch::Sender::new(0),
        }
    }

    pub(crate) fn push(&self, line: String) {
        {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
        self.written.send_modify(|count| *count += 1);
    }

    /// The first line that `is_it` accepts.
    pub fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| is_it(line)).cloned()
    }

    /// All kept lines that `is_it` accepts, oldest first.
    pub fn all(&self, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| is_it(line)).cloned().collect()
    }

    /// How many of the kept lines `is_it` accepts.
    pub fn count(&self, is_it: impl Fn(&str) -> bool) -> usize {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| is_it(line)).count()
    }

    /// Waits for a line that `is_it` accepts, also one that is there already.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the end of the log when none came within [`DEADLINE`].
    pub async fn wait_for(
        &self,
        what: &str,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<String, Error> {
        let mut written = self.written.subscribe();
        let search = async {
            loop {
                written.mark_unchanged();
                if let Some(line) = self.find(&is_it) {
                    return Some(line);
                }
                if written.changed().await.is_err() {
                    return None;
                }
            }
        };
        match timeout(DEADLINE, search).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) | Err(_) => Err(Error::Deadline {
                what: format!("a log line: {what}"),
                seen: format!("the log ends so:\n{}", self.tail()),
                deadline: DEADLINE,
            }),
        }
    }

    /// The last lines, for a failure message.
    pub fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tail = String::new();
        for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
            // Writing to a String cannot fail.
            let _ = writeln!(tail, "  {line}");
        }
        tail
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::{Log, MAX_LINES};

    #[tokio::test]
    async fn a_line_is_found_whether_it_comes_before_or_after_the_wait() {
        let log = Arc::new(Log::new());
        log.push("early".into());
        assert_eq!(
            log.wait_for("early", |l| l == "early").await.unwrap(),
            "early"
        );

        let waiting = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.wait_for("late", |l| l == "late").await }
        });
        log.push("other".into());
        log.push("late".into());
        assert_eq!(waiting.await.unwrap().unwrap(), "late");
    }

    #[test]
    fn old_lines_make_room() {
        let log = Log::new();
        for number in 0..=MAX_LINES {
            log.push(number.to_string());
        }
        assert_eq!(log.find(|l| l == "0"), None);
        assert_eq!(log.count(|_| true), MAX_LINES);
        assert!(log.tail().trim_end().ends_with(&MAX_LINES.to_string()));
    }
}
