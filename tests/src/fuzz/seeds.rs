//! The first inputs of the corpus: what the vectors and the testkit have, in the form that each target reads.

use std::collections::BTreeMap;

use bytes::BytesMut;
use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::codec::Codec;
use cpc_framework::testkit::messages::Messages;
use cpc_framework::types::{Block, Message};

use crate::vectors::{self, Chain};

/// The first inputs of a target: name and bytes.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "json" => streams(&JsonCodec).into_iter().chain(odd_lines()).collect(),
        "postcard" => streams(&PostcardCodec).into_iter().chain(odd_frames()).collect(),
        "differential" => {
            let lean = |(name, bytes)| (format!("postcard-{name}"), bytes);
            let json = streams(&JsonCodec)
                .into_iter()
                .chain(candidates())
                .map(|(name, bytes)| (format!("json-{name}"), bytes));
            json.chain(streams(&PostcardCodec).into_iter().map(lean)).collect()
        }
        "framing" => pieces(),
        "genesis" => genesis_files(),
        "peers" => peers_files(),
        "sync_events" => decisions(12, 600),
        "sync_network" => decisions(12, 200),
        other => panic!("there is no target {other}"),
    }
}

fn named(name: &str, bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.into())
}

/// Messages of each kind, made up and of the reference's chain.
fn streams(codec: &dyn Codec) -> Vec<(String, Vec<u8>)> {
    let mut random = Messages::new(6);
    let mut kinds: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for message in (0..2).flat_map(|_| random.one_of_each()).collect::<Vec<_>>() {
        let frame = written(codec, [&message]);
        // The deep payloads of made-up transactions are 2 KiB each: a few are enough.
        if frame.len() < 4096 {
            kinds.entry(message.kind().name()).or_default().extend(frame);
        }
    }
    let mut streams: Vec<_> = kinds.into_iter().map(|(kind, frames)| named(kind, frames)).collect();
    let blocks: Vec<Block> = [0, 1, 61].iter().map(|&height| block(&Chain::fork().lines[height])).collect();
    streams.push(named("chain-new", written(codec, [&Message::NewBlock(blocks[2].clone().into())])));
    let response =
        Message::BlocksResponse { blocks: blocks[..2].iter().cloned().map(Into::into).collect(), malformed: None };
    streams.push(named(
        "chain-response",
        written(codec, [&Message::GetBlocks { from_height: 0, to_height: 1 }, &response]),
    ));
    streams
}

fn block(line: &str) -> Block {
    serde_json::from_str(line).unwrap()
}

fn written<'a>(codec: &dyn Codec, messages: impl IntoIterator<Item = &'a Message>) -> Vec<u8> {
    let mut out = BytesMut::new();
    for message in messages {
        codec.encode(message, 1 << 20, &mut out).unwrap();
    }
    out.to_vec()
}

/// What the reference takes and nobody expects, as `new_block`.
fn candidates() -> Vec<(String, Vec<u8>)> {
    let quirks = vectors::candidates().into_iter().filter(|candidate| candidate.name.starts_with("quirk"));
    let line = |block: &str| format!("{{\"type\":\"new_block\",\"payload\":{{\"block\":{block}}}}}\n");
    quirks
        .map(|candidate| (candidate.name, line(candidate.block.get())))
        .filter(|(_, line)| line.len() < 4096)
        .map(|(name, line)| (name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), line.into_bytes()))
        .collect()
}

fn odd_lines() -> Vec<(String, Vec<u8>)> {
    let deep = format!("{{\"type\":\"x\",\"payload\":{}{}}}\n", "[".repeat(40), "]".repeat(40));
    vec![
        named("handshake-v1", *b"{\"type\": \"handshake\", \"payload\": {\"node_id\": \"0.0.0.0:9000\", \"p2p_port\": 9000, \"protocol_version\": 1, \"network\": \"devnet\", \"best_height\": -1, \"best_hash\": null, \"genesis_hash\": null}}\r\n"),
        named("payload-first", *b" \n{\"payload\": {\"to_height\": 1e3, \"from_height\": -1, \"request_id\": 7}, \"extra\": [1], \"type\": \"get_blocks\"}\n"),
        named("unknown", *b"{\"type\":\"ping\",\"payload\":{}}\n{\"type\":\"status\",\"payload\":{\"height\":1}}\n"),
        named("deep", deep),
        named("broken-response", *b"{\"type\":\"blocks_response\",\"payload\":{\"request_id\":1,\"blocks\":[{\"header\":{}},7]}}\n{}\n"),
    ]
}

