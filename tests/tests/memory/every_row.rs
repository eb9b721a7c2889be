//! What the promise of 160 MiB is about: every attack that a peer can run, all at once over several links, on a node whose pool is full.

use std::time::Duration;

use cpc_framework::types::{Block, Payload, Transaction};
use cpc_tests::crowd::Crowd;
use cpc_tests::deadline::until;
use cpc_tests::http::get;
use cpc_tests::process::Process;
use cpc_tests::raw::Socket;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello};

use crate::attackers::Plan;

/// Over which the attackers come.
pub(crate) const LINKS: [&str; 3] = ["tcp+json", "tcp+postcard", "quic+postcard"];
/// The chain of the attacked node ends here at first.
const START: usize = 150;
/// And the honest peer's here.
const END: usize = 165;
/// Transactions of each block.
const TXS: u16 = 8;
/// Bytes of the pool's transactions at most.
const POOL_BYTES: u64 = 64 << 20;
/// Transactions of one sender in the pool at most.
const PER_SENDER: u64 = 64;
/// Payloads of the transactions that fill the pool: so many of so few senders do.
const PAYLOAD: usize = 100 << 10;
/// Accounts: those that fill the pool; that flood; whose transactions wait; one that replaces; those in the blocks.
const FILLERS: u16 = 11;
const FLOODERS: u16 = FILLERS + 6;
const WAITERS: u16 = FLOODERS + 8;
const REPLACER: u16 = WAITERS;
const FIRST_IN_BLOCKS: u16 = REPLACER + 1;
const ACCOUNTS: u16 = FIRST_IN_BLOCKS + TXS;
/// Filling the pool, on a slow and busy machine.
const FILLING: Duration = Duration::from_secs(120);

/// A network with its chain, and what attacks on it are made from.
pub(crate) struct Scene {
    crowd: Crowd,
    pub(crate) chain: Chain,
    pub(crate) plan: Plan,
}

impl Scene {
    pub(crate) fn new(honest_name: String) -> Self {
        let crowd = Crowd::new(ACCOUNTS);
        let in_block = |height: usize| -> Vec<Transaction> {
            let payload = Payload::new(&format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 10))).unwrap();
            let tx = |at| Transaction {
                payload: payload.clone(),
                ..crowd.transfer(FIRST_IN_BLOCKS + at, height as u64 - 1)
            };
            if height == 0 { Vec::new() } else { (0..TXS).map(tx).collect() }
        };
        let mut plan: Vec<Vec<Transaction>> = (0..=END).map(in_block).collect();
        let chain = crowd.chain(&plan);
        // A branch from 20 blocks below the tip, signed as it should be, whose bodies are not: nothing of it can be imported.
        for (height, txs) in plan.iter_mut().enumerate().take(END).skip(START - 20) {
            txs.truncate(usize::from(TXS) - 1);
            txs.rotate_left(height % 3);
        }
        for txs in &mut plan[START - 19..] {
            txs.clear();
        }
        let mut branch = blocks(&crowd.chain(&plan[..END]));
        for block in &mut branch[START - 20..] {
            block.txs.reverse();
        }
        let mut ahead = blocks(&chain)[..=START + 1].to_vec();
        let last = ahead.pop().unwrap();
        ahead.push(crowd.at_time(last, 1 << 40));
        let plan = Plan {
            height: START,
            honest_name,
            branch,
            ahead,
            txs: flood(&crowd),
            gaps: (FLOODERS..WAITERS)
                .flat_map(|from| (1..PER_SENDER).map(move |nonce| (from, nonce)))
                .map(|(from, nonce)| crowd.transfer(from, nonce))
                .collect(),
            replacements: (0..400u128)
                .map(|more| {
                    crowd.sign(
                        REPLACER,
                        Transaction { fee: (21_000_000 + more * 10_000).into(), ..crowd.transfer(REPLACER, 0) },
                    )
                })
                .collect(),
        };
        Self { crowd, chain, plan }
    }

    /// What the attacked node has at first.
    pub(crate) fn start(&self) -> Chain {
        self.chain.up_to(START)
    }

    /// Fills the pool to its last byte, with some that wait among them.
    pub(crate) async fn fill_pool(&self, node: &Process) {
        let hello = Hello { features: Some(vec!["announce-1".to_owned()]), ..Hello::modern(&self.start()) };
        let mut sender = Socket::greeted(node.port_of("tcp+json"), &hello).await.0.talker();
        let line = |tx: &Transaction| wire::new_tx(&serde_json::to_string(tx).unwrap());
        let few: Vec<String> = self.plan.gaps.iter().chain(&self.plan.replacements[..1]).map(line).collect();
        assert!(sender.send(&few).await, "closed over valid transactions");
        // The payload is put in as text: writing it so often takes longer than sending it.
        let payload = format!(r#""payload":{{"x":"{}"}}"#, "x".repeat(PAYLOAD));
        for from in 0..FILLERS {
            for nonces in (0..PER_SENDER).collect::<Vec<_>>().chunks(8) {
                let heavy =
                    |nonce: &u64| line(&self.crowd.transfer(from, *nonce)).replacen(r#""payload":{}"#, &payload, 1);
                let lines: Vec<String> = nonces.iter().map(heavy).collect();
                assert!(sender.send(&lines).await, "closed over valid transactions");
            }
        }
        until(FILLING, "a full pool", async || is_full(node).await.then_some(())).await;
    }
}

/// Whether the pool has no room for one more of the large ones.
async fn is_full(node: &Process) -> bool {
    let pool = get(node.rpc_port(), "/mempool?limit=1").await.expect(200).json();
    pool["bytes"].as_u64().unwrap() > POOL_BYTES - 2 * PAYLOAD as u64
}

fn blocks(chain: &Chain) -> Vec<Block> {
    chain.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Small and large transactions, of which every tenth is not signed by its sender.
fn flood(crowd: &Crowd) -> Vec<Transaction> {
    let large = Payload::new(&format!(r#"{{"x":"{}"}}"#, "x".repeat(PAYLOAD))).unwrap();
    let mut txs = Vec::new();
    for from in FILLERS..FLOODERS {
        for nonce in 0..40 {
            let mut tx = crowd.transfer(from, nonce);
            if nonce % 4 == 0 {
                tx.payload = large.clone();
            }
            if nonce % 10 == 9 {
                tx.amount += 1;
            }
            txs.push(tx);
        }
    }
    txs
}
