//! What is told of a chain that moves, and of why it does not.

use super::announcing_tests::{A, Bench};
use super::core::ImportOrigin;
use crate::chain::{ChainEvent, ChainOutcome, Stop};
use crate::rules::{Rejection, Rule};
use crate::store::{StoreError, StoreErrorKind};
use crate::sync::BatchId;
use crate::types::{Hash32, Height, Tip};

fn tip(height: Height, branch: u8) -> Tip {
    Tip { height, hash: Hash32([branch; 32]) }
}

impl Bench {
    /// An import that another one than the sync asked for.
    fn imported(&mut self, tip: Option<Tip>) {
        let outcome = ChainOutcome { applied: Vec::new(), stop: None, tip };
        self.core.chain_event(self.now, ChainEvent::Imported { batch: BatchId(99), outcome });
    }

    /// An import of the sync that ends so. Gives the last trouble that the status tells of.
    fn synced(&mut self, stop: Option<Stop>) -> Option<String> {
        let batch = self.core.new_batch();
        self.core.imports.insert(batch, ImportOrigin::Sync);
        let outcome = ChainOutcome { applied: Vec::new(), stop, tip: Some(tip(9, 1)) };
        self.core.chain_event(self.now, ChainEvent::Imported { batch, outcome });
        self.core.status().last_error
    }

    /// Our tip as the status and a handshake say it.
    fn told(&self) -> Option<Tip> {
        let handshake = self.core.handshake(0);
        let told = handshake.best_height.zip(handshake.best_hash).map(|(height, hash)| Tip { height, hash });
        assert_eq!(told, self.core.status().tip);
        told
    }
}

#[tokio::test]
async fn a_branch_is_told_to_nobody_before_it_is_kept_for_good() {
    let mut bench = Bench::new().await;
    bench.imported(Some(tip(120, 1)));
    assert_eq!(bench.told(), Some(tip(120, 1)));
    bench.core.tip_update_due = None;
    bench.core.reorganising = true;
    bench.core.chain_event(bench.now, ChainEvent::RolledBack { tip: Some(tip(100, 1)), removed: Vec::new() });
    assert_eq!(bench.told(), Some(tip(120, 1)), "a crash now puts it back");
    bench.imported(Some(tip(135, 2)));
    assert_eq!(bench.told(), Some(tip(120, 1)), "a crash even now puts it back");
    bench.core.chain_event(bench.now, ChainEvent::ReorgFinished { tip: Some(tip(135, 2)) });
    assert_eq!(bench.told(), Some(tip(135, 2)));
    assert!(bench.core.tip_update_due.is_some(), "peers hear of it soon");
    assert!(bench.core.peers[&A].is_ready());
}

#[tokio::test]
async fn a_rollback_that_was_not_done_leaves_what_is_told_of_the_chain() {
    let mut bench = Bench::new().await;
    bench.imported(Some(tip(120, 1)));
    bench.core.reorganising = true;
    let why = StoreError::new(StoreErrorKind::Full, "no room").into();
    bench.core.chain_event(bench.now, ChainEvent::RollbackFailed { tip: Some(tip(120, 1)), why });
    assert_eq!(bench.told(), Some(tip(120, 1)));
    bench.imported(Some(tip(121, 1)));
    assert_eq!(bench.told(), Some(tip(121, 1)));
}

#[tokio::test]
async fn what_comes_in_the_wake_of_a_failed_import_hides_nothing_of_it() {
    let mut bench = Bench::new().await;
    let full = || Stop::Local(StoreError::new(StoreErrorKind::Full, "no room").into());
    let gap = || Stop::Rejected(Rejection::new(628, Rule::Height, "expected 10, found 628"));
    assert!(bench.synced(Some(full())).unwrap().contains("no room"));
    for _ in 0..2 {
        assert!(bench.synced(Some(gap())).unwrap().contains("no room"), "these blocks were under way already");
    }
    bench.synced(None);
    assert!(bench.synced(Some(gap())).unwrap().contains("expected 10"), "now it is a fault of its own");
}
