//! One instance of a component, and calls into it.

use std::{sync::Arc, time::Duration};

use wasmtime::{
    Store, UpdateDeadline,
    component::{Instance, InstancePre, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::{
    limits::{Limiter, Limits, MemoryExceeded},
    meter::{CpuExceeded, CpuMeter, Spent},
    stdio::{LineSink, LineStream},
};

/// Bytes that may be copied out of the guest at one crossing of the border: twice the largest
/// frame of a bus, and some.
const MAX_COPIED_BYTES: usize = 80 << 20;

/// Resource handles that a guest may hold at once.
const MAX_RESOURCES: usize = 1024;

/// CPU time in one go after which a guest lets others on its thread have their turn, when an epoch
/// ends.
const YIELD_AFTER: Duration = Duration::from_millis(1);

/// Why an instance is dead. Its own fault; nothing of it is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It trapped: a panic, an out-of-bounds access, a stack overflow, …
    #[error("`{call}` trapped: {reason}")]
    Trap {
        /// The export that was called.
        call: &'static str,
        /// What wasmtime says; the first line names the kind.
        reason: String,
    },
    /// It ran too long.
    #[error(
        "`{call}` used more than {} ms of CPU time; raise `limits.cpu_ms` if that is not a loop",
        limit.as_millis()
    )]
    Cpu {
        /// The export that was called.
        call: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// It wanted too much memory.
    #[error("`{call}` needed more than {limit_bytes} bytes of memory (`limits.memory_bytes`)")]
    Memory {
        /// The export that was called.
        call: &'static str,
        /// The limit.
        limit_bytes: usize,
    },
    /// It did not return in time.
    #[error(
        "`{call}` did not return within {} ms (`limits.call_timeout_ms`)", timeout.as_millis()
    )]
    Stuck {
        /// The export that was called.
        call: &'static str,
        /// The limit.
        timeout: Duration,
    },
}

/// What the host keeps for one instance: the runtime's part, and `ext` for whoever runs it.
pub(crate) struct GuestState<X> {
    pub(crate) table: ResourceTable,
    pub(crate) ext: X,
    wasi: WasiCtx,
    limiter: Limiter,
}

impl<X: Send> WasiView for GuestState<X> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A live instance. After any [`Fault`], and after a call whose future was dropped, it is dead:
/// drop it.
pub(crate) struct Guest<X: 'static> {
    store: Store<GuestState<X>>,
    instance: Instance,
    meter: Arc<CpuMeter>,
    limits: Limits,
    in_call: bool,
    /// Its memory when it had just been opened: some languages bring much along.
    fresh_bytes: usize,
}

impl<X: Send + 'static> Guest<X> {
    /// Makes an instance. Microseconds: memory comes from the pool.
    pub(crate) async fn instantiate(
        pre: &InstancePre<GuestState<X>>,
        limits: Limits,
        ext: X,
        stdout: LineSink,
    ) -> Result<Self, Fault> {
        const CALL: &str = "instantiate";
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let stdout = LineStream::new(stdout);
        let wasi = WasiCtxBuilder::new()
            .stdout(stdout.clone())
            .stderr(stdout)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let state = GuestState {
            table,
            ext,
            wasi,
            limiter: Limiter::new(&limits),
        };
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(MAX_COPIED_BYTES);

        let meter = Arc::new(CpuMeter::default());
        let elapsed = Arc::clone(&meter);
        store.epoch_deadline_callback(move |_| {
            let Spent { call, poll } = elapsed.spent();
            if call > limits.cpu {
                return Err(CpuExceeded { limit: limits.cpu }.into());
            }
            // Others on this thread get their turn, however busy the guest is. Epochs pass while it
            // waits, too: one that has only just been woken has had nobody waiting for it yet.
            Ok(match poll >= YIELD_AFTER {
                true => UpdateDeadline::Yield(1),
                false => UpdateDeadline::Continue(1),
            })
        });
        store.set_epoch_deadline(1);

        // A component may run code of its own, and wait, before any export is called.
        let starting = meter.meter(pre.instantiate_async(&mut store));
        let timeout = limits.call_timeout;
        let instance = tokio::time::timeout(timeout, starting)
            .await
            .map_err(|_| Fault::Stuck {
                call: CALL,
                timeout,
            })?
            .map_err(|error| fault(CALL, &error))?;
        Ok(Self {
            store,
            instance,
            meter,
            limits,
            in_call: false,
            fresh_bytes: 0,
        })
    }

    /// Calls an export. `timeout` bounds the wall clock.
    pub(crate) async fn call<R>(
        &mut self,
        call: &'static str,
        timeout: Duration,
        run: impl AsyncFnOnce(&mut Store<GuestState<X>>, &Instance) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        if self.in_call {
            let reason = "an earlier call was abandoned".to_owned();
            return Err(Fault::Trap { call, reason });
        }
        self.in_call = true;
        let Self {
            store,
            instance,
            meter,
            ..
        } = self;
        let running = meter.meter(run(store, instance));
        match tokio::time::timeout(timeout, running).await {
            Ok(Ok(result)) => {
                self.in_call = false;
                Ok(result)
            }
            Ok(Err(error)) => Err(fault(call, &error)),
            Err(_) => Err(Fault::Stuck { call, timeout }),
        }
    }

    /// Can it be called again?
    pub(crate) fn is_alive(&self) -> bool {
        !self.in_call
    }

    /// What it keeps in linear memory, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes()
    }

    /// Notes that it has been opened: what it holds now, a fresh one would hold too.
    pub(crate) fn is_open(&mut self) {
        self.fresh_bytes = self.memory_bytes();
    }

    /// Has its memory grown so far that a fresh instance is better?
    pub(crate) fn is_bloated(&self) -> bool {
        let fresh = self.fresh_bytes.saturating_mul(2);
        self.memory_bytes() > self.limits.recycle_memory_bytes.max(fresh)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn state_mut(&mut self) -> &mut X {
        &mut self.store.data_mut().ext
    }
}

fn fault(call: &'static str, error: &wasmtime::Error) -> Fault {
    if let Some(CpuExceeded { limit }) = error.downcast_ref() {
        return Fault::Cpu {
            call,
            limit: *limit,
        };
    }
    if let Some(MemoryExceeded { limit_bytes }) = error.downcast_ref() {
        return Fault::Memory {
            call,
            limit_bytes: *limit_bytes,
        };
    }
    // The root cause names the trap; the rest is a backtrace of mangled names.
    let reason = error.root_cause().to_string();
    Fault::Trap {
        call,
        reason: reason.lines().next().unwrap_or("unknown").to_owned(),
    }
}
