use crate::mempool::tx_bytes;
use crate::rules::HashedBlock;

/// What a block takes besides its transactions and texts, in bytes: more than a header has in any codec.
const HEADER: usize = 2048;

/// How much the blocks of an answer weigh in the window of the sync: its bytes on the wire, but no more than its blocks make up once decoded. White
/// space and fields that nobody knows are gone by then, and must not pass for large blocks.
pub(super) fn weight(blocks: &[HashedBlock], on_wire: usize) -> usize {
    blocks.iter().map(decoded).fold(0, usize::saturating_add).min(on_wire)
}

fn decoded(block: &HashedBlock) -> usize {
    if let Some(encoded) = &block.encoded {
        return encoded.len();
    }
    let (header, signature) = (&block.block.header, &block.block.pq_signature);
    let proofs = [&header.zk_state_proof_hash, &header.zk_compute_proof_hash];
    let texts = [header.chain_id.len(), header.proposer_address.as_str().len(), signature.text().len()];
    let texts = texts.into_iter().chain(proofs.into_iter().flatten().map(String::len));
    block.block.txs.iter().map(tx_bytes).chain(texts).fold(HEADER, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testkit::messages::Messages;
    use crate::types::{Block, BlockLink, Hash32, encoding};

    fn hashed(block: &Block, encoded: bool) -> HashedBlock {
        let link = BlockLink { height: block.header.height, hash: Hash32::ZERO, prev_hash: block.header.prev_hash };
        let encoded = encoded.then(|| encoding::encode_block(block).into());
        HashedBlock { block: Arc::new(block.clone()), link, tx_hashes: Vec::new(), encoded }
    }

    #[test]
    fn padding_on_the_wire_weighs_nothing() {
        let mut messages = Messages::from_printed_seed();
        let blocks: Vec<HashedBlock> = (0..4).map(|_| hashed(&messages.block(), false)).collect();
        let decoded = weight(&blocks, usize::MAX);
        assert!(decoded < 1 << 20, "{decoded} bytes");
        assert_eq!(weight(&blocks, 16 << 20), decoded);
        assert_eq!(weight(&[], 16 << 20), 0);
    }

    #[test]
    fn an_honest_answer_weighs_what_it_has_on_the_wire() {
        let mut messages = Messages::from_printed_seed();
        for _ in 0..50 {
            let block = messages.block();
            // The reference writes a space after each comma and colon.
            let json = serde_json::to_string(&block).unwrap();
            let spaced = json.len() + json.matches([',', ':']).count();
            assert_eq!(weight(&[hashed(&block, false)], spaced), spaced);
        }
    }

    #[test]
    fn blocks_in_the_framework_s_encoding_weigh_as_much_as_that_has() {
        let block = Messages::from_printed_seed().block();
        let bytes = encoding::encode_block(&block).len();
        assert_eq!(weight(&[hashed(&block, true)], usize::MAX), bytes);
    }
}
