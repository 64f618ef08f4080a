//! One node of the demo: its process, its output, and its end. It never outlives this process: it
//! stops when its standard input ends, which the system sees to however we die.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::SyncSender,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};

/// A longer line of output is broken.
const MAX_LINE_BYTES: u64 = 16 * 1024;

/// A line that a node has printed.
pub(super) struct Line {
    pub(super) node: String,
    pub(super) text: String,
}

/// How to start a node.
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) name: String,
    /// 0: any free one.
    pub(super) port: u16,
    pub(super) config: &'a Path,
    pub(super) web: &'a Path,
}

pub(super) struct Node {
    pub(super) name: String,
    /// Where it listens, once it has said so.
    pub(super) address: Option<String>,
    /// The developer knows that it has ended.
    pub(super) reported: bool,
    child: Child,
    stdin: Option<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
}

impl Node {
    pub(super) fn start(start: &Start<'_>, lines: SyncSender<Line>) -> Result<Self> {
        let mut child = Command::new(start.program)
            .args(["--name", &start.name, "--port", &start.port.to_string()])
            .arg("--config")
            .arg(start.config)
            .arg("--web")
            .arg(start.web)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal then comes to us alone, and we stop the nodes in good order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", start.program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(|stream| Box::new(stream) as _);
        let stderr = child.stderr.take().map(|stream| Box::new(stream) as _);
        let readers = [stdout, stderr]
            .into_iter()
            .flatten()
            .map(|stream: Box<dyn Read + Send>| {
                let (name, lines) = (start.name.clone(), lines.clone());
                thread::spawn(move || forward(stream, &name, &lines))
            })
            .collect();
        Ok(Self {
            name: start.name.clone(),
            address: None,
            reported: false,
            child,
            stdin,
            readers,
        })
    }

    /// The process's id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the process has ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot ask after node {}", self.name))
    }

    /// It has ended, and not all that it printed has been handed on.
    pub(super) fn has_left_output(&mut self) -> bool {
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        ended && !self.readers.iter().all(JoinHandle::is_finished)
    }

    pub(super) fn ask_to_stop(&mut self) {
        self.stdin = None;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(stream: impl Read, node: &str, lines: &SyncSender<Line>) {
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match stream
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut bytes)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = Line {
            node: node.to_owned(),
            text: String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        };
        if lines.send(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn forwarded(output: &[u8]) -> Vec<String> {
        let (sender, lines) = mpsc::sync_channel(16);
        forward(output, "a", &sender);
        drop(sender);
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn output_is_handed_on_line_by_line() {
        assert_eq!(forwarded(b"one\ntwo\r\nthree"), ["one", "two", "three"]);
    }

    #[test]
    fn an_endless_line_is_broken() {
        let limit = usize::try_from(MAX_LINE_BYTES).unwrap_or(usize::MAX);
        let lines = forwarded(&vec![b'x'; limit + 5]);
        let lengths: Vec<_> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [limit, 5]);
    }
}
