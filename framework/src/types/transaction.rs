use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Address, HexText, Payload, Quantity};

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TxType {
    /// Moves an amount to another account.
    Transfer,
    /// Adds power to a validator.
    Stake,
    /// Records the result of a computation.
    SubmitResult,
    /// Defined by v1 without a rule; no block of ours may hold it.
    Unstake,
    /// Defined by v1 without a rule; no block of ours may hold it.
    PocReward,
}

impl TxType {
    /// The name on the wire and in the v1 transaction hash.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transfer => "TRANSFER",
            Self::Stake => "STAKE",
            Self::SubmitResult => "SUBMIT_RESULT",
            Self::Unstake => "UNSTAKE",
            Self::PocReward => "POC_REWARD",
        }
    }

    /// Gas that every transaction of this type costs; `None` where v1 has no rule for the type.
    pub fn base_gas(self) -> Option<u64> {
        match self {
            Self::Transfer => Some(21_000),
            Self::Stake => Some(40_000),
            Self::SubmitResult => Some(80_000),
            Self::Unstake | Self::PocReward => None,
        }
    }
}

impl fmt::Display for TxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A transaction, as it travels and is stored. Amounts and prices are in the smallest unit (10⁻¹⁸ CPC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What it does.
    pub tx_type: TxType,
    /// Who pays, and whose nonce it uses.
    pub from_address: Address,
    /// Who receives; required for transfers.
    #[serde(default)]
    pub to_address: Option<Address>,
    /// What is moved or staked.
    #[serde(deserialize_with = "amount")]
    pub amount: u128,
    /// The most that the sender is willing to pay for gas; what exceeds `base gas × gas_price` stays with the sender.
    #[serde(default, deserialize_with = "fee")]
    pub fee: Quantity,
    /// How many transactions the sender has made before.
    #[serde(deserialize_with = "nonce")]
    pub nonce: u64,
    /// By `pub_key` over the transaction hash.
    #[serde(default)]
    pub signature: HexText,
    /// The sender's public key, spelled as received.
    #[serde(default)]
    pub pub_key: HexText,
    /// What the type needs besides.
    #[serde(default)]
    pub payload: Payload,
    /// Paid for each unit of base gas.
    #[serde(default, deserialize_with = "gas_price")]
    pub gas_price: u128,
    /// Must not be below the base gas of the type.
    #[serde(default, deserialize_with = "gas_limit")]
    pub gas_limit: Quantity,
}

/// Deserialisers that name the field in their error: "amount: -5 is no natural number".
macro_rules! named_field {
    ($($field:ident: $type:ty = $read:expr),*) => {$(
        fn $field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
            $read(deserializer)
                .map_err(|error: D::Error| de::Error::custom(format_args!(concat!(stringify!($field), ": {}"), error)))
        }
    )*};
}
named_field!(
    amount: u128 = number,
    fee: Quantity = Quantity::deserialize,
    nonce: u64 = u64::deserialize,
    gas_price: u128 = number,
    gas_limit: Quantity = Quantity::deserialize
);

/// A number of 128 bits. From text it is read as a [`Quantity`], whose errors show the whole number.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    if !deserializer.is_human_readable() {
        return u128::deserialize(deserializer);
    }
    Quantity::deserialize(deserializer)?.to_u128().ok_or_else(|| de::Error::custom("above 2^128 - 1"))
}
