//! What other implementations send, and what nobody should.

use cpc_framework::testkit::messages::Messages;
use cpc_framework::types::{Handshake, Hash32};

use super::*;

fn handshake(fields: &str) -> Result<Handshake, DecodeError> {
    match decode(format!(
        "{{\"type\":\"handshake\",\"payload\":{{\"node_id\":\"a:1\",\"network\":\"devnet\"{fields}}}}}\n"
    ))? {
        Message::Handshake(handshake) => Ok(handshake),
        other => panic!("{other:?}"),
    }
}

fn range(from: &str, to: &str) -> Result<Message, DecodeError> {
    decode(format!("{{\"type\":\"get_blocks\",\"payload\":{{\"from_height\":{from},\"to_height\":{to}}}}}\n"))
}

fn is_malformed(result: &Result<Message, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::Malformed(_)))
}

#[test]
fn reads_the_spacing_of_python_and_fields_in_any_order() {
    let expected = Ok(Message::GetBlocks { from_height: 1, to_height: 2 });
    assert_eq!(decode("{\"type\": \"get_blocks\", \"payload\": {\"from_height\": 1, \"to_height\": 2}}\n"), expected);
    let turned = "{\"x\":[{}],\"payload\":{\"to_height\":2,\"y\":{\"z\":null},\"from_height\":1},\"type\":\"get_blocks\",\"w\":1.5}\n";
    assert_eq!(decode(turned), expected);
}

#[test]
fn amounts_of_128_bits_survive_a_type_that_comes_last() {
    let tx = r#"{"tx_type":"TRANSFER","from_address":"a","amount":340282366920938463463374607431768211455,"nonce":0}"#;
    for line in [
        format!("{{\"payload\":{{\"tx\":{tx}}},\"type\":\"new_tx\"}}\n"),
        format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{tx}}}}}\n"),
    ] {
        let Ok(Message::NewTx(tx)) = decode(line) else { panic!("no transaction") };
        assert_eq!(tx.amount, u128::MAX);
    }
}

#[test]
fn blank_lines_and_carriage_returns_mean_nothing() {
    let line = "\r\n\n  \n{\"type\":\"get_blocks\",\"payload\":{\"from_height\":1,\"to_height\":2}}\r\n";
    assert_eq!(decode(line), Ok(Message::GetBlocks { from_height: 1, to_height: 2 }));
    let mut blank = BytesMut::from(&b"\n\n\r\n"[..]);
    assert_eq!(JsonCodec.decoder().decode(&mut blank, CAP), Ok(None));
    assert!(blank.is_empty());
}

#[test]
fn a_height_that_is_none_is_no_height() {
    for text in ["-1", "-99999999999999999999999", "null", "1.5", "\"7\"", "[[[]]]", "{}", "true"] {
        assert_eq!(handshake(&format!(",\"best_height\":{text}")).unwrap().best_height, None, "{text}");
    }
    assert_eq!(handshake(",\"best_height\":99999999999999999999").unwrap().best_height, Some(u64::MAX));
    assert_eq!(handshake("").unwrap().best_height, None);
}

#[test]
fn a_hash_that_is_none_is_no_hash() {
    for text in
        ["null", "\"\"", "\"xyz\"", "7", "[]", &format!("\"{}\"", "0".repeat(64)), &format!("\"{}\"", "AB".repeat(32))]
    {
        let read = handshake(&format!(",\"best_hash\":{text},\"genesis_hash\":{text}")).unwrap();
        assert_eq!((read.best_hash, read.genesis_hash), (None, None), "{text}");
    }
    let hash = format!(",\"genesis_hash\":\"{}\"", "ab".repeat(32));
    assert_eq!(handshake(&hash).unwrap().genesis_hash, Some(Hash32([0xab; 32])));
}

