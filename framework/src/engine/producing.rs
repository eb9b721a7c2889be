use std::time::Duration;

use super::core::{Action, Core, ImportOrigin};
use crate::chain::{ChainCommand, ProduceError};
use crate::producer::{SignError, Slot, candidates};
use crate::rules::HashedBlock;
use crate::sync::Mode;
use crate::types::Tip;

/// Where we stand with our next block. Without IO and clock, like all of the core.
#[derive(Debug, Default)]
pub(super) struct Producing {
    state: State,
    /// When to look again.
    deadline: Option<Duration>,
    /// Whether nothing more is to be proposed.
    held: bool,
}

#[derive(Debug, Default)]
enum State {
    /// The next slot is not known.
    #[default]
    Unknown,
    /// The chain was asked for the slot or for the block.
    Asked,
    /// This is the slot on top of this tip, if there is one.
    Waiting { tip: Option<Tip>, slot: Option<Slot> },
    /// In this slot nothing more is tried on top of this tip, but `again` where our own disk was at fault.
    Done { tip: Option<Tip>, slot: Slot, again: Option<Duration> },
}

/// The wait before a block is tried again that our own journal or store has not taken.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

impl Producing {
    /// When to call [`Core::produce`] again, at the latest.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The chain has looked up our slot.
    pub(super) fn slot_known(&mut self, tip: Option<Tip>, slot: Option<Slot>) {
        self.state = State::Waiting { tip, slot };
    }

    /// Whether another attempt is due, in a slot in which one failed.
    #[cfg(test)]
    pub(super) fn tries_again(&self, now: Duration) -> bool {
        matches!(self.state, State::Done { again: Some(at), .. } if at <= now)
    }

    /// Our own store has not taken the block of this slot.
    pub(super) fn not_stored(&mut self, now: Duration) {
        if let State::Done { again, .. } = &mut self.state {
            *again = Some(now + AGAIN_AFTER);
        }
    }
}

impl Core {
    /// Proposes a block if it is time to. `unix_now` is the wall clock. Call it after every event, and at
    /// [`next_deadline`](Self::next_deadline).
    pub(crate) fn produce(&mut self, now: Duration, unix_now: Duration) {
        self.producing.deadline = None;
        if self.config.validator.is_none() || !self.may_propose() {
            return;
        }
        let seconds = unix_now.as_secs();
        let moved = |tip: &Option<Tip>| *tip != self.tip;
        match &self.producing.state {
            State::Waiting { tip, .. } | State::Done { tip, .. } if moved(tip) => self.ask_for_slot(),
            State::Asked | State::Waiting { slot: None, .. } => {}
            State::Waiting { slot: Some(slot), .. } if slot.contains(seconds) => {
                let slot = *slot;
                self.producing.state = State::Asked;
                let params = &self.config.verifier.genesis().params;
                let txs = candidates(&self.pool, params, &self.config.limits);
                self.push(Action::Chain(ChainCommand::Produce { parent: self.tip, slot, txs }));
            }
            State::Waiting { slot: Some(slot), .. } if seconds < slot.starts => {
                self.producing.deadline = Some(now + Duration::from_secs(slot.starts).saturating_sub(unix_now));
            }
            State::Done { slot, again, .. } if seconds < slot.ends && again.is_none_or(|at| now < at) => {
                // The slot of block 0 has no end.
                let end = now.saturating_add(Duration::from_secs(slot.ends).saturating_sub(unix_now));
                self.producing.deadline = Some(again.map_or(end, |at| at.min(end)));
            }
            // Nothing is known, or the slot is over, or it is time for another attempt.
            State::Unknown | State::Waiting { .. } | State::Done { .. } => self.ask_for_slot(),
        }
    }

    /// Proposes no more blocks, nor one that is being made: it is dropped when it comes.
    pub(crate) fn hold_proposals(&mut self) {
        self.producing.held = true;
    }

    /// Only at the end of the best chain that we know of, which has all that is demanded of it, and while nobody else is changing it.
    fn may_propose(&self) -> bool {
        self.mode == Mode::Synced
            && self.checkpoint_ahead().is_none()
            && !self.producing.held
            && !self.reorganising
            && self.imports.is_empty()
            && self.gossip_tip == self.tip
            && self.fatal.is_none()
    }

    fn ask_for_slot(&mut self) {
        self.producing.state = State::Asked;
        self.push(Action::Chain(ChainCommand::NextSlot));
    }

    /// The chain has made our block, or has not.
    pub(super) fn produced(&mut self, now: Duration, slot: Slot, result: Result<HashedBlock, ProduceError>) {
        // Whatever became of it: one attempt in a slot and on a tip is enough.
        let ours_at_fault =
            matches!(&result, Err(ProduceError::Execute(_) | ProduceError::Sign(SignError::Journal(_))));
        let again = ours_at_fault.then_some(now + AGAIN_AFTER);
        self.producing.state = State::Done { tip: self.tip, slot, again };
        match result {
            // All may have changed since this block was asked for.
            Ok(block) if self.may_propose() && block.link.extends(self.tip.as_ref()) => {
                let (height, round) = (slot.height, slot.round);
                tracing::info!(height, round, txs = block.tx_hashes.len(), "proposed a block");
                self.seen_blocks.insert(block.link.hash);
                self.gossip_tip = Some(block.link.tip());
                let batch = self.new_batch();
                self.imports.insert(batch, ImportOrigin::Own);
                self.push(Action::Chain(ChainCommand::Import { batch, blocks: vec![block] }));
            }
            Ok(_) | Err(ProduceError::Moved | ProduceError::NotOurSlot { .. }) => {
                tracing::debug!(
                    height = slot.height,
                    "no block proposed: another one came first, or it is not to be any more"
                );
            }
            Err(error) => {
                tracing::warn!(height = slot.height, round = slot.round, "no block proposed: {error}");
                self.last_error = Some(format!("block {} was not proposed: {error}", slot.height));
            }
        }
    }
}
