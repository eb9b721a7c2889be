//! What others are told of a chain that is being reorganised.

use super::announcing_tests::{A, Bench};
use crate::chain::{ChainEvent, ChainOutcome};
use crate::sync::BatchId;
use crate::types::{Hash32, Height, Tip};

fn tip(height: Height, branch: u8) -> Option<Tip> {
    Some(Tip { height, hash: Hash32([branch; 32]) })
}

impl Bench {
    /// An import that another one than the sync asked for.
    fn imported(&mut self, tip: Option<Tip>) {
        let outcome = ChainOutcome { applied: Vec::new(), stop: None, tip };
        self.core.chain_event(self.now, ChainEvent::Imported { batch: BatchId(99), outcome });
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
    bench.imported(tip(120, 1));
    assert_eq!(bench.told(), tip(120, 1));
    bench.core.tip_update_due = None;
    bench.core.reorganising = true;
    bench.core.chain_event(bench.now, ChainEvent::RolledBack { tip: tip(100, 1), removed: Vec::new() });
    assert_eq!(bench.told(), tip(120, 1), "a crash now puts it back");
    bench.imported(tip(135, 2));
    assert_eq!(bench.told(), tip(120, 1), "a crash even now puts it back");
    bench.core.chain_event(bench.now, ChainEvent::ReorgFinished { tip: tip(135, 2) });
    assert_eq!(bench.told(), tip(135, 2));
    assert!(bench.core.tip_update_due.is_some(), "peers hear of it soon");
    assert!(bench.core.peers[&A].is_ready());
}

#[tokio::test]
async fn a_rollback_that_was_not_done_leaves_what_is_told_of_the_chain() {
    let mut bench = Bench::new().await;
    bench.imported(tip(120, 1));
    bench.core.reorganising = true;
    let why = crate::store::StoreError::new(crate::store::StoreErrorKind::Full, "no room").into();
    bench.core.chain_event(bench.now, ChainEvent::RollbackFailed { tip: tip(120, 1), why });
    assert_eq!(bench.told(), tip(120, 1));
    bench.imported(tip(121, 1));
    assert_eq!(bench.told(), tip(121, 1));
}
