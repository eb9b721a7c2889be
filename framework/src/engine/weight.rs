use crate::rules::HashedBlock;
use crate::types::{Address, HexText, Quantity};

/// What a block has in the framework's encoding besides its transactions and texts, in bytes, or more.
const HEADER: usize = 512;

/// What a usual transaction has in the framework's encoding besides its payload, in bytes, or more.
const TRANSACTION: usize = 256;

/// So much of it is for its texts: two addresses, a key and a signature have 139 bytes. The rest is more than all numbers and lengths have.
const USUAL_TEXTS: usize = 144;

/// What an address has that is one of 20 bytes under a usual prefix.
const USUAL_ADDRESS: usize = 21;

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
        // Each of them may be of any length.
        let addresses = address(&tx.from_address) + tx.to_address.as_ref().map_or(0, address);
        let texts = addresses + length(&tx.pub_key) + length(&tx.signature) + digits(&tx.fee) + digits(&tx.gas_limit);
        TRANSACTION + tx.payload.as_str().len() + texts.saturating_sub(USUAL_TEXTS)
    });
    txs.chain(texts).fold(HEADER, usize::saturating_add)
}

fn address(address: &Address) -> usize {
    if address.known_prefix().is_some() { USUAL_ADDRESS } else { address.as_bytes().len() }
}

/// The digits of what 128 bits do not hold.
fn digits(quantity: &Quantity) -> usize {
    if quantity.to_u128().is_some() { 0 } else { quantity.to_string().len() }
}

fn length(hex_text: &HexText) -> usize {
    hex_text.canonical_bytes().map_or_else(|| hex_text.text().len(), <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey};
    use crate::testkit::messages::Messages;
    use crate::types::{Block, BlockLink, Hash32, Payload, Transaction, encoding};

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
    fn no_text_of_a_transaction_weighs_nothing_however_long_it_is() {
        const LONG: usize = 100_000;
        let mut messages = Messages::from_printed_seed();
        let tx = messages.transaction();
        let text = "x".repeat(LONG);
        let digits = Quantity::from_digits(&"9".repeat(4000)).unwrap();
        let changed = [
            (Transaction { from_address: Address::new(&text), ..tx.clone() }, LONG),
            (Transaction { to_address: Some(Address::new(&text)), ..tx.clone() }, LONG),
            (Transaction { fee: digits.clone(), ..tx.clone() }, 4000),
            (Transaction { gas_limit: digits, ..tx.clone() }, 4000),
        ];
        for (tx, least) in changed {
            let mut block = messages.block();
            block.txs = vec![tx; 3];
            let [decoded, encoded] = [false, true].map(|encoded| weight(&[hashed(&block, encoded)], usize::MAX));
            assert!(3 * least < encoded && encoded <= decoded, "{encoded} and {decoded} bytes");
        }
    }

    #[test]
    fn a_usual_transaction_weighs_256_bytes_and_its_payload() {
        let key = SecretKey::from_hex(Scheme::Secp256k1, &"07".repeat(32)).unwrap();
        let address = key.address(ACCOUNT_PREFIX);
        let tx = Transaction {
            from_address: address.clone(),
            to_address: Some(address),
            pub_key: key.public_key(),
            signature: key.sign(&Hash32::ZERO),
            fee: 1u64.into(),
            gas_limit: 1u64.into(),
            payload: Payload::default(),
            ..Messages::from_printed_seed().transaction()
        };
        let mut block = Messages::from_printed_seed().block();
        let mut weighs = |count: usize| {
            block.txs = vec![tx.clone(); count];
            weight(&[hashed(&block, false)], usize::MAX)
        };
        assert_eq!(weighs(10) - weighs(0), 10 * (TRANSACTION + Payload::default().as_str().len()));
    }

    #[test]
    fn blocks_in_the_framework_s_encoding_weigh_as_much_as_that_has() {
        let block = Messages::from_printed_seed().block();
        let bytes = encoding::encode_block(&block).len();
        assert_eq!(weight(&[hashed(&block, true)], usize::MAX), bytes);
    }
}
