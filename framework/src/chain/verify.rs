use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::VerifiedTxs;
use crate::env::ComputePool;
use crate::fast_map::FastMap;
use crate::rules::keys::{self, VALIDATOR_PREFIX};
use crate::rules::payload;
use crate::rules::{HashedBlock, MAX_BATCH, Rejection, Rule, SignatureCheck, Verifier};
use crate::types::{Address, Height, HexText, TxType, encoding, json_length};

/// Public keys of proposers by address. An address certifies its key, so an entry is never wrong, whoever brought it.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyBook(Arc<RwLock<FastMap<Address, HexText>>>);

/// The most keys remembered; far above any network's `max_validators`. When full, it starts anew: keys are found again in the state.
const MAX_KEYS: usize = 10_000;

impl KeyBook {
    pub(crate) fn get(&self, address: &Address) -> Option<HexText> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }

    pub(crate) fn insert(&self, address: Address, key: HexText) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(address, key);
    }
}

/// Of what is stored already any length is good.
pub(crate) const ANY_LENGTH: usize = usize::MAX;

/// A block that passed all checks which need neither state nor order.
#[derive(Debug)]
pub(crate) struct VerifiedBlock {
    pub(crate) hashed: HashedBlock,
    /// The block in the framework's encoding.
    pub(crate) bytes: Bytes,
    /// Whether the block's own signature is verified or need not be; otherwise its proposer's key was not known yet.
    pub(crate) signed: bool,
}

/// The good blocks at the front of a batch, and why the next one is bad.
#[derive(Debug)]
pub(crate) struct VerifiedBatch {
    pub(crate) blocks: Vec<VerifiedBlock>,
    pub(crate) rejection: Option<Rejection>,
}

/// What is known of blocks before they are verified, and need not be checked again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// Their proposers signed them, by the keys that their addresses certify.
    Signed,
    /// Those up to this height are ancestors of a checkpoint: no signature of theirs is checked.
    Vouched(Height),
}

/// Checks all that can be checked of blocks without the state, on all cores.
#[derive(Debug, Clone)]
pub(crate) struct BatchVerifier {
    pub(crate) verifier: Verifier,
    pub(crate) keys: KeyBook,
    /// Transactions whose signatures need no check.
    pub(crate) verified: VerifiedTxs,
    pub(crate) pool: ComputePool,
    /// The longest block that is good, in bytes as JSON.
    pub(crate) longest: usize,
}

impl BatchVerifier {
    /// Checks one batch.
    pub(crate) fn verify(&self, blocks: Vec<HashedBlock>, known: Known) -> VerifiedBatch {
        let checked = self.check(&blocks, known);
        checked.assemble(blocks)
    }

    /// Checks batches together, since many signatures cost less each than few, most of all where the same keys come again.
    /// Each gets the verdict that it would get alone: where anything is wrong, each is checked alone.
    pub(crate) fn verify_together(&self, batches: Vec<Vec<HashedBlock>>, known: Known) -> Vec<VerifiedBatch> {
        if batches.len() < 2 {
            return batches.into_iter().map(|blocks| self.verify(blocks, known)).collect();
        }
        let lengths: Vec<usize> = batches.iter().map(Vec::len).collect();
        let blocks: Vec<HashedBlock> = batches.into_iter().flatten().collect();
        let Checked { encoded, rejection } = self.check(&blocks, known);
        let (mut blocks, mut encoded) = (blocks.into_iter(), encoded.into_iter());
        let of_length = |length: usize| {
            let blocks: Vec<HashedBlock> = blocks.by_ref().take(length).collect();
            if rejection.is_some() {
                return self.verify(blocks, known);
            }
            Checked { encoded: encoded.by_ref().take(length).collect(), rejection: None }.assemble(blocks)
        };
        lengths.into_iter().map(of_length).collect()
    }

