//! A STAKE's key is covered by no hash of v1: a node that was given another one finds out, and gets back (attacks.md row 24).
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Answer, Peer, Script, cut};
use cpc_tests::process::{Call, Process};
use cpc_tests::raw;
use cpc_tests::vectors::Chain;

const NODE: &str = cpc_tests::node_binary!();

/// How long a sync of one of the test chains may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);
/// The block of the mainline in which validators are staked.
const STAKED: usize = 5;
/// They are elected with the last block of this epoch, and propose after it.
const ELECTED: i64 = 9;

/// The same blocks, with another key in each STAKE.
fn swapped(chain: &Chain) -> Chain {
    let mut swapped = chain.clone();
    let line = &mut swapped.lines[STAKED];
    let stake = r#"{"pub_key":"0"#;
    let found: Vec<usize> = line.match_indices(stake).map(|(at, _)| at + stake.len()).collect();
    assert_eq!(found.len(), 2, "the STAKEs of the mainline: {line}");
    for at in found {
        let rest = line.split_off(at + 1);
        let digit = if line.pop() == Some('2') { '3' } else { '2' };
        line.push(digit);
        line.push_str(&rest);
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
    let hostile = Peer::listen(serving(Script::legacy(&chain), &swapped(&chain))).await;
    // Slow, so that the blocks with the STAKEs are the hostile one's.
    let lines = chain.lines.clone();
    let slowly =
        move |request| Answer::After(Duration::from_millis(300), Box::new(Answer::Blocks(cut(&lines, request))));
    let honest = Peer::listen(Script::legacy(&chain).answering(slowly)).await;
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
