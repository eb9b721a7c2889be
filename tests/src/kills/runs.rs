//! One run of each kind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cpc_framework::rules::Hasher;
use cpc_framework::testkit::messages::Messages;
use cpc_framework::types::Block;
use serde::Deserialize;

use super::life::{Life, Tip};
use super::stage::{Server, Stage};
use super::{Killed, Outcome, Scenario};
use crate::datadir::Datadir;
use crate::http;
use crate::network::{Wallet, genesis, params, validator_key};
use crate::peer::{Answer, Peer, Script};
use crate::vectors::Chain;
use crate::wire::Hello;

/// How long a node may take for what takes a second on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Makes one run.
///
/// # Panics
/// Something is lost or wrong: the panic says what.
pub(super) async fn run(stage: Arc<Stage>, scenario: Scenario, mut random: Messages) -> Outcome {
    match scenario {
        Scenario::Sync => Box::pin(sync(&stage, &mut random)).await,
        Scenario::Reorganisation => Box::pin(reorganisation(&stage, &mut random)).await,
        Scenario::Production => Box::pin(production(&stage, &mut random)).await,
    }
}

async fn sync(stage: &Stage, random: &mut Messages) -> Outcome {
    let chain = &stage.chain;
    let dir = stage.joined.copy();
    let server = match random.below(3) {
        0 => stage.node_with_chain(),
        _ => Stage::script_with(chain, random.bits(), millis(random, 10)).await,
    };
    let peers = [server.address.clone()];
    let mut node = Life::start(&stage.binary, dir.path(), &peers);
    let height = random.below(chain.lines.len()) as u64;
    let moment = random.below(4);
    let questions = 1 + random.below(10);
    match moment {
        // In its very start.
        0 => {}
        1 => tokio::select! {
            () = server.was_asked(questions, PATIENCE) => {}
            _ = node.reaches(height, PATIENCE) => {}
        },
        _ => drop(node.reaches(height, PATIENCE).await),
    }
    tokio::time::sleep(millis(random, if moment == 0 { 400 } else { 25 })).await;
    let mut heard = node.kill().await;
    heard.extend(killed_again(stage, &dir, &peers, random).await);
    let has = check(&stage.binary, &dir).await;
    for tip in heard.iter().chain(&has) {
        let hash = usize::try_from(tip.height).ok().and_then(|height| chain.hashes.get(height));
        assert_eq!(hash, Some(&tip.hash), "no block of the chain: {tip:?}");
    }
    let last = heard.iter().map(|tip| tip.height).max();
    assert!(has.as_ref().map(|tip| tip.height) >= last, "it said that it has {last:?}, and has {has:?}");

    goes_on(stage, &dir, &peers, chain).await;
    Outcome {
        killed: match last {
            None => Killed::Before,
            Some(height) if height < chain.height() => Killed::Amid,
            Some(_) => Killed::After,
        },
        acknowledged: last.map_or(0, |height| height + 1),
    }
}

async fn reorganisation(stage: &Stage, random: &mut Messages) -> Outcome {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let dir = stage.forked.copy();
    let server = match random.below(3) {
        0 => stage.node_with_branch(),
        _ => Stage::script_with(branch, random.bits(), millis(random, 10)).await,
    };
    let peers = [server.address.clone()];
    let mut node = Life::start(&stage.binary, dir.path(), &peers);
    let (questions, in_start) = (1 + random.below(12), random.below(6) == 0);
    if !in_start {
        tokio::select! {
            () = server.was_asked(questions, PATIENCE) => {}
            () = scripted_or_answering(&server, &mut node) => {}
        }
    }
    tokio::time::sleep(millis(random, if in_start || server.script.is_none() { 400 } else { 80 })).await;
    let mut heard = node.kill().await;
    heard.extend(killed_again(stage, &dir, &peers, random).await);
    let has = check(&stage.binary, &dir).await.expect("it has a chain");
    let is_at = |tip: &Tip, chain: &Chain| chain.hashes.get(usize::try_from(tip.height).unwrap()) == Some(&tip.hash);
    for tip in heard.iter().chain([&has]) {
        let old = tip.height == fork.height() && is_at(tip, fork);
        let new = tip.height > fork.height() && is_at(tip, branch);
        assert!(old || new, "neither the old chain nor a better one: {tip:?}, heard {heard:?}");
    }
    let last = heard.iter().map(|tip| tip.height).max().unwrap_or(0);
    assert!(has.height >= last, "it said that it has {last}, and has {has:?}");

    goes_on(stage, &dir, &peers, branch).await;
    Outcome {
        killed: match last {
            0 => Killed::Before,
            height if height < branch.height() => Killed::Amid,
            _ => Killed::After,
        },
        acknowledged: last,
    }
}

