use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

/// A bounded amount of memory that many tasks share: one share of the node's budget.
///
/// While there is room, taking some of it and giving it back are one atomic addition each. Where there is none, whoever must wait
/// stands in line, so that nobody is passed over.
#[derive(Debug)]
pub(crate) struct Pool {
    limit: usize,
    used: AtomicUsize,
    /// How many stand in line: only then somebody need be told that there may be room again.
    waiting: AtomicUsize,
    line: Mutex<()>,
    returned: Notify,
}

/// Memory taken from a pool, which has it back once this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            line: Mutex::new(()),
            returned: Notify::new(),
        })
    }

    /// Nothing yet, of which more can become.
    pub(crate) fn nothing(self: &Arc<Self>) -> Permit {
        Permit { pool: Arc::clone(self), bytes: 0 }
    }

    /// So many bytes, if there is room now.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let mut permit = self.nothing();
        permit.try_resize(bytes).then_some(permit)
    }

    /// So many bytes, room or not: for what is bounded otherwise and must not fail.
    pub(crate) fn overdraw(self: &Arc<Self>, bytes: usize) -> Permit {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Permit { pool: Arc::clone(self), bytes }
    }

    fn add(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::SeqCst);
            if self.waiting.load(Ordering::SeqCst) > 0 {
                self.returned.notify_waiters();
            }
        }
    }

    #[cfg(test)]
    fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }
}

