//! Ed25519 by the rule of ZIP 215: one by one, and in batches that give the same verdicts.

use std::sync::{Arc, PoisonError, RwLock};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use ed25519_zebra::{Signature, VerificationKey};
use sha2::{Digest, Sha256, Sha512};

use super::SignatureFault;
use super::keys::KeyError;
use crate::fast_map::FastMap;
use crate::types::Hash32;

/// A signature with what it claims: this key, over this hash.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) key: [u8; 32],
    pub(super) signature: Signature,
    pub(super) hash: Hash32,
}

impl Signed {
    /// Verifies this one alone.
    pub(super) fn verify(&self) -> Result<(), SignatureFault> {
        VerificationKey::try_from(self.key)
            .map_err(|_| KeyError(format!("{} is no Ed25519 public key", hex::encode(self.key))))?
            .verify(&self.signature, &self.hash.0)
            .map_err(|_| SignatureFault::Invalid)
    }

    /// What ties the signature to its key and hash: k of RFC 8032, section 5.1.7.
    fn challenge(&self) -> Scalar {
        let digest = Sha512::new_with_prefix(self.signature.r_bytes()).chain_update(self.key).chain_update(self.hash.0);
        Scalar::from_bytes_mod_order_wide(&digest.finalize().into())
    }
}

/// Whether all of them hold: for random z, 8·(Σ z·R + Σ z·k·A − Σ z·s·B) is the neutral point. Each key's terms are added up first,
/// so that a key costs the same however much it signed.
///
/// `false` says that at least one does not hold, but not which.
pub(super) fn all_hold(batch: &[&Signed], known: &KeyPoints) -> bool {
    let Some((sum, news)) = sum(batch, known) else { return false };
    let hold = sum.mul_by_cofactor().is_identity();
    // Only of keys that have signed something.
    if hold && !news.is_empty() {
        known.add(news);
    }
    hold
}

/// The sum that is to be neutral, and what is news to the known keys; `None` where something cannot be read.
fn sum(batch: &[&Signed], known: &KeyPoints) -> Option<(EdwardsPoint, Vec<KeyPoint>)> {
    let mut numbers = Coefficients::of(batch);
    let mut keys: Vec<([u8; 32], Scalar)> = Vec::new();
    let mut places: FastMap<[u8; 32], usize> = FastMap::default();
    let (mut scalars, mut points) = (Vec::with_capacity(2 * batch.len()), Vec::with_capacity(2 * batch.len()));
    let mut base = Scalar::ZERO;
    for signed in batch {
        let z = numbers.next();
        points.push(CompressedEdwardsY(*signed.signature.r_bytes()).decompress()?);
        scalars.push(z);
        base -= z * Option::<Scalar>::from(Scalar::from_canonical_bytes(*signed.signature.s_bytes()))?;
        let place = *places.entry(signed.key).or_insert(keys.len());
        if place == keys.len() {
            keys.push((signed.key, Scalar::ZERO));
        }
        keys[place].1 += z * signed.challenge();
    }
    let (of_keys, news) = known.find(keys.iter().map(|(key, _)| key))?;
    points.extend(of_keys);
    scalars.extend(keys.iter().map(|(_, scalar)| *scalar));
    points.push(ED25519_BASEPOINT_POINT);
    scalars.push(base);
    Some((EdwardsPoint::vartime_multiscalar_mul(&scalars, &points), news))
}

/// The random coefficients of a batch, drawn from a hash of everything in it: nobody can choose signatures after seeing
/// them, and the same batch always takes the same course.
struct Coefficients {
    seed: [u8; 32],
    block: u64,
    spare: Option<u128>,
}

impl Coefficients {
    fn of(batch: &[&Signed]) -> Self {
        let mut transcript = Sha256::new();
        for signed in batch {
            transcript.update(signed.key);
            transcript.update(signed.signature.to_bytes());
            transcript.update(signed.hash.0);
        }
        Self { seed: transcript.finalize().into(), block: 0, spare: None }
    }

    /// 128 bits each: two of every hash.
    fn next(&mut self) -> Scalar {
        let number = self.spare.take().unwrap_or_else(|| {
            let hash = Sha256::new_with_prefix(self.seed).chain_update(self.block.to_le_bytes()).finalize();
            self.block += 1;
            let half = |at: usize| u128::from_le_bytes(std::array::from_fn(|i| hash[at + i]));
            self.spare = Some(half(16));
            half(0)
        });
        Scalar::from(number)
    }
}

/// A public key and the point that it encodes.
type KeyPoint = ([u8; 32], EdwardsPoint);

/// Keys in each of two generations: what a table of 32,768 slots holds. Both together are 12 MiB when full.
const GENERATION: usize = 28_672;

/// The points of public keys that were met before: to find one takes a fifth of the time that its signature takes. Cheap to clone, and
/// then shared.
///
/// Bounded: when the young generation is full, it becomes the old one, and the old one is forgotten; a key that is met again is young again.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyPoints(Arc<RwLock<Generations>>);

#[derive(Debug, Default)]
struct Generations {
    young: FastMap<[u8; 32], EdwardsPoint>,
    old: FastMap<[u8; 32], EdwardsPoint>,
}

impl KeyPoints {
    /// The points of these keys, in order, and those among them that [`add`](Self::add) should be told of: not met before, or about to be
    /// forgotten. `None` where one is no point of the curve.
    fn find<'a>(&self, keys: impl Iterator<Item = &'a [u8; 32]> + Clone) -> Option<(Vec<EdwardsPoint>, Vec<KeyPoint>)> {
        let mut news = Vec::new();
        let known: Vec<Option<EdwardsPoint>> = {
            let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let find = |key: &[u8; 32]| {
                generations.young.get(key).copied().or_else(|| {
                    let point = *generations.old.get(key)?;
                    news.push((*key, point));
                    Some(point)
                })
            };
            keys.clone().map(find).collect()
        };
        let point = |(key, known): (&[u8; 32], Option<EdwardsPoint>)| {
            known.or_else(|| {
                let point = CompressedEdwardsY(*key).decompress()?;
                news.push((*key, point));
                Some(point)
            })
        };
        let points: Option<Vec<EdwardsPoint>> = keys.zip(known).map(point).collect();
        Some((points?, news))
    }

    fn add(&self, points: Vec<KeyPoint>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).add(points);
    }
}

impl Generations {
    fn add(&mut self, points: Vec<KeyPoint>) {
        for (key, point) in points {
            if self.young.len() >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, point);
        }
    }
}

#[cfg(test)]
mod tests;
