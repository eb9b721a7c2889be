//! The rules for a transaction by itself, without state.

use super::keys::{self, KeyError};
use super::{Hasher, Rule, SignatureCheck, SignatureFault, canonical, payload};
use crate::types::{Address, Genesis, Hash32, HashRules, Quantity, Transaction, TxType};

/// A transaction breaks a rule that needs no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxFault {
    /// `gas_price` is below the network's minimum.
    #[error("gas_price {found}, expected at least {minimum}")]
    GasPrice {
        /// What the transaction says.
        found: u128,
        /// The network's minimum.
        minimum: u128,
    },
    /// The type has no rule.
    #[error("type {0} has no rule")]
    Type(TxType),
    /// `gas_limit` is below the base gas of the type.
    #[error("gas_limit {found}, expected at least the base gas {base_gas}")]
    GasLimit {
        /// What the transaction says.
        found: Quantity,
        /// The base gas of its type.
        base_gas: u64,
    },
    /// `fee` does not cover the gas.
    #[error("fee {found}, expected at least {needed} (base gas × gas_price)")]
    Fee {
        /// What the transaction says.
        found: Quantity,
        /// Base gas × gas price.
        needed: u128,
    },
    /// Base gas × gas price exceeds 128 bits.
    #[error("base gas {base_gas} × gas_price {gas_price} exceeds 2^128, more than any account holds")]
    Cost {
        /// The base gas of its type.
        base_gas: u64,
        /// What the transaction says.
        gas_price: u128,
    },
    /// There is no signature, or no public key.
    #[error("signature or pub_key is missing")]
    SignatureMissing,
    /// `pub_key` spells no bytes, or no key of the scheme.
    #[error("pub_key cannot be read: {0}")]
    Key(#[source] KeyError),
    /// `from_address` is not the address of `pub_key`.
    #[error("pub_key belongs to {derived}, expected {claimed}")]
    Sender {
        /// The address of the key.
        derived: Box<Address>,
        /// What the transaction says.
        claimed: Box<Address>,
    },
    /// A transfer without recipient.
    #[error("a TRANSFER must have a to_address")]
    Recipient,
    /// The payload is not what the type needs.
    #[error("{0}")]
    Payload(String),
    /// A field has a form that canonical rules do not allow.
    #[error("{0}")]
    NotCanonical(String),
    /// Signature or key cannot be read.
    #[error("signature cannot be checked: {0}")]
    SignatureForm(#[source] KeyError),
    /// The signature is not one of the sender.
    #[error("not a signature of {0}")]
    Signature(Address),
}

impl TxFault {
    /// The fault that a failed check of a transaction's signature stands for.
    pub(super) fn of_signature(tx: &Transaction, fault: SignatureFault) -> Self {
        match fault {
            SignatureFault::Key(error) => Self::SignatureForm(error),
            SignatureFault::Invalid => Self::Signature(tx.from_address.clone()),
        }
    }
}

impl TxFault {
    /// The rule that is broken.
    pub fn rule(&self) -> Rule {
        match self {
            Self::GasPrice { .. } => Rule::TxGasPrice,
            Self::Type(_) => Rule::TxType,
            Self::GasLimit { .. } => Rule::TxGasLimit,
            Self::Fee { .. } => Rule::TxFee,
            Self::Cost { .. } => Rule::TxBalance,
            Self::SignatureMissing => Rule::TxSignatureMissing,
            Self::Key(_) | Self::Sender { .. } => Rule::TxSender,
            Self::Recipient => Rule::TxRecipient,
            Self::Payload(_) => Rule::TxPayload,
            Self::NotCanonical(_) => Rule::Encoding,
            Self::SignatureForm(_) | Self::Signature(_) => Rule::TxSignature,
        }
    }

    /// The reason in the words of the reference's mempool (protocol.md section 4); our own words where it has no such check.
    pub fn reason(&self) -> String {
        match self {
            Self::GasPrice { found, minimum } => format!("gas_price {found} < min {minimum}"),
            Self::Type(_) => "unknown_tx_type".into(),
            Self::GasLimit { found, base_gas } => format!("gas_limit {found} < base_gas {base_gas}"),
            Self::Fee { found, needed } => format!("fee {found} < needed_fee {needed}"),
            Self::SignatureMissing => "missing_sig_or_key".into(),
            Self::Key(error) => format!("invalid_key_format: {error}"),
            Self::Sender { .. } => "pub_key_mismatch".into(),
            Self::SignatureForm(error) => format!("crypto_error: {error}"),
            Self::Signature(_) => "invalid_signature".into(),
            Self::Cost { .. } | Self::Recipient | Self::Payload(_) | Self::NotCanonical(_) => self.to_string(),
        }
    }
}

/// Gas price, type, gas limit and fee: everything that the reference's pool checks before it counts what it holds.
///
/// Gives the base gas.
pub(super) fn check_limits(genesis: &Genesis, tx: &Transaction) -> Result<u64, TxFault> {
    let minimum = genesis.params.min_gas_price;
    if tx.gas_price < minimum {
        return Err(TxFault::GasPrice { found: tx.gas_price, minimum });
    }
    let base_gas = tx.tx_type.base_gas().ok_or(TxFault::Type(tx.tx_type))?;
    if tx.gas_limit < u128::from(base_gas) {
        return Err(TxFault::GasLimit { found: tx.gas_limit.clone(), base_gas });
    }
    let needed =
        tx.gas_price.checked_mul(base_gas.into()).ok_or(TxFault::Cost { base_gas, gas_price: tx.gas_price })?;
    if tx.fee < needed {
        return Err(TxFault::Fee { found: tx.fee.clone(), needed });
    }
    Ok(base_gas)
}

/// Signature and key are there, and the key is the sender's.
pub(super) fn check_sender(rules: HashRules, tx: &Transaction) -> Result<(), TxFault> {
    if tx.signature.is_empty() || tx.pub_key.is_empty() {
        return Err(TxFault::SignatureMissing);
    }
    let prefix = match rules {
        HashRules::ComputechainV1 => {
            let sender = tx.from_address.as_str();
            sender.split_once('1').map_or(sender, |(prefix, _)| prefix)
        }
        HashRules::Canonical => keys::ACCOUNT_PREFIX,
    };
    // To compare the bytes costs a tenth of what it costs to spell them.
    let bytes = keys::address_bytes(rules, &tx.pub_key).map_err(TxFault::Key)?;
    if tx.from_address.spells(prefix, &bytes) {
        return Ok(());
    }
    let derived = keys::address_of(rules, &tx.pub_key, prefix).map_err(TxFault::Key)?;
    if derived == tx.from_address {
        return Ok(());
    }
    Err(TxFault::Sender { derived: Box::new(derived), claimed: Box::new(tx.from_address.clone()) })
}

/// What the type needs besides: a recipient, or something in the payload. Under canonical rules every field's one form too.
pub(super) fn check_content(rules: HashRules, tx: &Transaction) -> Result<(), TxFault> {
    if rules == HashRules::Canonical {
        canonical::check_fields(tx).map_err(TxFault::NotCanonical)?;
    }
    match tx.tx_type {
        // Python takes an empty text for none.
        TxType::Transfer if tx.to_address.as_ref().is_none_or(|to| to.as_str().is_empty()) => Err(TxFault::Recipient),
        TxType::Transfer => Ok(()),
        TxType::Stake => payload::stake_pub_key(rules, &tx.payload).map(drop).map_err(TxFault::Payload),
        TxType::SubmitResult => {
            let result = payload::task_result(rules, &tx.payload).map_err(TxFault::Payload)?;
            if result.worker_address == tx.from_address.as_str() {
                Ok(())
            } else {
                let worker: String = result.worker_address.chars().take(100).collect();
                Err(TxFault::Payload(format!("payload.worker_address is {worker}, expected {}", tx.from_address)))
            }
        }
        TxType::Unstake | TxType::PocReward => Err(TxFault::Type(tx.tx_type)),
    }
}

/// The check of a transaction's own signature.
pub(super) fn signature_check(
    hasher: &Hasher,
    at: usize,
    tx: &Transaction,
    hash: Hash32,
) -> Result<SignatureCheck, TxFault> {
    SignatureCheck::new(hasher.rules(), Some(at), &tx.pub_key, &tx.signature, hash).map_err(TxFault::SignatureForm)
}
