use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The right to read a large frame, which few connections have at a time (attacks.md row 1).
#[derive(Debug, Clone)]
pub(super) struct LargeFrame {
    rights: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl LargeFrame {
    pub(super) fn new(at_once: usize) -> Self {
        Self { rights: Arc::new(Semaphore::new(at_once)), waiting: Arc::default() }
    }

    /// Waits in turn. Cancel-safe.
    pub(super) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        let _waits = Waits::at(&self.waiting);
        Arc::clone(&self.rights).acquire_owned().await.ok()
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
    use std::time::Duration;

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
