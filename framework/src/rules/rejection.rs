use std::fmt;

use crate::sync::RejectKind;
use crate::types::Height;

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
    /// The block can be given on to every node, whichever codec that speaks (attacks.md row 23). A bound of ours, and no rule of the chain: no hash
    /// covers all of a block, so that another copy of it may be shorter.
    Length,
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
    /// Whether a STAKE whose key no hash covers may be why, here and not with the block: then nobody is at fault (protocol.md section 4).
    pub perhaps_ours: bool,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Height => "height",
            Self::PrevHash => "previous hash",
            Self::Timestamp => "timestamp",
            Self::FutureTimestamp => "timestamp ahead of the clock",
            Self::ChainId => "chain id",
            Self::Proposer => "proposer's turn",
            Self::BlockSignature => "block signature",
            Self::SignatureScheme => "signature scheme",
            Self::TxRoot => "transaction root",
            Self::StateRoot => "state root",
            Self::ComputeRoot => "compute root",
            Self::GasUsed => "gas used",
            Self::GasLimit => "block gas limit",
            Self::TxType => "transaction type",
            Self::TxSignatureMissing => "transaction signature missing",
            Self::TxSender => "transaction sender",
            Self::TxSignature => "transaction signature",
            Self::TxNonce => "transaction nonce",
            Self::TxGasLimit => "transaction gas limit",
            Self::TxGasPrice => "transaction gas price",
            Self::TxFee => "transaction fee",
            Self::TxBalance => "sender's balance",
            Self::TxRecipient => "transfer recipient",
            Self::TxPayload => "transaction payload",
            Self::Encoding => "encoding",
            Self::Length => "length",
            Self::Checkpoint => "checkpoint",
        })
    }
}

impl Rejection {
    /// A rejection that reference v1 shares.
    pub fn new(height: Height, rule: Rule, detail: impl Into<String>) -> Self {
        Self { height, rule, detail: detail.into(), stricter_than_v1: false, perhaps_ours: false }
    }

    /// What follows from it.
    pub fn kind(&self) -> RejectKind {
        match self.rule {
            _ if self.perhaps_ours => RejectKind::WrongProposer,
            Rule::Proposer => RejectKind::WrongProposer,
            Rule::FutureTimestamp => RejectKind::FromTheFuture,
            Rule::TxRoot | Rule::Length => RejectKind::BodyMismatch,
            Rule::Checkpoint => RejectKind::Checkpoint,
            _ if self.stricter_than_v1 => RejectKind::Stricter,
            Rule::Height | Rule::PrevHash => RejectKind::NotLinked,
            _ => RejectKind::Invalid,
        }
    }
}
