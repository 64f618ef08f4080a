//! The engine: one for the process, shared by all plugins.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use wasmtime::{
    Cache, CacheConfig, Config, Enabled, Engine, InstanceAllocationStrategy,
    PoolingAllocationConfig,
};

/// How often a running guest is looked at. Its CPU limit is exact to about this much.
pub(super) const EPOCH: Duration = Duration::from_millis(10);

/// Instances of all plugins together: three for each transport, twice that while one replaces
/// another, and room for plugins in languages whose components hold several core instances.
const MAX_INSTANCES: u32 = 64;
const MAX_CORE_INSTANCES: u32 = 4 * MAX_INSTANCES;

/// Elements of one table: function pointers, thousands at most in any real plugin.
pub(super) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// What one linear memory may reach whatever the configuration says.
pub(super) const MAX_MEMORY_BYTES: usize = 1 << 30;

/// How much of a linear memory stays mapped between two instances, so that replacing a plugin
/// costs microseconds.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// Stack of a guest's own code, and of the fiber that it runs on (which also carries host calls).
const WASM_STACK_BYTES: usize = 512 << 10;
const FIBER_STACK_BYTES: usize = 2 << 20;

/// The engine cannot be made: the machine's fault, or a folder's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The folder for compiled code cannot be used.
    #[error(
        "cannot use `{}` for compiled plugins: {reason}; set `cache` in switchboard.toml to a \
         folder that this user may write, or to false",
        path.display()
    )]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// Wasmtime cannot run here.
    #[error(
        "cannot start the WebAssembly engine: {0}; check the address space limit (`ulimit -v` \
         must be unlimited)"
    )]
    Engine(String),
}

/// The WebAssembly engine and its clock. Cheap to clone; the clock stops with the last clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    engine: Engine,
    _clock: Arc<EpochClock>,
}

impl Runtime {
    /// Starts an engine. Compiled code is kept in `cache` by digest, if given: the first load of a
    /// plugin takes tenths of a second, later ones a millisecond.
    ///
    /// # Errors
    /// When the folder cannot be used or the engine cannot reserve address space.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, RuntimeError> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            // On by default, and a microsecond for each call.
            .concurrency_support(false)
            .max_wasm_stack(WASM_STACK_BYTES)
            .async_stack_size(FIBER_STACK_BYTES)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        if let Some(path) = cache {
            let failed = |reason: String| RuntimeError::Cache {
                path: path.clone(),
                reason,
            };
            std::fs::create_dir_all(&path).map_err(|error| failed(error.to_string()))?;
            // Wasmtime wants the absolute path.
            let path = path
                .canonicalize()
                .map_err(|error| failed(error.to_string()))?;
            let mut cache = CacheConfig::new();
            cache.with_directory(&path);
            config.cache(Some(
                Cache::new(cache).map_err(|error| failed(format!("{error:#}")))?,
            ));
        }
        let engine =
            Engine::new(&config).map_err(|error| RuntimeError::Engine(format!("{error:#}")))?;
        let clock = EpochClock::start(engine.clone())
            .map_err(|error| RuntimeError::Engine(error.to_string()))?;
        Ok(Self {
            engine,
            _clock: Arc::new(clock),
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_CORE_INSTANCES)
        .total_memories(MAX_INSTANCES)
        .total_tables(4 * MAX_INSTANCES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .total_stacks(MAX_INSTANCES)
        .max_memory_size(MAX_MEMORY_BYTES)
        .max_unused_warm_slots(8)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Advances the engine's epoch. A thread rather than a task: it must tick while guests keep every
/// worker of the async runtime busy.
#[derive(Debug)]
struct EpochClock {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EpochClock {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("switchboard-epoch".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(EPOCH);
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It wakes within one epoch; it cannot panic.
            let _ = thread.join();
        }
    }
}
