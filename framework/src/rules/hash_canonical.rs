//! The hashes of our own networks (protocol.md section 5): a domain tag, then an unambiguous binary encoding, SHA-256.
//!
//! Integers are big-endian of fixed width (`u128` for amounts). Text and bytes carry their length in bytes as a `u64`
//! before them. What may be absent, or has two forms, starts with a byte that says which. Fields stand in the order of
//! their declaration; only the signature is left out. Two values that differ in any field have different encodings.

use super::payload::TaskResult;
use super::sink::Sink;
use crate::types::{Hash32, Header, HexText, Quantity, Transaction};

const HEADER: &str = "cpc/canonical/header/v1";
const TRANSACTION: &str = "cpc/canonical/transaction/v1";
const RESULT: &str = "cpc/canonical/result/v1";

pub(super) fn header(header: &Header) -> Hash32 {
    let mut sink = Sink::new();
    sink.field(HEADER)
        .u64(header.height)
        .bytes(&header.prev_hash.0)
        .u64(header.timestamp)
        .field(&header.chain_id)
        .field(header.proposer_address.as_str())
        .bytes(&header.tx_root.0)
        .bytes(&header.state_root.0)
        .option(header.compute_root.as_ref(), |sink, root| {
            sink.bytes(&root.0);
        })
        .u64(header.gas_used)
        .u64(header.gas_limit)
        .option(header.zk_state_proof_hash.as_ref(), |sink, text| {
            sink.field(text);
        })
        .option(header.zk_compute_proof_hash.as_ref(), |sink, text| {
            sink.field(text);
        });
    sink.finish()
}

pub(super) fn transaction(chain_id: &str, tx: &Transaction) -> Hash32 {
    let mut sink = Sink::new();
    sink.field(TRANSACTION)
        .field(chain_id)
        .field(tx.tx_type.name())
        .field(tx.from_address.as_str())
        .option(tx.to_address.as_ref(), |sink, address| {
            sink.field(address.as_str());
        })
        .u128(tx.amount)
        .quantity(&tx.fee)
        .u64(tx.nonce)
        .hex(&tx.pub_key)
        .field(tx.payload.as_str())
        .u128(tx.gas_price)
        .quantity(&tx.gas_limit);
    sink.finish()
}

/// The data of a leaf of the compute root.
pub(super) fn result(result: &TaskResult) -> Hash32 {
    let mut sink = Sink::new();
    sink.field(RESULT)
        .field(&result.task_id)
        .field(&result.worker_address)
        .field(&result.result_hash)
        .field(&result.proof)
        .field(&result.nonce)
        .field(&result.signature);
    sink.finish()
}

impl Sink {
    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn u128(&mut self, value: u128) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Text with its length.
    fn field(&mut self, text: &str) -> &mut Self {
        self.u64(text.len() as u64).text(text)
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            None => {
                self.bytes(&[0]);
            }
            Some(value) => {
                self.bytes(&[1]);
                write(self, value);
            }
        }
        self
    }

    /// Values beyond 128 bits break a rule, but have a hash like any other.
    fn quantity(&mut self, value: &Quantity) -> &mut Self {
        match value.to_u128() {
            Some(small) => self.bytes(&[0]).u128(small),
            None => self.bytes(&[1]).field(&value.to_string()),
        }
    }

    /// Text that is not canonical hexadecimal breaks a rule, but has a hash like any other.
    fn hex(&mut self, value: &HexText) -> &mut Self {
        match value.canonical_bytes() {
            Some(bytes) => self.bytes(&[0]).u64(bytes.len() as u64).bytes(bytes),
            None => self.bytes(&[1]).field(&value.text()),
        }
    }
}
