use std::borrow::Borrow;

use ed25519_zebra::Signature;

use super::ed25519::{self, KeyPoints};
use super::keys::{self, KeyError, Scheme, Secp256k1Key};
use crate::types::{Hash32, HashRules, HexText};

/// A signature that remains to be checked, with everything read; what costs more than reading is left to the check.
#[derive(Debug, Clone)]
pub struct SignatureCheck {
    /// What is signed: `None` the header, `Some(i)` transaction i.
    pub tx: Option<usize>,
    signed: Signed,
}

#[derive(Debug, Clone)]
enum Signed {
    Secp256k1 { key: Secp256k1Key, signature: secp256k1::ecdsa::Signature, hash: Hash32 },
    Ed25519(ed25519::Signed),
}

impl SignatureCheck {
    /// Reads key and signature by the scheme of a family of rules.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn new(
        rules: HashRules,
        tx: Option<usize>,
        pub_key: &HexText,
        signature: &HexText,
        hash: Hash32,
    ) -> Result<Self, KeyError> {
        let signed = match Scheme::of(rules) {
            Scheme::Secp256k1 => Signed::Secp256k1 {
                key: Secp256k1Key::read(pub_key)?,
                signature: keys::secp256k1_signature(signature)?,
                hash,
            },
            Scheme::Ed25519 => Signed::Ed25519(ed25519::Signed {
                key: *keys::ed25519_bytes(pub_key)?,
                signature: Signature::from_bytes(keys::ed25519_signature(signature)?),
                hash,
            }),
        };
        Ok(Self { tx, signed })
    }

    /// The key, where signatures of one key cost less in a batch together.
    pub(crate) fn batch_key(&self) -> Option<&[u8; 32]> {
        match &self.signed {
            Signed::Secp256k1 { .. } => None,
            Signed::Ed25519(signed) => Some(&signed.key),
        }
    }

    fn is_batched(&self) -> bool {
        matches!(self.signed, Signed::Ed25519(_))
    }

    /// Whether the signature is valid.
    pub fn is_valid(&self) -> bool {
        self.verify().is_ok()
    }

    /// Verifies the signature.
    ///
    /// # Errors
    /// The key is no point of the curve, or the signature is not one of this key.
    pub fn verify(&self) -> Result<(), SignatureFault> {
        match &self.signed {
            Signed::Secp256k1 { key, signature, hash } => signature
                .verify(secp256k1::Message::from_digest(hash.0), &key.parse()?)
                .map_err(|_| SignatureFault::Invalid),
            Signed::Ed25519(signed) => signed.verify(),
        }
    }
}

/// A signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// The key is no point of the curve.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature is not one of this key over this hash.
    #[error("the signature is not one of this key")]
    Invalid,
}

/// More in a batch than this gain little: the cost of a signature falls with the logarithm of their number.
pub(crate) const MAX_BATCH: usize = 4096;

/// So few are checked one by one where a batch of them failed.
const MIN_BATCH: usize = 8;

/// So many are checked together where each verdict counts: what one bad signature costs the good ones is bounded by it.
const EACH_BATCH: usize = 1024;

/// Runs checks; gives the index of the first that fails. Ed25519 runs in batches, which give the verdicts of single
/// checks by the construction of ZIP 215.
pub(super) fn verify<C: Borrow<SignatureCheck>>(checks: &[C], known: &KeyPoints) -> Result<(), usize> {
    for (n, chunk) in checks.chunks(MAX_BATCH).enumerate() {
        if !batch_is_valid(chunk, known)
            && let Some(i) = first_invalid(chunk, known)
        {
            return Err(n * MAX_BATCH + i);
        }
    }
    Ok(())
}

/// The first invalid one of checks that are not valid as a batch. Halves are tried as batches, so that a bad signature among
/// thousands costs about one batch more, whoever sends it.
fn first_invalid<C: Borrow<SignatureCheck>>(checks: &[C], known: &KeyPoints) -> Option<usize> {
    let (left, right) = checks.split_at(checks.len() / 2);
    if checks.len() <= MIN_BATCH || !checks[0].borrow().is_batched() {
        return checks.iter().position(|check| !check.borrow().is_valid());
    }
    if batch_is_valid(left, known) {
        return first_invalid(right, known).map(|i| left.len() + i);
    }
    first_invalid(left, known).or_else(|| first_invalid(right, known).map(|i| left.len() + i))
}

/// Runs checks; says of each whether it holds. What a bad one among good ones costs is bounded: a batch that is not good as
/// a whole is checked one by one.
pub(super) fn verify_each(checks: &[SignatureCheck], known: &KeyPoints) -> Vec<Result<(), SignatureFault>> {
    let verdicts = checks.chunks(EACH_BATCH).flat_map(|chunk| {
        let good = batch_is_valid(chunk, known);
        chunk.iter().map(move |check| if good { Ok(()) } else { check.verify() })
    });
    verdicts.collect()
}

/// Whether all of these are Ed25519 signatures and valid as a batch. `false` decides nothing.
fn batch_is_valid<C: Borrow<SignatureCheck>>(checks: &[C], known: &KeyPoints) -> bool {
    // A single check is cheaper than a batch of one.
    if checks.len() < 2 {
        return false;
    }
    let signed = checks.iter().map(|check| match &check.borrow().signed {
        Signed::Ed25519(signed) => Some(signed),
        Signed::Secp256k1 { .. } => None,
    });
    signed.collect::<Option<Vec<_>>>().is_some_and(|signed| ed25519::all_hold(&signed, known))
}
