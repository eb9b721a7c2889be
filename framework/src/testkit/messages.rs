//! Messages made up from a seed: ordinary ones and every oddity that the v1 rules let into a chain (protocol.md section 4).

use std::sync::Arc;

use crate::types::{
    Address, Block, BlockLink, Handshake, Hash32, Header, HexText, Message, MessageKind, Payload, Quantity,
    Transaction, TxType, WireBlock, encoding,
};

/// Makes up messages. The same seed gives the same ones.
#[derive(Debug, Clone)]
pub struct Messages {
    state: u64,
}

impl Messages {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Starts from a random seed, or from that in the environment variable `CPC_TEST_SEED`, and prints it.
    #[expect(clippy::print_stderr, reason = "shown by the test harness where a test fails")]
    pub fn from_printed_seed() -> Self {
        let given = std::env::var("CPC_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| getrandom::u64().expect("the system gives random numbers"));
        eprintln!("to repeat this run: CPC_TEST_SEED={seed}");
        Self::new(seed)
    }

    /// The next 64 random bits (`SplitMix64`).
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.bits() % bound as u64).expect("a number below a usize is one")
    }

    /// So many random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits().to_le_bytes()[0]).collect()
    }

    /// One message of each type, and one with a number of each type that may have one, with random content.
    pub fn one_of_each(&mut self) -> Vec<Message> {
        let plain = MessageKind::ALL.map(|kind| self.message(kind));
        let numbered = MessageKind::ALL.into_iter().filter(|kind| kind.may_be_numbered());
        let numbered: Vec<_> = numbered.map(|kind| self.message(kind).with_id(Some(self.number()))).collect();
        plain.into_iter().chain(numbered).collect()
    }

    /// A message of this type; a response has up to four blocks.
    pub fn message(&mut self, kind: MessageKind) -> Message {
        match kind {
            MessageKind::Handshake => Message::Handshake(self.handshake()),
            MessageKind::NewBlock => Message::NewBlock(self.wire_block()),
            MessageKind::NewTx => Message::NewTx(Arc::new(self.transaction())),
            MessageKind::GetBlocks => Message::GetBlocks { from_height: self.number(), to_height: self.number() },
            MessageKind::BlocksResponse => {
                let count = self.below(5);
                self.response(count)
            }
            MessageKind::NewHashes => Message::NewHashes { blocks: self.few(Self::link), txs: self.few(Self::hash) },
            MessageKind::GetData => Message::GetData { blocks: self.few(Self::hash), txs: self.few(Self::hash) },
            MessageKind::GetHeaderChain => {
                Message::GetHeaderChain { from_height: self.number(), to_height: self.number() }
            }
            MessageKind::HeaderChain => {
                let mut headers = Vec::new();
                for _ in 0..self.below(4) {
                    encoding::append_header(&self.block().header, &mut headers);
                }
                Message::HeaderChain { headers: headers.into() }
            }
        }
    }

    /// A response with `count` blocks.
    pub fn response(&mut self, count: usize) -> Message {
        Message::BlocksResponse { blocks: (0..count).map(|_| self.wire_block()).collect(), malformed: None }
    }

    /// A handshake, of a legacy node as often as not.
    pub fn handshake(&mut self) -> Handshake {
        let port = self.bits().to_le_bytes();
        Handshake {
            node_id: format!("198.51.100.{}:{}", port[0], self.below(65_536)),
            p2p_port: u16::from_le_bytes([port[0], port[1]]),
            protocol_version: u32::from(port[2]),
            network: self.text(),
            best_height: self.maybe(Self::number),
            best_hash: self.maybe(Self::hash),
            genesis_hash: self.maybe(Self::hash),
            features: self.maybe(|it| (0..it.below(4)).map(|_| it.text()).collect()),
            nonce: self.maybe(Self::bits),
        }
    }

    /// A block of up to three transactions.
    pub fn block(&mut self) -> Block {
        Block {
            header: Header {
                height: self.number(),
                prev_hash: self.hash(),
                timestamp: self.number(),
                chain_id: self.text(),
                proposer_address: self.address(),
                tx_root: self.hash(),
                state_root: self.hash(),
                compute_root: self.maybe(Self::hash),
                gas_used: self.number(),
                gas_limit: self.number(),
                zk_state_proof_hash: self.maybe(Self::text),
                zk_compute_proof_hash: self.maybe(Self::text),
            },
            txs: (0..self.below(4)).map(|_| self.transaction()).collect(),
            pq_signature: self.hex(),
            pq_sig_scheme_id: [1, 237, 0, u32::MAX][self.below(4)],
        }
    }

    /// A transaction.
    pub fn transaction(&mut self) -> Transaction {
        use TxType::{PocReward, Stake, SubmitResult, Transfer, Unstake};
        Transaction {
            tx_type: [Transfer, Stake, SubmitResult, Unstake, PocReward][self.below(5)],
            from_address: self.address(),
            to_address: self.maybe(Self::address),
            amount: self.amount(),
            fee: self.quantity(),
            nonce: self.number(),
            signature: self.hex(),
            pub_key: self.hex(),
            payload: self.payload(),
            gas_price: self.amount(),
            gas_limit: self.quantity(),
        }
    }

    fn wire_block(&mut self) -> WireBlock {
        let block = Arc::new(self.block());
        let bytes = || WireBlock::Decoded(Arc::clone(&block)).encode();
        match self.below(3) {
            0 => WireBlock::Encoded(bytes()),
            1 => WireBlock::Both(Arc::clone(&block), bytes()),
            _ => WireBlock::Decoded(block),
        }
    }

    fn link(&mut self) -> BlockLink {
        BlockLink { height: self.number(), hash: self.hash(), prev_hash: self.hash() }
    }

    fn few<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(5)).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    fn number(&mut self) -> u64 {
        let bits = self.bits();
        [0, 1, u64::MAX, bits, bits >> 32, bits >> 50][self.below(6)]
    }

    fn amount(&mut self) -> u128 {
        let number = u128::from(self.number());
        [number, number << 64 | number, u128::MAX, 10u128.pow(27)][self.below(4)]
    }

    fn quantity(&mut self) -> Quantity {
        let digits = self.amount().to_string();
        let long = Quantity::from_digits(&format!("9{}", "0".repeat(60))).expect("61 digits are a number");
        [Quantity::from_digits(&digits).expect("digits of a u128 are a number"), long][self.below(2)].clone()
    }

    fn hash(&mut self) -> Hash32 {
        let mut hash = [1; 32];
        hash[1..].copy_from_slice(&self.bytes(31));
        Hash32(hash)
    }

    fn hex(&mut self) -> HexText {
        let length = [0, 32, 33, 64, 65][self.below(5)];
        let bytes = self.bytes(length);
        let digits = hex::encode(&bytes);
        match self.below(4) {
            0 => HexText::new(&digits.to_uppercase()),
            1 => HexText::new(&format!(" {digits}\t")),
            _ => HexText::from_bytes(&bytes),
        }
    }

    fn address(&mut self) -> Address {
        let bytes: [u8; 20] = self.bytes(20).try_into().expect("20 bytes are 20 bytes");
        let prefix = ["cpc", "cpcvalcons", "other"][self.below(3)];
        let bech32 = Address::bech32(prefix, &bytes).expect("the prefixes are bech32's");
        if self.below(4) == 0 { Address::new(self.text()) } else { bech32 }
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 8] = [
            "",
            "devnet",
            "cpc-devnet-1",
            "ünïcödé ✓ 𝄞",
            "\"quoted\" \\ / \n\r\t\u{8}\u{c}\u{1}\u{7f}",
            "{}",
            "null",
            " ",
        ];
        TEXTS[self.below(TEXTS.len())].to_owned()
    }

    fn payload(&mut self) -> Payload {
        let deep = format!("{{\"deep\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
        let texts = [
            "{}",
            "{ }",
            r#"{"pub_key":"03d04a2eb697b8285c690fd5491e67a5581726264b6f9ccba06603390a38e43d35"}"#,
            r#"{"task_id":"t","nonce":-123456789012345678901234567890,"x":[1.5e300,null,"\u00e9é\n"]}"#,
            &deep,
        ];
        Payload::new(texts[self.below(texts.len())]).expect("the texts are JSON objects")
    }
}
