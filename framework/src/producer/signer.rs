use std::sync::Arc;

use super::journal::{JournalError, Signed, SigningJournal};
use crate::rules::keys::{SecretKey, VALIDATOR_PREFIX};
use crate::rules::{HashedBlock, Hasher};
use crate::types::{Address, Block};

/// A validator's key, with the memory of what it signed.
#[derive(Debug)]
pub struct Signer {
    key: SecretKey,
    address: Address,
    journal: Box<dyn SigningJournal>,
}

/// A block was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The journal says that it would be the second one for its height and round, or below what was signed before.
    #[error(
        "not signed: block {} of round {} does not come after block {} of round {}, which was signed before",
        asked.height, asked.round, last.height, last.round
    )]
    SignedBefore {
        /// What was to be signed.
        asked: Signed,
        /// What was signed last.
        last: Signed,
    },
    /// The journal could not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Signer {
    /// A signer with its key and its journal.
    pub fn new(key: SecretKey, journal: Box<dyn SigningJournal>) -> Self {
        Self { address: key.address(VALIDATOR_PREFIX), key, journal }
    }

    /// The validator's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The number of the signature scheme in blocks.
    pub fn scheme_id(&self) -> u32 {
        self.key.scheme().id()
    }

    /// Signs a block of a round. What it returns is on record already. Blocks on the journal.
    ///
    /// Where a block for this height and round, on the same parent, was signed before, in this run or before a crash, that one is
    /// given again, bit for bit: it may have come to nothing, since the store could not take it or the process ended first, and a
    /// second one must never be.
    ///
    /// # Errors
    /// Another block for this height and round was signed, or one above it, or the journal fails.
    pub fn sign(&mut self, hasher: &Hasher, mut block: Block, round: u64) -> Result<HashedBlock, SignError> {
        let hash = hasher.header_hash(&block.header);
        let asked = Signed { height: block.header.height, round, hash };
        if let Some(last) = self.journal.last() {
            if (asked.height, asked.round) == (last.height, last.round)
                && let Some(again) = self.signed_before(hasher, &last)
                && again.link.prev_hash == block.header.prev_hash
            {
                return Ok(again);
            }
            if !asked.may_follow(Some(&last)) {
                return Err(SignError::SignedBefore { asked, last });
            }
        }
        block.pq_signature = self.key.sign(&hash);
        let block = Arc::new(block);
        self.journal.record(asked, &block)?;
        Ok(hasher.hash_block(block))
    }

    /// The block of the journal's last record, if the journal has it.
    fn signed_before(&self, hasher: &Hasher, last: &Signed) -> Option<HashedBlock> {
        let block = hasher.hash_block(self.journal.last_block()?);
        (block.link.hash == last.hash).then_some(block)
    }
}