fn odd_frames() -> Vec<(String, Vec<u8>)> {
    let frame = |body: &[u8]| [b"\xc7cpc\x01", &u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    let bomb = [&[4][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    vec![
        named("length-bomb", frame(&bomb)),
        named("long-frame", *b"\xc7cpc\x01\xff\xff\xff\xff"),
        named("no-body", frame(b"")),
        named("numbered-numbered", frame(&[16, 1, 16, 2, 3, 1, 5])),
        named("version-2", *b"\xc7cpc\x02\x00\x00\x00\x01\x00"),
    ]
}

/// Streams with the caps and cuts before them that the target reads.
fn pieces() -> Vec<(String, Vec<u8>)> {
    let with =
        |choice: u8, cuts: &[u8], stream: &[u8]| [&[choice, u8::try_from(cuts.len()).unwrap()], cuts, stream].concat();
    let mut random = Messages::new(9);
    let mut few = |codec: &dyn Codec| {
        let messages: Vec<_> =
            random.one_of_each().into_iter().filter(|message| written(codec, [message]).len() < 2048).collect();
        written(codec, &messages)
    };
    let (json, lean) = (few(&JsonCodec), few(&PostcardCodec));
    vec![
        named("json-bytes", with(3, &[], &json[..json.len().min(3000)])),
        named("json-pieces", with(2, &[7, 0, 200, 31], &json)),
        named("json-small-cap", with(1, &[60], &json)),
        named("json-stretched", with(0xff, &[], b"{\"type\":\"handshake\"")),
        named("postcard-bytes", with(3, &[], &lean[..lean.len().min(3000)])),
        named("postcard-pieces", with(2, &[7, 0, 200, 31], &lean)),
        named("postcard-small-cap", with(0, &[8, 0], &lean)),
        named("postcard-stretched", with(0xff, &[], b"\xc7cpc\x01\x00\x0f\xff\x00\x03")),
        named("blank", with(0, &[3], b"   \r\n\n \n{\"type\":\"x\",\"payload\":1}\n")),
        named("tls", with(0, &[0], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
    ]
}

fn genesis_files() -> Vec<(String, Vec<u8>)> {
    let file = |path: &std::path::Path| std::fs::read(path).unwrap();
    let canonical = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/canonical/genesis.json");
    vec![
        named("mainline", file(&Chain::mainline().genesis)),
        named("fork", file(&Chain::fork().genesis)),
        named("canonical", file(&canonical)),
        named("bare", *b"{\"cpc1a\": 1, \"cpc1b\": \"2\"}"),
        named("large", *b"{\"alloc\":{\"a\":170141183460469231731687303715884105727},\"validators\":[{\"address\":\"v\",\"pub_key\":\"00\",\"power\":340282366920938463463374607431768211455}]}"),
        named("checkpoints", format!("{{\"checkpoints\":[{{\"height\":7,\"hash\":\"{}\"}}],\"alloc\":{{}},\"validators\":[{{\"address\":\"v\",\"pq_pub_key\":\"Ab\",\"power\":3,\"is_active\":true,\"reward_address\":\"r\"}}]}}", "01".repeat(32))),
    ]
}

fn peers_files() -> Vec<(String, Vec<u8>)> {
    let key = "ab".repeat(32);
    vec![
        named("plain", *b"[\"192.0.2.7:9000\",\"192.0.2.8:9000\"]\n"),
        named(
            "links",
            format!(
                "[\"quic+postcard://{key}@192.0.2.7:9001\",\"tcp+json://[2001:db8::1]:9000\",\"{key}@node.example:7\"]"
            ),
        ),
        named(
            "mapped",
            *b"[\"[::ffff:192.0.2.7]:9000\",\"192.0.2.7:9000\",\"tcp+json://192.0.2.7:9000\",\"192.0.2.7:09000\"]",
        ),
        named("mixed", *b"[\"192.0.2.7:9000\", 7, \"nobody\", \"192.0.2.8:0\", null, {\"a\": []}, \"a:1\"]"),
        named("deep", "[".repeat(200)),
        named("empty", *b"[]"),
        named("object", *b"{\"a\": 1}"),
    ]
}

fn decisions(count: u64, bytes: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|seed| (format!("random-{seed}"), Messages::new(seed).bytes(bytes))).collect()
}
