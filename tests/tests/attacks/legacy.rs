//! The care for legacy peers.

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Answer, Peer, Script, cut};
use cpc_tests::process::Call;
use cpc_tests::raw;
use cpc_tests::vectors::Chain;

use crate::{NODE, SYNC, running};

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_peer_that_is_busy_for_15_seconds_is_waited_for() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let lines = chain.lines.clone();
    let script = Script::legacy(chain).answering(move |request| {
        let answer = Answer::Blocks(cut(&lines, request));
        if request.nth == 0 { Answer::After(Duration::from_secs(15), Box::new(answer)) } else { answer }
    });
    let peer = Peer::dial(node.port(), script).await;
    assert_eq!(raw::reaches(&node, 120, Duration::from_secs(40)).await, chain.tip_hash());
    assert_eq!(peer.open_connections(), 1, "it was not closed for being slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_peer_is_asked_for_ranges_that_aim_at_a_mebibyte() {
    // 1,210 blocks of about 2 KB: 500 of them make one line of about a mebibyte. Padded to 20 KB, 500 make ten.
    let chain = Chain::mainline();
    let dir = Datadir::joined(NODE, chain).await;
    let lines: Vec<String> = chain.lines.iter().map(|line| format!("{line}{}", " ".repeat(18_000))).collect();
    let script = Script::legacy(chain).answering(move |request| Answer::Blocks(cut(&lines, request)));
    let peer = Peer::listen(script).await;
    Call::sync(NODE, dir.path(), &[peer.address()]).output_within(SYNC).await.expect_code(0);
    let sizes: Vec<u64> = peer.requests().iter().map(|(from, to)| to - from + 1).collect();
    // Once the size of a block is seen, 53 of these make a mebibyte.
    let large = sizes.iter().skip(2).filter(|size| **size > 120).count();
    assert_eq!(large, 0, "{sizes:?}");
}
