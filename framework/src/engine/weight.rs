//! What blocks of peers take in memory, and what that counts for.

use bytes::Bytes;

use crate::memory::IMPORTED;
use crate::rules::HashedBlock;
use crate::types::{Hash32, SHARED};

/// What a block has in the framework's encoding besides its transactions and texts, in bytes, or more.
const HEADER: usize = 512;

/// What a transaction has in the framework's encoding besides texts that are longer than usual, in bytes, or more.
const TRANSACTION: usize = 256;

/// Whatever lies in one buffer of a reader keeps all of it in memory, which has so many bytes where its frames are short.
const LEAST_BUFFER: usize = super::connection::BUFFER_KEPT;

/// How much the blocks of one frame take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Bytes in memory: decoded with all texts, hashed, and what they keep of their frame.
    pub(super) memory: usize,
    /// Bytes of the window of the sync: about what they have in the framework's encoding, whichever codec they came in, and no more than they had
    /// on the wire (the digits of JSON, white space and fields that nobody knows are gone by then); but never less than what is in memory
    /// already, as far as the window [counts it](IMPORTED).
    pub(super) window: usize,
}

impl Weight {
    /// What the blocks of a frame of so many bytes weigh. A few additions a transaction.
    pub(super) fn of(blocks: &[HashedBlock], frame: usize) -> Self {
        let (mut encoded, mut memory) = (0usize, 0usize);
        for block in blocks {
            let heap = block.block.heap();
            let estimate = || heap.saturating_add(HEADER + TRANSACTION * block.block.txs.len());
            encoded = encoded.saturating_add(block.encoded.as_ref().map_or_else(estimate, Bytes::len));
            memory = memory
                .saturating_add(size_of::<HashedBlock>() + SHARED + block.tx_hashes.capacity() * size_of::<Hash32>())
                .saturating_add(block.block.memory_with(heap));
        }
        let slices = slices(blocks);
        let kept = if keeps_frame(slices, frame) { slices.max(frame) } else { slices };
        let memory = memory.saturating_add(kept);
        Self { memory, window: encoded.min(frame).max(memory / IMPORTED) }
    }
}

/// Has blocks that are little of what came with them keep no more than themselves: as slices of their frame they would keep all of it. Copies less
/// than half of a frame, or of a short buffer.
pub(super) fn let_go_of_frame(blocks: &mut [HashedBlock], frame: usize) {
    let slices = slices(blocks);
    if slices == 0 || keeps_frame(slices, frame) {
        return;
    }
    let mut own = Vec::with_capacity(slices);
    for encoded in blocks.iter().filter_map(|block| block.encoded.as_ref()) {
        own.extend_from_slice(encoded);
    }
    let mut own = Bytes::from(own);
    for encoded in blocks.iter_mut().filter_map(|block| block.encoded.as_mut()) {
        *encoded = own.split_to(encoded.len());
    }
}

/// The bytes that blocks have in the framework's encoding, where they came in it.
fn slices(blocks: &[HashedBlock]) -> usize {
    blocks.iter().filter_map(|block| block.encoded.as_ref()).map(Bytes::len).sum()
}

