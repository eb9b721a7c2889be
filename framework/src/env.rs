//! What a node takes from the world: time, randomness, and threads to compute on.
//!
//! Nothing below the engine's driver asks the operating system for any of these, so that a whole node can be run again
//! from a seed.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;

/// Tells the time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock, in unix seconds.
    fn unix_seconds(&self) -> u64;

    /// The wall clock as time since the unix epoch, as finely as it is known.
    fn unix_time(&self) -> Duration {
        Duration::from_secs(self.unix_seconds())
    }

    /// Time since the node started; never falls.
    fn elapsed(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn unix_seconds(&self) -> u64 {
        self.unix_time().as_secs()
    }

    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Where computations run.
#[derive(Debug, Clone)]
pub enum ComputePool {
    /// In place, one after the other: for simulations.
    Inline,
    /// On all cores.
    Threads(Arc<rayon::ThreadPool>),
}

impl ComputePool {
    /// One thread for each core.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn all_cores() -> std::io::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .thread_name(|i| format!("compute-{i}"))
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self::Threads(Arc::new(pool)))
    }

    /// How many computations run at a time.
    pub fn width(&self) -> usize {
        match self {
            Self::Inline => 1,
            Self::Threads(pool) => pool.current_num_threads(),
        }
    }

    /// Applies `f` to every item; the results come in the order of the items.
    pub fn map<T: Sync, R: Send>(&self, items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
        match self {
            Self::Inline => items.iter().map(f).collect(),
            Self::Threads(pool) => pool.install(|| items.par_iter().map(f).collect()),
        }
    }

    /// Runs `work` where it may block, without stalling the async runtime. Not cancel-safe: dropped, the work still ends.
    ///
    /// # Panics
    /// If `work` does.
    pub async fn blocking<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        match self {
            Self::Inline => work(),
            Self::Threads(_) => match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Only a runtime that is shutting down cancels blocking work that has not begun; nobody waits for it then.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// What a node takes from the world. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Threads.
    pub pool: ComputePool,
    /// Where random choices (jitter, nonces) start from. To be known to nobody else: whoever does can tell a node's nonces.
    pub seed: u64,
}

impl Env {
    /// The operating system's clocks, randomness and all cores.
    ///
    /// # Errors
    /// The operating system gives no threads or no randomness.
    pub fn system() -> std::io::Result<Self> {
        Ok(Self {
            clock: Arc::new(SystemClock::default()),
            pool: ComputePool::all_cores()?,
            seed: getrandom::u64().map_err(std::io::Error::other)?,
        })
    }
}
