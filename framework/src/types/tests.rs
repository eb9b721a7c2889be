//! What decoding keeps and what it refuses.

use std::io::Read as _;
use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::encoding::{self, BlockDecodeError, decode_block, decode_transaction, encode_block, encode_transaction};
use super::*;

/// The blocks of the reference's chains, and of every candidate that decodes, as JSON.
fn vector_blocks() -> Vec<String> {
    #[derive(Deserialize)]
    struct Candidate {
        block: Box<RawValue>,
    }
    let read = |file: &str| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1").join(file);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut blocks = Vec::new();
    for file in ["mainline/blocks.jsonl.gz", "fork/blocks.jsonl.gz", "fork/branch.jsonl.gz"] {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&read(file)[..]).read_to_string(&mut text).unwrap();
        blocks.extend(text.lines().map(str::to_owned));
    }
    let candidates = String::from_utf8(read("fork/candidates-at-61.jsonl")).unwrap();
    for line in candidates.lines() {
        let block = serde_json::from_str::<Candidate>(line).unwrap().block.get().to_owned();
        if serde_json::from_str::<Block>(&block).is_ok() {
            blocks.push(block);
        }
    }
    blocks
}

fn transaction() -> Transaction {
    serde_json::from_str(
        r#"{"tx_type":"TRANSFER","from_address":"cpc1dd4z9ed3whrqsy24aq4syfwgycdm8v22f6sgry","amount":7,"nonce":0}"#,
    )
    .unwrap()
}

#[test]
fn json_and_binary_keep_every_block_of_the_vectors() {
    let blocks = vector_blocks();
    assert!(blocks.len() > 1500, "{} blocks", blocks.len());
    for json in blocks {
        let block: Block = serde_json::from_str(&json).unwrap();
        let bytes = encode_block(&block);
        assert_eq!(bytes, postcard::to_extend(&block, vec![1]).unwrap(), "the encoding is what postcard makes of it");
        assert_eq!(decode_block(&bytes).as_ref(), Ok(&block), "{json}");
        let written = serde_json::to_string(&block).unwrap();
        assert_eq!(serde_json::from_str::<Block>(&written).unwrap(), block, "{json}");
        assert!(!written.contains('\n'));
    }
}

#[test]
fn the_json_of_a_block_of_the_reference_is_written_as_it_was_read() {
    for json in vector_blocks().into_iter().take(1210) {
        let block: Block = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&block).unwrap(), json);
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = encode_transaction(&transaction());
    assert_eq!(decode_transaction(&bytes), Ok(transaction()));
    bytes.push(0);
    assert_eq!(decode_transaction(&bytes), Err(BlockDecodeError::Trailing(1)));
}

#[test]
fn a_block_of_more_than_1024_unsigned_transactions_is_not_read_and_one_of_more_signed_ones_is() {
    let mut block: Block = serde_json::from_str(&vector_blocks()[0]).unwrap();
    let mut read = |txs: usize, signature: usize, key: usize| {
        let [signature, pub_key] = [signature, key].map(|bytes| HexText::new(&"ab".repeat(bytes)));
        block.txs = vec![Transaction { signature, pub_key, ..transaction() }; txs];
        serde_json::from_str::<Block>(&serde_json::to_string(&block).unwrap()).map(|read| assert_eq!(read, block))
    };
    for (signature, key) in [(0, 32), (31, 32), (64, 0), (64, 31)] {
        assert!(read(1024, signature, key).is_ok());
        let error = read(1025, signature, key).unwrap_err().to_string();
        assert!(error.contains("more than 1024 unsigned transactions"), "{error}");
    }
    assert!(read(1025, 32, 32).is_ok());
}

#[test]
fn every_cut_of_an_encoding_is_refused() {
    let bytes = encode_transaction(&transaction());
    for end in 0..bytes.len() {
        assert!(decode_transaction(&bytes[..end]).is_err(), "cut to {end} bytes");
    }
}

