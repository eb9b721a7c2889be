use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::peers::SeenCache;
use crate::types::{Hash32, HexText, Transaction};

/// How many are remembered: five times what the pool holds, since blocks bring some of it long after. 6 MiB when full.
const REMEMBERED: usize = 50_000;

/// Transactions whose sender and signature were found good for the pool, so that their blocks need not check them again.
///
/// Each is named by all that the check of a signature depends on: a v1 hash covers neither the signature nor, without
/// doubt about where it begins, the key.
#[derive(Debug, Clone)]
pub(crate) struct VerifiedTxs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Who only syncs never pays for a look into the set.
    used: AtomicBool,
    seen: Mutex<SeenCache>,
}

impl Default for VerifiedTxs {
    fn default() -> Self {
        Self(Arc::new(Shared { used: AtomicBool::new(false), seen: Mutex::new(SeenCache::new(REMEMBERED)) }))
    }
}

impl VerifiedTxs {
    /// Remembers that the signatures of transactions with these ids are good.
    pub(crate) fn insert_all(&self, ids: impl IntoIterator<Item = SignedId>) {
        let mut seen = self.seen();
        for SignedId(id) in ids {
            seen.insert(id);
        }
        self.0.used.store(true, Ordering::Release);
    }

    /// Whether the signature of a transaction with this hash was found good.
    pub(crate) fn contains(&self, tx: &Transaction, hash: &Hash32) -> bool {
        self.0.used.load(Ordering::Acquire) && self.seen().contains(&SignedId::of(tx, hash).0)
    }

    fn seen(&self) -> MutexGuard<'_, SeenCache> {
        // A panic elsewhere leaves at worst an id that is never forgotten.
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names all that the check of a transaction's signature depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignedId(Hash32);

impl SignedId {
    /// Of a transaction with this hash.
    pub(crate) fn of(tx: &Transaction, hash: &Hash32) -> Self {
        let mut digest = Sha256::new_with_prefix(hash.0);
        for text in [&tx.pub_key, &tx.signature] {
            add(&mut digest, text);
        }
        Self(Hash32(digest.finalize().into()))
    }
}

/// Adds a text such that no two lists of texts add the same bytes.
fn add(digest: &mut Sha256, text: &HexText) {
    let written;
    let (kind, bytes) = if let Some(bytes) = text.canonical_bytes() {
        (0u8, bytes)
    } else {
        written = text.text();
        (1, written.as_bytes())
    };
    digest.update([kind]);
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::messages::Messages;

    #[test]
    fn knows_only_the_very_same_signature_key_and_hash() {
        let tx = Messages::from_printed_seed().transaction();
        let hash = Hash32([1; 32]);
        let verified = VerifiedTxs::default();
        assert!(!verified.contains(&tx, &hash));
        verified.insert_all([SignedId::of(&tx, &hash)]);
        assert!(verified.contains(&tx, &hash));
        assert!(!verified.contains(&tx, &Hash32([2; 32])));
        let other = HexText::new("0102030405");
        assert!(!verified.contains(&Transaction { signature: other.clone(), ..tx.clone() }, &hash));
        assert!(!verified.contains(&Transaction { pub_key: other, ..tx }, &hash));
    }
}
