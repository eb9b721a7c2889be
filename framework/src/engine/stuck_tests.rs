//! Legacy peers that are stuck behind us, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{CloseReason, Inbound};
use super::core::{Action, Core, CoreConfig, OwnName};
use super::weight::Weight;
use crate::chain::KeyBook;
use crate::executor::Executor;
use crate::executor::accounts::AccountExecutor;
use crate::limits::Limits;
use crate::rules::{HashedBlock, Verifier};
use crate::store::ChainStore;
use crate::store::memory::MemoryStore;
use crate::sync::batch::BatchSync;
use crate::sync::{ConnId, Mode};
use crate::testkit::messages::Messages;
use crate::transport::Endpoint;
use crate::types::{Block, Genesis, Handshake, Hash32, HashRules, Height, Message, Network, Tip};

/// Our tip.
const OURS: Height = 100;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A reference node as it is seen from outside.
#[derive(Clone)]
struct V1 {
    /// What its handshakes say.
    says: Height,
    /// What it has.
    has: Height,
    silent: bool,
    features: Option<Vec<String>>,
}

impl V1 {
    fn at(height: Height) -> Self {
        Self { says: height, has: height, silent: false, features: None }
    }
}

/// An engine at block 100, and the nodes at some addresses.
struct Bench {
    core: Core,
    now: Duration,
    nodes: BTreeMap<String, V1>,
    conns: BTreeMap<ConnId, String>,
    next_conn: u64,
    dials: Vec<(Duration, String, bool)>,
    closed: Vec<(Duration, String)>,
    /// Questions for our tip's block.
    checks: Vec<Duration>,
}

fn endpoint(n: u8) -> Endpoint {
    Endpoint::new(format!("192.0.2.{n}:9000"))
}

impl Bench {
    async fn new(nodes: &[(u8, V1)], configured: &[u8]) -> Self {
        let genesis = Arc::new(Genesis {
            network: "local".into(),
            chain_id: "cpc-local-test".into(),
            hash_rules: HashRules::Canonical,
            params: Network::Devnet.params(),
            checkpoints: Vec::new(),
            alloc: BTreeMap::new(),
            validators: Vec::new(),
        });
        let store = Arc::new(MemoryStore::default());
        store.bind(genesis.id(), AccountExecutor.genesis_state(&genesis).unwrap()).await.unwrap();
        let config = CoreConfig {
            limits: Arc::new(Limits::default()),
            verifier: Verifier::new(genesis),
            keys: KeyBook::default(),
            store,
            names: vec![OwnName { node_id: "192.0.2.99:1".into(), p2p_port: 1 }],
            features: Vec::new(),
            tip: Some(Tip { height: OURS, hash: Hash32([1; 32]) }),
            genesis_hash: None,
            seed: 1,
            validator: None,
        };
        let core = Core::new(config, Box::new(BatchSync::default()));
        let nodes = nodes.iter().map(|(n, node)| (endpoint(*n).address, node.clone())).collect();
        let mut bench = Self {
            core,
            now: Duration::ZERO,
            nodes,
            conns: BTreeMap::new(),
            next_conn: 0,
            dials: Vec::new(),
            closed: Vec::new(),
            checks: Vec::new(),
        };
        let configured: Vec<Endpoint> = configured.iter().copied().map(endpoint).collect();
        bench.core.start(bench.now, &configured, &[]);
        bench.act();
        bench
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.act();
            let next = self.core.next_deadline().map_or(end, |at| at.max(self.now + Duration::from_millis(1)));
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            self.core.tick(self.now);
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Dial { endpoint, feeler } => {
                    self.dials.push((self.now, endpoint.address.clone(), feeler));
                    let conn = self.conn(&endpoint.address);
                    self.core.connected(self.now, conn, 0, endpoint.clone(), None, Some((endpoint, feeler)));
                    self.greet(conn);
                }
                Action::Send { conn, message, .. } => {
                    if let Message::GetBlocks { from_height, to_height } = message.message() {
                        self.asked(conn, *from_height, *to_height);
                    }
                }
                Action::Close { conn, .. } => {
                    let Some(address) = self.conns.remove(&conn) else { continue };
                    self.closed.push((self.now, address));
                    self.core.closed(self.now, conn, &CloseReason::Ended("closed by us".into()));
                }
                _ => {}
            }
        }
    }

    fn conn(&mut self, address: &str) -> ConnId {
        self.next_conn += 1;
        self.conns.insert(ConnId(self.next_conn), address.to_owned());
        ConnId(self.next_conn)
    }

    /// A node dials us, from its own address.
    fn dialled_by(&mut self, n: u8) {
        let remote = Endpoint::new(format!("192.0.2.{n}:40000"));
        let conn = self.conn(&endpoint(n).address);
        assert!(self.core.admit(self.now, conn, &remote));
        self.core.connected(self.now, conn, 0, remote, None, None);
        self.greet(conn);
    }

    fn greet(&mut self, conn: ConnId) {
        let node = &self.nodes[&self.conns[&conn]];
        let handshake = Handshake {
            node_id: self.conns[&conn].clone(),
            p2p_port: 9000,
            protocol_version: 1,
            network: "local".into(),
            best_height: Some(node.says),
            best_hash: None,
            genesis_hash: None,
            features: node.features.clone(),
            nonce: None,
        };
        self.core.received(self.now, conn, Inbound::Handshake(handshake));
    }

    fn asked(&mut self, conn: ConnId, from: Height, to: Height) {
        let Some(node) = self.conns.get(&conn).map(|address| self.nodes[address].clone()) else { return };
        if (from, to) == (OURS, OURS) {
            self.checks.push(self.now);
        }
        if node.silent {
            return;
        }
        let blocks = (from..=to.min(node.has)).map(|height| self.block(height)).collect();
        self.core.received(
            self.now,
            conn,
            Inbound::Blocks { id: None, blocks, malformed: None, bytes: 20, weight: Weight::default() },
        );
    }

    fn block(&self, height: Height) -> HashedBlock {
        let mut block: Block = Messages::from_printed_seed().block();
        block.header.height = height;
        self.core.config.verifier.hasher().hash_block(Arc::new(block))
    }

    fn closings(&self) -> Vec<Duration> {
        self.closed.iter().map(|(at, _)| *at).collect()
    }
}

