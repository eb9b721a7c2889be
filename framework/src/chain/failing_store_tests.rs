use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::produce_tests::mainline;
use super::*;
use crate::env::{Clock, ComputePool};
use crate::executor::accounts::AccountExecutor;
use crate::store::memory::MemoryStore;
use crate::sync::BatchId;
use crate::testkit::store::{HookedStore, StoreCall, StoreHooks};

/// A store on a disk that fails when it is told to.
type Failing = HookedStore<MemoryStore, Failures>;

#[derive(Debug, Default)]
struct Failures {
    /// The next commit fails and leaves nothing.
    refuses: AtomicBool,
    /// The next commit takes effect, and fails all the same: as one whose last `fsync` reports an error.
    fails_late: AtomicBool,
    /// The next rollback takes effect, and no block can be read after it.
    breaks_at_rollback: AtomicBool,
    broken: AtomicBool,
}

fn failing(fails: bool) -> Result<(), StoreError> {
    if fails { Err(StoreError::new(StoreErrorKind::Io, "the disk failed")) } else { Ok(()) }
}

impl StoreHooks for Failures {
    fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        match call {
            StoreCall::Blocks => failing(self.broken.load(Ordering::Relaxed)),
            StoreCall::Commit => failing(self.refuses.swap(false, Ordering::Relaxed)),
            _ => Ok(()),
        }
    }

    fn after(&self, call: StoreCall) -> Result<(), StoreError> {
        if call == StoreCall::Rollback {
            self.broken.store(self.breaks_at_rollback.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        failing(call == StoreCall::Commit && self.fails_late.swap(false, Ordering::Relaxed))
    }
}

/// A clock long after every block of the vectors.
#[derive(Debug)]
pub(super) struct Late;

impl Clock for Late {
    fn unix_seconds(&self) -> u64 {
        u64::from(u32::MAX)
    }
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// The reference's chain, and a pipeline over a store that can fail.
struct Bench {
    store: Arc<Failing>,
    handle: ChainHandle,
    verifier: Verifier,
    blocks: Vec<Block>,
    batches: u64,
}

impl Bench {
    async fn new() -> Self {
        let (genesis, blocks) = mainline();
        let store = Arc::new(Failing::default());
        let env = Env { clock: Arc::new(Late), pool: ComputePool::Inline, seed: 0 };
        let chain = Chain::open(Arc::clone(&genesis), Arc::clone(&store) as _, Arc::new(AccountExecutor), env).await;
        let handle = ChainHandle::spawn(chain.unwrap());
        Self { store, handle, verifier: Verifier::new(genesis), blocks, batches: 0 }
    }

    async fn import(&mut self, heights: RangeInclusive<usize>) -> ChainOutcome {
        self.batches += 1;
        let batch = BatchId(self.batches);
        let hasher = self.verifier.hasher();
        let blocks = self.blocks[heights].iter().map(|block| hasher.hash_block(Arc::new(block.clone()))).collect();
        let mut event = self.order(ChainCommand::Import { batch, blocks }).await;
        // What is executed is told before it is durable.
        while let ChainEvent::Executed { .. } = event {
            event = self.handle.events.recv().await.unwrap();
        }
        match event {
            ChainEvent::Imported { batch: done, outcome } if done == batch => outcome,
            other => panic!("{other:?}"),
        }
    }

    async fn order(&mut self, command: ChainCommand) -> ChainEvent {
        self.handle.commands.send(command).await.unwrap();
        loop {
            match self.handle.events.recv().await.unwrap() {
                ChainEvent::Executed { .. } => {}
                event => return event,
            }
        }
    }

    async fn height(&self) -> Option<Height> {
        self.store.inner.tip().await.unwrap().map(|tip| tip.height)
    }
}

#[tokio::test]
async fn a_commit_that_took_effect_although_it_failed_is_built_on() {
    let mut bench = Bench::new().await;
    bench.import(0..=9).await;
    bench.store.hooks.fails_late.store(true, Ordering::Relaxed);
    let outcome = bench.import(10..=19).await;
    assert!(matches!(outcome.stop, Some(Stop::Local(_))), "{outcome:?}");
    assert!(outcome.applied.is_empty(), "nobody may count on what was said to have failed");
    assert_eq!(outcome.tip.unwrap().height, 19, "the store's own tip, so that the next blocks asked for link to it");
    let outcome = bench.import(20..=29).await;
    assert_eq!((outcome.stop.is_none(), outcome.applied.len()), (true, 10), "{outcome:?}");
    assert_eq!(bench.height().await, Some(29));
}

#[tokio::test]
async fn a_commit_that_failed_is_done_again() {
    let mut bench = Bench::new().await;
    bench.import(0..=9).await;
    bench.store.hooks.refuses.store(true, Ordering::Relaxed);
    let outcome = bench.import(10..=19).await;
    assert!(matches!(outcome.stop, Some(Stop::Local(_))), "{outcome:?}");
    assert_eq!(outcome.tip.unwrap().height, 9);
    let outcome = bench.import(10..=29).await;
    assert_eq!((outcome.stop.is_none(), outcome.applied.len()), (true, 20), "{outcome:?}");
    assert_eq!(bench.height().await, Some(29));
}

#[tokio::test]
async fn a_rollback_that_cannot_be_followed_ends_the_chain_instead_of_passing_for_none() {
    let mut bench = Bench::new().await;
    bench.import(0..=9).await;
    bench.store.hooks.breaks_at_rollback.store(true, Ordering::Relaxed);
    let event = bench.order(ChainCommand::Rollback { keep: Some(5), room: usize::MAX }).await;
    assert!(matches!(event, ChainEvent::Failed(_)), "{event:?}");
    assert_eq!(bench.height().await, Some(5), "the store did move");
}

#[tokio::test]
async fn a_rollback_that_did_nothing_leaves_a_chain_that_goes_on() {
    let mut bench = Bench::new().await;
    bench.import(0..=9).await;
    let event = bench.order(ChainCommand::Rollback { keep: Some(99), room: usize::MAX }).await;
    assert!(matches!(event, ChainEvent::RollbackFailed { tip: Some(tip), .. } if tip.height == 9), "{event:?}");
    assert_eq!(bench.import(10..=19).await.applied.len(), 10);
}
