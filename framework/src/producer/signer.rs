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
    /// What was signed last in this run.
    last: Option<HashedBlock>,
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
        Self { address: key.address(VALIDATOR_PREFIX), key, journal, last: None }
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
    /// Where a block for this height and round, on the same parent, was signed in this run, that one is given again: it
    /// may have come to nothing, since the store could not take it, and a second one must never be.
    ///
    /// # Errors
    /// Another block for this height and round was signed, or one above it, or the journal fails.
    pub fn sign(&mut self, hasher: &Hasher, mut block: Block, round: u64) -> Result<HashedBlock, SignError> {
        let hash = hasher.header_hash(&block.header);
        let asked = Signed { height: block.header.height, round, hash };
        let last = self.journal.last();
        if let Some(last) = last
            && !asked.may_follow(Some(&last))
        {
            let same_slot = (asked.height, asked.round) == (last.height, last.round);
            let signed = self.last.as_ref().filter(|signed| signed.link.hash == last.hash);
            let again = signed.filter(|signed| same_slot && signed.link.prev_hash == block.header.prev_hash);
            return again.cloned().ok_or(SignError::SignedBefore { asked, last });
        }
        if last != Some(asked) {
            self.journal.record(asked)?;
        }
        block.pq_signature = self.key.sign(&hash);
        let signed = hasher.hash_block(block.into());
        self.last = Some(signed.clone());
        Ok(signed)
    }
}
