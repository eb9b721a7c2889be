//! The wire of the reference: one line of JSON a message. Written from its description alone.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::vectors::Chain;

/// The text of 32 zero bytes: the best hash of a node without blocks.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a peer says of itself.
#[derive(Debug, Clone)]
pub struct Hello {
    /// `host:port`.
    pub node_id: String,
    /// Where it says that it listens.
    pub p2p_port: u16,
    /// Its network.
    pub network: String,
    /// The height that it claims; -1 for an empty chain.
    pub best_height: i64,
    /// The hash of that block.
    pub best_hash: String,
    /// The hash of block 0.
    pub genesis_hash: Option<String>,
    /// Extensions; a peer of the reference sends no such field.
    pub features: Option<Vec<String>>,
}

impl Hello {
    /// A reference node that holds `chain`.
    pub fn legacy(chain: &Chain) -> Self {
        Self {
            node_id: "0.0.0.0:9".to_owned(),
            p2p_port: 9,
            network: "devnet".to_owned(),
            best_height: i64::try_from(chain.height()).unwrap(),
            best_hash: chain.tip_hash().to_owned(),
            genesis_hash: Some(chain.genesis_hash().to_owned()),
            features: None,
        }
    }

    /// A node that knows of features, and holds `chain`.
    pub fn modern(chain: &Chain) -> Self {
        Self { features: Some(Vec::new()), ..Self::legacy(chain) }
    }

    /// The same node without a block.
    pub fn without_blocks(self) -> Self {
        Self { best_height: -1, best_hash: NO_HASH.to_owned(), genesis_hash: None, ..self }
    }

    /// The same node with another claim.
    pub fn claiming(self, height: i64) -> Self {
        Self { best_height: height, ..self }
    }

    /// The same node, said to listen on `port`.
    pub fn listening_on(self, port: u16) -> Self {
        Self { node_id: format!("127.0.0.1:{port}"), p2p_port: port, ..self }
    }

    /// Its handshake, without the newline.
    pub fn line(&self) -> String {
        let mut payload = json!({
            "node_id": self.node_id,
            "p2p_port": self.p2p_port,
            "protocol_version": 1,
            "network": self.network,
            "best_height": self.best_height,
            "best_hash": self.best_hash,
            "genesis_hash": self.genesis_hash,
        });
        if let Some(features) = &self.features {
            payload["features"] = json!(features);
        }
        message("handshake", &payload.to_string())
    }
}

/// A message around the text of its payload.
pub fn message(kind: &str, payload: &str) -> String {
    format!(r#"{{"type": "{kind}", "payload": {payload}}}"#)
}

/// A `get_blocks`.
pub fn get_blocks(from: u64, to: u64) -> String {
    message("get_blocks", &format!(r#"{{"from_height": {from}, "to_height": {to}}}"#))
}

/// A `blocks_response` around the texts of its blocks.
pub fn blocks_response<S: AsRef<str>>(blocks: &[S]) -> String {
    let blocks: Vec<&str> = blocks.iter().map(AsRef::as_ref).collect();
    message("blocks_response", &format!(r#"{{"blocks": [{}]}}"#, blocks.join(", ")))
}

/// A `new_block` around the text of a block.
pub fn new_block(block: &str) -> String {
    message("new_block", &format!(r#"{{"block": {block}}}"#))
}

/// A `new_tx` around the text of a transaction.
pub fn new_tx(tx: &str) -> String {
    message("new_tx", &format!(r#"{{"tx": {tx}}}"#))
}

/// A message as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its type.
    pub kind: String,
    /// The text of its payload.
    pub payload: Arc<str>,
    /// The length of the whole line, without the newline.
    pub bytes: usize,
}

/// A handshake as it was received.
#[derive(Debug, Clone, Deserialize)]
pub struct Greeting {
    /// `host:port`.
    pub node_id: String,
    /// Where it listens.
    pub p2p_port: u16,
    /// Present, not checked.
    pub protocol_version: u32,
    /// Its network.
    pub network: String,
    /// -1 for an empty chain.
    pub best_height: i64,
    /// Absent or zeros for an empty chain.
    pub best_hash: Option<String>,
    /// The hash of block 0.
    pub genesis_hash: Option<String>,
}

/// What is read of a block: where it stands, and its text.
#[derive(Debug, Clone)]
pub struct BlockText {
    /// Its height.
    pub height: u64,
    /// The hash of its parent.
    pub prev_hash: String,
    /// All of it.
    pub text: String,
}

impl Received {
    /// Reads a line. None where it is no message.
    pub fn read(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            r#type: String,
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        let envelope: Envelope<'_> = serde_json::from_str(line).ok()?;
        Some(Self { kind: envelope.r#type, payload: envelope.payload.get().into(), bytes: line.len() })
    }

    /// It as a handshake.
    pub fn greeting(&self) -> Option<Greeting> {
        (self.kind == "handshake").then(|| serde_json::from_str(&self.payload).unwrap())
    }

    /// The range that it asks for.
    pub fn range(&self) -> Option<(u64, u64)> {
        #[derive(Deserialize)]
        struct Range {
            from_height: u64,
            to_height: u64,
        }
        let range: Option<Range> = (self.kind == "get_blocks").then(|| serde_json::from_str(&self.payload).unwrap());
        range.map(|range| (range.from_height, range.to_height))
    }

    /// The blocks that it answers with.
    pub fn blocks(&self) -> Option<Vec<BlockText>> {
        #[derive(Deserialize)]
        struct Blocks {
            blocks: Vec<Box<RawValue>>,
        }
        let blocks: Option<Blocks> =
            (self.kind == "blocks_response").then(|| serde_json::from_str(&self.payload).unwrap());
        blocks.map(|blocks| blocks.blocks.iter().map(|block| BlockText::read(block.get())).collect())
    }

    /// The block that it tells of.
    pub fn block(&self) -> Option<BlockText> {
        #[derive(Deserialize)]
        struct One {
            block: Box<RawValue>,
        }
        let one: Option<One> = (self.kind == "new_block").then(|| serde_json::from_str(&self.payload).unwrap());
        one.map(|one| BlockText::read(one.block.get()))
    }
}

impl BlockText {
    /// Reads a block.
    pub fn read(text: &str) -> Self {
        #[derive(Deserialize)]
        struct Block {
            header: Header,
        }
        #[derive(Deserialize)]
        struct Header {
            height: u64,
            prev_hash: String,
        }
        let Block { header } = serde_json::from_str(text).unwrap();
        Self { height: header.height, prev_hash: header.prev_hash, text: text.to_owned() }
    }
}
