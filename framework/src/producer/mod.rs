//! Making blocks: when it is our turn, and never twice.
//!
//! A validator's node asks the chain for its next [`Slot`] on top of the tip, waits for it, and has the chain propose.
//! What it signs is in the [`SigningJournal`] before anybody sees it. The new block is then imported like any other,
//! and so checked by the very rules that others check it by.

mod fill;
mod journal;
mod journal_file;
mod signer;
mod slot;

pub use fill::{HEADER_ROOM, candidates};
pub use journal::{JournalError, MemoryJournal, Signed, SigningJournal};
pub use journal_file::FileJournal;
pub use signer::{SignError, Signer};
pub use slot::{Slot, next_slot};

/// Some block, for tests of journals.
#[cfg(test)]
pub(crate) fn any_block() -> std::sync::Arc<crate::types::Block> {
    use crate::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey};
    use crate::types::{Block, Hash32, Header, HexText, Payload, Transaction, TxType};
    let key = SecretKey::from_hex(Scheme::Ed25519, &"7".repeat(64)).unwrap();
    let tx = Transaction {
        tx_type: TxType::Transfer,
        from_address: key.address(ACCOUNT_PREFIX),
        to_address: None,
        amount: u128::MAX,
        fee: u128::MAX.into(),
        nonce: 7,
        signature: HexText::from_bytes(&[9; 64]),
        pub_key: key.public_key(),
        payload: Payload::default(),
        gas_price: 1000,
        gas_limit: 21_000u64.into(),
    };
    let header = Header {
        height: 8,
        prev_hash: Hash32([3; 32]),
        timestamp: 1_700_000_000,
        chain_id: "cpc-test".into(),
        proposer_address: key.address(crate::rules::keys::VALIDATOR_PREFIX),
        tx_root: Hash32([4; 32]),
        state_root: Hash32([5; 32]),
        compute_root: None,
        gas_used: 21_000,
        gas_limit: 10_000_000,
        zk_state_proof_hash: None,
        zk_compute_proof_hash: Some(String::new()),
    };
    Block { header, txs: vec![tx], pq_signature: HexText::from_bytes(&[1; 64]), pq_sig_scheme_id: 237 }.into()
}
