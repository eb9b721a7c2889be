use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Address, Hash32, HexText, Transaction};

/// A block's distance from block 0.
pub type Height = u64;

/// What a proposer commits to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The parent's height plus one.
    pub height: Height,
    /// The parent's hash; zeros for block 0.
    pub prev_hash: Hash32,
    /// Unix seconds.
    pub timestamp: u64,
    /// The chain's name, `cpc-devnet-1` for example.
    pub chain_id: String,
    /// The validator whose turn it was.
    pub proposer_address: Address,
    /// Merkle root of the transaction hashes.
    pub tx_root: Hash32,
    /// Root of the state after the transactions, before this block's reward.
    pub state_root: Hash32,
    /// Merkle root of the computed results; absent (`""` in JSON) where there are none.
    #[serde(default, with = "hash_or_empty")]
    pub compute_root: Option<Hash32>,
    /// Sum of the transactions' base gas.
    #[serde(default)]
    pub gas_used: u64,
    /// The most gas that this block may use.
    #[serde(default)]
    pub gas_limit: u64,
    /// Carried, covered by no v1 hash.
    #[serde(default)]
    pub zk_state_proof_hash: Option<String>,
    /// Carried, covered by no v1 hash.
    #[serde(default)]
    pub zk_compute_proof_hash: Option<String>,
}

/// A block: header, body, and the proposer's signature over the header hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What the proposer signed.
    pub header: Header,
    /// The transactions, in the order in which they apply: at most [`MAX_BLOCK_TXS`].
    #[serde(deserialize_with = "bounded_txs")]
    pub txs: Vec<Transaction>,
    /// The proposer's signature over the header hash.
    #[serde(default)]
    pub pq_signature: HexText,
    /// Which signature scheme: 1 secp256k1 ECDSA, 237 Ed25519.
    #[serde(default = "scheme_of_the_reference")]
    pub pq_sig_scheme_id: u32,
}

/// No block is read that has more transactions: so many, with a signature and a key each, are twice the largest frame that gossip carries.
/// Without this a block of a few bytes a transaction would take twenty times its bytes in memory.
pub const MAX_BLOCK_TXS: usize = 1 << 16;

/// Of those, so many may be without a signature of at least 32 bytes, which is `r` alone, or without a key of as many, which no scheme has a
/// shorter one than: no rule takes a block that has one, and in memory they take many times their bytes.
const MAX_UNSIGNED_TXS: usize = 1 << 10;
const LEAST_SIGNATURE: usize = 32;
const LEAST_KEY: usize = 32;

fn bounded_txs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Transaction>, D::Error> {
    struct Txs;
    impl<'de> de::Visitor<'de> for Txs {
        type Value = Vec<Transaction>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {MAX_BLOCK_TXS} transactions")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut txs = Vec::new();
            let mut unsigned = 0;
            while let Some(tx) = seq.next_element::<Transaction>()? {
                if txs.len() == MAX_BLOCK_TXS {
                    return Err(de::Error::custom(format_args!("more than {MAX_BLOCK_TXS} transactions")));
                }
                unsigned += usize::from(tx.signature.size() < LEAST_SIGNATURE || tx.pub_key.size() < LEAST_KEY);
                if unsigned > MAX_UNSIGNED_TXS {
                    return Err(de::Error::custom(format_args!("more than {MAX_UNSIGNED_TXS} unsigned transactions")));
                }
                txs.push(tx);
            }
            Ok(txs)
        }
    }
    deserializer.deserialize_seq(Txs)
}

fn scheme_of_the_reference() -> u32 {
    1
}

/// Where a block stands: all that linking it into a chain needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockLink {
    /// The block's height.
    pub height: Height,
    /// The block's hash.
    pub hash: Hash32,
    /// Its parent's hash.
    pub prev_hash: Hash32,
}

impl BlockLink {
    /// Whether this block's parent is the block at `tip`; with no tip, whether this can be block 0.
    pub fn extends(&self, tip: Option<&Tip>) -> bool {
        match tip {
            Some(tip) => tip.height.checked_add(1) == Some(self.height) && self.prev_hash == tip.hash,
            None => self.height == 0,
        }
    }

    /// This block as a tip.
    pub fn tip(&self) -> Tip {
        Tip { height: self.height, hash: self.hash }
    }
}

/// The last block of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tip {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: Hash32,
}

/// A block in the framework's binary encoding ([`super::encoding`]), with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedBlock {
    /// Where it stands. Worked out by us, never taken from a peer.
    pub link: BlockLink,
    /// The encoded block.
    pub bytes: Bytes,
}

/// `""` in JSON stands for no hash.
mod hash_or_empty {
    use super::{Deserialize, Deserializer, Hash32, Serialize, Serializer, de};

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(hash: &Option<Hash32>, serializer: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) if serializer.is_human_readable() => hash.serialize(serializer),
            None if serializer.is_human_readable() => serializer.serialize_str(""),
            hash => hash.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hash32>, D::Error> {
        if !deserializer.is_human_readable() {
            return Option::deserialize(deserializer);
        }
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|error| de::Error::custom(format_args!("compute_root: {error}"))),
        }
    }
}
