//! How long blocks and transactions are as JSON, counted without writing it: compact, with all fields, as our codec and serde write them.

use super::{Block, Hash32, HexText, Quantity, Transaction};

/// No block takes more bytes as JSON for each byte of its encoding: a transaction of empty texts takes ten, a control character six.
pub(crate) const MOST_FOR_A_BYTE: usize = 12;

/// The bytes of a block.
pub(crate) fn block(block: &Block) -> usize {
    const FIELDS: usize = concat!(
        r#"{"header":{"height":,"prev_hash":,"timestamp":,"chain_id":,"proposer_address":,"tx_root":,"state_root":,"compute_root":,"#,
        r#""gas_used":,"gas_limit":,"zk_state_proof_hash":,"zk_compute_proof_hash":},"txs":[],"pq_signature":,"pq_sig_scheme_id":}"#
    )
    .len();
    const HASH: usize = 2 + 2 * size_of::<Hash32>();
    let header = &block.header;
    let numbers = [header.height, header.timestamp, header.gas_used, header.gas_limit, block.pq_sig_scheme_id.into()];
    FIELDS
        + numbers.map(|value| number(value.into())).iter().sum::<usize>()
        + 3 * HASH
        + header.compute_root.map_or(2, |_| HASH)
        + text(&header.chain_id)
        + text(header.proposer_address.as_str())
        + text_or_null(header.zk_state_proof_hash.as_deref())
        + text_or_null(header.zk_compute_proof_hash.as_deref())
        + block.txs.iter().map(transaction).sum::<usize>()
        + block.txs.len().saturating_sub(1)
        + hex(&block.pq_signature)
}

/// The bytes of a transaction.
pub(crate) fn transaction(tx: &Transaction) -> usize {
    const FIELDS: usize = concat!(
        r#"{"tx_type":"","from_address":,"to_address":,"amount":,"fee":,"nonce":,"signature":,"pub_key":,"payload":,"#,
        r#""gas_price":,"gas_limit":}"#
    )
    .len();
    FIELDS
        + tx.tx_type.name().len()
        + text(tx.from_address.as_str())
        + text_or_null(tx.to_address.as_ref().map(AsRef::as_ref))
        + number(tx.amount)
        + quantity(&tx.fee)
        + number(tx.nonce.into())
        + hex(&tx.signature)
        + hex(&tx.pub_key)
        + tx.payload.as_str().len()
        + number(tx.gas_price)
        + quantity(&tx.gas_limit)
}

fn number(value: u128) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn quantity(value: &Quantity) -> usize {
    value.to_u128().map_or_else(|| value.to_string().len(), number)
}

fn hex(hex: &HexText) -> usize {
    hex.canonical_bytes().map_or_else(|| text(&hex.text()), |bytes| 2 + 2 * bytes.len())
}

fn text_or_null(value: Option<&str>) -> usize {
    value.map_or("null".len(), text)
}

/// RFC 8259 section 7.
fn text(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::messages::Messages;
    use crate::types::{Address, Payload, TxType, encoding};

    fn check(block: &Block) {
        let json = serde_json::to_string(block).unwrap();
        assert_eq!(super::block(block), json.len(), "{json}");
        let encoded = encoding::encode_block(block).len();
        assert!(json.len() <= MOST_FOR_A_BYTE * encoded, "{encoded} bytes, as JSON {}", json.len());
        for tx in &block.txs {
            assert_eq!(transaction(tx), serde_json::to_string(tx).unwrap().len());
        }
    }

    #[test]
    fn a_block_is_as_long_as_it_is_when_written() {
        let mut random = Messages::from_printed_seed();
        for _ in 0..500 {
            check(&random.block());
        }
    }

    #[test]
    fn what_takes_the_most_bytes_as_json_for_its_encoding_is_within_the_bound() {
        let mut block = Messages::new(1).block();
        let least = Transaction {
            tx_type: TxType::SubmitResult,
            from_address: Address::new(""),
            to_address: None,
            amount: 0,
            fee: Quantity::default(),
            nonce: 0,
            signature: HexText::default(),
            pub_key: HexText::default(),
            payload: Payload::default(),
            gas_price: 0,
            gas_limit: Quantity::default(),
        };
        let controls: String = (0..0x20u8).map(char::from).chain("\"\\é🦀\u{7f}".chars()).collect();
        block.txs = vec![least.clone(); 1000];
        check(&block);
        let to = Some(Address::new("\u{1}".repeat(10_000)));
        block.txs = vec![Transaction { to_address: to, ..least.clone() }];
        check(&block);
        let odd = Transaction {
            to_address: Some(Address::new(&controls)),
            signature: HexText::new(&controls),
            pub_key: HexText::new("AB cd"),
            amount: u128::MAX,
            gas_price: 10,
            fee: Quantity::from_digits(&"9".repeat(4300)).unwrap(),
            nonce: u64::MAX,
            ..least
        };
        block.txs = vec![odd];
        check(&block);
        block.txs.clear();
        (block.header.chain_id, block.header.zk_state_proof_hash) = (controls, Some(String::new()));
        check(&block);
    }
}
