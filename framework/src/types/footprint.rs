//! How much memory decoded values take: what is held against the bytes that they came in.
//!
//! Counted is what belongs to the value alone. What an allocator adds to each piece is not; short texts, keys and signatures are kept in
//! place and have no piece of their own.

use super::{Block, Header, Transaction};

/// What an `Arc` keeps besides its value: two counts.
pub(crate) const SHARED: usize = 2 * size_of::<usize>();

impl Transaction {
    /// The bytes that it keeps besides itself: texts that are too long to be kept in place, and the payload.
    pub(crate) fn heap(&self) -> usize {
        let to = self.to_address.as_ref().map_or(0, super::Address::heap);
        [self.from_address.heap(), to, self.fee.heap(), self.signature.heap(), self.pub_key.heap()]
            .into_iter()
            .fold(self.payload.heap().saturating_add(self.gas_limit.heap()), usize::saturating_add)
    }
}

impl Header {
    fn heap(&self) -> usize {
        let proofs = [&self.zk_state_proof_hash, &self.zk_compute_proof_hash].into_iter().flatten();
        proofs
            .map(String::capacity)
            .fold(self.chain_id.capacity() + self.proposer_address.heap(), usize::saturating_add)
    }
}

impl Block {
    /// The bytes that its texts keep, besides the block and its list of transactions.
    pub(crate) fn heap(&self) -> usize {
        let own = self.header.heap().saturating_add(self.pq_signature.heap());
        self.txs.iter().map(Transaction::heap).fold(own, usize::saturating_add)
    }

    /// The bytes that the block takes in memory, itself and the spare room of its list of transactions included. Costs a few additions a
    /// transaction, however long their texts are.
    pub fn memory(&self) -> usize {
        self.memory_with(self.heap())
    }

    /// As [`memory`](Self::memory), where [`heap`](Self::heap) is known.
    pub(crate) fn memory_with(&self, heap: usize) -> usize {
        size_of::<Self>().saturating_add(self.txs.capacity() * size_of::<Transaction>()).saturating_add(heap)
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::messages::Messages;
    use crate::types::{HexText, Payload, Quantity, encoding};

    /// Longer than anything that is kept in place.
    const LONG: usize = 100_000;

    #[test]
    fn every_text_of_a_block_counts() {
        let mut messages = Messages::from_printed_seed();
        let mut block = messages.block();
        block.txs = vec![messages.transaction()];
        // One that is made up may be long.
        block.txs[0].payload = Payload::default();
        let (before, text) = (block.memory(), "x".repeat(LONG));
        let digits = "9".repeat(4000);
        let mut changed = vec![block.clone(); 11];
        changed[0].txs[0].from_address = text.as_str().into();
        changed[1].txs[0].to_address = Some(text.as_str().into());
        changed[2].txs[0].signature = HexText::new(&text);
        changed[3].txs[0].pub_key = HexText::from_bytes(text.as_bytes());
        changed[4].txs[0].payload = Payload::new(&format!("{{\"x\":\"{text}\"}}")).unwrap();
        changed[5].header.chain_id.clone_from(&text);
        changed[6].header.proposer_address = text.as_str().into();
        changed[7].header.zk_state_proof_hash = Some(text.clone());
        changed[8].header.zk_compute_proof_hash = Some(text.clone());
        changed[9].pq_signature = HexText::new(&text);
        changed[10].txs.reserve_exact(LONG / size_of::<crate::types::Transaction>() + 1);
        for (at, block) in changed.iter().enumerate() {
            // What stood there before is at most a few hundred bytes.
            assert!(block.memory() + 1000 > before + LONG, "{at}: {} and {before} bytes", block.memory());
        }
        for quantity in [&mut block.txs[0].fee.clone(), &mut block.txs[0].gas_limit.clone()] {
            *quantity = Quantity::from_digits(&digits).unwrap();
            assert_eq!(quantity.heap(), digits.len());
        }
        let (fee, gas_limit) = (Quantity::from_digits(&digits).unwrap(), Quantity::from_digits(&digits).unwrap());
        block.txs[0].fee = fee;
        block.txs[0].gas_limit = gas_limit;
        assert!(block.memory() + 1000 > before + 2 * digits.len());
    }

    #[test]
    fn a_block_takes_no_less_than_its_texts_have_in_the_framework_s_encoding() {
        let mut messages = Messages::from_printed_seed();
        for _ in 0..50 {
            let block = messages.block();
            let bytes = encoding::encode_block(&block).len();
            assert!(block.memory() >= bytes, "{} and {bytes} bytes", block.memory());
        }
    }
}