    fn check(&self, blocks: &[HashedBlock], known: Known) -> Checked {
        let staked = keys_staked_in(&self.verifier, blocks);
        let is_vouched = |block: &HashedBlock| matches!(known, Known::Vouched(up_to) if block.link.height <= up_to);
        let prepared = self.pool.map(blocks, |block| {
            if is_vouched(block) {
                prepare_vouched(&self.verifier, block)
            } else {
                prepare(&self.verifier, &self.keys, &self.verified, &staked, block, known == Known::Signed)
            }
            .and_then(|prepared| check_length(block, prepared.bytes.len(), self.longest).map(|()| prepared))
        });

        let mut rejection: Option<(usize, Rejection)> = None;
        let mut checks: Vec<(usize, SignatureCheck)> = Vec::new();
        let mut encoded = Vec::with_capacity(blocks.len());
        for (index, result) in prepared.into_iter().enumerate() {
            match result {
                Ok(block) => {
                    checks.extend(block.checks.into_iter().map(|check| (index, check)));
                    encoded.push((block.bytes, block.signed));
                }
                Err(found) => {
                    rejection = Some((index, found));
                    break;
                }
            }
        }

        let first_bad = self
            .pool
            .map(&shares(&checks, self.pool.width()), |share| {
                let only: Vec<&SignatureCheck> = share.iter().map(|at| &checks[*at].1).collect();
                self.verifier.verify(&only).err().map(|at| share[at])
            })
            .into_iter()
            .flatten()
            .min();
        if let Some((index, check)) = first_bad.map(|at| &checks[at]) {
            rejection = Some((*index, self.verifier.signature_rejection(&blocks[*index], check)));
        }
        Checked { encoded, rejection }
    }
}

/// What the checks of some blocks gave.
struct Checked {
    /// Of each block up to the first that cannot be good: its encoding, and whether its own signature needs no further check.
    encoded: Vec<(Bytes, bool)>,
    /// The first block that is bad, and why.
    rejection: Option<(usize, Rejection)>,
}

impl Checked {
    fn assemble(self, blocks: Vec<HashedBlock>) -> VerifiedBatch {
        let good = self.rejection.as_ref().map_or(blocks.len(), |(index, _)| *index);
        let blocks = blocks
            .into_iter()
            .zip(self.encoded)
            .take(good)
            .map(|(hashed, (bytes, signed))| VerifiedBlock { hashed, bytes, signed })
            .collect();
        VerifiedBatch { blocks, rejection: self.rejection.map(|(_, rejection)| rejection) }
    }
}

/// Whether a block's own signature is by the key of its proposer; `None` where no key is known for it.
pub(crate) fn proposer_signed(
    verifier: &Verifier,
    keys: &KeyBook,
    block: &HashedBlock,
) -> Option<Result<(), Rejection>> {
    let key = keys.get(&block.block.header.proposer_address)?;
    Some(check_signature(verifier, block, &key))
}

/// Learns the keys of the validators that come in with a block which its proposer signed, so that the blocks they propose on the same branch can be
/// checked before any is applied. Only of a signed block: otherwise a branch made of nothing could vouch for itself.
pub(crate) fn learn_staked(verifier: &Verifier, keys: &KeyBook, block: &HashedBlock) {
    let stakes = block.block.txs.iter().any(|tx| tx.tx_type == TxType::Stake);
    // The signature is over the header, which commits to the transactions: a body of somebody else's proves nothing.
    if stakes && verifier.check_block(block).is_ok() {
        for (address, key) in keys_staked_in(verifier, std::slice::from_ref(block)) {
            keys.insert(address, key);
        }
    }
}

/// Checks a block's own signature by a key.
pub(crate) fn check_signature(verifier: &Verifier, block: &HashedBlock, key: &HexText) -> Result<(), Rejection> {
    let check = verifier.block_signature(block, key)?;
    verifier.verify(std::slice::from_ref(&check)).map_err(|_| verifier.signature_rejection(block, &check))
}

struct Prepared {
    bytes: Bytes,
    checks: Vec<SignatureCheck>,
    signed: bool,
}

fn prepare(
    verifier: &Verifier,
    keys: &KeyBook,
    verified: &VerifiedTxs,
    staked: &HashMap<Address, HexText>,
    block: &HashedBlock,
    is_signed: bool,
) -> Result<Prepared, Rejection> {
    verifier.check_block(block)?;
    let mut checks = verifier.transaction_signatures(block, &|tx, hash| verified.contains(tx, hash))?;
    if is_signed {
        return Ok(Prepared { bytes: encoded(block), checks, signed: true });
    }
    let proposer = &block.block.header.proposer_address;
    let key = keys.get(proposer).or_else(|| staked.get(proposer).cloned());
    if let Some(key) = &key {
        checks.push(verifier.block_signature(block, key)?);
    }
    Ok(Prepared { bytes: encoded(block), checks, signed: key.is_some() })
}

