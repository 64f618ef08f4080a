//! What a guest may use.

use std::{fmt, time::Duration};

use wasmtime::ResourceLimiter;

use super::engine::{MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS};

/// Limits of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in bytes. Default 128 MiB, at most 1 GiB.
    pub memory_bytes: usize,
    /// The guest's own CPU time in one call. Waiting in a capability does not count. Default 2 s.
    pub cpu: Duration,
    /// Wall clock of one call that is not a poll. Default 30 s.
    pub call_timeout: Duration,
    /// Lines that the guest may log in a second; more are dropped and counted. Default 100.
    pub log_lines_per_second: u32,
    /// Link WASI 0.2 (clocks, randomness, stdio to the log; no files, no network). Default true.
    pub allow_wasi: bool,
    /// An instance whose memory has grown past this many bytes is replaced by a fresh one when it
    /// has nothing to do: Wasm memory never shrinks. Default 32 MiB.
    pub recycle_memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            cpu: Duration::from_secs(2),
            call_timeout: Duration::from_secs(30),
            log_lines_per_second: 100,
            allow_wasi: true,
            recycle_memory_bytes: 32 << 20,
        }
    }
}

/// Refuses growth past the limits with an error that names the setting.
#[derive(Debug)]
pub(super) struct Limiter {
    max_bytes: usize,
    /// All linear memories of the instance together, so that several small ones cannot add up.
    used_bytes: usize,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_bytes: limits.memory_bytes.min(MAX_MEMORY_BYTES),
            used_bytes: 0,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.used_bytes
    }
}

/// A guest asked for more memory than it may have.
#[derive(Debug)]
pub(super) struct MemoryExceeded {
    pub(super) limit_bytes: usize,
}

impl fmt::Display for MemoryExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "asked for more than {} bytes of memory",
            self.limit_bytes
        )
    }
}

impl std::error::Error for MemoryExceeded {}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self
            .used_bytes
            .saturating_add(desired.saturating_sub(current));
        if used > self.max_bytes {
            return Err(MemoryExceeded {
                limit_bytes: self.max_bytes,
            }
            .into());
        }
        self.used_bytes = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}