impl Permit {
    /// How many bytes it is for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it one for so many bytes: always where that is no more than before, else if there is room and nobody waits for it.
    pub(crate) fn try_resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            let free = self.pool.waiting.load(Ordering::SeqCst) == 0;
            if !free || !self.pool.add(bytes - self.bytes) {
                return false;
            }
        } else {
            self.pool.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
        true
    }

    /// Cuts off one for so many bytes, or for all that it has.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { pool: Arc::clone(&self.pool), bytes }
    }

    /// Makes it one for so many bytes, room or not.
    pub(crate) fn force_resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.pool.used.fetch_add(bytes - self.bytes, Ordering::SeqCst);
            self.bytes = bytes;
        } else {
            self.try_resize(bytes);
        }
    }

    /// Makes it one for so many bytes (at most all that there are) as soon as there is room, in turn. Whenever there is none, `relieve`
    /// sees to it, and says after how long it is to be called again. Cancel-safe: dropped, the permit is as before.
    pub(crate) async fn resize(&mut self, bytes: usize, mut relieve: impl FnMut() -> Duration) {
        let bytes = bytes.min(self.pool.limit);
        if self.try_resize(bytes) {
            return;
        }
        let pool = Arc::clone(&self.pool);
        let _waits = Waits::at(&pool);
        let _turn = pool.line.lock().await;
        loop {
            let mut returned = std::pin::pin!(pool.returned.notified());
            returned.as_mut().enable();
            if pool.add(bytes.saturating_sub(self.bytes)) {
                self.bytes = self.bytes.max(bytes);
                return;
            }
            let _ = timeout(relieve(), returned).await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

/// Somebody stands in line for as long as this lives.
struct Waits<'a>(&'a Pool);

impl<'a> Waits<'a> {
    fn at(pool: &'a Pool) -> Self {
        pool.waiting.fetch_add(1, Ordering::SeqCst);
        Self(pool)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Long beside any pause that is asked for here.
    const LONG: Duration = Duration::from_secs(60);

    fn patient() -> Duration {
        LONG
    }

    #[tokio::test]
    async fn who_waits_gets_room_as_soon_as_it_is_given_back_and_in_turn() {
        let pool = Pool::new(10);
        let first = pool.try_take(10).unwrap();
        assert!(pool.try_take(1).is_none());
        let (told, mut order) = tokio::sync::mpsc::channel(2);
        for (name, bytes) in [("large", 10), ("small", 1)] {
            let (pool, told) = (Arc::clone(&pool), told.clone());
            let before = pool.waiting.load(Ordering::SeqCst);
            let task = Arc::clone(&pool);
            tokio::spawn(async move {
                let mut permit = task.nothing();
                permit.resize(bytes, patient).await;
                told.send(name).await.unwrap();
            });
            while pool.waiting.load(Ordering::SeqCst) == before {
                tokio::task::yield_now().await;
            }
        }
        drop(first);
        assert_eq!((order.recv().await, order.recv().await), (Some("large"), Some("small")));
        drop(told);
        assert_eq!(order.recv().await, None);
        assert_eq!(pool.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_asked_to_see_to_it_again_and_again() {
        let pool = Pool::new(10);
        let mut others = vec![pool.try_take(4).unwrap(), pool.try_take(4).unwrap()];
        let mut permit = pool.try_take(1).unwrap();
        let mut asked = 0;
        let relieve = || {
            asked += 1;
            if asked > 1 {
                others.pop();
            }
            LONG
        };
        permit.resize(9, relieve).await;
        assert_eq!((asked, permit.bytes(), pool.used()), (3, 9, 9));
    }

    #[tokio::test]
    async fn what_is_cut_off_is_given_back_by_itself() {
        let pool = Pool::new(10);
        let mut permit = pool.try_take(7).unwrap();
        let mut part = permit.split(3);
        part.force_resize(5);
        assert_eq!((permit.bytes(), part.bytes(), pool.used()), (4, 5, 9));
        drop(part);
        let rest = permit.split(9);
        assert_eq!((rest.bytes(), permit.bytes(), pool.used()), (4, 0, 4));
        drop(rest);
        assert_eq!(pool.used(), 0);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_pool_takes_all_of_it() {
        let pool = Pool::new(10);
        let mut permit = pool.nothing();
        permit.resize(1000, patient).await;
        assert_eq!((permit.bytes(), pool.used()), (10, 10));
    }

    #[tokio::test]
    async fn nobody_overtakes_who_stands_in_line() {
        let pool = Pool::new(10);
        let held = pool.try_take(5).unwrap();
        let mut large = pool.nothing();
        let mut waiting = std::pin::pin!(large.resize(10, patient));
        assert!(futures_poll(waiting.as_mut()).await.is_none());
        assert!(pool.try_take(1).is_none(), "there is room, and somebody waits for it");
        drop(held);
        waiting.await;
        assert_eq!(pool.used(), 10);
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match future.as_mut().poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(usize),
        Overdraw(usize),
        Resize(usize, usize),
        Force(usize, usize),
        /// Waits for more and is dropped while it waits.
        Abandon(usize, usize),
        Drop(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (at, bytes) = (0usize..8, 0usize..40);
        prop::collection::vec(
            prop_oneof![
                bytes.clone().prop_map(Step::Take),
                bytes.clone().prop_map(Step::Overdraw),
                (at.clone(), bytes.clone()).prop_map(|(at, bytes)| Step::Resize(at, bytes)),
                (at.clone(), bytes.clone()).prop_map(|(at, bytes)| Step::Force(at, bytes)),
                (at.clone(), bytes).prop_map(|(at, bytes)| Step::Abandon(at, bytes)),
                at.prop_map(Step::Drop),
            ],
            0..100,
        )
    }

    proptest! {
        #[test]
        fn its_books_agree_and_all_of_it_comes_back(steps in steps()) {
            const LIMIT: usize = 64;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let pool = Pool::new(LIMIT);
                let mut permits: Vec<Permit> = Vec::new();
                for step in steps {
                    let before = pool.used();
                    match step {
                        Step::Take(bytes) => {
                            let taken = pool.try_take(bytes);
                            prop_assert_eq!(taken.is_some(), bytes == 0 || before + bytes <= LIMIT);
                            permits.extend(taken);
                        }
                        Step::Overdraw(bytes) => permits.push(pool.overdraw(bytes)),
                        Step::Drop(at) if at < permits.len() => drop(permits.swap_remove(at)),
                        Step::Resize(at, bytes) if at < permits.len() => {
                            let had = permits[at].bytes();
                            let done = permits[at].try_resize(bytes);
                            prop_assert_eq!(done, bytes <= had || before - had + bytes <= LIMIT);
                            prop_assert_eq!(permits[at].bytes(), if done { bytes } else { had });
                        }
                        Step::Force(at, bytes) if at < permits.len() => {
                            permits[at].force_resize(bytes);
                            prop_assert_eq!(permits[at].bytes(), bytes);
                        }
                        Step::Abandon(at, bytes) if at < permits.len() => {
                            let had = permits[at].bytes();
                            let done = futures_poll(std::pin::pin!(permits[at].resize(bytes, patient))).await;
                            prop_assert!(done.is_some() || permits[at].bytes() == had);
                        }
                        Step::Drop(_) | Step::Resize(..) | Step::Force(..) | Step::Abandon(..) => {}
                    }
                    prop_assert_eq!(pool.used(), permits.iter().map(Permit::bytes).sum::<usize>());
                    prop_assert_eq!(pool.waiting.load(Ordering::SeqCst), 0);
                }
                permits.clear();
                prop_assert_eq!(pool.used(), 0);
                Ok(())
            })?;
        }
    }
}