/// The block in the framework's encoding, as it came where it came so.
fn encoded(block: &HashedBlock) -> Bytes {
    block.encoded.clone().unwrap_or_else(|| encoding::encode_block(&block.block).into())
}

/// What is left to check of a block that is an ancestor of a checkpoint. A header's hash says who proposed it and which transactions
/// it has, so that neither can be another one's. What it does not cover is the signatures, and under v1 rules what no signature covers either
/// (protocol.md section 4). Signatures may be spoilt then: that changes nothing of the state, and they are looked at before the block is
/// given to a peer (`engine::unchecked`).
fn prepare_vouched(verifier: &Verifier, block: &HashedBlock) -> Result<Prepared, Rejection> {
    verifier.check_block(block)?;
    Ok(Prepared { bytes: encoded(block), checks: Vec::new(), signed: true })
}

/// The longest texts of a header that no hash covers, in bytes: many times what a proof's hash has. An answer with this header must fit a frame too.
pub(super) const HEADER_TEXTS: usize = 16 << 10;

/// Whether a block that has so many bytes encoded can be given on to every node (attacks.md row 23).
fn check_length(block: &HashedBlock, encoded: usize, longest: usize) -> Result<(), Rejection> {
    let reject = |detail| Err(Rejection::new(block.link.height, Rule::Length, detail));
    let header = &block.block.header;
    let texts = [&header.zk_state_proof_hash, &header.zk_compute_proof_hash];
    let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
    if texts > HEADER_TEXTS && longest != ANY_LENGTH {
        return reject(format!("the hashes of proofs in its header have {texts} bytes, more than {HEADER_TEXTS}"));
    }
    // Hardly a block is so long that it has to be counted.
    if encoded <= longest / json_length::MOST_FOR_A_BYTE {
        return Ok(());
    }
    let found = json_length::block(&block.block);
    if found <= longest {
        return Ok(());
    }
    reject(format!(
        "it has {found} bytes as JSON, and nodes read {longest} at most, so that it could not be given to them; another copy of it may be shorter"
    ))
}

/// The keys of validators that come in with these very blocks and may propose later ones among them.
fn keys_staked_in(verifier: &Verifier, blocks: &[HashedBlock]) -> HashMap<Address, HexText> {
    let rules = verifier.hasher().rules();
    blocks
        .iter()
        .flat_map(|block| &block.block.txs)
        .filter(|tx| tx.tx_type == TxType::Stake)
        .filter_map(|tx| {
            let key = payload::stake_pub_key(rules, &tx.payload).ok()?;
            let address = keys::address_of(rules, &key, VALIDATOR_PREFIX).ok()?;
            Some((address, key))
        })
        .collect()
}

