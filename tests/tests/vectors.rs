//! Every vector of the reference gets its verdict, by `import` and from a peer alike.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::sync::Arc;

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Answer, Peer, Script, cut};
use cpc_tests::process::{Call, Output};
use cpc_tests::vectors::{Candidate, Chain, candidates};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const NODE: &str = cpc_tests::node_binary!();

/// How many nodes these tests run at a time: they mostly wait.
const AT_A_TIME: usize = 6;

/// Words of which the reason of a rejection must have one, by the name of the candidate.
const REASONS: &[(&str, &[&str])] = &[
    ("block signature flipped", &["signature"]),
    ("block signature missing", &["signature"]),
    ("block signature not hex", &["signature", "hex"]),
    ("block signed by another validator", &["signature"]),
    ("wrong proposer for the round", &["proposer"]),
    ("unknown proposer", &["proposer"]),
    ("height skips one", &["height", "range"]),
    ("height repeats", &["height", "range"]),
    ("prev_hash wrong", &["prev_hash", "previous hash", "parent", "link"]),
    ("timestamp equal to parent", &["timestamp"]),
    ("timestamp before parent", &["timestamp"]),
    ("timestamp an hour ahead of the clock", &["timestamp", "clock"]),
    ("timestamp one round late, same proposer", &["proposer", "round"]),
    ("tx_root wrong", &["tx_root", "tx root", "transaction root"]),
    ("state_root wrong", &["state_root", "state root"]),
    ("compute_root set without results", &["compute_root", "compute root"]),
    ("gas_used wrong", &["gas_used", "gas used"]),
    ("gas_limit above the network's", &["gas_limit", "gas limit"]),
    ("gas_limit below gas_used", &["gas_limit", "gas limit", "gas_used", "gas used"]),
    ("chain_id of another chain", &["chain_id", "chain id"]),
    ("tx signature flipped", &["signature"]),
    ("tx amount changed after signing", &["signature"]),
    ("tx pub_key of another account", &["pub_key", "public key", "address"]),
    ("tx pub_key empty", &["pub_key", "public key"]),
    ("tx nonce too high", &["nonce"]),
    ("tx nonce too low", &["nonce"]),
    ("tx fee below gas cost", &["fee"]),
    ("tx gas_price below minimum", &["gas_price", "gas price"]),
    ("tx gas_limit below base gas", &["gas_limit", "gas limit"]),
    ("tx amount above balance", &["balance"]),
    ("tx amount negative", &["negative", "amount"]),
    ("tx without to_address", &["to_address", "recipient"]),
    ("tx type STAKE without pub_key", &["pub_key", "public key"]),
    ("tx type UNSTAKE (no rule in v1)", &["unstake", "type"]),
    ("tx repeated in the block", &["nonce"]),
    ("signature scheme id 7", &["scheme"]),
    ("quirk: result nonce 'x'", &["nonce", "result"]),
    ("quirk: result nonce 5.5", &["nonce", "result"]),
    ("quirk: result nonce None", &["nonce", "result"]),
    ("quirk: result without proof", &["proof", "result"]),
    ("quirk: result of another worker", &["worker"]),
    ("quirk: STAKE pub_key not hex", &["pub_key", "public key", "hex"]),
    ("quirk: payload null", &["payload", "null"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn import_of_each_chain_ends_at_the_tip_of_its_summary() {
    for chain in [Chain::mainline(), Chain::fork(), Chain::branch()] {
        let dir = Datadir::holding(NODE, chain).await;
        assert_eq!(dir.tip(NODE).await, (chain.height(), chain.tip_hash().to_owned()));
        let status = dir.status(NODE).await;
        assert_eq!(status["genesis_hash"], chain.genesis_hash());
        assert_eq!(status["network"], "devnet");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_candidate_gets_its_verdict_by_import() {
    for_each_candidate(|at_60, candidate| async move {
        let dir = at_60.copy();
        let file = dir.beside("candidate.jsonl", format!("{}\n", candidate.block.get()));
        let output = dir.call(NODE).arg("import").arg(file).output().await;
        let mut faults = Vec::new();
        match output.code {
            Some(0) if candidate.must != "reject" => {
                faults.extend(fault_of_tip(&dir, 61).await);
                faults.extend(fault_of_export(&at_60, &dir).await);
            }
            Some(1) if candidate.must != "accept" => {
                faults.extend(fault_of_tip(&dir, 60).await);
                faults.extend(fault_of_reason(&candidate, &output));
                if !output.stderr.contains("61") && !candidate.name.starts_with("height") {
                    faults.push(format!("the height is not named: {output:?}"));
                }
            }
            _ => faults.push(format!("{output:?}")),
        }
        faults
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_candidate_gets_its_verdict_from_a_peer() {
    for_each_candidate(|at_60, candidate| async move {
        let dir = at_60.copy();
        let fork = Chain::fork();
        let mut lines = fork.up_to(60).lines;
        lines.push(candidate.block.get().to_owned());
        let script = Script::legacy(&fork.up_to(61)).answering(move |request| Answer::Blocks(cut(&lines, request)));
        let peer = Peer::listen(script).await;
        let output = Call::sync(NODE, dir.path(), &[peer.address()]).args(["--timeout", "20"]).output().await;
        let mut faults = Vec::new();
        let (height, _) = dir.tip(NODE).await;
        match height {
            61 if candidate.must != "reject" => {
                if output.code != Some(0) {
                    faults.push(format!("accepted, but {output:?}"));
                }
            }
            60 if candidate.must != "accept" => {
                faults.extend(fault_of_tip(&dir, 60).await);
                faults.extend(fault_of_reason(&candidate, &output));
                let bans =
                    output.stderr.lines().any(|line| line.contains("banned") && !line.contains("nobody is banned"));
                if candidate.is_stricter() && bans {
                    faults.push(format!("somebody was banned for what the reference accepts: {output:?}"));
                }
            }
            _ => faults.push(format!("ended at {height}: {output:?}")),
        }
        faults
    })
    .await;
}

/// Runs `judge` for every candidate, some at a time, and fails with all faults at once.
async fn for_each_candidate<F>(judge: impl Fn(Arc<Datadir>, Arc<Candidate>) -> F)
where
    F: Future<Output = Vec<String>> + Send + 'static,
{
    let at_60 = Arc::new(Datadir::holding(NODE, &Chain::fork().up_to(60)).await);
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    let mut tasks = JoinSet::new();
    for candidate in candidates() {
        let candidate = Arc::new(candidate);
        let judgement = judge(Arc::clone(&at_60), Arc::clone(&candidate));
        let slots = Arc::clone(&slots);
        tasks.spawn(async move {
            let _slot = slots.acquire().await.unwrap();
            let faults = judgement.await;
            faults.into_iter().map(|fault| format!("`{}`: {fault}", candidate.name)).collect::<Vec<_>>()
        });
    }
    let faults = tasks.join_all().await.concat();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

async fn fault_of_tip(dir: &Datadir, height: u64) -> Option<String> {
    let (at, hash) = dir.tip(NODE).await;
    let right = at == height && (height != 60 || hash == Chain::fork().hashes[60]);
    (!right).then(|| format!("the tip is {hash} at {at}, not at {height}"))
}

/// What was accepted must survive a round trip through the store: exported and imported elsewhere it is the same block.
async fn fault_of_export(at_60: &Datadir, dir: &Datadir) -> Option<String> {
    let other = at_60.copy();
    let file = other.beside("export.jsonl", "");
    std::fs::remove_file(&file).unwrap();
    let export = dir.call(NODE).arg("export").arg(&file).args(["--from", "61", "--to", "61"]).output().await;
    let import = other.call(NODE).arg("import").arg(&file).output().await;
    let same = dir.tip(NODE).await == other.tip(NODE).await;
    (!same).then(|| format!("not the same after export and import: {export:?} {import:?}"))
}

fn fault_of_reason(candidate: &Candidate, output: &Output) -> Option<String> {
    let words = REASONS.iter().find(|(name, _)| *name == candidate.name).map(|(_, words)| *words);
    let words = words.unwrap_or(if candidate.must == "either" { &[""] } else { &[] });
    (!output.says_any(words)).then(|| format!("the reason has none of {words:?}: {output:?}"))
}