async fn production(stage: &Stage, random: &mut Messages) -> Outcome {
    let genesis = genesis(1, TRANSFERS + 1, params());
    let hasher = Hasher::new(&Arc::new(genesis.clone()));
    let dir = Datadir::absent();
    std::fs::create_dir(dir.path()).unwrap();
    std::fs::write(dir.path().join("genesis.json"), genesis.to_json()).unwrap();
    std::fs::write(dir.path().join("validator_key.hex"), validator_key(0).to_hex()).unwrap();
    // A peer that only listens: what it is sent is known to the world.
    let hello = Hello { network: genesis.network.clone(), ..Hello::modern(Chain::fork()).without_blocks() };
    let script = Script { hello, ..Script::modern(Chain::fork()) }.answering(|_| Answer::Blocks(Vec::new()));
    let ear = Peer::listen(script).await;
    let peers = [ear.address()];

    let mut node = Life::start(&stage.binary, dir.path(), &peers);
    let (blocks, in_start) = (random.below(3) as u64, random.below(8) == 0);
    if in_start {
        tokio::time::sleep(millis(random, 400)).await;
    } else {
        node.answers(PATIENCE).await;
        submit_transfers(&hasher, node.rpc_port()).await;
        node.reaches(blocks, PATIENCE).await;
        // A block is made at the beginning of a second.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let rest = Duration::from_secs(1).saturating_sub(Duration::from_nanos(u64::from(now.subsec_nanos())));
        tokio::time::sleep(rest.saturating_sub(Duration::from_millis(5)) + millis(random, 80)).await;
    }
    let mut heard = node.kill().await;
    heard.extend(killed_again(stage, &dir, &peers, random).await);
    let has = check(&stage.binary, &dir).await;
    let signed = signed(dir.path());
    let last = heard.iter().map(|tip| tip.height).max();
    assert!(has.as_ref().map(|tip| tip.height) >= last, "it said that it has {last:?}, and has {has:?}");
    if let Some(has) = &has {
        let signed = signed.as_ref().expect("a block was made, so something was signed");
        assert!(signed.height >= has.height, "{has:?} was stored before it was on record: {signed:?}");
        assert!(signed.height > has.height || signed.hash == has.hash, "{signed:?} and {has:?} have one height");
    }

    let next = has.as_ref().map_or(0, |tip| tip.height + 1);
    let mut node = Life::start(&stage.binary, dir.path(), &peers);
    node.reaches(next, PATIENCE).await;
    heard.extend(node.kill().await);
    check(&stage.binary, &dir).await.expect("it has a chain");
    let signed_now = self::signed(dir.path()).expect("blocks were made, so something was signed");
    if let Some(before) = &signed {
        let again = (signed_now.height, signed_now.round) > (before.height, before.round) || signed_now == *before;
        assert!(again, "signed {signed_now:?} after {before:?}");
    }
    // Whatever was said or sent in either life is in the chain.
    let export = dir.export(&stage.binary).await;
    let kept: BTreeMap<u64, String> = export.lines().map(|line| hash_of(&hasher, line)).collect();
    heard.extend(ear.received("new_block").iter().map(|message| {
        let (height, hash) = hash_of(&hasher, &message.block().unwrap().text);
        Tip { height, hash }
    }));
    for tip in &heard {
        assert_eq!(kept.get(&tip.height), Some(&tip.hash), "it was announced, and is not there: {tip:?}");
    }
    Outcome {
        killed: match (last, signed) {
            (None, None) => Killed::Before,
            (last, Some(signed)) if last.is_none_or(|last| last < signed.height) => Killed::Amid,
            _ => Killed::After,
        },
        acknowledged: last.map_or(0, |height| height + 1),
    }
}

/// Sometimes a node is killed again while it starts: while it puts right what the first kill left.
async fn killed_again(stage: &Stage, dir: &Datadir, peers: &[String], random: &mut Messages) -> Vec<Tip> {
    if random.below(3) > 0 {
        return Vec::new();
    }
    let node = Life::start(&stage.binary, dir.path(), peers);
    tokio::time::sleep(millis(random, 250)).await;
    node.kill().await
}

/// The node starts again and comes to the end of `chain`.
async fn goes_on(stage: &Stage, dir: &Datadir, peers: &[String], chain: &Chain) {
    let mut node = Life::start(&stage.binary, dir.path(), peers);
    let tip = node.reaches(chain.height(), PATIENCE).await;
    assert_eq!(tip.hash, chain.tip_hash(), "another end");
    node.kill().await;
}

/// `check` finds nothing wrong. Gives the tip.
async fn check(binary: &str, dir: &Datadir) -> Option<Tip> {
    #[derive(Deserialize)]
    struct Found {
        ok: bool,
        height: Option<u64>,
        tip_hash: Option<String>,
    }
    let output = dir.call(binary).args(["check", "--json"]).output_within(PATIENCE).await.expect_code(0);
    let found: Found = serde_json::from_str(&output.stdout).unwrap();
    assert!(found.ok, "{output:?}");
    Some(Tip { height: found.height?, hash: found.tip_hash? })
}

/// Waits until a real node answers, which is when it dials.
async fn scripted_or_answering(server: &Server, node: &mut Life) {
    match &server.script {
        Some(_) => drop(node.reaches(Chain::branch().height(), PATIENCE).await),
        None => node.answers(PATIENCE).await,
    }
}

/// How many transfers a run sends, each from an account of its own.
const TRANSFERS: u16 = 8;

async fn submit_transfers(hasher: &Hasher, rpc_port: u16) {
    let to = Wallet::new(TRANSFERS).address;
    for number in 0..TRANSFERS {
        let tx = Wallet::new(number).transfer(hasher, &to, 1 + u128::from(number));
        http::attempt(rpc_port, "POST", "/tx/send", &serde_json::to_string(&tx).unwrap()).await;
    }
}

/// What `signed.json` says.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Signed {
    height: u64,
    round: u64,
    hash: String,
}

fn signed(datadir: &Path) -> Option<Signed> {
    let text = std::fs::read(datadir.join("signed.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

/// Height and hash of a block.
fn hash_of(hasher: &Hasher, text: &str) -> (u64, String) {
    let block: Block = serde_json::from_str(text).unwrap();
    (block.header.height, hasher.header_hash(&block.header).to_string())
}

fn millis(random: &mut Messages, most: u64) -> Duration {
    Duration::from_micros(random.bits() % (most * 1000))
}