#[test]
fn another_version_is_refused_by_number() {
    let mut bytes = encode_transaction(&transaction());
    bytes[0] = 9;
    assert_eq!(decode_transaction(&bytes), Err(BlockDecodeError::Version { found: 9 }));
    assert_eq!(decode_transaction(&[]), Err(BlockDecodeError::Empty));
}

#[test]
fn an_integer_with_superfluous_bytes_is_refused() {
    let bytes = encode_transaction(&transaction());
    // Version, type, length of the address and its 21 bytes, no recipient, then the amount 7.
    let amount = 1 + 1 + 1 + 21 + 1;
    assert_eq!(bytes[amount], 7);
    let padded = [&bytes[..amount], &[0x87, 0], &bytes[amount + 1..]].concat();
    assert_eq!(decode_transaction(&padded), Err(BlockDecodeError::NotCanonical));
}

#[test]
fn a_number_of_any_length_is_written_as_postcard_writes_it() {
    for bits in 0..128 {
        for amount in [1 << bits, (1 << bits) - 1, u128::MAX >> bits] {
            let nonce = amount.try_into().unwrap_or(u64::MAX - 1);
            let tx = Transaction { amount, nonce, ..transaction() };
            let bytes = encode_transaction(&tx);
            assert_eq!(bytes, postcard::to_extend(&tx, vec![1]).unwrap(), "{amount}, {nonce}");
            assert_eq!(decode_transaction(&bytes), Ok(tx));
        }
    }
}

#[test]
fn texts_of_any_length_are_written_as_postcard_writes_them() {
    // Shorter and longer than what is put together before it goes to the output.
    for length in 0..600 {
        let tx = Transaction {
            from_address: Address::new("x".repeat(length)),
            signature: HexText::new(&"X".repeat(length)),
            pub_key: HexText::from_bytes(&vec![7; length]),
            ..transaction()
        };
        let bytes = encode_transaction(&tx);
        assert_eq!(bytes, postcard::to_extend(&tx, vec![1]).unwrap(), "{length}");
        assert_eq!(decode_transaction(&bytes), Ok(tx));
    }
}

#[test]
fn addresses_are_equal_and_in_order_as_their_texts_are() {
    let bech32 = |prefix: &str, byte| Address::bech32(prefix, &[byte; 20]).unwrap();
    let mut addresses = vec![Address::new(""), Address::new("cpc1"), Address::new("x")];
    for byte in [0, 7, 255] {
        for prefix in ["cpc", "cpcvalcons", "other"] {
            let address = bech32(prefix, byte);
            let upper = address.as_str().to_uppercase();
            addresses.extend([Address::new(address.as_str()), Address::from(upper), address]);
        }
    }
    for a in &addresses {
        assert_eq!(a.known_prefix().is_some(), a.compact().is_some(), "{a}");
        for b in &addresses {
            assert_eq!(a == b, a.as_str() == b.as_str(), "{a} {b}");
            assert_eq!(a.cmp(b), a.as_str().cmp(b.as_str()), "{a} {b}");
        }
    }
}

#[test]
fn a_length_beyond_the_bytes_left_is_refused_without_reserving_memory() {
    let block: Block = serde_json::from_str(&vector_blocks()[0]).unwrap();
    let bytes = encode_block(&Block { txs: Vec::new(), ..block });
    let mut refused = 0;
    for at in 1..bytes.len() {
        let bomb = [&bytes[..at], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], &bytes[at + 1..]].concat();
        refused += usize::from(decode_block(&bomb).is_err());
    }
    assert!(refused > 0);
}