#[test]
fn extensions_of_the_wrong_type_are_none() {
    for text in ["null", "7", "\"text\"", "{}"] {
        assert!(handshake(&format!(",\"features\":{text}")).unwrap().is_legacy(), "{text}");
    }
    for text in ["null", "-1", "1e3", "\"7\"", "99999999999999999999", "[]"] {
        assert_eq!(handshake(&format!(",\"nonce\":{text}")).unwrap().nonce, None, "{text}");
    }
    let mixed = handshake(",\"features\":[\"a\",7,null,[[\"b\"]],\"c\"],\"nonce\":5,\"p2p_port\":70000").unwrap();
    assert_eq!(mixed.features, Some(vec!["a".to_owned(), "c".to_owned()]));
    assert_eq!((mixed.nonce, mixed.p2p_port, mixed.protocol_version), (Some(5), 0, 1));
}

#[test]
fn a_long_handshake_is_refused_or_cut() {
    let long = "x".repeat(1000);
    let list = format!("\"{long}\",{}\"end\"", "\"f\",".repeat(1000));
    assert_eq!(handshake(&format!(",\"features\":[{list}]")).unwrap().features.map(|names| names.len()), Some(32));
    for (id, network) in [(&*long, "devnet"), ("a:1", &*long)] {
        let line =
            format!("{{\"type\":\"handshake\",\"payload\":{{\"node_id\":\"{id}\",\"network\":\"{network}\"}}}}\n");
        assert!(is_malformed(&decode(line)));
    }
}

#[test]
fn a_handshake_that_names_no_node_or_network_is_malformed() {
    for payload in [
        "{}",
        "{\"node_id\":7,\"network\":\"devnet\"}",
        "{\"node_id\":\"a:1\",\"network\":null}",
        "{\"node_id\":\"a:1\"}",
    ] {
        assert!(is_malformed(&decode(format!("{{\"type\":\"handshake\",\"payload\":{payload}}}\n"))), "{payload}");
    }
}

#[test]
fn absurd_ranges_are_brought_to_sense_or_refused() {
    assert_eq!(range("-5", "3"), Ok(Message::GetBlocks { from_height: 0, to_height: 3 }));
    let all = Message::GetBlocks { from_height: 0, to_height: u64::MAX };
    assert_eq!(range("-0", "999999999999999999999999999999"), Ok(all));
    // What ends below 0 asks for nothing, which has an answer too.
    for (from, to) in [("1", "-1"), ("0", "-7")] {
        assert_eq!(range(from, to), Ok(Message::GetBlocks { from_height: 1, to_height: 0 }));
    }
    for (from, to) in [("1.0", "2"), ("null", "2"), ("\"1\"", "2"), ("1", "[]")] {
        assert!(is_malformed(&range(from, to)), "{from} to {to}");
    }
}

