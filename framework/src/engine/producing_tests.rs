use std::sync::Arc;
use std::time::Duration;

use super::announcing_tests::Bench;
use super::core::{Action, ImportOrigin};
use crate::chain::{ChainCommand, ChainEvent, ProduceError};
use crate::producer::{JournalError, SignError, Slot};
use crate::rules::Verifier;
use crate::rules::keys::VALIDATOR_PREFIX;
use crate::sync::Mode;
use crate::testkit::messages::Messages;
use crate::types::{Block, Checkpoint, Genesis, Hash32, Height, Tip};

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

/// Whether a validator that is SYNCED looks for its slot.
fn looks_for_a_slot(bench: &mut Bench) -> bool {
    bench.core.config.validator = Some(bench.key.address(VALIDATOR_PREFIX));
    bench.core.mode = Mode::Synced;
    bench.core.produce(Duration::ZERO, Duration::from_secs(1_800_000_000));
    let mut looks = false;
    while let Some(action) = bench.core.poll_action() {
        looks |= matches!(action, Action::Chain(ChainCommand::NextSlot));
    }
    looks
}

#[tokio::test]
async fn nothing_is_proposed_on_a_chain_that_has_not_reached_a_checkpoint() {
    let demanding = |height: Height| async move {
        let mut bench = Bench::new().await;
        let checkpoints = vec![Checkpoint { height, hash: Hash32([5; 32]) }];
        let genesis = Genesis { checkpoints, ..bench.core.config.verifier.genesis().as_ref().clone() };
        bench.core.config.verifier = Verifier::new(Arc::new(genesis));
        bench.core.tip = Some(Tip { height: 7, hash: Hash32([5; 32]) });
        bench.core.gossip_tip = bench.core.tip;
        bench
    };
    let mut at_its_height = demanding(7).await;
    assert!(looks_for_a_slot(&mut at_its_height));
    assert_eq!(at_its_height.core.status().checkpoint_ahead, None);
    let mut below = demanding(8).await;
    assert!(!looks_for_a_slot(&mut below));
    assert_eq!(below.core.status().checkpoint_ahead.map(|ahead| ahead.checkpoint.height), Some(8));
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