/// Whether slices of so many bytes in all are left in their frame.
fn keeps_frame(slices: usize, frame: usize) -> bool {
    slices > 0 && slices >= frame.max(LEAST_BUFFER) / 2
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testkit::messages::Messages;
    use crate::types::{Block, BlockLink, Transaction, encoding};

    fn hashed(block: &Block, encoded: bool) -> HashedBlock {
        let link = BlockLink { height: block.header.height, hash: Hash32::ZERO, prev_hash: block.header.prev_hash };
        let encoded = encoded.then(|| encoding::encode_block(block).into());
        HashedBlock { block: Arc::new(block.clone()), link, tx_hashes: Vec::new(), encoded }
    }

    fn window(blocks: &[HashedBlock], frame: usize) -> usize {
        Weight::of(blocks, frame).window
    }

    /// A block of so many transactions as a user makes them.
    fn usual(txs: usize) -> Block {
        let mut block = Messages::from_printed_seed().block();
        let address = crate::types::Address::bech32("cpc", &[7; 20]).unwrap();
        let tx = Transaction {
            tx_type: crate::types::TxType::Transfer,
            from_address: address.clone(),
            to_address: Some(address),
            amount: 10u128.pow(20),
            fee: 21_000_000u64.into(),
            nonce: 70,
            signature: crate::types::HexText::from_bytes(&[7; 64]),
            pub_key: crate::types::HexText::from_bytes(&[7; 33]),
            payload: crate::types::Payload::default(),
            gas_price: 1000,
            gas_limit: 21_000u64.into(),
        };
        block.txs = vec![tx; txs];
        block
    }

    #[test]
    fn padding_on_the_wire_weighs_nothing() {
        let mut messages = Messages::from_printed_seed();
        let blocks: Vec<HashedBlock> = (0..4).map(|_| hashed(&messages.block(), false)).collect();
        let decoded = window(&blocks, usize::MAX);
        assert!(decoded < 1 << 20, "{decoded} bytes");
        assert_eq!(window(&blocks, 16 << 20), decoded);
        assert_eq!(Weight::of(&[], 16 << 20), Weight::default());
    }

    #[test]
    fn a_block_weighs_at_least_as_much_decoded_as_in_the_framework_s_encoding() {
        let mut messages = Messages::from_printed_seed();
        for _ in 0..50 {
            let block = messages.block();
            let bytes = encoding::encode_block(&block).len();
            let decoded = window(&[hashed(&block, false)], usize::MAX);
            assert!(bytes <= decoded, "{bytes} and {decoded} bytes");
        }
    }

    #[test]
    fn usual_blocks_in_the_framework_s_encoding_weigh_as_much_as_that_has() {
        let blocks: Vec<HashedBlock> = (0..200).map(|_| hashed(&usual(10), true)).collect();
        let bytes = blocks.iter().map(|block| block.encoded.as_ref().unwrap().len()).sum();
        assert_eq!(window(&blocks, bytes), bytes);
    }

    #[test]
    fn transactions_of_a_few_bytes_weigh_what_they_take_in_memory() {
        let mut block = usual(1);
        let small: Transaction =
            serde_json::from_str(r#"{"tx_type":"STAKE","from_address":"a","amount":0,"nonce":0}"#).unwrap();
        block.txs = vec![small; 1000];
        let least = 1000 * size_of::<Transaction>() / IMPORTED;
        for encoded in [false, true] {
            let block = hashed(&block, encoded);
            let frame = block.encoded.as_ref().map_or(60_000, Bytes::len);
            assert!(window(&[block], frame) >= least);
        }
    }

    /// Under v1 rules any text is a recipient.
    #[test]
    fn long_recipients_weigh_what_they_have() {
        let mut block = usual(1);
        block.txs[0].to_address = Some("x".repeat(3 << 20).as_str().into());
        let bytes = encoding::encode_block(&block).len();
        let decoded = window(&[hashed(&block, false)], usize::MAX);
        assert!(bytes <= decoded, "{bytes} bytes in the framework's encoding, {decoded} in the window");
    }

    #[test]
    fn a_block_that_is_little_of_its_frame_is_copied_and_others_are_not() {
        let encoding: Bytes = encoding::encode_block(&usual(300)).into();
        let size = encoding.len();
        assert!(size > LEAST_BUFFER / 2, "{size} bytes");
        for (frame, stays) in [(size, true), (2 * size, true), (2 * size + 2, false), (4 << 20, false)] {
            let mut whole = encoding.to_vec();
            whole.resize(frame, 0);
            let whole = Bytes::from(whole);
            let mut blocks = [HashedBlock { encoded: Some(whole.slice(..size)), ..hashed(&usual(300), false) }];
            let before = Weight::of(&blocks, frame);
            let_go_of_frame(&mut blocks, frame);
            let kept = blocks[0].encoded.clone().unwrap();
            assert_eq!((kept.as_ptr() == whole.as_ptr(), &kept), (stays, &encoding), "of {frame} bytes");
            let after = Weight::of(&blocks, frame);
            assert_eq!(after, before);
            let others = after.memory - blocks[0].block.memory();
            assert_eq!(others >= frame, stays || frame == size, "{others} of {frame} bytes count");
        }
    }

    #[test]
    fn short_frames_do_not_keep_the_buffer_that_they_came_in() {
        let encoding = encoding::encode_block(&usual(1));
        let buffer = Bytes::from([encoding.clone(), vec![0; LEAST_BUFFER]].concat());
        let block = |at: usize| HashedBlock { encoded: Some(buffer.slice(at..at + 9)), ..hashed(&usual(1), false) };
        let mut blocks = [block(0), hashed(&usual(1), false), block(9)];
        let_go_of_frame(&mut blocks, encoding.len());
        let kept: Vec<Option<Bytes>> = blocks.iter().map(|block| block.encoded.clone()).collect();
        assert_eq!(kept, [Some(buffer.slice(..9)), None, Some(buffer.slice(9..18))]);
        let inside = buffer.as_ptr_range();
        assert!(kept.iter().flatten().all(|kept| !inside.contains(&kept.as_ptr())));
    }
}
