//! A STAKE's key is covered by no hash of v1: a node that was given another one finds out, and gets back (attacks.md row 24).
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use cpc_codecs::JsonCodec;
use cpc_framework::chain::{Chain as Writer, ImportReport};
use cpc_framework::env::Env;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::node::NodeBuilder;
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_framework::store::file::FileStore;
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::sync::{BatchSync, RejectKind, RollbackOne, SyncLimits};
use cpc_framework::types::{Block, Genesis, Hash32, Network};
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::within;
use cpc_tests::peer::{Answer, Peer, Script, cut};
use cpc_tests::process::{Call, Process};
use cpc_tests::raw;
use cpc_tests::vectors::Chain;
use cpc_transports::TcpTransport;

const NODE: &str = cpc_tests::node_binary!();

/// How long a sync of one of the test chains may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);
/// The block of the mainline in which validators are staked.
const STAKED: usize = 5;
/// They are elected with the last block of this epoch, and propose after it.
const ELECTED: i64 = 9;

/// The same blocks, with another key in each STAKE.
fn swapped(chain: &Chain) -> Chain {
    swapped_with(chain, 1)
}

/// The same blocks, with the third digit of the key in each STAKE raised by so much.
fn swapped_with(chain: &Chain, by: u32) -> Chain {
    let mut swapped = chain.clone();
    let line = &mut swapped.lines[STAKED];
    let stake = r#"{"pub_key":"02"#;
    let places: Vec<usize> = line.match_indices(&stake[..stake.len() - 1]).map(|(at, _)| at + stake.len()).collect();
    assert_eq!(places.len(), 2, "the STAKEs of the mainline: {line}");
    for at in places {
        let digit = line[at..=at].chars().next().and_then(|digit| digit.to_digit(16)).unwrap();
        let other = char::from_digit((digit + by) % 16, 16).unwrap();
        line.replace_range(at..=at, &other.to_string());
    }
    swapped
}

/// A script of `hello`'s kind that serves these blocks.
fn serving(script: Script, chain: &Chain) -> Script {
    let lines = chain.lines.clone();
    script.answering(move |request| Answer::Blocks(cut(&lines, request)))
}

