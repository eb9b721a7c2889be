use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::codec::Codec;
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey};
use cpc_framework::testkit::chains;
use cpc_framework::types::{
    ANNOUNCE, Block, Genesis, HEADER_CHAIN, Handshake, Hash32, HexText, Message, Network, Payload, Quantity,
    REQUEST_ID, Transaction,
};
use cpc_tests::vectors::Chain;
use cpc_tests::wire;

use super::{ANSWER, Attack, FRAME};

/// Payloads of the largest transactions that the pool takes.
const LARGE_PAYLOAD: usize = 100 << 10;

/// What attacks are made of, in the bytes of one codec.
#[derive(Debug)]
pub(crate) struct Ammunition {
    codec: Arc<dyn Codec>,
    network: String,
    genesis_hash: Hash32,
    height: u64,
    honest_name: String,
    blocks: Arc<[Block]>,
    branch: Arc<[Block]>,
    ahead: Arc<[Block]>,
    bad_blocks: Vec<BytesMut>,
    txs: Vec<BytesMut>,
    gaps: Vec<BytesMut>,
    replacements: Vec<BytesMut>,
    again: Vec<BytesMut>,
    bloat: OnceLock<BytesMut>,
    own_hello: OnceLock<Message>,
}

/// What ammunition is made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// The node has the chain up to here.
    pub(crate) height: usize,
    /// What the honest peer calls itself.
    pub(crate) honest_name: String,
    /// Blocks of another branch.
    pub(crate) branch: Vec<Block>,
    /// Blocks up to one whose time has not come.
    pub(crate) ahead: Vec<Block>,
    /// All kinds of transactions.
    pub(crate) txs: Vec<Transaction>,
    /// Transactions that wait for lower nonces.
    pub(crate) gaps: Vec<Transaction>,
    /// Transactions of one nonce.
    pub(crate) replacements: Vec<Transaction>,
}

impl Ammunition {
    /// Against a node that holds `chain` up to a height.
    pub(crate) fn against(chain: &Chain, link: &str, plan: &Plan) -> Arc<Self> {
        let codec: Arc<dyn Codec> =
            if link.ends_with("postcard") { Arc::new(PostcardCodec) } else { Arc::new(JsonCodec) };
        let genesis = genesis(chain);
        let framed = |message: &Message| {
            let mut out = BytesMut::new();
            codec.encode(message, FRAME, &mut out).unwrap();
            out
        };
        let framed_txs = |txs: &[Transaction]| -> Vec<BytesMut> {
            txs.iter().map(|tx| framed(&Message::NewTx(tx.clone().into()))).collect()
        };
        let blocks: Vec<Block> = chain.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let bad = bad_blocks(&blocks, plan.height);
        let mut again = vec![framed(&Message::NewBlock(blocks[plan.height].clone().into()))];
        again.extend(framed_txs(plan.txs.get(..1).unwrap_or_default()));
        Arc::new(Self {
            network: genesis.network.clone(),
            genesis_hash: chain.genesis_hash().parse().unwrap(),
            height: plan.height as u64,
            honest_name: plan.honest_name.clone(),
            bad_blocks: (bad.into_iter().map(|block| framed(&Message::NewBlock(block.into()))))
                .chain([dense(&blocks[plan.height + 1], codec.as_ref())])
                .collect(),
            txs: framed_txs(&plan.txs),
            gaps: framed_txs(&plan.gaps),
            replacements: framed_txs(&plan.replacements),
            again,
            bloat: OnceLock::new(),
            own_hello: OnceLock::new(),
            blocks: blocks.into(),
            branch: plan.branch.clone().into(),
            ahead: plan.ahead.clone().into(),
            codec,
        })
    }

    pub(crate) fn codec(&self) -> &Arc<dyn Codec> {
        &self.codec
    }