fn assert_between(time: Duration, least: Duration, most: Duration) {
    assert!((least..=most).contains(&time), "{time:?} is not within {least:?} and {most:?}");
}

#[tokio::test]
async fn a_legacy_peer_that_stays_behind_is_connected_to_anew_ever_more_seldom() {
    let mut bench = Bench::new(&[(1, V1::at(50))], &[1]).await;
    bench.run(MINUTE * 60 * 12);
    assert_eq!(bench.core.mode, Mode::Synced);
    let closings = bench.closings();
    assert_between(closings[0], MINUTE, MINUTE + Duration::from_secs(2));
    let gaps: Vec<Duration> = closings.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    for (at, gap) in gaps.iter().enumerate() {
        let full = (MINUTE * (2 << at.min(10))).min(HOUR);
        assert_between(*gap, full * 3 / 4, full + Duration::from_secs(2));
    }
    assert!(closings.len() >= 12, "{closings:?}");
    // Each time it is dialled at once.
    assert_eq!(bench.dials.len(), 1 + closings.len());
    for ((closed, _), (dialled, _, feeler)) in bench.closed.iter().zip(&bench.dials[1..]) {
        assert!(*dialled <= *closed + Duration::from_millis(200) && !feeler, "{dialled:?} after {closed:?}");
    }
}

#[tokio::test]
async fn a_legacy_peer_that_follows_in_silence_is_asked_now_and_then_and_left_alone() {
    // Its handshake was long ago; it has what we have.
    let mut bench = Bench::new(&[(1, V1 { has: OURS, ..V1::at(50) })], &[1]).await;
    bench.run(HOUR);
    assert_eq!(bench.closings(), []);
    assert_eq!(bench.checks.len(), 1, "it has shown our tip");
}

#[tokio::test]
async fn a_peer_that_catches_up_is_left_alone_and_its_pause_starts_anew() {
    let mut bench = Bench::new(&[(1, V1::at(50))], &[1]).await;
    bench.run(MINUTE * 10);
    let before = bench.closings().len();
    assert!(before >= 3);
    *bench.nodes.get_mut(&endpoint(1).address).unwrap() = V1::at(OURS);
    bench.run(HOUR * 2);
    assert!(bench.closings().len() <= before + 1, "closed again although it is where we are");
    assert_eq!(bench.core.dialer.connects_anew_at(&endpoint(1)), Some(Duration::ZERO));
}

