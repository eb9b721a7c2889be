use crate::rules::HashedBlock;
use crate::types::HexText;

/// What a block has in the framework's encoding besides its transactions and texts, in bytes, or more.
const HEADER: usize = 512;

/// What a transaction has in the framework's encoding besides its payload, in bytes, or more.
const TRANSACTION: usize = 256;

/// How much the blocks of an answer weigh in the window of the sync: about what they have in the framework's encoding, and no more than they had on the
/// wire. What waits is decoded, whichever codec it came in: the digits of JSON, white space and fields that nobody knows are gone by then.
pub(super) fn weight(blocks: &[HashedBlock], on_wire: usize) -> usize {
    blocks.iter().map(encoded).fold(0, usize::saturating_add).min(on_wire)
}

fn encoded(block: &HashedBlock) -> usize {
    if let Some(encoded) = &block.encoded {
        return encoded.len();
    }
    let (header, signature) = (&block.block.header, &block.block.pq_signature);
    let proofs = [&header.zk_state_proof_hash, &header.zk_compute_proof_hash];
    let texts = [header.chain_id.len(), header.proposer_address.as_bytes().len(), length(signature)];
    let texts = texts.into_iter().chain(proofs.into_iter().flatten().map(String::len));
    let txs = block.block.txs.iter().map(|tx| {
        let texts = [tx.from_address.as_bytes().len(), length(&tx.pub_key), length(&tx.signature)];
        let long = texts.into_iter().map(|length| length.saturating_sub(TRANSACTION)).sum::<usize>();
        TRANSACTION + tx.payload.as_str().len() + long
    });
    txs.chain(texts).fold(HEADER, usize::saturating_add)
}

fn length(hex_text: &HexText) -> usize {
    hex_text.canonical_bytes().map_or_else(|| hex_text.text().len(), <[u8]>::len)
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
    fn a_block_weighs_at_least_as_much_decoded_as_in_the_framework_s_encoding() {
        let mut messages = Messages::from_printed_seed();
        for _ in 0..50 {
            let block = messages.block();
            let [decoded, encoded] = [false, true].map(|encoded| weight(&[hashed(&block, encoded)], usize::MAX));
            assert!(encoded <= decoded, "{encoded} and {decoded} bytes");
        }
    }

    #[test]
    fn blocks_in_the_framework_s_encoding_weigh_as_much_as_that_has() {
        let block = Messages::from_printed_seed().block();
        let bytes = encoding::encode_block(&block).len();
        assert_eq!(weight(&[hashed(&block, true)], usize::MAX), bytes);
    }
}
