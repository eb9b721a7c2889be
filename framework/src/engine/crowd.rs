use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Pool;
use super::connection::Link;
use crate::memory::MemoryShares;
use crate::sync::ConnId;

/// So long a connection may hold memory that others wait for: an honest peer needs less for what fits the shares.
const GRACE: Duration = Duration::from_secs(1);
/// After how long it is looked at again whether one that was closed has given its memory back.
const CLOSING: Duration = Duration::from_millis(100);
/// Time that we take ourselves counts so much less than time in which we wait for the peer.
const OUR_OWN: u64 = 8;
/// What we asked for is held against a peer so much less: others need not send it.
const ASKED: u64 = 16;

/// The memory that connections share, and who must go when there is none left: the one that has held the most for the longest.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Messages that have begun to come.
    pub(crate) frames: Arc<Pool>,
    /// Answers.
    pub(crate) answers: Arc<Pool>,
    /// What else waits to be sent.
    pub(crate) gossip: Arc<Pool>,
    /// Frames longer than this are answers that we asked for.
    frame_max: usize,
    started: Instant,
    links: Mutex<BTreeMap<ConnId, Weak<Link>>>,
}

/// What is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    /// Room for what comes.
    Incoming,
    /// Room for what goes.
    Outgoing,
}

/// What one stream of a connection holds in one direction.
#[derive(Debug)]
pub(crate) struct Held {
    started: Instant,
    bytes: AtomicUsize,
    /// When what is held was begun, or last taken from. All times are in milliseconds after `started`.
    since: AtomicU64,
    /// How long the other side was waited for since then.
    waited: AtomicU64,
    /// Since when it is; 0 while we are at it ourselves.
    waits_since: AtomicU64,
}

impl Crowd {
    pub(crate) fn new(shares: MemoryShares, frame_max: usize) -> Self {
        Self {
            frames: Pool::new(shares.frames),
            answers: Pool::new(shares.answers()),
            gossip: Pool::new(shares.gossip()),
            frame_max,
            started: Instant::now(),
            links: Mutex::default(),
        }
    }

    /// The account of one stream.
    pub(crate) fn account(&self) -> Held {
        Held {
            started: self.started,
            bytes: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            waits_since: AtomicU64::new(0),
        }
    }

    pub(crate) fn join(&self, link: &Arc<Link>) {
        self.links().insert(link.id, Arc::downgrade(link));
    }

    pub(crate) fn leave(&self, conn: ConnId) {
        self.links().remove(&conn);
    }

    /// Somebody waits for room: closes the connection that has held the most for the longest, if it has for long enough. Says after how
    /// long to look again.
    pub(crate) fn relieve(&self, short: Short) -> Duration {
        let links: Vec<Arc<Link>> = self.links().values().filter_map(Weak::upgrade).collect();
        let mut worst: Option<(u64, &Arc<Link>)> = None;
        let mut wait = GRACE;
        for link in links.iter().filter(|link| !link.was_crowded_out()) {
            let asked = short == Short::Incoming && link.frame_cap() > self.frame_max;
            for held in link.held(short) {
                let (bytes, time) = held.now();
                if bytes == 0 {
                    continue;
                }
                if time < GRACE {
                    wait = wait.min(GRACE.saturating_sub(time));
                    continue;
                }
                let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let debt = time.saturating_mul(bytes as u64) / if asked { ASKED } else { 1 };
                if worst.is_none_or(|(most, _)| debt > most) {
                    worst = Some((debt, link));
                }
            }
        }
        match worst {
            Some((_, link)) => {
                link.crowd_out();
                CLOSING
            }
            None => wait,
        }
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<ConnId, Weak<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// So many bytes more.
    pub(crate) fn add(&self, bytes: usize) {
        if self.bytes.fetch_add(bytes, Ordering::AcqRel) == 0 {
            self.moved();
        }
    }

    /// So many bytes less.
    pub(crate) fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// So many bytes now.
    pub(crate) fn set(&self, bytes: usize) {
        if self.bytes.swap(bytes, Ordering::AcqRel) == 0 && bytes > 0 {
            self.moved();
        }
    }

    /// Something was finished, or taken: what is held is held from now on.
    pub(crate) fn moved(&self) {
        self.since.store(self.clock(), Ordering::Release);
        self.waited.store(0, Ordering::Release);
    }

    /// From here on the other side is waited for, until what this gives is dropped.
    pub(crate) fn waits(&self) -> impl Drop + '_ {
        self.waits_since.store(self.clock().max(1), Ordering::Release);
        Waits(self)
    }

    /// How many bytes are held, and for how long: the time in which the other side was waited for, and an eighth of all of it, since
    /// what takes us long is not its fault, but must not go on for ever either.
    fn now(&self) -> (usize, Duration) {
        let now = self.clock();
        let waits = match self.waits_since.load(Ordering::Acquire) {
            0 => 0,
            since => now.saturating_sub(since),
        };
        let all = now.saturating_sub(self.since.load(Ordering::Acquire));
        let time = self.waited.load(Ordering::Acquire).saturating_add(waits).min(all) + all / OUR_OWN;
        (self.bytes.load(Ordering::Acquire), Duration::from_millis(time))
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The other side is waited for as long as this lives.
struct Waits<'a>(&'a Held);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let since = self.0.waits_since.swap(0, Ordering::AcqRel);
        self.0.waited.fetch_add(self.0.clock().saturating_sub(since), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Held {
        Crowd::new(MemoryShares::of(64 << 20), 4 << 20).account()
    }

    async fn passes(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_other_side_is_waited_for_counts_in_full_and_ours_an_eighth() {
        let held = account();
        passes(5).await;
        held.add(100);
        passes(8).await;
        assert_eq!(held.now(), (100, Duration::from_secs(1)));
        let waits = held.waits();
        passes(8).await;
        assert_eq!(held.now(), (100, Duration::from_secs(8 + 2)));
        drop(waits);
        passes(8).await;
        assert_eq!(held.now(), (100, Duration::from_secs(8 + 3)));
        held.moved();
        assert_eq!(held.now(), (100, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_again_is_held_from_then_on() {
        let held = account();
        held.set(100);
        passes(8).await;
        held.set(0);
        passes(8).await;
        held.set(50);
        assert_eq!(held.now(), (50, Duration::ZERO));
    }
}