#[tokio::test]
async fn who_is_busy_or_knows_of_features_or_is_where_we_are_is_left_alone() {
    let silent = V1 { silent: true, ..V1::at(50) };
    let modern = V1 { features: Some(Vec::new()), ..V1::at(50) };
    let mut bench =
        Bench::new(&[(1, silent), (2, modern), (3, V1::at(OURS)), (4, V1::at(OURS + 1))], &[1, 2, 3, 4]).await;
    bench.run(HOUR);
    assert_eq!(bench.closed, []);
}

#[tokio::test]
async fn those_that_never_answer_keep_nobody_else_from_being_connected_to_anew() {
    const SILENT: u8 = 7;
    let silent = V1 { silent: true, ..V1::at(50) };
    let mut nodes: Vec<(u8, V1)> = (1..=SILENT).map(|n| (n, silent.clone())).collect();
    nodes.push((SILENT + 1, V1::at(50)));
    let mut bench = Bench::new(&nodes, &(1..=SILENT + 1).collect::<Vec<u8>>()).await;
    bench.run(HOUR);
    let (first, address) = bench.closed.first().expect("one was stuck");
    assert_eq!(*address, endpoint(SILENT + 1).address);
    // It is due after a minute, and each of the others may take one to answer.
    assert_between(*first, MINUTE, MINUTE * (1 + u32::from(SILENT)) + Duration::from_secs(5));
    assert!(bench.closed.len() >= 3, "and again: {:?}", bench.closed);
}

#[tokio::test]
async fn moments_of_syncing_keep_nobody_from_being_connected_to_anew() {
    let mut bench = Bench::new(&[(1, V1::at(50))], &[1]).await;
    for _ in 0..20 {
        bench.run(MINUTE / 4);
        bench.core.reorganising = true;
        bench.core.tick(bench.now);
        bench.core.reorganising = false;
    }
    assert!(bench.closed.len() >= 2, "within five minutes: {:?}", bench.closed);
}

#[tokio::test]
async fn an_inbound_peer_is_dialled_back_only_where_a_dial_to_it_is_known_to_succeed() {
    let mut bench = Bench::new(&[(1, V1::at(50))], &[]).await;
    bench.dialled_by(1);
    bench.run(MINUTE * 2);
    let feelers = bench.dials.iter().filter(|(.., feeler)| *feeler).count();
    assert_eq!(feelers, 1, "its address is looked at first: {:?}", bench.dials);
    let real: Vec<_> = bench.dials.iter().filter(|(.., feeler)| !feeler).collect();
    assert_eq!(real.len(), 1, "then it is dialled: {:?}", bench.dials);

    let mut bench = Bench::new(&[(1, V1::at(50))], &[]).await;
    bench.dialled_by(1);
    // Nobody answers at its address.
    bench.run_without_dials(HOUR);
    assert_eq!(bench.closed, [], "closed, and no way back to it");
}

#[tokio::test]
async fn one_peer_at_a_time_is_connected_to_anew() {
    let nodes: Vec<(u8, V1)> = (1..=5).map(|n| (n, V1::at(50))).collect();
    let mut bench = Bench::new(&nodes, &[1, 2, 3, 4, 5]).await;
    bench.run(MINUTE * 2);
    assert_eq!(bench.closed.len(), 5, "{:?}", bench.closed);
    for (pair, dial) in bench.closed.windows(2).zip(&bench.dials[5..]) {
        assert!(
            dial.1 == pair[0].1 && dial.0 <= pair[1].0,
            "{} was closed before {} was dialled",
            pair[1].1,
            pair[0].1
        );
    }
}

impl Bench {
    /// Lets time pass in which every dial fails.
    fn run_without_dials(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let mut failed = Vec::new();
            let mut others = Vec::new();
            while let Some(action) = self.core.poll_action() {
                match action {
                    Action::Dial { endpoint, .. } => failed.push(endpoint),
                    other => others.push(other),
                }
            }
            for action in others {
                match action {
                    Action::Send { conn, message, .. } => {
                        if let Message::GetBlocks { from_height, to_height } = message.message() {
                            self.asked(conn, *from_height, *to_height);
                        }
                    }
                    Action::Close { conn, .. } => {
                        let address = self.conns.remove(&conn).unwrap_or_default();
                        self.closed.push((self.now, address));
                    }
                    _ => {}
                }
            }
            for endpoint in failed {
                self.core.dial_failed(self.now, &endpoint, false, "nobody answers");
            }
            let next = self.core.next_deadline().unwrap_or(end).max(self.now + Duration::from_millis(1));
            self.now = next.min(end);
            self.core.tick(self.now);
        }
    }
}