/// Even shares for all cores, as few as the size of a batch allows: the places of their checks, in order. What one key signed
/// is in one share, since a batch pays for each key once.
fn shares(checks: &[(usize, SignatureCheck)], width: usize) -> Vec<Vec<usize>> {
    let count = checks.len().div_ceil(MAX_BATCH).next_multiple_of(width.max(1));
    // The first bytes tell keys apart well enough: where two have them in common, nothing but an addition is lost.
    let head = |check: &SignatureCheck| check.batch_key().and_then(|key| key.first_chunk().copied());
    let mut places: Vec<(Option<u64>, usize)> =
        checks.iter().enumerate().map(|(at, (_, check))| (head(check).map(u64::from_be_bytes), at)).collect();
    places.sort_unstable();
    let share = |places: &[(Option<u64>, usize)]| {
        let mut share: Vec<usize> = places.iter().map(|(_, at)| *at).collect();
        share.sort_unstable();
        share
    };
    places.chunks(checks.len().div_ceil(count.max(1)).max(1)).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::SignedId;
    use crate::chain::produce_tests::mainline;
    use crate::rules::keys::{Scheme, SecretKey};
    use crate::testkit::chains::{Shape, ShapedChain};
    use crate::types::{Block, BlockLink, Hash32, HashRules};

    #[test]
    fn each_signature_is_checked_once_whoever_has_checked_it_before() {
        let (genesis, blocks) = mainline();
        let verifier = Verifier::new(genesis);
        let (keys, verified) = (KeyBook::default(), VerifiedTxs::default());
        for validator in &verifier.genesis().validators {
            keys.insert(validator.address.clone(), validator.pub_key.clone());
        }
        let is_fit = |block: &Block| block.txs.len() > 2 && keys.get(&block.header.proposer_address).is_some();
        let block = blocks.into_iter().find(is_fit).unwrap();
        let block = verifier.hasher().hash_block(Arc::new(block));
        let checks = |is_signed| {
            let prepared = prepare(&verifier, &keys, &verified, &HashMap::new(), &block, is_signed).unwrap();
            assert!(prepared.signed);
            prepared.checks.len()
        };
        let txs = block.block.txs.len();
        assert_eq!((checks(false), checks(true)), (txs + 1, txs));
        let pooled = block.block.txs.iter().zip(&block.tx_hashes).skip(1);
        verified.insert_all(pooled.map(|(tx, hash)| SignedId::of(tx, hash)));
        assert_eq!((checks(false), checks(true)), (2, 1), "the pool has checked all transactions but one");
    }

    #[test]
    fn shares_are_even_in_order_and_keep_a_key_together() {
        let keys: Vec<SecretKey> = (0..6).map(|_| SecretKey::generate(Scheme::Ed25519)).collect();
        let check = |at: usize| {
            let (key, hash) = (&keys[at % keys.len()], Hash32([7; 32]));
            let check = SignatureCheck::new(HashRules::Canonical, None, &key.public_key(), &key.sign(&hash), hash);
            (at, check.unwrap())
        };
        let checks: Vec<_> = (0..60).map(check).collect();
        let shares = shares(&checks, 2);
        assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [30, 30]);
        for share in &shares {
            assert!(share.is_sorted());
            let keys: std::collections::HashSet<_> = share.iter().map(|at| checks[*at].1.batch_key()).collect();
            assert_eq!(keys.len(), 3);
        }
        assert!(super::shares(&[], 2).is_empty());
    }

    /// Wherever a signature is bad or a root wrong, and also where two batches have something bad each.
    #[test]
    fn batches_that_are_verified_together_get_the_verdicts_of_each_alone() {
        let shape = Shape { rules: HashRules::Canonical, txs: 3, accounts: 6, new_accounts: 0.0 };
        let mut chain = ShapedChain::new(shape, ComputePool::Inline).unwrap();
        let blocks: Vec<HashedBlock> = (0..6).map(|_| chain.next_block().unwrap().block).collect();
        let verifier = Verifier::new(Arc::clone(chain.genesis()));
        let (keys, verified, pool) = (KeyBook::default(), VerifiedTxs::default(), ComputePool::Inline);
        let all = BatchVerifier { verifier, keys, verified, pool, longest: ANY_LENGTH };
        let spoil = |at: usize, what: usize| {
            let mut block = Block::clone(&blocks[at].block);
            match what {
                0 => block.txs[1].signature = HexText::from_bytes(&[7; 64]),
                _ => block.header.tx_root = Hash32([7; 32]),
            }
            HashedBlock { block: Arc::new(block), ..blocks[at].clone() }
        };
        let verdict = |batch: &VerifiedBatch| {
            let links: Vec<BlockLink> = batch.blocks.iter().map(|block| block.hashed.link).collect();
            (links, batch.rejection.as_ref().map(|rejection| (rejection.height, rejection.rule)))
        };
        let bad = (0..7).flat_map(|first| (first..7).flat_map(move |second| [(first, second, 0), (first, second, 1)]));
        for (first, second, what) in bad {
            let mut blocks = blocks.clone();
            for at in [first, second].into_iter().filter(|at| *at < 6) {
                blocks[at] = spoil(at, what);
            }
            let batches = [1, 3, 2].map(|length| blocks.drain(..length).collect::<Vec<_>>()).to_vec();
            let alone: Vec<_> =
                batches.iter().map(|batch| verdict(&all.verify(batch.clone(), Known::Nothing))).collect();
            let together = all.verify_together(batches, Known::Nothing);
            assert_eq!(together.iter().map(verdict).collect::<Vec<_>>(), alone, "{first}, {second}, {what}");
            let rejections = alone.iter().filter(|(_, rejection)| rejection.is_some()).count();
            assert_eq!(rejections > 0, first < 6, "something is bad at {first}");
        }
    }
}
