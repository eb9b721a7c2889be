use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::{Block, Hash32, Height};

/// A header that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Its height.
    pub height: Height,
    /// The round that its timestamp gives.
    pub round: u64,
    /// Its hash.
    pub hash: Hash32,
}

impl Signed {
    /// Whether this may be signed by whose last signature is `last`: only upwards, by height and then by round. The very
    /// same header may be signed again.
    ///
    /// It is stricter than it need be: below the last height nothing is signed, even if that very height and round never
    /// was. A validator that is set back so far waits until the chain has grown beyond its mark.
    pub fn may_follow(&self, last: Option<&Self>) -> bool {
        last.is_none_or(|last| (self.height, self.round) > (last.height, last.round) || self == last)
    }
}

/// Remembers the last block that a validator signed, so that it never signs two for one height and round, and can send that
/// very one where a crash came before anybody had it: block 0, whose round never ends, would else never be.
///
/// # Contract
/// - `last` gives what was recorded last, also after a crash at any moment: what `record` returned for is never lost.
/// - `last_block` gives the block of `last` just as it was recorded, or none: a journal need not be able to keep blocks, but then
///   its validator stays silent in a slot that a crash has cut short.
/// - After a failed `record`, `last` and `last_block` give both the old or both the new one; the caller must not use its signature.
/// - One journal serves one key, and one process at a time.
pub trait SigningJournal: Debug + Send + 'static {
    /// What was signed last.
    fn last(&self) -> Option<Signed>;

    /// The whole block that was signed last, its signature included.
    fn last_block(&self) -> Option<Arc<Block>>;

    /// Records what is about to be sent, and its header's height, round and hash, durably. May block on the disk.
    ///
    /// # Errors
    /// It could not be made durable.
    fn record(&mut self, signed: Signed, block: &Arc<Block>) -> Result<(), JournalError>;
}

/// What was signed cannot be read or recorded; the text says which file, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct JournalError {
    /// What is wrong.
    pub message: String,
    /// Why.
    #[source]
    pub source: Option<std::io::Error>,
}

/// A [`SigningJournal`] that forgets when it is dropped: for nodes whose chain does so too.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Option<(Signed, Arc<Block>)>);

impl SigningJournal for MemoryJournal {
    fn last(&self) -> Option<Signed> {
        self.0.as_ref().map(|(signed, _)| *signed)
    }

    fn last_block(&self) -> Option<Arc<Block>> {
        self.0.as_ref().map(|(_, block)| Arc::clone(block))
    }

    fn record(&mut self, signed: Signed, block: &Arc<Block>) -> Result<(), JournalError> {
        self.0 = Some((signed, Arc::clone(block)));
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl<J: SigningJournal + ?Sized> SigningJournal for Box<J> {
    fn last(&self) -> Option<Signed> {
        (**self).last()
    }
    fn last_block(&self) -> Option<Arc<Block>> {
        (**self).last_block()
    }
    fn record(&mut self, signed: Signed, block: &Arc<Block>) -> Result<(), JournalError> {
        (**self).record(signed, block)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(height: u64, round: u64, hash: u8) -> Signed {
        Signed { height, round, hash: Hash32([hash; 32]) }
    }

    #[test]
    fn signs_upwards_by_height_and_then_by_round() {
        let last = signed(10, 3, 1);
        for (next, allowed) in [
            (signed(11, 0, 2), true),
            (signed(10, 4, 2), true),
            (signed(10, 3, 1), true),
            (signed(10, 3, 2), false),
            (signed(10, 2, 2), false),
            (signed(9, 9, 2), false),
        ] {
            assert_eq!(next.may_follow(Some(&last)), allowed, "{next:?}");
        }
        assert!(signed(0, 0, 1).may_follow(None));
    }

    proptest! {
        #[test]
        fn no_order_of_requests_gives_two_headers_for_one_height_and_round(
            requests in prop::collection::vec((0u64..6, 0u64..4, 0u8..3), 0..200)
        ) {
            let mut journal = MemoryJournal::default();
            let mut granted = std::collections::HashMap::new();
            let block = crate::producer::any_block();
            for (height, round, hash) in requests {
                let next = signed(height, round, hash);
                if next.may_follow(journal.last().as_ref()) {
                    journal.record(next, &block).unwrap();
                    prop_assert_eq!(*granted.entry((height, round)).or_insert(hash), hash);
                }
            }
        }
    }
}
