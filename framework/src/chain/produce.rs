use std::sync::{Arc, PoisonError};

use super::Chain;
use crate::executor::{ExecuteError, ProposalTemplate};
use crate::producer::{SignError, Slot, next_slot};
use crate::rules::HashedBlock;
use crate::types::{Tip, Transaction};

/// A block was not produced.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// This chain has no signer.
    #[error("this node has no validator key")]
    NoSigner,
    /// The chain does not end any more where it did when the slot was looked up.
    #[error("the chain has moved on")]
    Moved,
    /// It is not, or no longer, our turn.
    #[error("the slot of round {} at height {} is over, or not ours", slot.round, slot.height)]
    NotOurSlot {
        /// The slot that was meant.
        slot: Slot,
    },
    /// The block could not be made.
    #[error("the block could not be made: {0}")]
    Execute(#[from] ExecuteError),
    /// The block was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Chain {
    /// The slot in which this node's validator may propose on top of the tip: the next one from `now` on (unix seconds).
    /// `None` where there is no signer, or it is not among the active validators.
    pub fn next_slot(&self, now: u64) -> Option<Slot> {
        let signer = Arc::clone(self.signer.as_ref()?);
        let address = signer.lock().unwrap_or_else(PoisonError::into_inner).address().clone();
        let genesis = self.verifier.genesis();
        // The turns repeat after as many rounds as there are active validators; a genesis may name more than an election.
        let active = u64::from(genesis.params.max_validators).max(genesis.validators.len() as u64);
        next_slot(self.core().parent(), genesis.params.block_time, now, active, |height, round| {
            self.proposer(height, round).is_some_and(|proposer| proposer.address == address)
        })
    }

    /// Makes and signs a block in a slot on top of `parent`, which must be the tip still. It is on the signing journal's
    /// record, and not imported yet.
    ///
    /// # Errors
    /// See [`ProduceError`]; the chain is as it was.
    pub async fn produce(
        &mut self,
        parent: Option<Tip>,
        slot: Slot,
        txs: Vec<Arc<Transaction>>,
    ) -> Result<HashedBlock, ProduceError> {
        let signer = Arc::clone(self.signer.as_ref().ok_or(ProduceError::NoSigner)?);
        if self.tip() != parent {
            return Err(ProduceError::Moved);
        }
        let timestamp = self.env.clock.unix_seconds();
        if !slot.contains(timestamp) || self.next_slot(timestamp) != Some(slot) {
            return Err(ProduceError::NotOurSlot { slot });
        }
        let (proposer, scheme_id) = {
            let signer = signer.lock().unwrap_or_else(PoisonError::into_inner);
            (signer.address().clone(), signer.scheme_id())
        };
        let template = ProposalTemplate { parent, timestamp, proposer, scheme_id, txs };
        let block = self.propose(template).await?;
        let hasher = self.verifier.hasher().clone();
        let sign = move || {
            let mut signer = signer.lock().unwrap_or_else(PoisonError::into_inner);
            signer.sign(&hasher, block, slot.round)
        };
        Ok(self.env.pool.blocking(sign).await?)
    }
}