#[test]
fn each_text_has_one_binary_form() {
    let binary = |value: &[u8]| postcard::to_stdvec(&value).unwrap();
    let text = b"\0cpc1dd4z9ed3whrqsy24aq4syfwgycdm8v22f6sgry";
    assert!(postcard::from_bytes::<Address>(&binary(text)).is_err(), "a bech32 address as text");
    assert!(postcard::from_bytes::<Address>(&binary(b"")).is_err(), "no form");
    assert!(postcard::from_bytes::<Address>(&binary(&[3; 21])).is_err(), "an unknown form");
    assert!(postcard::from_bytes::<Address>(&binary(&[1; 20])).is_err(), "19 bytes");
    assert!(postcard::from_bytes::<Address>(&binary(b"\0anything")).is_ok());

    let hex = |tag: u8, value: &[u8]| postcard::to_stdvec(&(tag, value)).unwrap();
    assert!(postcard::from_bytes::<HexText>(&hex(1, b"0aff")).is_err(), "canonical text as text");
    assert!(postcard::from_bytes::<HexText>(&hex(0, b"")).is_err(), "the empty text as bytes");
    assert!(postcard::from_bytes::<HexText>(&hex(2, b"x")).is_err(), "an unknown form");
    assert_eq!(postcard::from_bytes::<HexText>(&hex(1, b"0AFF")).unwrap().text(), "0AFF");

    let large = |digits: &str| postcard::to_stdvec(&(2u8, digits)).unwrap();
    assert!(postcard::from_bytes::<Quantity>(&large("5")).is_err(), "a small number as digits");
    assert!(postcard::from_bytes::<Quantity>(&large(&"9".repeat(4300))).is_ok());
    assert!(postcard::from_bytes::<Quantity>(&large(&"9".repeat(4301))).is_err(), "too many digits");

    let payload = |json: &str| postcard::from_bytes::<Payload>(&postcard::to_stdvec(json).unwrap());
    assert!(payload("{}").is_err(), "the empty payload as text");
    assert!(payload("{\n}").is_err(), "two lines");
    assert!(payload(" {\"a\":1}").is_err(), "white space before it");
    assert!(payload("[]").is_err() && payload("{").is_err() && payload("null").is_err(), "no object");
    assert!(payload("{\"a\":1}").is_ok());
}

#[test]
fn errors_name_the_field() {
    let read = |field: &str, value: &str| {
        let mut json: serde_json::Value = serde_json::to_value(transaction()).unwrap();
        json[field] = serde_json::from_str(value).unwrap();
        serde_json::from_str::<Transaction>(&json.to_string()).unwrap_err().to_string()
    };
    for (field, value) in
        [("amount", "-5"), ("amount", "1.5"), ("amount", "\"x\""), ("fee", "-1"), ("nonce", "-1"), ("gas_price", "-1")]
    {
        let error = read(field, value);
        assert!(error.contains(field), "{field} = {value}: {error}");
    }
    assert!(read("payload", "null").contains("payload"), "{}", read("payload", "null"));
}

#[test]
fn numbers_beyond_64_bits_survive_json() {
    let huge = "1".to_owned() + &"0".repeat(60);
    let json = format!(
        r#"{{"tx_type":"TRANSFER","from_address":"a","amount":{max},"nonce":1,"fee":{huge},"gas_price":{max},"gas_limit":{huge}}}"#,
        max = u128::MAX
    );
    let tx: Transaction = serde_json::from_str(&json).unwrap();
    assert_eq!((tx.amount, tx.gas_price), (u128::MAX, u128::MAX));
    assert_eq!(tx.fee.to_string(), huge);
    let written = serde_json::to_string(&tx).unwrap();
    assert_eq!(serde_json::from_str::<Transaction>(&written).unwrap(), tx);
    assert!(serde_json::from_str::<Transaction>(&json.replace(&u128::MAX.to_string(), &huge)).is_err());
}

