//! `--allow`: a node connects with the keys that it was given and with nobody else, whoever dials.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::process::{Call, Process};
use cpc_tests::raw::PROMPT;
use cpc_tests::vectors::Chain;

const NODE: &str = cpc_tests::node_binary!();

/// How long a sync of the test chain may take on a slow and busy machine, and how long one that nobody lets in may try.
const SYNC: Duration = Duration::from_secs(60);

const LINK: &str = "quic+postcard";

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_on_the_list_syncs_and_another_is_refused_told_and_logged() {
    let chain = Chain::fork();
    let there = Datadir::holding(NODE, chain).await;
    let (friend, stranger) = (Datadir::joined(NODE, chain).await, Datadir::joined(NODE, chain).await);
    let (known, unknown) = (friend.node_id(NODE).await, stranger.node_id(NODE).await);
    // Also in capital letters, and beside another one.
    let list = format!("{},{}", "00".repeat(32), known.to_uppercase());
    let server = Process::run_over(NODE, there.path(), &[LINK], &["--allow", &list]).await;
    let address = format!("127.0.0.1:{}", server.port());
    let sync = |dir: &Datadir| Call::sync_over(NODE, dir.path(), LINK, &[&address]).output_within(SYNC);

    let refused = sync(&stranger).await.expect_code(1);
    assert!(refused.stderr.contains("admits only the peers on its list"), "it is told why: {refused:?}");
    assert!(stranger.status(NODE).await["height"].is_null());
    server.line(&format!("its key {unknown} is not on the list"), PROMPT).await;

    assert_eq!(sync(&friend).await.expect_code(0).json()["tip_hash"], chain.tip_hash());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_nothing_from_a_peer_that_it_dials_and_that_is_not_on_its_list() {
    let chain = Chain::fork();
    let (there, here) = (Datadir::holding(NODE, chain).await, Datadir::joined(NODE, chain).await);
    let theirs = there.node_id(NODE).await;
    let server = Process::run_over(NODE, there.path(), &[LINK], &[]).await;
    let address = format!("127.0.0.1:{}", server.port());
    let sync = |address: &str, allow: &str| {
        Call::sync_over(NODE, here.path(), LINK, &[address]).env("CPC_ALLOW", allow).output_within(SYNC)
    };
    let other = "00".repeat(32);
    for address in [address.clone(), format!("{theirs}@{address}")] {
        let refused = sync(&address, &other).await.expect_code(1);
        assert!(refused.stderr.contains(&format!("its key {theirs} is not on the list")), "{refused:?}");
    }
    assert!(here.status(NODE).await["height"].is_null());
    assert_eq!(sync(&address, &theirs).await.expect_code(0).json()["tip_hash"], chain.tip_hash());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_keys_over_a_link_without_keys_is_wrong_usage() {
    let here = Datadir::joined(NODE, Chain::fork()).await;
    let id = here.node_id(NODE).await;
    for (links, named) in [
        (&[][..], "tcp+json"),
        (&["--transport", "tcp", "--codec", "postcard"], "tcp+postcard"),
        (&["--listen", "quic+postcard://127.0.0.1:0", "--listen", "tcp+auto://127.0.0.1:0"], "tcp+auto"),
    ] {
        for command in ["run", "sync"] {
            let call = here.call(NODE).args([command, "--allow", &id]).args(links);
            let output = call.output_within(PROMPT).await.expect_code(2);
            assert!(output.stderr.contains("--allow") && output.stderr.contains(named), "{output:?}");
            assert!(output.stderr.contains("--transport quic"), "it says what to do: {output:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_named() {
    let here = Datadir::joined(NODE, Chain::fork()).await;
    let short = "ab".repeat(31);
    for wrong in ["nobody", &short, "192.0.2.7:9000"] {
        let call = here.call(NODE).args(["run", "--transport", "quic", "--allow", wrong]);
        let output = call.output_within(PROMPT).await.expect_code(2);
        assert!(output.stderr.contains(wrong) && output.stderr.contains("64 hexadecimal"), "{output:?}");
    }
}
