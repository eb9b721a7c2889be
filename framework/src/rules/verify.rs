use std::sync::Arc;

use super::Hasher;
use super::hasher::HashedBlock;
use crate::sync::RejectKind;
use crate::types::{Genesis, Hash32, Header, Height, HexText, Tip, Transaction};

/// A rule of the chain (protocol.md section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `height` is the parent's plus one.
    Height,
    /// `prev_hash` is the parent's hash; zeros for block 0.
    PrevHash,
    /// `timestamp` is above the parent's.
    Timestamp,
    /// `timestamp` is at most 15 s ahead of the clock.
    FutureTimestamp,
    /// `chain_id` is the chain's.
    ChainId,
    /// `proposer_address` is the validator whose turn it is.
    Proposer,
    /// The block is signed by its proposer.
    BlockSignature,
    /// `pq_sig_scheme_id` is that of the proposer's key.
    SignatureScheme,
    /// `tx_root` is the root over the block's transactions.
    TxRoot,
    /// `state_root` is the root that execution gives.
    StateRoot,
    /// `compute_root` is the root over the block's results.
    ComputeRoot,
    /// `gas_used` is the sum of base gas.
    GasUsed,
    /// `gas_used` ≤ `gas_limit` ≤ the network's.
    GasLimit,
    /// The transaction's type has a rule.
    TxType,
    /// Signature and public key are present.
    TxSignatureMissing,
    /// `from_address` is the address of `pub_key`.
    TxSender,
    /// The signature is valid.
    TxSignature,
    /// The nonce is the account's.
    TxNonce,
    /// `gas_limit` ≥ base gas.
    TxGasLimit,
    /// `gas_price` ≥ the network's minimum.
    TxGasPrice,
    /// `fee` ≥ base gas × gas price.
    TxFee,
    /// The balance covers amount and gas.
    TxBalance,
    /// A transfer has a `to_address`.
    TxRecipient,
    /// The payload is what the type needs.
    TxPayload,
    /// The block can be read.
    Encoding,
    /// The block does not contradict a checkpoint.
    Checkpoint,
}

/// A block breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("block {height} is invalid: {rule}: {detail}")]
pub struct Rejection {
    /// The block's height, as claimed by its header.
    pub height: Height,
    /// Which rule.
    pub rule: Rule,
    /// What was expected and what was found.
    pub detail: String,
    /// Whether reference v1 would accept the block: then nobody is at fault (protocol.md, "Where we are stricter").
    pub stricter_than_v1: bool,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

impl Rejection {
    /// What follows from it.
    pub fn kind(&self) -> RejectKind {
        todo!()
    }
}

/// A signature that remains to be checked, with everything parsed.
#[derive(Debug, Clone)]
pub struct SignatureCheck {
    /// What is signed: `None` the header, `Some(i)` transaction i.
    pub tx: Option<usize>,
}

/// All checks that need neither state nor clock. Cheap to clone; shared by import, pool and producer.
#[derive(Debug, Clone)]
pub struct Verifier {
    genesis: Arc<Genesis>,
    hasher: Hasher,
}

impl Verifier {
    /// The verifier of a chain.
    pub fn new(genesis: Arc<Genesis>) -> Self {
        let hasher = Hasher::new(&genesis);
        Self { genesis, hasher }
    }

    /// The hasher.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The genesis.
    pub fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    /// Everything about a block that depends on itself alone, but for signatures: chain id, scheme, roots over the body,
    /// gas sums and limits, block 0's parent, and for each transaction its type, limits, fee, payload and sender.
    ///
    /// # Errors
    /// The first rule that the block breaks.
    pub fn check_block(&self, _block: &HashedBlock) -> Result<(), Rejection> {
        todo!()
    }

    /// How a block stands to its parent (`None` for block 0): height, link, time. Gives the round.
    ///
    /// # Errors
    /// The rule that the block breaks.
    pub fn check_parent(&self, _header: &Header, _parent: Option<Parent>) -> Result<u64, Rejection> {
        todo!()
    }

    /// Whether the block is at most 15 s ahead of `now` (unix seconds).
    ///
    /// # Errors
    /// [`Rule::FutureTimestamp`]
    pub fn check_clock(&self, _header: &Header, _now: u64) -> Result<(), Rejection> {
        todo!()
    }

    /// The check of a block's own signature by the key of its proposer.
    ///
    /// # Errors
    /// There is no signature, or signature or key cannot be read.
    pub fn block_signature(&self, _block: &HashedBlock, _pub_key: &HexText) -> Result<SignatureCheck, Rejection> {
        todo!()
    }

    /// The checks of the signatures of a block's transactions, but for those whose hash `known` says were verified before.
    ///
    /// # Errors
    /// A signature or key cannot be read.
    pub fn transaction_signatures(
        &self,
        _block: &HashedBlock,
        _known: &dyn Fn(&Transaction, &Hash32) -> bool,
    ) -> Result<Vec<SignatureCheck>, Rejection> {
        todo!()
    }

    /// Runs checks, as a batch where that is faster; gives the index of the first that fails. Every way of running gives the same verdicts.
    ///
    /// # Errors
    /// The index of the first check that fails.
    pub fn verify(&self, _checks: &[SignatureCheck]) -> Result<(), usize> {
        todo!()
    }

    /// The rejection that stands for a failed check of this block.
    pub fn signature_rejection(&self, block: &HashedBlock, check: &SignatureCheck) -> Rejection {
        let (rule, detail) = match check.tx {
            None => (Rule::BlockSignature, format!("not a signature of {}", block.block.header.proposer_address)),
            Some(i) => {
                (Rule::TxSignature, format!("transaction {i}: not a signature of {}", block.block.txs[i].from_address))
            }
        };
        Rejection { height: block.link.height, rule, detail, stricter_than_v1: false }
    }
}

/// What a block's checks need of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Height and hash.
    pub tip: Tip,
    /// Unix seconds.
    pub timestamp: u64,
}