    pub(super) fn height(&self) -> u64 {
        self.height
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(super) fn branch(&self) -> &[Block] {
        &self.branch
    }

    pub(super) fn ahead(&self) -> &[Block] {
        &self.ahead
    }

    pub(super) fn bad_blocks(&self) -> &[BytesMut] {
        &self.bad_blocks
    }

    pub(super) fn large_block(&self) -> &[u8] {
        &self.bad_blocks[2]
    }

    pub(super) fn swapped_block(&self) -> &[u8] {
        &self.bad_blocks[3]
    }

    /// What the node says of itself, once it was heard.
    pub(super) fn own_hello(&self) -> Option<&Message> {
        self.own_hello.get()
    }

    pub(super) fn learn_hello(&self, hello: Message) {
        let _ = self.own_hello.set(hello);
    }

    pub(super) fn txs(&self) -> &[BytesMut] {
        &self.txs
    }

    pub(super) fn gaps(&self) -> &[BytesMut] {
        &self.gaps
    }

    pub(super) fn replacements(&self) -> &[BytesMut] {
        &self.replacements
    }

    pub(super) fn again(&self) -> &[BytesMut] {
        &self.again
    }

    /// An answer of blocks of the smallest transactions, as many as fit.
    pub(super) fn bloat(&self) -> &[u8] {
        self.bloat.get_or_init(|| bloated(&self.blocks[self.blocks.len() - 1], self.codec.as_ref()))
    }

    pub(super) fn hello(&self, attack: Attack, number: usize, port: Option<u16>) -> Message {
        // A liar claims so much that it is asked; the others have nothing.
        let lies = attack.lies();
        let name = if attack == Attack::StolenName { &self.honest_name } else { "0.0.0.0:9" };
        Message::Handshake(Handshake {
            node_id: name.to_owned(),
            p2p_port: port.unwrap_or(9),
            protocol_version: 1,
            network: self.network.clone(),
            best_height: lies.then_some(self.height + 5000),
            best_hash: lies.then_some(Hash32([7; 32])),
            genesis_hash: lies.then_some(self.genesis_hash),
            features: Some([ANNOUNCE, REQUEST_ID, HEADER_CHAIN].map(str::to_owned).into()),
            nonce: Some(number as u64),
        })
    }
}

fn genesis(chain: &Chain) -> Genesis {
    Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap()
}

/// With another block's signature; far ahead; with a signature or body that is not its own and as large as a frame.
fn bad_blocks(blocks: &[Block], height: usize) -> [Block; 4] {
    let next = blocks[height + 1].clone();
    let large = Payload::new(&format!(r#"{{"x":"{}"}}"#, "x".repeat(FRAME - (64 << 10)))).unwrap();
    let mut unsigned = next.clone();
    unsigned.pq_signature = blocks[3].pq_signature.clone();
    let mut unsigned_large = unsigned.clone();
    unsigned_large.txs.truncate(1);
    unsigned_large.txs[0].payload = large.clone();
    let mut swapped = next.clone();
    swapped.txs.truncate(1);
    swapped.txs[0].amount += 1;
    swapped.txs[0].payload = large;
    let mut ahead = next;
    ahead.header.height += 100_000;
    [unsigned, ahead, unsigned_large, swapped]
}

/// A block of as many transactions as fit a frame, each as small as one with half a signature and a key can be.
fn dense(block: &Block, codec: &dyn Codec) -> BytesMut {
    const LEAST: [u8; 32] = [7; 32];
    let half = HexText::from_bytes(&LEAST);
    let text = format!(
        r#"{{"tx_type":"STAKE","from_address":"","amount":0,"nonce":0,"signature":"{half}","pub_key":"{half}"}}"#
    );
    let mut out = BytesMut::new();
    if codec.name() == "json" {
        let empty = serde_json::to_string(&Block { txs: Vec::new(), ..block.clone() }).unwrap();
        let txs = vec![text.as_str(); (FRAME - (64 << 10)) / (text.len() + 1)].join(",");
        out.extend_from_slice(wire::new_block(&empty.replace(r#""txs":[]"#, &format!(r#""txs":[{txs}]"#))).as_bytes());
        out.extend_from_slice(b"\n");
    } else {
        /// What such a transaction has in the framework's encoding, or more.
        const ENCODED: usize = 100;
        let tx: Transaction = serde_json::from_str(&text).unwrap();
        let block = Block { txs: vec![tx; (FRAME - (64 << 10)) / ENCODED], ..block.clone() };
        codec.encode(&Message::NewBlock(block.into()), FRAME, &mut out).unwrap();
    }
    out
}

fn bloated(block: &Block, codec: &dyn Codec) -> BytesMut {
    const TXS: usize = 40_000;
    const SMALLEST: &str = r#"{"tx_type":"STAKE","from_address":"a","amount":0,"nonce":0}"#;
    let tx: Transaction = serde_json::from_str(SMALLEST).unwrap();
    let block = Block { txs: vec![tx; TXS], ..block.clone() };
    let mut out = BytesMut::new();
    if codec.name() == "json" {
        let empty = serde_json::to_string(&Block { txs: Vec::new(), ..block }).unwrap();
        let text = empty.replace(r#""txs":[]"#, &format!(r#""txs":[{}]"#, vec![SMALLEST; TXS].join(",")));
        let count = (ANSWER - (64 << 10)) / text.len();
        out.extend_from_slice(wire::blocks_response(&vec![text; count]).as_bytes());
        out.extend_from_slice(b"\n");
    } else {
        codec.encode(&Message::NewBlock(block.clone().into()), FRAME, &mut out).unwrap();
        let count = (ANSWER - (64 << 10)) / out.len();
        out.clear();
        let answer = Message::BlocksResponse { blocks: vec![block.into(); count], malformed: None };
        codec.encode(&answer, ANSWER, &mut out).unwrap();
    }
    out
}

/// Transactions of all accounts that the test network has: small and large ones that the pool takes, and some whose signature is wrong.
pub(crate) fn txs_of(chain: &Chain) -> Vec<Transaction> {
    let (genesis, hasher) = (genesis(chain), Hasher::new(&genesis(chain)));
    let keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(chain.genesis.with_file_name("keys.json")).unwrap()).unwrap();
    let keys = keys["accounts"].as_array().unwrap().iter().map(|key| key.as_str().unwrap());
    let keys: Vec<SecretKey> = keys.map(|key| SecretKey::from_hex(Scheme::Secp256k1, key).unwrap()).collect();
    let large = Payload::new(&format!(r#"{{"x":"{}"}}"#, "x".repeat(LARGE_PAYLOAD))).unwrap();
    let price = genesis.params.min_gas_price;
    let mut txs = Vec::new();
    for (from, key) in keys.iter().enumerate() {
        let to = keys[(from + 1) % keys.len()].address(ACCOUNT_PREFIX);
        // Which nonces are the next ones is the node's to find out.
        for nonce in (0..400).step_by(10) {
            let payload = if nonce % 40 == 0 { large.clone() } else { Payload::default() };
            let tx = chains::transfer(&hasher, key, to.clone(), nonce, price);
            let mut tx = Transaction { payload, fee: Quantity::from(u128::from(u64::MAX)), ..tx };
            tx.signature = key.sign(&hasher.transaction_hash(&tx));
            if nonce % 100 == 0 {
                tx.amount += 1;
            }
            txs.push(tx);
        }
    }
    txs
}