#[test]
fn a_new_block_that_takes_several_times_its_bytes_in_memory_is_refused() {
    const SMALL: &str = r#"{"tx_type":"STAKE","from_address":"a","amount":0,"nonce":0}"#;
    let block = Messages::from_printed_seed().block();
    let head = serde_json::to_string(&cpc_framework::types::Block { txs: Vec::new(), ..block }).unwrap();
    let line = |txs: usize| {
        let block = head.replacen(r#""txs":[]"#, &format!(r#""txs":[{}]"#, vec![SMALL; txs].join(",")), 1);
        format!("{{\"type\":\"new_block\",\"payload\":{{\"block\":{block}}}}}\n")
    };
    assert!(decode(line(100)).is_ok());
    let Err(DecodeError::Malformed(why)) = decode(line(1000)) else { panic!("it was read") };
    assert!(why.contains("memory"), "{why}");
}

#[test]
fn behind_the_front_of_a_long_answer_a_decoder_is_in_mid_frame_until_the_line_ends() {
    let block = serde_json::to_string(&Messages::from_printed_seed().block()).unwrap();
    let front = format!("{{\"type\":\"blocks_response\",\"payload\":{{\"blocks\":[{block}{}", " ".repeat(FRONT));
    let (mut decoder, mut buffer) = (JsonCodec.decoder(), BytesMut::from(front.as_bytes()));
    assert!(!decoder.is_mid_frame());
    assert!(matches!(decoder.decode(&mut buffer, CAP), Ok(Some(Message::BlocksResponse { .. }))));
    assert!(decoder.is_mid_frame() && buffer.is_empty());
    buffer.extend_from_slice(b" ");
    assert_eq!(decoder.decode(&mut buffer, CAP), Ok(None));
    assert!(decoder.is_mid_frame() && buffer.is_empty());
    buffer.extend_from_slice(b"]}}\n{");
    assert_eq!(decoder.decode(&mut buffer, CAP), Ok(None));
    assert!(!decoder.is_mid_frame());
    assert_eq!(&buffer[..], b"{");
}

#[test]
fn nesting_never_costs_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let tx =
            |more: &str| format!("{{\"tx_type\":\"TRANSFER\",\"from_address\":\"a\",\"amount\":1,\"nonce\":0{more}}}");
        let kept =
            decode(format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{}}}}}\n", tx(&payload_of(&deep)))).unwrap();
        assert!(encode(&kept).contains(&deep), "a payload is kept however deep it is");
        for wrong in [
            deep.clone(),
            open.repeat(100_000),
            format!("{{\"type\":{deep}}}"),
            format!("{{\"x\":{deep},\"type\":\"new_tx\",\"payload\":{{\"tx\":{}}}}}", tx("")),
            format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{}}},\"x\":{deep}}}", tx("")),
            format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{}}}}}", tx(&format!(",\"x\":{deep}"))),
            format!("{{\"type\":\"handshake\",\"payload\":{deep}}}"),
            format!("{{\"type\":\"new_block\",\"payload\":{{\"block\":{{\"header\":{deep}}}}}}}"),
            format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{{\"amount\":{deep},\"fee\":{deep}}}}}}}"),
            format!("{{\"type\":\"get_blocks\",\"payload\":{{\"from_height\":{deep},\"to_height\":1}}}}"),
            format!("{{\"type\":\"ping\",\"payload\":{deep}}}"),
            format!("{{\"payload\":{deep},\"type\":\"ping\"}}"),
        ] {
            assert!(is_malformed(&decode(format!("{wrong}\n"))));
        }
        let response = decode(format!("{{\"type\":\"blocks_response\",\"payload\":{{\"blocks\":[{deep}]}}}}\n"));
        assert!(matches!(response, Ok(Message::BlocksResponse { malformed: Some(_), .. })));
        for field in ["best_hash", "best_height", "features", "nonce", "unknown"] {
            assert!(matches!(handshake(&format!(",\"{field}\":{deep}")), Err(DecodeError::Malformed(_))), "{field}");
        }
    }
}

fn payload_of(value: &str) -> String {
    format!(",\"payload\":{{\"d\":{value}}}")
}

/// A value that opens so many levels, lists and objects in turn.
fn nested(levels: usize) -> String {
    (0..levels).fold("1".to_owned(), |value, level| {
        if level % 2 == 0 { format!("[{value},\"[\"]") } else { format!("{{\"a\":{value}}}") }
    })
}

