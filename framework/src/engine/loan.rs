use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Memory that the pool of transactions gives up for as long as an answer is read that is longer than what its share holds. What
/// comes from the chain goes before what may come again.
#[derive(Debug, Default)]
pub(super) struct Loan {
    wanted: AtomicUsize,
    given: AtomicUsize,
    asked: Notify,
    answered: Notify,
}

/// Memory that was lent; given back once it is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    loan: Arc<Loan>,
    bytes: usize,
}

impl Loan {
    /// Asks for so many bytes and waits until the pool has done without them. Cancel-safe.
    pub(super) async fn take(self: &Arc<Self>, bytes: usize) -> Lent {
        let lent = Lent { loan: Arc::clone(self), bytes };
        self.wanted.fetch_add(bytes, Ordering::AcqRel);
        self.asked.notify_one();
        loop {
            let mut answered = std::pin::pin!(self.answered.notified());
            answered.as_mut().enable();
            if self.given.load(Ordering::Acquire) >= self.wanted.load(Ordering::Acquire) {
                return lent;
            }
            answered.await;
        }
    }

    /// Waits until more or less is wanted than was given. Cancel-safe.
    pub(super) async fn changed(&self) -> usize {
        loop {
            let wanted = self.wanted.load(Ordering::Acquire);
            if wanted != self.given.load(Ordering::Acquire) {
                return wanted;
            }
            self.asked.notified().await;
        }
    }

    /// So much is given now.
    pub(super) fn give(&self, bytes: usize) {
        self.given.store(bytes, Ordering::Release);
        self.answered.notify_waiters();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.loan.wanted.fetch_sub(self.bytes, Ordering::AcqRel);
        self.loan.asked.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_waits_until_it_is_given_and_what_is_given_back_is_told() {
        let loan = Arc::new(Loan::default());
        let mut asks = Box::pin(loan.take(5));
        assert!(timeout(Duration::from_secs(1), &mut asks).await.is_err());
        assert_eq!(loan.changed().await, 5);
        loan.give(5);
        let lent = asks.await;
        assert!(timeout(Duration::from_secs(1), loan.changed()).await.is_err(), "nothing has changed");
        drop(lent);
        assert_eq!(loan.changed().await, 0);
        loan.give(0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_while_it_waits_wants_nothing_any_more() {
        let loan = Arc::new(Loan::default());
        assert!(timeout(Duration::from_secs(1), loan.take(5)).await.is_err());
        assert!(timeout(Duration::from_secs(1), loan.changed()).await.is_err(), "nothing is wanted");
    }
}
