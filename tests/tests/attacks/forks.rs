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

/// Silent ones, some that make blocks up, one that gives out our own next block now and then, and ever new ones: all claim the most.
#[tokio::test(flavor = "multi_thread")]
async fn row_8_the_better_branch_of_one_peer_is_taken_whatever_others_claim_and_however_they_come_and_go() {
    const TIP: u64 = 115;
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let (_dir, node) = running(&fork.up_to(115)).await;
    let mut block: serde_json::Value = serde_json::from_str(&fork.lines[110]).unwrap();
    block["header"]["height"] = "HEIGHT".into();
    let text = block.to_string();
    let made_up = move |from: u64| Answer::Blocks(vec![text.replacen("\"HEIGHT\"", &from.to_string(), 1)]);
    let (useless, silent) = (made_up.clone(), made_up);
    let liar = Script::modern(fork).claiming(1_000_000);
    let kinds = [
        // It answers no question of a search.
        liar.clone().answering(move |request| if request.from <= TIP { Answer::Silence } else { silent(request.from) }),
        liar.clone().answering(|_| Answer::Silence),
        liar.clone().answering(move |request| {
            let answer = Box::new(useless(request.from));
            if request.from <= TIP { Answer::After(Duration::from_secs(1), answer) } else { *answer }
        }),
    ];
    let mut liars = Vec::new();
    for kind in kinds.iter().chain(&kinds) {
        let peer = Peer::dial(node.port(), kind.clone()).await;
        peer.message(PROMPT, "a request", Received::range).await;
        liars.push(peer);
    }
    let comers = async {
        for second in 0.. {
            let next = (115 + second / 4 + 1).min(118);
            for peer in &liars {
                peer.repeat_hello().await;
            }
            // Our own branch goes on, a block in four seconds, from somebody who has a little of it.
            let feeder = liar.clone().answering({
                let ours = fork.up_to(next);
                let honest = cpc_tests::peer::honest(&ours);
                move |request| honest(request)
            });
            let comer = if second % 4 == 0 { feeder } else { kinds[second % kinds.len()].clone() };
            liars.push(Peer::dial(node.port(), comer).await);
            if liars.len() > 10 {
                liars.remove(6).hang_up().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let honest = Peer::dial(node.port(), Script::modern(branch)).await;
    let taken = async {
        // Ten seconds that claims may hold it back, and turns of three: nine for those that are there, once or twice.
        let took = raw::reaches(&node, 135, SYNC).await;
        assert_eq!(took, branch.tip_hash());
    };
    tokio::select! {
        () = taken => {}
        () = comers => {}
    }
    assert!(honest.open_connections() > 0, "{:?}", honest.requests());
}
