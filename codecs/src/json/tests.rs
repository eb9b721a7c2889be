mod golden;
mod hostile;
mod vectors;

use cpc_framework::testkit::codec::CodecFixture;
use cpc_framework::types::WireBlock;

use super::*;

const CAP: usize = 32 * 1024 * 1024;

fn fixture() -> CodecFixture {
    let lines = |texts: &[&str]| texts.iter().map(|text| format!("{text}\n").into_bytes()).collect();
    CodecFixture {
        codec: Box::new(JsonCodec),
        malformed: lines(&[
            "{",
            "nonsense",
            "[]",
            "{\"payload\":{}}",
            "{\"type\":\"get_blocks\"}",
            "{\"type\":\"get_blocks\",\"payload\":null}",
            "{\"type\":7,\"payload\":{}}",
            "{\"type\":\"new_tx\",\"payload\":{\"tx\":{}}}",
            "{\"type\":\"new_block\",\"payload\":{\"block\":null}}",
            "{\"type\":\"blocks_response\",\"payload\":{}}",
            "{\"type\":\"blocks_response\",\"payload\":{\"blocks\":[]}} and more",
        ]),
        unknown: lines(&[
            "{\"type\":\"ping\",\"payload\":{\"t\":1}}",
            "{\"payload\":[1],\"type\":\"status\"}",
            "{\"type\":\"pong\"}",
        ]),
        broken_response,
    }
}

fn broken_response(blocks: &[WireBlock]) -> Vec<u8> {
    let mut line = BytesMut::new();
    let message = Message::BlocksResponse { blocks: blocks.to_vec(), malformed: None };
    JsonCodec.encode(&message, CAP, &mut line).unwrap();
    let text = String::from_utf8(line.to_vec()).unwrap();
    let comma = if blocks.is_empty() { "" } else { "," };
    text.replace("]}}\n", &format!("{comma}{{\"header\":{{\"height\":-1}}}},{{}}]}}}}\n")).into_bytes()
}

cpc_framework::codec_suite!(json, fixture());

/// What comes of the lines in `text`.
fn decode(text: impl AsRef<[u8]>) -> Result<Message, DecodeError> {
    let mut buffer = BytesMut::from(text.as_ref());
    let message = JsonCodec.decoder().decode(&mut buffer, CAP);
    assert!(buffer.is_empty() || matches!(message, Err(DecodeError::Desync(_))), "{} bytes are left", buffer.len());
    message.map(|message| message.expect("a whole line"))
}

fn encode(message: &Message) -> String {
    let mut out = BytesMut::new();
    JsonCodec.encode(message, CAP, &mut out).unwrap();
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn tells_the_type_of_what_has_begun_as_far_as_it_has_come() {
    let begun = |text: &str| JsonCodec.decoder().begun(&BytesMut::from(text));
    for text in
        [r#"{"type":"new_block","payl"#, "  { \"type\" : \"new_block\"", "{\"type\": \"new_block\", \"payload\": {"]
    {
        assert_eq!(begun(text), Some(MessageKind::NewBlock), "{text}");
    }
    assert_eq!(begun(r#"{"type":"new_tx","#), Some(MessageKind::NewTx));
    for text in ["", "{", r#"{"type":"new_bl"#, r#"{"type":"pong""#, r#"{"payload":"new_block""#, r#"["new_block"]"#] {
        assert_eq!(begun(text), None, "{text}");
    }
}
