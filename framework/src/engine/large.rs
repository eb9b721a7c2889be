use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::loan::{Lent, Loan};

/// Who may read a large frame, which few connections do at a time (attacks.md row 1).
#[derive(Debug, Clone)]
pub(super) struct LargeFrame {
    rights: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    loan: Arc<Loan>,
}

/// The right to read a large frame, and to hold it until the engine has it.
#[derive(Debug)]
pub(crate) struct Right {
    _permit: OwnedSemaphorePermit,
    since: Instant,
    loan: Arc<Loan>,
    lent: Option<Lent>,
}

impl Right {
    /// For how long it has been held.
    pub(super) fn held_for(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether more is held than the share of frames has.
    pub(super) fn has_more(&self) -> bool {
        self.lent.is_some()
    }

    /// Has the pool give up so many bytes. Cancel-safe.
    pub(super) async fn take_more(&mut self, bytes: usize) {
        self.lent = Some(self.loan.take(bytes).await);
    }
}

impl LargeFrame {
    pub(super) fn new(at_once: usize) -> Self {
        Self { rights: Arc::new(Semaphore::new(at_once)), waiting: Arc::default(), loan: Arc::default() }
    }

    /// What those who have the right lend.
    pub(super) fn loan(&self) -> &Arc<Loan> {
        &self.loan
    }

    /// Waits in turn. Cancel-safe.
    pub(super) async fn acquire(&self) -> Option<Right> {
        let _waits = Waits::at(&self.waiting);
        let permit = Arc::clone(&self.rights).acquire_owned().await.ok()?;
        Some(Right { _permit: permit, since: Instant::now(), loan: Arc::clone(&self.loan), lent: None })
    }

    /// Whether somebody waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn at(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_wanted_for_as_long_as_somebody_waits() {
        let large = LargeFrame::new(1);
        let held = large.acquire().await.unwrap();
        assert!(!large.is_wanted());
        let mut waiting = Box::pin(large.acquire());
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut waiting).await.is_err());
        assert!(large.is_wanted());
        drop(waiting);
        assert!(!large.is_wanted(), "it waits no longer");
        drop(held);
        assert!(large.acquire().await.is_some());
    }
}
