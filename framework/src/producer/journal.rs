use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::types::{Hash32, Height};

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

/// Remembers the last header that a validator signed, so that it never signs two for one height and round.
///
/// # Contract
/// - `last` gives what was recorded last, also after a crash at any moment: what `record` returned for is never lost.
/// - After a failed `record`, `last` gives either the old or the new header; the caller must not use its signature.
/// - One journal serves one key, and one process at a time.
pub trait SigningJournal: Debug + Send + 'static {
    /// What was signed last.
    fn last(&self) -> Option<Signed>;

    /// Records what is about to be sent, durably. May block on the disk.
    ///
    /// # Errors
    /// It could not be made durable.
    fn record(&mut self, signed: Signed) -> Result<(), JournalError>;
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
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryJournal(Option<Signed>);

impl SigningJournal for MemoryJournal {
    fn last(&self) -> Option<Signed> {
        self.0
    }

    fn record(&mut self, signed: Signed) -> Result<(), JournalError> {
        self.0 = Some(signed);
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl<J: SigningJournal + ?Sized> SigningJournal for Box<J> {
    fn last(&self) -> Option<Signed> {
        (**self).last()
    }
    fn record(&mut self, signed: Signed) -> Result<(), JournalError> {
        (**self).record(signed)
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
            for (height, round, hash) in requests {
                let next = signed(height, round, hash);
                if next.may_follow(journal.last().as_ref()) {
                    journal.record(next).unwrap();
                    prop_assert_eq!(*granted.entry((height, round)).or_insert(hash), hash);
                }
            }
        }
    }
}
