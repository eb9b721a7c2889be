//! Peers that do all they can to make a node hold memory. Each is one connection at a time, which is made again when the node ends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::codec::Codec;
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey};
use cpc_framework::testkit::chains;
use cpc_framework::transport::{Connection, ConnectionHandle, Duplex, Endpoint, Transport};
use cpc_framework::types::{Block, Genesis, Handshake, Hash32, Message, Network, Payload, Quantity, Transaction};
use cpc_tests::vectors::Chain;
use cpc_tests::wire;
use cpc_transports::{NodeIdentity, QuicTransport, TcpTransport};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

/// The longest frame that a node takes unasked.
const FRAME: usize = 4 << 20;
/// The longest that it takes as an answer.
const ANSWER: usize = 32 << 20;
/// How long an attacker that was closed waits before it comes back.
const BACK_AFTER: Duration = Duration::from_millis(100);
/// Payloads of the largest transactions that the pool takes.
const LARGE_PAYLOAD: usize = 100 << 10;

/// What an attacker does, by its row in attacks.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Row 1: a frame of nearly the longest length whose end never comes.
    EndlessFrame,
    /// Row 2: connects and says nothing.
    Silence,
    /// Rows 1, 4 and 6: claims much, and when it is asked for that, begins an answer of nearly the longest length.
    Liar,
    /// Rows 1, 4 and 6: claims much, and when it is asked for that, answers with all that fits, which is as large as can be once decoded.
    Bloat,
    /// Rows 9 and 22: asks for all blocks, each range another one, and reads nothing.
    DeafAsker,
    /// Row 11: blocks that are invalid, or far ahead, or of the largest size.
    BlockFlood,
    /// Row 12: names transactions that do not exist.
    NameFlood,
    /// Row 13: transactions, small and large, good and bad.
    TxFlood,
}

impl Attack {
    /// Rows 1, 9, 11, 13 and 22.
    pub(crate) const OF_THE_BUDGET: [(Self, usize); 4] =
        [(Self::EndlessFrame, 8), (Self::DeafAsker, 8), (Self::BlockFlood, 8), (Self::TxFlood, 8)];
    /// All of them, with nearly as many connections as a node takes.
    pub(crate) const ALL: [(Self, usize); 8] = [
        (Self::EndlessFrame, 8),
        (Self::Silence, 8),
        (Self::Liar, 4),
        (Self::Bloat, 1),
        (Self::DeafAsker, 8),
        (Self::BlockFlood, 8),
        (Self::NameFlood, 4),
        (Self::TxFlood, 8),
    ];
}

/// Where the attackers send their bytes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) link: &'static str,
    pub(crate) address: SocketAddr,
}

/// Attackers at work. Dropped, they stop.
#[derive(Debug)]
pub(crate) struct Attackers {
    _tasks: JoinSet<()>,
    connections: Arc<[AtomicUsize]>,
    bytes: Arc<AtomicUsize>,
}

impl Attackers {
    /// So many of each kind, each with a connection of its own.
    pub(crate) fn start(target: &Target, ammunition: &Arc<Ammunition>, attacks: &[(Attack, usize)]) -> Self {
        let mut tasks = JoinSet::new();
        let connections: Arc<[AtomicUsize]> = attacks.iter().map(|_| AtomicUsize::new(0)).collect();
        let bytes = Arc::new(AtomicUsize::new(0));
        let each = attacks.iter().enumerate().flat_map(|(kind, (attack, count))| vec![(kind, *attack); *count]);
        for (number, (kind, attack)) in each.enumerate() {
            let (target, ammunition, bytes) = (target.clone(), Arc::clone(ammunition), Arc::clone(&bytes));
            let made = Arc::clone(&connections);
            tasks.spawn(async move {
                loop {
                    if let Some(wire) = Wire::open(&target, number, &ammunition, attack, &bytes).await {
                        made[kind].fetch_add(1, Ordering::Relaxed);
                        wire.attack(attack, &ammunition).await;
                    }
                    tokio::time::sleep(BACK_AFTER).await;
                }
            });
        }
        Self { _tasks: tasks, connections, bytes }
    }

