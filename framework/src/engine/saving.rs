//! When the pool is written to its file, so that little is lost by a crash and the disk has little to do.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Action, Core};
use crate::fast_map::FastSet;
use crate::types::{Hash32, Transaction};

/// What a pool changes within this time is written at once: a crash loses no more of a small pool.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
/// A crash loses no more of the largest pool than what came within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// In between, the pool is written at no more than so many of its bytes a second.
const BYTES_PER_SECOND: usize = 1 << 20;

/// What there is to be written.
#[derive(Debug, Default)]
pub(super) struct Saving {
    /// The pool's count of changes when it was written; at the start the file has all that there is.
    written: u64,
    /// Not to be written again before.
    earliest: Duration,
    /// Of the last run, and not verified yet: still in the file, and to stay there.
    unverified: Vec<(Hash32, Arc<Transaction>)>,
}

impl Saving {
    /// These come from the file, and are yet to be verified.
    pub(super) fn restores(&mut self, hash: Hash32, tx: Arc<Transaction>) {
        self.unverified.push((hash, tx));
    }

    /// These of the file are in the pool now, or were refused.
    pub(super) fn restored(&mut self, hashes: Vec<Hash32>) {
        let hashes: FastSet<Hash32> = hashes.into_iter().collect();
        if !hashes.is_empty() {
            self.unverified.retain(|(hash, _)| !hashes.contains(hash));
        }
    }
}

impl Core {
    /// When to call [`save_changed_pool`](Self::save_changed_pool).
    pub(super) fn saving_deadline(&self) -> Option<Duration> {
        (self.saving.written != self.pool.changes()).then_some(self.saving.earliest)
    }

    /// Has the pool written where it has changed and it is time to.
    pub(super) fn save_changed_pool(&mut self, now: Duration) {
        if self.saving_deadline().is_some_and(|at| at <= now) {
            let pause = Duration::from_secs((self.pool.bytes() / BYTES_PER_SECOND) as u64);
            self.saving.earliest = now + pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            self.save_pool();
        }
    }

    /// Has the pool written, unless nothing has changed since the start.
    pub(crate) fn save_pool(&mut self) {
        self.saving.written = self.pool.changes();
        if self.saving.written > 0 {
            let pooled = self.pool.iter().map(|(_, tx)| tx);
            let unverified = self.saving.unverified.iter().filter(|(hash, _)| !self.pool.contains(hash));
            let txs = pooled.chain(unverified.map(|(_, tx)| tx)).cloned().collect();
            self.push(Action::SavePool(txs));
        }
    }
}
