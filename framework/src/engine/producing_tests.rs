use std::sync::Arc;
use std::time::Duration;

use super::announcing_tests::Bench;
use super::core::{Action, ImportOrigin};
use crate::chain::{ChainCommand, ChainEvent, ProduceError};
use crate::producer::{JournalError, SignError, Slot};
use crate::rules::keys::VALIDATOR_PREFIX;
use crate::sync::Mode;
use crate::testkit::messages::Messages;
use crate::types::{Block, Hash32};

/// The first block of the chain, as our validator may make it; whether it is right shows only in the import.
fn first_block() -> Block {
    let mut block = Messages::from_printed_seed().block();
    block.header.height = 0;
    block.header.prev_hash = Hash32::ZERO;
    block
}

impl Bench {
    /// Whether our block goes on to the import, where the chain has just made it.
    fn proposes(&mut self) -> bool {
        let block = self.core.config.verifier.hasher().hash_block(Arc::new(first_block()));
        self.core.produced(Duration::ZERO, Slot { height: 0, round: 0, starts: 0, ends: 1 }, Ok(block));
        let mut imports = false;
        while let Some(action) = self.core.poll_action() {
            imports |= matches!(action, Action::Chain(ChainCommand::Import { .. }));
        }
        imports
    }
}

impl Bench {
    /// A validator at the tip of its chain.
    async fn validating() -> Self {
        let mut bench = Self::new().await;
        bench.core.mode = Mode::Synced;
        bench.core.config.validator = Some(bench.key.address(VALIDATOR_PREFIX));
        bench
    }

    /// Whether the chain is asked for a slot or for a block.
    fn tries(&mut self) -> bool {
        self.core.produce(self.now, Duration::from_secs(1_700_000_000));
        std::iter::from_fn(|| self.core.poll_action()).any(|action| matches!(action, Action::Chain(_)))
    }
}

#[tokio::test]
async fn our_block_is_proposed_where_nothing_came_first() {
    assert!(Bench::validating().await.proposes());
}

#[tokio::test]
async fn a_validator_that_is_syncing_stays_silent_whenever_it_began_to() {
    let mut bench = Bench::validating().await;
    assert!(bench.tries());
    bench.core.mode = Mode::Syncing;
    assert!(!bench.proposes(), "the block was being made when the mode changed");
    for height in 0..3 {
        bench.core.producing.slot_known(None, Some(Slot { height, round: 0, starts: 0, ends: u64::MAX }));
        assert!(!bench.tries());
    }
}

#[tokio::test]
async fn a_validator_that_is_held_drops_the_block_that_is_being_made() {
    let mut bench = Bench::validating().await;
    bench.core.hold_proposals();
    assert!(!bench.proposes());
}

#[tokio::test]
async fn our_block_is_dropped_where_a_sync_began_to_import_while_it_was_made() {
    let mut bench = Bench::validating().await;
    let batch = bench.core.new_batch();
    bench.core.imports.insert(batch, ImportOrigin::Sync);
    assert!(!bench.proposes());
}

/// The slot of block 0 has no end.
#[tokio::test]
async fn a_block_that_our_own_journal_did_not_take_is_tried_again_in_its_slot() {
    let mut bench = Bench::new().await;
    let slot = Slot { height: 0, round: 0, starts: 0, ends: u64::MAX };
    let full = JournalError { message: "no space is left on the disk".into(), source: None };
    let failed = ChainEvent::Produced { slot, result: Err(ProduceError::Sign(SignError::Journal(full))) };
    bench.core.chain_event(Duration::from_secs(100), failed);
    assert!(!bench.core.producing.tries_again(Duration::from_secs(104)), "not at once");
    assert!(bench.core.producing.tries_again(Duration::from_secs(105)));
    bench.core.chain_event(Duration::from_secs(100), ChainEvent::Produced { slot, result: Err(ProduceError::Moved) });
    assert!(!bench.core.producing.tries_again(Duration::from_secs(1000)), "nothing was at fault");
}