    /// How many connections each attack made.
    pub(crate) fn connections(&self) -> Vec<usize> {
        self.connections.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// How many bytes the node took from them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What floods are made of, in the bytes of one codec.
pub(crate) struct Ammunition {
    codec: Arc<dyn Codec>,
    network: String,
    genesis_hash: Hash32,
    height: u64,
    blocks: Vec<BytesMut>,
    txs: Vec<BytesMut>,
    bloat: BytesMut,
}

impl Ammunition {
    /// Against a node that holds `chain` up to `height`.
    pub(crate) fn against(chain: &Chain, height: u64, link: &str) -> Arc<Self> {
        let codec: Arc<dyn Codec> =
            if link.ends_with("postcard") { Arc::new(PostcardCodec) } else { Arc::new(JsonCodec) };
        let genesis = Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap();
        let hasher = Hasher::new(&genesis);
        let framed = |message: &Message| {
            let mut out = BytesMut::new();
            codec.encode(message, FRAME, &mut out).unwrap();
            out
        };
        let next: Block = serde_json::from_str(&chain.lines[usize::try_from(height).unwrap() + 1]).unwrap();
        let large = Payload::new(&format!(r#"{{"x":"{}"}}"#, "x".repeat(FRAME - (64 << 10)))).unwrap();
        // The signature of another block; a body that is not the header's; both as large as a frame; and far ahead.
        let mut unsigned = next.clone();
        unsigned.pq_signature = serde_json::from_str::<Block>(&chain.lines[3]).unwrap().pq_signature;
        let mut unsigned_large = unsigned.clone();
        unsigned_large.txs[0].payload = large.clone();
        let mut swapped = next.clone();
        swapped.txs[0].amount += 1;
        swapped.txs[0].payload = large;
        let mut many = next.clone();
        let (from_address, to_address) = (next.txs[0].from_address.clone(), None);
        let small: Transaction =
            serde_json::from_str(r#"{"tx_type":"STAKE","from_address":"","amount":0,"nonce":0}"#).unwrap();
        let small = Transaction { from_address, to_address, ..small };
        many.txs = vec![small; 8_000];
        let bloat = bloated(&next, codec.as_ref());
        let mut ahead = next;
        ahead.header.height += 100_000;
        let blocks = [unsigned, ahead, unsigned_large, swapped, many];
        let blocks = blocks.map(|block| framed(&Message::NewBlock(block.into()))).to_vec();
        Arc::new(Self {
            network: genesis.network.clone(),
            genesis_hash: chain.genesis_hash().parse().unwrap(),
            height,
            blocks,
            txs: txs(chain, &genesis, &hasher).into_iter().map(|tx| framed(&Message::NewTx(tx.into()))).collect(),
            bloat,
            codec,
        })
    }

    fn hello(&self, attack: Attack, number: usize) -> Message {
        // A liar claims so much that it is asked; the others have nothing.
        let lies = matches!(attack, Attack::Liar | Attack::Bloat);
        Message::Handshake(Handshake {
            node_id: "0.0.0.0:9".to_owned(),
            p2p_port: 9,
            protocol_version: 1,
            network: self.network.clone(),
            best_height: lies.then_some(self.height + 5000),
            best_hash: lies.then_some(Hash32([7; 32])),
            genesis_hash: lies.then_some(self.genesis_hash),
            features: Some(["announce-1", "request-id-1"].map(str::to_owned).into()),
            nonce: Some(number as u64),
        })
    }
}

/// An answer of blocks of the smallest transactions, as many as fit.
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
fn txs(chain: &Chain, genesis: &Genesis, hasher: &Hasher) -> Vec<Transaction> {
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
            let tx = chains::transfer(hasher, key, to.clone(), nonce, price);
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

/// A TCP connection for which the kernels keep little, so that what is not read stays with the node.
async fn small_window(to: SocketAddr) -> Option<Connection> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let (reader, writer) = socket.connect(to).await.ok()?.into_split();
    Some(Connection {
        remote: Endpoint::new(to.to_string()),
        identity: None,
        control: Duplex { reader: Box::new(reader), writer: Box::new(writer) },
        bulk: None,
        handle: Arc::new(NoHandle),
    })
}

/// Ends with its streams.
#[derive(Debug)]
struct NoHandle;

#[async_trait::async_trait]
impl ConnectionHandle for NoHandle {
    fn close(&self, _reason: &str) {}

    async fn closed(&self) {
        std::future::pending::<()>().await;
    }
}

/// One connection of an attacker.
struct Wire {
    connection: Connection,
    codec: Arc<dyn Codec>,
    number: usize,
    bytes: Arc<AtomicUsize>,
}

impl Wire {
    /// Connects, and does the handshake but where silence is the attack. None where the node does not take it.
    async fn open(
        target: &Target,
        number: usize,
        ammunition: &Ammunition,
        attack: Attack,
        bytes: &Arc<AtomicUsize>,
    ) -> Option<Self> {
        let transport: Box<dyn Transport> = if target.link.starts_with("quic") {
            let identity = NodeIdentity::generate().unwrap();
            Box::new(QuicTransport::new(&identity, ammunition.codec.name()).unwrap())
        } else {
            Box::new(TcpTransport::default())
        };
        let deaf = attack == Attack::DeafAsker && !target.link.starts_with("quic");
        let connection = if deaf {
            small_window(target.address).await?
        } else {
            transport.dial(&Endpoint::new(target.address.to_string())).await.ok()?
        };
        let mut wire = Self { connection, codec: Arc::clone(&ammunition.codec), number, bytes: Arc::clone(bytes) };
        if attack != Attack::Silence {
            let mut hello = BytesMut::new();
            wire.codec.encode(&ammunition.hello(attack, number), FRAME, &mut hello).unwrap();
            wire.send(&hello).await?;
        }
        Some(wire)
    }

    /// None once the node has ended it.
    async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        for piece in bytes.chunks(64 << 10) {
            self.connection.control.writer.write_all(piece).await.ok()?;
            self.bytes.fetch_add(piece.len(), Ordering::Relaxed);
        }
        Some(())
    }

    /// Goes on until the node ends it.
    async fn attack(mut self, attack: Attack, ammunition: &Ammunition) {
        let _ = match attack {
            Attack::EndlessFrame => self.endless_frame("new_block", FRAME).await,
            Attack::Liar => match self.is_asked().await {
                Some(()) => self.endless_frame("blocks_response", ANSWER).await,
                None => None,
            },
            Attack::Bloat => match self.is_asked().await {
                Some(()) => self.send(&ammunition.bloat).await,
                None => None,
            },
            Attack::Silence => Some(()),
            // Nothing is read, to the end.
            Attack::DeafAsker => return self.ask_for_all(ammunition.height).await,
            Attack::BlockFlood => self.flood(&ammunition.blocks).await,
            Attack::NameFlood => self.names().await,
            Attack::TxFlood => self.flood(&ammunition.txs).await,
        };
        let mut forgotten = vec![0; 64 << 10];
        while matches!(self.connection.control.reader.read(&mut forgotten).await, Ok(1..)) {}
    }

    /// Waits for the first question.
    async fn is_asked(&mut self) -> Option<()> {
        let mut reader = BufReader::new(&mut self.connection.control.reader);
        // A line is a question or a handshake; a frame too, as far as it matters here.
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.codec.name() == "json" {
                reader.read_until(b'\n', &mut line).await.ok().filter(|read| *read > 0)?;
            } else {
                let mut header = [0; 9];
                reader.read_exact(&mut header).await.ok()?;
                let [.., a, b, c, d] = header;
                line.resize(u32::from_be_bytes([a, b, c, d]) as usize, 0);
                reader.read_exact(&mut line).await.ok()?;
            }
            let asks = if self.codec.name() == "json" {
                line.windows(10).any(|word| word == b"get_blocks")
            } else {
                // A number before it, or not.
                line.first() == Some(&3) || line.len() > 2 && line.contains(&3) && line.len() < 24
            };
            if asks {
                return Some(());
            }
        }
    }

    async fn endless_frame(&mut self, kind: &str, most: usize) -> Option<()> {
        let length = most - (8 << 10);
        let head = if self.codec.name() == "postcard" {
            let tag = if kind == "new_block" { 1 } else { 4 };
            let body = u32::try_from(length).unwrap().to_be_bytes();
            [b"\xc7cpc\x01".as_slice(), &body, &[tag]].concat()
        } else {
            format!(r#"{{"type": "{kind}", "payload": {{"x": ""#).into_bytes()
        };
        self.send(&head).await?;
        let piece = vec![b'x'; 64 << 10];
        for _ in 0..length / piece.len() - 1 {
            self.send(&piece).await?;
        }
        Some(())
    }

    /// Whether anybody reads the answers is the node's to find out.
    async fn ask_for_all(&mut self, height: u64) {
        for from in 0.. {
            let (from_height, to_height) = (from % (height / 2), from % (height / 2) + 499 - from % 200);
            let mut out = BytesMut::new();
            self.codec.encode(&Message::GetBlocks { from_height, to_height }, FRAME, &mut out).unwrap();
            if self.send(&out).await.is_none() {
                return;
            }
            // Five of them wait at the node; more would be dropped.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn flood(&mut self, frames: &[BytesMut]) -> Option<()> {
        for at in self.number.. {
            self.send(&frames[at % frames.len()]).await?;
        }
        Some(())
    }

    async fn names(&mut self) -> Option<()> {
        for round in 0u64.. {
            let name = |at: u64| {
                let mut hash = [0; 32];
                hash[..8].copy_from_slice(&(round * 1024 + at).to_le_bytes());
                hash[8..16].copy_from_slice(&(self.number as u64).to_le_bytes());
                Hash32(hash)
            };
            let message = Message::NewHashes { blocks: Vec::new(), txs: (0..1024).map(name).collect() };
            let mut out = BytesMut::new();
            self.codec.encode(&message, FRAME, &mut out).unwrap();
            self.send(&out).await?;
        }
        Some(())
    }
}
