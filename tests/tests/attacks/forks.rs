//! Row 8: forks that are to make us roll back.

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::generate::extend;
use cpc_tests::peer::{Answer, Peer, Script, cut};
use cpc_tests::process::Process;
use cpc_tests::raw::{self, PROMPT};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Received;

use crate::{NODE, SYNC, honest, running};

// ---- Row 8 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_8_a_fork_that_is_not_better_is_not_tried_again_and_again() {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let (dir, node) = running(&fork.up_to(115)).await;
    // It claims 135, and its branch ends at 110.
    let short = branch.up_to(110);
    let mut script = Script::modern(branch);
    script.answer = cpc_tests::peer::honest(&short);
    let peer = Peer::dial(node.port(), script).await;
    peer.message(PROMPT, "a request", Received::range).await;
    assert!(peer.stays_open(Duration::from_secs(12)).await || !peer.requests().is_empty());
    let requests = peer.requests();
    assert!(requests.len() <= 60, "{} requests for a branch that leads nowhere: {requests:?}", requests.len());
    assert_eq!(raw::tip_of(node.port()).await, (115, Some(fork.hashes[115].clone())));
    // While it is there, an honest peer gives the node what comes next on its own branch.
    honest::syncs(&node, fork).await;
    // The own chain goes on as if nothing had been.
    node.stop().await;
    let node = Process::run(NODE, dir.path(), &["--rebuild-state"]).await;
    assert_eq!(raw::reaches(&node, 120, SYNC).await, fork.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_8_a_branch_without_the_proposers_signatures_rolls_nothing_back() {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let (_dir, node) = running(&fork.up_to(115)).await;
    let forged: Vec<String> =
        branch.lines.iter().map(|line| line.replace(r#""pq_signature":""#, r#""pq_signature":"00"#)).collect();
    let script = Script::modern(branch).answering(move |request| Answer::Blocks(cut(&forged, request)));
    let peer = Peer::dial(node.port(), script).await;
    peer.message(PROMPT, "a request", Received::range).await;
    let watch = async {
        loop {
            let (height, hash) = raw::tip_of(node.port()).await;
            assert_eq!((height, hash.as_deref()), (115, Some(fork.hashes[115].as_str())), "rolled back for a forgery");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), watch).await;
    honest::syncs(&node, fork).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_8_a_fork_is_followed_down_to_100_blocks_and_no_deeper() {
    const DEEPEST: usize = 100;
    let common = Chain::fork().up_to(20);
    let ours = extend(&common, DEEPEST + 1, 1, 1000);
    let theirs = extend(&common, DEEPEST + 30, 1, 2000);
    for (depth, followed) in [(DEEPEST, true), (DEEPEST + 1, false)] {
        let ours = ours.up_to(20 + depth);
        let dir = Datadir::holding(NODE, &ours).await;
        let node = Process::run(NODE, dir.path(), &[]).await;
        let peer = Peer::dial(node.port(), Script::modern(&theirs)).await;
        if followed {
            assert_eq!(raw::reaches(&node, 150, SYNC).await, theirs.tip_hash());
        } else {
            node.line_where("that the fork is too deep", Duration::from_secs(30), |line| {
                let line = line.to_lowercase();
                line.contains("deeper") && line.contains(&DEEPEST.to_string())
            })
            .await;
            let tip = i64::try_from(ours.height()).unwrap();
            assert_eq!(raw::reaches(&node, tip, SYNC).await, ours.tip_hash(), "put back as it was");
            let asked = peer.requests().len();
            assert!(asked <= 120, "{asked} requests");
        }
        node.stop().await;
    }
}
