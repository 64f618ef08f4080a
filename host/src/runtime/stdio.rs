//! A guest's standard output and error: lines in the log.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// A longer line is cut into several.
const MAX_LINE_BYTES: usize = 4096;

/// Where complete lines go.
pub(super) type LineSink = Arc<dyn Fn(&str) + Send + Sync>;

/// A stream that WASI may hand out any number of times.
#[derive(Clone)]
pub(super) struct LineStream {
    sink: LineSink,
    // WASI makes one writer for each use of the stream; they share one line.
    line: Arc<Mutex<Vec<u8>>>,
}

impl LineStream {
    pub(super) fn new(sink: LineSink) -> Self {
        Self {
            sink,
            line: Arc::default(),
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut line = self
            .line
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        for byte in bytes {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() >= MAX_LINE_BYTES {
                if !line.is_empty() {
                    (self.sink)(&String::from_utf8_lossy(&line));
                }
                line.clear();
            }
        }
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