/// The datadir holds the honest chain, with a state that all its roots and proposers agree with.
async fn holds(dir: &Datadir, chain: &Chain) {
    assert_eq!(dir.tip(NODE).await, (chain.height(), chain.tip_hash().to_owned()));
    let kept: Vec<String> = dir.export(NODE).await.lines().map(str::to_owned).collect();
    assert_eq!(kept[STAKED], chain.lines[STAKED], "the swapped keys are gone");
    let node = Process::run(NODE, dir.path(), &["--rebuild-state"]).await;
    assert_eq!(raw::reaches(&node, i64::try_from(chain.height()).unwrap(), SYNC).await, chain.tip_hash());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_a_node_that_was_given_swapped_stake_keys_gets_back_to_the_honest_chain() {
    let chain = Chain::mainline().up_to(300);
    let false_one = swapped(&chain);
    for hostile_is_legacy in [true, false] {
        let kind = if hostile_is_legacy { Script::legacy(&chain) } else { Script::modern(&chain) };
        let hostile = Peer::listen(serving(kind, &false_one)).await;
        let dir = Datadir::joined(NODE, &chain).await;
        let node = Process::run_with_peers(NODE, dir.path(), &[hostile.address()]).await;
        // With the swapped keys the chain ends soon after the election.
        node.line("proposer", SYNC).await;
        let (stopped_at, _) = raw::tip_of(node.port()).await;
        assert!((ELECTED..ELECTED + 3).contains(&stopped_at), "stopped at {stopped_at}");

        let honest = Peer::dial(node.port(), Script::legacy(&chain)).await;
        let tip = i64::try_from(chain.height()).unwrap();
        assert_eq!(raw::reaches(&node, tip, SYNC).await, chain.tip_hash());
        node.line("carried a swapped key", Duration::from_secs(1)).await;
        assert!(honest.stays_open(Duration::from_secs(1)).await, "nobody is to blame");
        assert!(hostile.stays_open(Duration::from_millis(100)).await, "nobody is to blame");
        assert!(!node.stderr().contains("banned for 6"), "{}", node.stderr());
        node.stop().await;
        holds(&dir, &chain).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_a_sync_from_a_hostile_and_an_honest_peer_ends_at_the_honest_tip() {
    let chain = Chain::mainline().up_to(300);
    // Both are connected before either answers, and the honest one is slower, so that the blocks with the STAKEs are the hostile one's.
    let after = |millis, lines: Vec<String>| {
        let pause = Duration::from_millis(millis);
        move |request| Answer::After(pause, Box::new(Answer::Blocks(cut(&lines, request))))
    };
    let hostile = Peer::listen(Script::legacy(&chain).answering(after(400, swapped(&chain).lines.clone()))).await;
    let honest = Peer::listen(Script::legacy(&chain).answering(after(700, chain.lines.clone()))).await;
    let dir = Datadir::joined(NODE, &chain).await;
    let peers = [hostile.address(), honest.address()];
    let output = Call::sync(NODE, dir.path(), &peers).output_within(SYNC).await.expect_code(0);
    let report = output.json();
    assert_eq!(
        (&report["height"], &report["tip_hash"]),
        (&chain.height().into(), &chain.tip_hash().into()),
        "{output:?}"
    );
    holds(&dir, &chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_a_key_that_does_not_help_is_put_back_and_the_next_peer_is_asked() {
    let chain = Chain::mainline().up_to(40);
    let dir = tempfile::tempdir().unwrap();
    // It is alone at first, and so SYNCED.
    let soon = Duration::from_secs(1);
    let limits = SyncLimits { branch_pause: soon, recovery_wait: soon, ..SyncLimits::default() };
    let node = NodeBuilder::new(genesis(&chain))
        .link(TcpTransport::default(), JsonCodec, "127.0.0.1:0")
        .store(FileStore::open(dir.path()).unwrap())
        .sync(BatchSync::with_limits(RollbackOne::default(), limits))
        .start()
        .await
        .unwrap();
    let port = node.listening()[0].host_port().unwrap().1;
    let peer = |chain: &Chain, by| serving(Script::legacy(chain), &swapped_with(chain, by));

    // Two keys that lead equally far: where the second one led further, it would be taken for the better one.
    let mut stops = Vec::new();
    for by in 1..16 {
        let report = import(&chain, blocks(&swapped_with(&chain, by))).await;
        assert_eq!(report.stop.unwrap().kind(), RejectKind::WrongProposer);
        stops.push((report.applied.len(), by));
    }
    stops.sort_unstable();
    let (one, other) = stops.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].1, pair[1].1)).unwrap();

    let first = Peer::dial(port, peer(&chain, one)).await;
    let stopped = node.wait_for(|status| status.last_error.as_ref().is_some_and(|error| error.contains("proposer")));
    let before = within(SYNC, "a refused proposer", stopped).await.unwrap().tip.unwrap();
    let second = Peer::dial(port, peer(&chain, other)).await;
    let put_back = node.wait_for(|status| status.rolled_back > 0 && status.tip == Some(before));
    let rolled_back = within(SYNC, "our blocks to be back", put_back).await.unwrap().rolled_back;
    assert_eq!(rolled_back, before.height + 1 - STAKED as u64);

    let honest = Peer::dial(port, Script::legacy(&chain)).await;
    let height = chain.height();
    let recovered = node.wait_for(|status| status.tip.is_some_and(|tip| tip.height == height));
    let status = within(SYNC, "the honest tip", recovered).await.unwrap();
    assert_eq!(status.tip.unwrap().hash.to_string(), chain.tip_hash());
    assert_eq!(status.rolled_back, 2 * rolled_back);
    for peer in [&first, &second, &honest] {
        assert!(peer.stays_open(Duration::from_millis(200)).await, "nobody is to blame");
    }
    node.shutdown().await;
}

/// What follows from block `height` of the mainline with another state root, signed by its proposer.
async fn with_another_state_root(height: usize) -> RejectKind {
    #[derive(serde::Deserialize)]
    struct Keys {
        validators: Vec<String>,
    }
    let chain = Chain::mainline().up_to(height);
    let keys = std::fs::read_to_string(chain.genesis.with_file_name("keys.json")).unwrap();
    let keys: Keys = serde_json::from_str(&keys).unwrap();
    let mut keys = keys.validators.iter().map(|key| SecretKey::from_hex(Scheme::Secp256k1, key).unwrap());
    let mut blocks = blocks(&chain);
    let last = &mut blocks[height];
    last.header.state_root = Hash32([7; 32]);
    let key = keys.find(|key| key.address(VALIDATOR_PREFIX) == last.header.proposer_address).unwrap();
    last.pq_signature = key.sign(&Hasher::new(&genesis(&chain)).header_hash(&last.header));
    let report = import(&chain, blocks).await;
    assert_eq!(report.applied.len(), height);
    report.stop.unwrap().kind()
}

fn blocks(chain: &Chain) -> Vec<Block> {
    chain.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What becomes of these blocks on the genesis of `chain`.
async fn import(chain: &Chain, blocks: Vec<Block>) -> ImportReport {
    let (store, env) = (Arc::new(MemoryStore::new()), Env::system().unwrap());
    let genesis = Arc::new(genesis(chain));
    let mut writer = Writer::open(genesis, store, Arc::new(AccountExecutor), env).await.unwrap();
    writer.import(blocks.into_iter().map(Arc::new).collect()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_root_after_an_election_blames_nobody_since_a_stake_may_be_the_reason() {
    // The reward of an epoch's last block depends on who was elected with it, and shows in the next state root.
    for (height, expected) in [
        (9, RejectKind::Invalid),
        (10, RejectKind::WrongProposer),
        (11, RejectKind::Invalid),
        (20, RejectKind::WrongProposer),
    ] {
        assert_eq!(with_another_state_root(height).await, expected, "at {height}");
    }
}

fn genesis(chain: &Chain) -> Genesis {
    Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap()
}
