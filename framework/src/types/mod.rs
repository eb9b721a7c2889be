//! Plain data: what blocks, transactions, messages and genesis files are made of.
//!
//! Nothing here decides anything. The rules that give these values a meaning live in [`crate::rules`].
//! Every type serialises to the JSON of the reference and, through any binary serde format, to a compact form.

mod address;
mod amount;
pub(crate) mod bech32;
mod block;
mod decode;
mod encode;
pub mod encoding;
mod footprint;
mod genesis;
mod hash;
mod hex_digits;
mod hex_text;
pub(crate) mod json_length;
mod message;
mod payload;
mod transaction;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use amount::Quantity;
pub use block::{Block, BlockLink, EncodedBlock, Header, Height, MAX_BLOCK_TXS, Tip};
pub(crate) use footprint::SHARED;
pub use genesis::{Checkpoint, Genesis, GenesisError, GenesisValidator, HashRules, Network, NetworkParams};
pub use hash::{Hash32, ParseHashError};
pub use hex_text::HexText;
pub use message::{
    ANNOUNCE, HEADER_CHAIN, Handshake, MAX_ANNOUNCED_BLOCKS, MAX_ANNOUNCED_TXS, MAX_HEADERS, Message, MessageKind,
    REQUEST_ID, WireBlock,
};
pub use payload::Payload;
pub use transaction::{Transaction, TxType};