#[test]
fn what_is_nested_32_deep_is_skipped_and_what_is_nested_33_deep_is_refused() {
    const AROUND_TX_FIELD: usize = 3;
    let tx = "\"tx_type\":\"TRANSFER\",\"from_address\":\"a\",\"amount\":1,\"nonce\":0";
    // The levels around the place, and a message with a value there.
    type Place<'a> = (usize, &'a dyn Fn(&str) -> String);
    let places: [Place<'_>; 7] = [
        (1, &|value| format!("{{\"z\":{value},\"type\":\"new_tx\",\"payload\":{{\"tx\":{{{tx}}}}}}}")),
        (1, &|value| format!("{{\"payload\":{{\"tx\":{{{tx}}}}},\"type\":\"new_tx\",\"z\":{value}}}")),
        (2, &|value| format!("{{\"type\":\"new_tx\",\"payload\":{{\"z\":{value},\"tx\":{{{tx}}}}}}}")),
        (2, &|value| format!("{{\"payload\":{{\"z\":{value},\"tx\":{{{tx}}}}},\"type\":\"new_tx\"}}")),
        (AROUND_TX_FIELD, &|value| format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{{{tx},\"z\":{value}}}}}}}")),
        (2, &|value| format!("{{\"type\":\"blocks_response\",\"payload\":{{\"blocks\":[],\"z\":{value}}}}}")),
        (2, &|value| {
            format!(
                "{{\"type\":\"handshake\",\"payload\":{{\"node_id\":\"a:1\",\"network\":\"d\",\"nonce\":{value}}}}}"
            )
        }),
    ];
    for (at, (around, message)) in places.iter().enumerate() {
        for levels in [0, 1, 5, 32 - around] {
            let read = decode(message(&nested(levels)) + "\n");
            assert!(read.is_ok(), "place {at}, {levels} levels: {read:?}");
        }
        for levels in [33 - around, 100] {
            assert!(is_malformed(&decode(message(&nested(levels)) + "\n")), "place {at}, {levels} levels");
        }
    }
    // A payload is text, and one of a type that nobody knows is not.
    let kept = format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{{{tx}{}}}}}}}\n", payload_of(&nested(1000)));
    assert!(decode(kept).is_ok());
    let ping = |levels| decode(format!("{{\"type\":\"ping\",\"payload\":{}}}\n", nested(levels)));
    assert_eq!(ping(31), Err(DecodeError::UnknownType("ping".to_owned())));
    assert!(is_malformed(&ping(32)));
}

#[test]
fn a_block_nested_too_deep_in_an_answer_is_refused_and_those_before_it_are_kept() {
    let vectors = vectors::lines("fork/blocks.jsonl.gz");
    let block = &vectors[0];
    let deep = block.replacen('{', &format!("{{\"z\":{},", nested(33)), 1);
    let line = format!("{{\"type\":\"blocks_response\",\"payload\":{{\"blocks\":[{block},{deep}]}}}}\n");
    let Ok(Message::BlocksResponse { blocks, malformed: Some(why) }) = decode(line) else { panic!("not refused") };
    assert_eq!(blocks.len(), 1);
    assert!(why.contains("nested deeper than 32"), "{why}");
}

#[test]
fn reasons_stay_short_whatever_the_peer_sends() {
    let long = "x".repeat(1_000_000);
    for line in [
        format!("{{\"type\":\"{long}\"}}\n"),
        format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{{\"tx_type\":\"{long}\"}}}}}}\n"),
        format!("{{\"type\":\"get_blocks\",\"payload\":{{\"from_height\":\"{long}\",\"to_height\":1}}}}\n"),
    ] {
        let error = decode(line).unwrap_err();
        assert!(error.to_string().len() < 400, "{} bytes", error.to_string().len());
    }
}

#[test]
fn bytes_that_are_no_text_are_malformed() {
    assert!(is_malformed(&decode(b"{\"type\":\"\xff\xfe\"}\n")));
    assert!(is_malformed(&decode("{\"type\":\"get_blocks\",\"payload\":{\"from_height\":NaN,\"to_height\":1}}\n")));
}

#[test]
fn a_stream_that_starts_with_no_text_is_another_codecs() {
    for stream in [&b"\xc7cpc\x01"[..], b"\x16\x03\x01", b"\x00\x00\x00\x10"] {
        let error = decode(stream).unwrap_err();
        assert!(error.is_fatal() && error.to_string().contains("this link speaks json"), "{error}");
    }
}

#[test]
fn a_block_whose_bytes_are_none_is_not_sent() {
    let mut out = BytesMut::from(&b"before"[..]);
    let broken = Message::NewBlock(WireBlock::Encoded(vec![9, 9].into()));
    assert!(matches!(JsonCodec.encode(&broken, CAP, &mut out), Err(EncodeError::Block { .. })));
    assert_eq!(out, b"before"[..]);
}

/// What comes of a stream that arrives in pieces of 64 KiB, as a node reads it.
fn in_pieces(stream: &[u8], cap: usize) -> (Vec<Message>, usize, Option<DecodeError>) {
    let (mut decoder, mut buffer) = (JsonCodec.decoder(), BytesMut::new());
    let (mut messages, mut most) = (Vec::new(), 0);
    for piece in stream.chunks(64 << 10) {
        buffer.extend_from_slice(piece);
        most = most.max(buffer.len());
        while decoder.is_ready(&buffer, cap) {
            match decoder.decode(&mut buffer, cap) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, most, Some(error)),
            }
        }
    }
    (messages, most, None)
}