#[test]
fn quantities_compare_as_numbers() {
    let quantity = |digits: &str| Quantity::from_digits(digits).unwrap();
    let ascending =
        ["0", "9", "10", "340282366920938463463374607431768211455", "340282366920938463463374607431768211456"];
    let huge = "9".repeat(60);
    let ascending: Vec<_> = ascending.into_iter().chain([huge.as_str()]).map(quantity).collect();
    assert!(ascending.is_sorted());
    assert!(ascending[5] > u128::MAX && ascending[1] < 10 && ascending[2] == 10);
    assert!(["", "-1", "+1", "01", "1.0", "1e3", " 1"].into_iter().all(|text| Quantity::from_digits(text).is_none()));
}

#[test]
fn a_payload_of_any_depth_is_decoded_without_recursion() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let json = serde_json::to_string(&transaction()).unwrap().replace("\"payload\":{}", &format!("\"payload\":{deep}"));
    let tx: Transaction = serde_json::from_str(&json).unwrap();
    assert_eq!(tx.payload.as_str(), deep);
    assert_eq!(decode_transaction(&encode_transaction(&tx)), Ok(tx));
}

fn any_hex_text() -> impl Strategy<Value = HexText> {
    prop_oneof!["([0-9a-f]{2}){0,40}", "[0-9a-fA-F ]{0,20}", ".{0,12}"].prop_map(|text| HexText::new(&text))
}

fn any_address() -> impl Strategy<Value = Address> {
    let bech32 =
        |prefix: &'static str| any::<[u8; 20]>().prop_map(move |bytes| Address::bech32(prefix, &bytes).unwrap());
    prop_oneof![bech32("cpc"), bech32("cpcvalcons"), bech32("other"), ".{0,20}".prop_map(Address::from)]
}

fn any_quantity() -> impl Strategy<Value = Quantity> {
    prop_oneof![
        any::<u128>().prop_map(Quantity::from),
        "[1-9][0-9]{0,80}".prop_map(|digits| Quantity::from_digits(&digits).unwrap()),
    ]
}

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::default()),
        ("\\PC{0,10}", any::<i64>())
            .prop_map(|(name, n)| Payload::new(&serde_json::json!({ name: [n, null] }).to_string()).unwrap()),
        "[ \t\r\n]{0,3}".prop_map(|space| Payload::new(&format!("{{{space}\"a\"{space}:{space}[1]}}")).unwrap()),
    ]
}

prop_compose! {
    fn any_transaction()(
        tx_type in prop::sample::select(vec![
            TxType::Transfer, TxType::Stake, TxType::SubmitResult, TxType::Unstake, TxType::PocReward,
        ]),
        from_address in any_address(),
        to_address in prop::option::of(any_address()),
        (amount, gas_price, nonce) in any::<(u128, u128, u64)>(),
        (fee, gas_limit) in (any_quantity(), any_quantity()),
        (signature, pub_key) in (any_hex_text(), any_hex_text()),
        payload in any_payload(),
    ) -> Transaction {
        Transaction {
            tx_type, from_address, to_address, amount, fee, nonce, signature, pub_key, payload, gas_price, gas_limit,
        }
    }
}

