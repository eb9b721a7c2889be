use std::time::Duration;

use tokio::time::Instant;

use crate::env::Clock;

/// The wall clock's time at the start of every simulation, in unix seconds.
pub(super) const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// A node's clocks in virtual time.
#[derive(Debug)]
pub(super) struct SimClock {
    node_start: Instant,
    world_start: Instant,
    /// Milliseconds by which its wall clock is ahead.
    skew: i64,
}

impl SimClock {
    pub(super) fn new(world_start: Instant, skew: i64) -> Self {
        Self { node_start: Instant::now(), world_start, skew }
    }
}

impl Clock for SimClock {
    fn unix_seconds(&self) -> u64 {
        self.unix_time().as_secs()
    }

    fn unix_time(&self) -> Duration {
        let skew = Duration::from_millis(self.skew.unsigned_abs());
        let exact = EPOCH + self.world_start.elapsed();
        if self.skew < 0 { exact.saturating_sub(skew) } else { exact + skew }
    }

    fn elapsed(&self) -> Duration {
        self.node_start.elapsed()
    }
}
