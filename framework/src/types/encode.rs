//! Writes the binary encoding of [`super::encoding`]: what postcard makes of the types, without the way through serde.

use super::{Address, Block, Hash32, Header, HexText, Quantity, Transaction, TxType};

/// What a header takes besides its texts, and a transaction with its signature and key, about: room for so much is made at once.
const USUAL_HEADER: usize = 320;
pub(super) const USUAL_TRANSACTION: usize = 224;

/// The top bit of a group of seven: another one follows.
const MORE: u8 = 0x80;

/// Appends a block.
pub(super) fn block(block: &Block, out: &mut Vec<u8>) {
    out.reserve(USUAL_HEADER + block.txs.len() * USUAL_TRANSACTION);
    header(&block.header, out);
    length(block.txs.len(), out);
    for tx in &block.txs {
        transaction(tx, out);
    }
    hex_text(&block.pq_signature, out);
    number(block.pq_sig_scheme_id.into(), out);
}

/// Appends a transaction.
pub(super) fn transaction(tx: &Transaction, out: &mut Vec<u8>) {
    out.push(match tx.tx_type {
        TxType::Transfer => 0,
        TxType::Stake => 1,
        TxType::SubmitResult => 2,
        TxType::Unstake => 3,
        TxType::PocReward => 4,
    });
    address(&tx.from_address, out);
    option(tx.to_address.as_ref(), out, address);
    large(tx.amount, out);
    quantity(&tx.fee, out);
    number(tx.nonce, out);
    hex_text(&tx.signature, out);
    hex_text(&tx.pub_key, out);
    counted(tx.payload.form().as_bytes(), out);
    large(tx.gas_price, out);
    quantity(&tx.gas_limit, out);
}

/// Appends a header.
pub(super) fn header(header: &Header, out: &mut Vec<u8>) {
    let text = |text: &String, out: &mut Vec<u8>| counted(text.as_bytes(), out);
    number(header.height, out);
    hash(&header.prev_hash, out);
    number(header.timestamp, out);
    text(&header.chain_id, out);
    address(&header.proposer_address, out);
    hash(&header.tx_root, out);
    hash(&header.state_root, out);
    option(header.compute_root.as_ref(), out, hash);
    number(header.gas_used, out);
    number(header.gas_limit, out);
    option(header.zk_state_proof_hash.as_ref(), out, text);
    option(header.zk_compute_proof_hash.as_ref(), out, text);
}

fn address(address: &Address, out: &mut Vec<u8>) {
    if let Some((tag, bytes)) = address.compact() {
        out.push(1 + 20);
        out.push(tag);
        out.extend_from_slice(&bytes);
    } else {
        length(1 + address.as_str().len(), out);
        out.push(0);
        out.extend_from_slice(address.as_str().as_bytes());
    }
}

fn hex_text(text: &HexText, out: &mut Vec<u8>) {
    let (form, bytes) = text.form();
    out.push(form);
    counted(bytes, out);
}

fn quantity(quantity: &Quantity, out: &mut Vec<u8>) {
    if let Some(value) = quantity.to_u128() {
        out.push(1);
        large(value, out);
    } else {
        out.push(2);
        counted(quantity.to_string().as_bytes(), out);
    }
}

fn hash(hash: &Hash32, out: &mut Vec<u8>) {
    out.extend_from_slice(&hash.0);
}

fn option<T>(value: Option<&T>, out: &mut Vec<u8>, write: impl FnOnce(&T, &mut Vec<u8>)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            write(value, out);
        }
    }
}

fn counted(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn length(length: usize, out: &mut Vec<u8>) {
    number(length as u64, out);
}

fn large(value: u128, out: &mut Vec<u8>) {
    let mut left = value;
    loop {
        if let Ok(small) = u64::try_from(left) {
            return number(small, out);
        }
        out.push(left.to_le_bytes()[0] | MORE);
        left >>= 7;
    }
}

/// In groups of seven bits, the lowest first; all but the last have their top bit set.
fn number(value: u64, out: &mut Vec<u8>) {
    let mut left = value;
    while left >= u64::from(MORE) {
        out.push(left.to_le_bytes()[0] | MORE);
        left >>= 7;
    }
    out.push(left.to_le_bytes()[0]);
}