proptest! {
    #[test]
    fn any_transaction_survives_both_encodings(tx in any_transaction()) {
        let bytes = encode_transaction(&tx);
        prop_assert_eq!(&bytes, &postcard::to_extend(&tx, vec![1]).unwrap());
        prop_assert_eq!(&decode_transaction(&bytes).unwrap(), &tx);
        let json = serde_json::to_string(&tx).unwrap();
        prop_assert!(!json.contains(['\n', '\r']));
        prop_assert_eq!(&serde_json::from_str::<Transaction>(&json).unwrap(), &tx);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(tx in any_transaction(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encode_transaction(&tx);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(other) = decode_transaction(&bytes) {
            prop_assert_eq!(encode_transaction(&other), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_block(&[&[1], &bytes[..]].concat());
        let _ = serde_json::from_slice::<Block>(&bytes);
    }
}

/// What [`decode_block`] must agree with: postcard reads the bytes, and what it read must be written the same.
fn by_postcard<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (&1, body) = bytes.split_first()? else { return None };
    let (value, rest) = postcard::take_from_bytes::<T>(body).ok()?;
    (rest.is_empty() && postcard::to_stdvec(&value).ok()? == body).then_some(value)
}

#[test]
fn takes_exactly_what_postcard_reads_and_writes_the_same() {
    let blocks = vector_blocks();
    // All that differs much from its neighbours: the last ones are the candidates.
    let samples = blocks.iter().step_by(400).chain(blocks.iter().rev().take(60).step_by(5));
    let mut accepted = 0;
    for json in samples {
        let bytes = encode_block(&serde_json::from_str(json).unwrap());
        for at in 0..bytes.len() {
            // Each changed byte is another number, length, form or tag somewhere; 0x80 and 0x00 make superfluous groups.
            for other in [0x00, 0x01, 0x80, 0xff, bytes[at] ^ 0x80, bytes[at].wrapping_add(1)] {
                let mut changed = bytes.clone();
                changed[at] = other;
                let read = decode_block(&changed).ok();
                assert_eq!(
                    read,
                    by_postcard::<Block>(&changed),
                    "byte {at} of {} is {other:#04x} in {json}",
                    bytes.len()
                );
                accepted += usize::from(read.is_some());
            }
            if at % 16 == 0 {
                assert_eq!(decode_block(&bytes[..at]).ok(), by_postcard::<Block>(&bytes[..at]));
                let longer = [&bytes[..at], &[0x80], &bytes[at..]].concat();
                assert_eq!(decode_block(&longer).ok(), by_postcard::<Block>(&longer));
            }
        }
    }
    assert!(accepted > 500, "many changes make another block: {accepted}");
}

#[test]
fn a_number_with_a_superfluous_group_or_too_many_bits_is_refused() {
    let bytes = encode_transaction(&transaction());
    // Version, type, sender (a length and 21 bytes), no receiver: then the amount, 7.
    let amount = 1 + 1 + 1 + 21 + 1;
    assert_eq!(bytes[amount], 7);
    let with_amount = |groups: &[u8]| [&bytes[..amount], groups, &bytes[amount + 1..]].concat();
    assert_eq!(decode_transaction(&with_amount(&[0x87, 0x00])), Err(BlockDecodeError::NotCanonical));
    let mut most = vec![0xff; 18];
    most.push(0x03);
    assert_eq!(decode_transaction(&with_amount(&most)).unwrap().amount, u128::MAX);
    *most.last_mut().unwrap() = 0x07;
    assert!(matches!(decode_transaction(&with_amount(&most)), Err(BlockDecodeError::Malformed(_))));
    assert!(matches!(decode_transaction(&with_amount(&[0x80; 30])), Err(BlockDecodeError::Malformed(_))));
}

#[test]
fn a_header_is_cut_out_of_its_block_and_read_among_others() {
    let of_vector = |at: usize| serde_json::from_str::<Block>(&vector_blocks()[at]).unwrap();
    let (one, mut two) = (of_vector(7), of_vector(8));
    two.header.height += 1;
    two.header.zk_state_proof_hash = Some("x".repeat(300));
    let mut row = encoding::header_of(&encode_block(&one)).unwrap().to_vec();
    encoding::append_header(&two.header, &mut row);
    let read: Vec<_> = encoding::headers(&row).map(Result::unwrap).collect();
    assert_eq!(read, [one.header, two.header]);
    row.pop();
    let broken: Vec<_> = encoding::headers(&row).map(|header| header.is_ok()).collect();
    assert_eq!(broken, [true, false]);
    assert_eq!(encoding::headers(&[]).count(), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_read_as_postcard_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = [&[1], &bytes[..]].concat();
        prop_assert_eq!(decode_block(&bytes).ok(), by_postcard::<Block>(&bytes));
        prop_assert_eq!(decode_transaction(&bytes).ok(), by_postcard::<Transaction>(&bytes));
    }
}