fn answer_of(blocks: usize, payload: usize) -> Vec<u8> {
    let tx = format!(
        r#"{{"tx_type":"STAKE","from_address":"a","amount":0,"nonce":0,"payload":{{"x":"{}"}}}}"#,
        "é".repeat(payload / 2)
    );
    let mut header = serde_json::to_value(Messages::new(1).block().header).unwrap();
    header["height"] = 1.into();
    let block = format!(r#"{{"header":{header},"txs":[{tx}],"pq_signature":"","pq_sig_scheme_id":1}}"#);
    let blocks = vec![block; blocks].join(", ");
    format!("{{\"type\": \"blocks_response\", \"payload\": {{\"blocks\": [{blocks}]}}}}\n").into_bytes()
}

fn blocks_in(message: &Message) -> usize {
    let Message::BlocksResponse { blocks, malformed: None } = message else { panic!("{:?}", message.kind()) };
    blocks.len()
}

#[test]
fn of_a_very_long_answer_its_front_is_taken_and_the_rest_forgotten_as_it_comes() {
    const BLOCK: usize = 100 << 10;
    let long = answer_of(200, BLOCK);
    let next = b"{\"type\":\"get_blocks\",\"payload\":{\"from_height\":1,\"to_height\":2}}\n";
    assert!(long.len() > 20_000_000 && long.len() <= CAP);
    let (messages, most, error) = in_pieces(&[&long, next.as_slice()].concat(), CAP);
    assert_eq!(error, None);
    assert_eq!(messages.len(), 2);
    assert!((35..=45).contains(&blocks_in(&messages[0])), "{} blocks", blocks_in(&messages[0]));
    assert_eq!(messages[1], Message::GetBlocks { from_height: 1, to_height: 2 });
    assert!(most <= FRONT + (64 << 10), "{most} bytes were held");
    // All of it still counts.
    let (messages, _, error) = in_pieces(&long, long.len() - 1);
    assert_eq!((messages.len(), matches!(error, Some(DecodeError::TooLarge { .. }))), (1, true));
    // A shorter one is taken whole.
    assert_eq!(blocks_in(&in_pieces(&answer_of(30, BLOCK), CAP).0[0]), 30);
    // Of one whose first block is as long, that one is taken once twice as much has come.
    let (messages, most, _) = in_pieces(&answer_of(3, 6 << 20), CAP);
    assert_eq!(blocks_in(&messages[0]), 1);
    assert!(most <= 2 * FRONT + (64 << 10), "{most} bytes were held");
}

/// A block with one transaction of each type, and with everything that can be cut in the middle: numbers of any size, escapes, characters of
/// several bytes, payloads. As Python writes it.
fn block_of_all_types(height: u64) -> String {
    let tx = |kind: &str, amount: &str, payload: &str| {
        let (fee, gas_limit, signature) = ("9".repeat(60), "8".repeat(45), "07".repeat(64));
        format!(
            r#"{{"tx_type": "{kind}", "from_address": "\"zoë\" 🦀\u20ac\ud83e\udd80", "to_address": "a\nb", "amount": {amount}, "fee": {fee},
            "nonce": 7, "signature": "{signature}", "pub_key": "AB cd", "payload": {payload}, "gas_price": 1000, "gas_limit": {gas_limit},
            "unknown": [{{"x": 1.5e7}}, null]}}"#
        )
        .replace('\n', "")
    };
    let txs = [
        tx("TRANSFER", "340282366920938463463374607431768211455", r#"{"deep": [[[-1.5e-7, null, true]]]}"#),
        tx("STAKE", "0", r#"{"pub_key": "02ff"}"#),
        tx("SUBMIT_RESULT", "1", r#"{"task_id": "ü", "nonce": "0_5"}"#),
        tx("UNSTAKE", "2", "{}"),
        tx("POC_REWARD", "3", "{}"),
    ];
    let (hash, txs) = ("5a".repeat(32), txs.join(", "));
    format!(
        r#"{{"header": {{"height": {height}, "prev_hash": "{hash}", "timestamp": 1700000000, "chain_id": "ö", "proposer_address": "p", "tx_root": "{hash}", "state_root": "{hash}", "compute_root": "{hash}", "gas_used": 3, "gas_limit": 4, "zk_state_proof_hash": null, "zk_compute_proof_hash": "z"}}, "txs": [{txs}], "pq_signature": "{hash}", "pq_sig_scheme_id": 1}}"#
    )
}

#[test]
fn wherever_a_long_answer_is_cut_the_block_that_is_cut_is_not_called_malformed() {
    let (first, second) = (block_of_all_types(1), block_of_all_types(2));
    let begin = r#"{"type": "blocks_response", "payload": {"request_id": 5, "blocks": ["#;
    let line = format!("{begin}{first}, {second}], \"x\": {{\"y\": [1]}}}}}}");
    assert_eq!(blocks_in(&without_id(decode(format!("{line}\n")).unwrap())), 2);
    let ends = [begin.len() + first.len(), begin.len() + first.len() + 2 + second.len()];
    for cut in 0..line.len() - 1 {
        let front = decode::read_front(&line.as_bytes()[..cut]);
        let around = String::from_utf8_lossy(&line.as_bytes()[cut.saturating_sub(30)..cut]);
        let expected = ends.iter().filter(|end| **end <= cut).count();
        match front.map(without_id) {
            None => assert_eq!(expected, 0, "after {around}"),
            Some(Message::BlocksResponse { blocks, malformed }) => {
                assert_eq!((blocks.len(), malformed), (expected, None), "after {around}");
            }
            Some(other) => panic!("{:?} after {around}", other.kind()),
        }
    }
}

fn without_id(message: Message) -> Message {
    match message {
        Message::Numbered { message, .. } => *message,
        message => message,
    }
}

#[test]
fn a_block_in_the_front_of_a_long_answer_that_no_rest_can_mend_is_malformed() {
    let good = block_of_all_types(1);
    for (field, bad) in [
        ("\"amount\": 0", "\"amount\": -5"),
        ("\"nonce\": 7", "\"nonce\": \"7\""),
        ("\"tx_type\": \"STAKE\"", "\"tx_type\": \"THEFT\""),
        ("\"height\": 2", "\"height\": x"),
    ] {
        let bad = block_of_all_types(2).replacen(field, bad, 1);
        let front = format!("{{\"type\": \"blocks_response\", \"payload\": {{\"blocks\": [{good}, {bad}, ");
        let front = decode::read_front(front.as_bytes());
        let Some(Message::BlocksResponse { blocks, malformed }) = front else { panic!("nothing was read") };
        assert_eq!((blocks.len(), malformed.is_some()), (1, true), "{field}: {malformed:?}");
    }
}
