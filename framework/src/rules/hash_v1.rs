//! The hashes of reference v1 (protocol.md section 4): decimal text, joined with nothing between the parts.

use super::payload::TaskResult;
use super::sink::Sink;
use crate::types::{Hash32, Header, Transaction};

pub(super) fn header(header: &Header) -> Hash32 {
    let mut sink = Sink::new();
    sink.display(header.height)
        .hash_text(&header.prev_hash)
        .display(header.timestamp)
        .text(&header.chain_id)
        .text(header.proposer_address.as_str())
        .hash_text(&header.tx_root)
        .hash_text(&header.state_root);
    if let Some(root) = &header.compute_root {
        sink.hash_text(root);
    }
    sink.display(header.gas_used).display(header.gas_limit);
    sink.finish()
}

pub(super) fn transaction(tx: &Transaction) -> Hash32 {
    let mut sink = Sink::new();
    sink.text(tx.tx_type.name())
        .text(tx.from_address.as_str())
        .text(tx.to_address.as_ref().map_or("", AsRef::as_ref))
        .display(tx.amount)
        .display(&tx.fee)
        .display(tx.nonce)
        .hex_text(&tx.pub_key);
    sink.finish()
}

/// The leaf of the compute root: the result as Python's `json.dumps(…, separators=(",", ":"), ensure_ascii=False)` writes it.
pub(super) fn result(result: &TaskResult) -> Hash32 {
    let mut sink = Sink::new();
    sink.text(r#"{"task_id":"#)
        .json_string(&result.task_id)
        .text(r#","worker_address":"#)
        .json_string(&result.worker_address)
        .text(r#","result_hash":"#)
        .json_string(&result.result_hash)
        .text(r#","proof":"#)
        .json_string(&result.proof)
        .text(r#","nonce":"#)
        .text(&result.nonce)
        .text(r#","signature":"#)
        .json_string(&result.signature)
        .text("}");
    sink.finish()
}
