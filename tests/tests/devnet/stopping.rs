//! Ctrl-C at any moment: all end within ten seconds, and come level before where they can.

use cpc_tests::deadline::until;
use cpc_tests::process::{PATIENCE, Signal};

use super::{Devnet, all_have, at_most_one_apart, exists, kill, root, signal, tip, tips};

/// What is said first at Ctrl-C.
const STOPPING: &str = "no more blocks are proposed";

/// What is said of the second node after it was down.
const AGAIN: &str = "node-2 is started again";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_not_joined_at_ctrl_c_gets_all_blocks_before_the_end() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--nodes", "3", "--validators", "2"]);
    all_have(&devnet.nodes(2).await, 2).await;
    assert!(!devnet.process.stdout().contains("node-3 starts"));
    let output = devnet.stop(Signal::Int).await;
    let tips = tips(&root, 3).await;
    at_most_one_apart(&tips);
    assert!(tips[2].0 >= 2, "{tips:?}");
    let (_, end) = output.stdout.split_once(STOPPING).unwrap();
    assert!(end.contains("node-3 starts") && end.contains("all 3 nodes at height"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ctrl_c_before_any_node_answers_ends_all_of_them_level() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &[]);
    let nodes = devnet.nodes(3).await;
    devnet.stop(Signal::Int).await;
    assert!(nodes.iter().all(|node| !exists(node.pid)));
    at_most_one_apart(&tips(&root, 4).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_that_is_down_at_ctrl_c_gets_all_blocks_before_the_end() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--nodes", "4", "--validators", "4", "--join-after", "0"]);
    let nodes = devnet.nodes(4).await;
    all_have(&nodes, 1).await;
    // It is down for three seconds: where the others take longer for two blocks, since its turn is among them, again.
    let mut victim = nodes[1].pid;
    for starts in 0.. {
        let before = tip(nodes[0].rpc).await.0;
        kill(victim);
        until(PATIENCE, "two blocks more", async || (tip(nodes[0].rpc).await.0 >= before + 2).then_some(())).await;
        let output = devnet.process.stdout();
        let Some(again) = output.lines().filter(|line| line.contains(AGAIN)).nth(starts) else { break };
        victim = again.split_once(", pid ").unwrap().1.split_once(',').unwrap().0.parse().unwrap();
    }
    let output = devnet.stop(Signal::Int).await;
    at_most_one_apart(&tips(&root, 4).await);
    let (_, end) = output.stdout.split_once(STOPPING).unwrap();
    assert!(end.contains(AGAIN) && end.contains("all 4 nodes at height"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_for_a_while_after_ctrl_c_is_waited_for() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--nodes", "2", "--validators", "1", "--join-after", "0"]);
    let nodes = devnet.nodes(2).await;
    all_have(&nodes, 1).await;
    signal("-STOP", nodes[1].pid);
    all_have(&nodes[..1], tip(nodes[0].rpc).await.0 + 3).await;
    devnet.process.signal(Signal::Int);
    devnet.process.line(STOPPING, PATIENCE).await;
    // Longer than it takes to find out that it does not answer.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    signal("-CONT", nodes[1].pid);
    let output = devnet.ends().await;
    at_most_one_apart(&tips(&root, 2).await);
    assert!(output.stdout.contains("all 2 nodes at height"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_restarts_a_killed_node_stays_down_and_a_frozen_one_does_not_hold_up_the_end_and_both_are_told() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--nodes", "3", "--validators", "1", "--join-after", "0", "--no-restart"]);
    let nodes = devnet.nodes(3).await;
    all_have(&nodes, 1).await;
    kill(nodes[1].pid);
    devnet.process.line("it stays down", PATIENCE).await;
    all_have(&nodes[..1], tip(nodes[0].rpc).await.0 + 3).await;
    assert!(!devnet.process.stdout().contains("is started again"));
    signal("-STOP", nodes[2].pid);
    all_have(&nodes[..1], tip(nodes[0].rpc).await.0 + 3).await;
    let output = devnet.stop(Signal::Int).await;
    assert!(!exists(nodes[2].pid));
    let tips = tips(&root, 3).await;
    let last = output.stdout.lines().last().unwrap();
    for (number, (height, hash)) in (1..).zip(&tips) {
        assert!(last.contains(&format!("node-{number} at height {height}, tip {hash}")), "{last}");
        let behind = tips[0].0 - height;
        assert!(number == 1 || behind >= 3, "{tips:?}");
        assert!(number == 1 || last.contains(&format!("tip {hash}, {behind} blocks behind")), "{last}");
    }
    assert!(last.contains("node-2, node-3 could not come level"), "{last}");
}
