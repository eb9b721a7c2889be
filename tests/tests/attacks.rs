//! What hostile or broken peers do, and the bound that holds, by number (attacks.md).
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{until, within};
use cpc_tests::generate::extend;
use cpc_tests::peer::{Answer, MAX_BLOCKS, Peer, Request, Script, cut};
use cpc_tests::process::{Call, Process, free_port};
use cpc_tests::raw::{self, PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};
use tokio::net::TcpListener;

const NODE: &str = cpc_tests::node_binary!();

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The longest line before the handshake is done.
const LINE_BEFORE_HANDSHAKE: usize = 2 * KIB;

/// The longest line after it.
const LINE: usize = 4 * MIB;

/// The longest line while our own `get_blocks` is outstanding.
const LINE_WHILE_ASKED: usize = 32 * MIB;

/// How long a sync of one of the test chains may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);

async fn running(chain: &Chain) -> (Datadir, Process) {
    let dir = Datadir::holding(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    (dir, node)
}

/// The node still takes an honest peer.
async fn serves(node: &Process) {
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(Chain::fork()).without_blocks()).await;
    assert_eq!(socket.ask(0, 0).await.len(), 1);
}

// ---- Row 1 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_1_a_line_before_the_handshake_ends_after_2_kib() {
    let (_dir, node) = running(&Chain::fork().up_to(5)).await;
    let mut socket = Socket::connect(node.port()).await;
    assert!(socket.try_send(&vec![b'x'; LINE_BEFORE_HANDSHAKE - 1]).await);
    assert!(socket.stays_open(Duration::from_millis(500)).await, "closed within the bound");
    // No newline: the byte after the bound is enough.
    let _ = socket.try_send(b"xx").await;
    socket.closed(Duration::from_secs(1)).await;
    serves(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_a_line_after_the_handshake_ends_after_4_mib_in_linear_time() {
    let (_dir, node) = running(&Chain::fork().up_to(5)).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&Chain::fork().up_to(5))).await;
    let (cpu, rss) = (node.cpu_seconds().unwrap(), node.rss_kib().unwrap());
    let piece = [b'x'; 1000];
    for _ in 0..LINE / piece.len() {
        assert!(socket.try_send(&piece).await);
    }
    assert!(socket.stays_open(Duration::from_millis(500)).await, "closed within the bound");
    let (cpu, rss) = (node.cpu_seconds().unwrap() - cpu, node.rss_kib().unwrap() - rss);
    assert!(cpu < 3.0, "{cpu} s for 4 MiB in small pieces");
    assert!(rss < 16 * 1024, "{rss} KiB more for a line of 4 MiB");
    let _ = socket.try_send(&piece).await;
    socket.closed(Duration::from_secs(1)).await;
    serves(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_an_answer_to_our_request_may_have_32_mib_and_no_more() {
    let chain = Chain::fork();
    for (padding, fits) in [(LINE + MIB, true), (LINE_WHILE_ASKED + KIB, false)] {
        let dir = Datadir::joined(NODE, chain).await;
        let lines = chain.lines.clone();
        let script = Script::modern(chain).answering(move |request| {
            let answer = wire::blocks_response(&cut(&lines, request));
            Answer::Line(format!("{answer}{}", " ".repeat(padding)))
        });
        let peer = Peer::listen(script).await;
        let node = Process::run_with_peers(NODE, dir.path(), &[peer.address()]).await;
        if fits {
            assert_eq!(raw::reaches(&node, 120, SYNC).await, chain.tip_hash());
            assert_eq!(peer.openings().len(), 1, "the connection was kept");
        } else {
            peer.closed(SYNC).await;
            assert_eq!(raw::tip_of(node.port()).await.0, -1);
        }
        let peak = node.peak_rss_kib().unwrap();
        assert!(peak < 160 * 1024, "{peak} KiB for one such frame");
    }
}

// ---- Row 2 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_2_a_handshake_must_be_whole_within_5_seconds() {
    let (_dir, node) = running(&Chain::fork().up_to(5)).await;
    let line = Hello::modern(Chain::fork()).line();
    // One says nothing, the other drips its handshake, a byte a second.
    let start = Instant::now();
    let mut silent = Socket::connect(node.port()).await;
    let mut dripping = Socket::connect(node.port()).await;
    let drip = async {
        for byte in line.bytes() {
            if !dripping.try_send(&[byte]).await || !dripping.stays_open(Duration::from_secs(1)).await {
                break;
            }
        }
        start.elapsed()
    };
    let silence = async {
        silent.closed(Duration::from_secs(9)).await;
        start.elapsed()
    };
    let (drip, silence) = tokio::join!(drip, silence);
    for took in [drip, silence] {
        assert!((4.0..8.0).contains(&took.as_secs_f64()), "closed after {took:?}");
    }
    serves(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_a_started_frame_must_end_within_20_seconds() {
    let (_dir, node) = running(&Chain::fork().up_to(5)).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&Chain::fork().up_to(5))).await;
    let start = Instant::now();
    for byte in r#"{"type": "new_block", "payload": {"block": {"header": {"#.bytes() {
        if !socket.try_send(&[byte]).await || !socket.stays_open(Duration::from_secs(1)).await {
            break;
        }
    }
    let took = start.elapsed();
    assert!((18.0..25.0).contains(&took.as_secs_f64()), "closed after {took:?}");
    serves(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_at_most_64_handshakes_are_pending() {
    const PENDING: usize = 64;
    const MORE: usize = 16;
    let (_dir, node) = running(&Chain::fork().up_to(5)).await;
    let mut sockets = Vec::new();
    for _ in 0..PENDING + MORE {
        sockets.push(Socket::connect(node.port()).await);
    }
    let start = Instant::now();
    let mut closed_early = 0;
    for socket in &mut sockets {
        let left = Duration::from_millis(2500).saturating_sub(start.elapsed()).max(Duration::from_millis(5));
        closed_early += usize::from(!socket.stays_open(left).await);
    }
    assert!(closed_early >= MORE, "only {closed_early} of {MORE} too many were closed");
    // Their time over, an honest peer gets in.
    for socket in &mut sockets {
        socket.closed(Duration::from_secs(8)).await;
    }
    let hello = Hello::modern(Chain::fork()).without_blocks().line();
    until(Duration::from_secs(3), "a place for an honest peer", async || {
        let mut socket = Socket::connect(node.port()).await;
        socket.try_send(format!("{hello}\n").as_bytes()).await;
        socket.line().await.filter(|line| line.contains("handshake"))
    })
    .await;
    serves(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_a_silent_peer_is_dropped_after_60_seconds_and_a_silent_legacy_peer_is_not() {
    let chain = Chain::fork();
    let (_dir, node) = running(chain).await;
    let start = Instant::now();
    let modern = Peer::dial(node.port(), Script::modern(chain).answering(|_| Answer::Silence)).await;
    let legacy = Peer::dial(node.port(), Script::legacy(chain).answering(|_| Answer::Silence)).await;
    modern.closed(Duration::from_secs(75)).await;
    let took = start.elapsed();
    assert!(took > Duration::from_secs(50), "closed after {took:?}");
    // The later reference versions drop a connection from which nothing came for 45 s, and we speak up after 20.
    assert!(legacy.stays_open(Duration::from_secs(75).saturating_sub(start.elapsed())).await);
    let silence = legacy.longest_silence(start);
    assert!(silence < Duration::from_secs(23), "{silence:?} of silence");
}

// ---- Row 3 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_3_json_nested_deep_neither_crashes_nor_delays() {
    let chain = Chain::fork();
    let (_dir, mut node) = running(&chain.up_to(60)).await;
    let deep = |depth: usize| format!("{}{}", r#"{"a":"#.repeat(depth), "0".to_owned() + &"}".repeat(depth));
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let tx = &chain.transactions(61)[0];
    let block = &chain.lines[61];
    for depth in [33, 200, 100_000, 500_000] {
        for line in [
            wire::new_tx(&tx.replace(r#""payload":{}"#, &format!(r#""payload":{}"#, deep(depth)))),
            wire::new_block(&block.replacen(r#""payload":{}"#, &format!(r#""payload":{}"#, deep(depth)), 1)),
            wire::message("get_blocks", &format!(r#"{{"from_height": {}, "to_height": 1}}"#, arrays(depth))),
            wire::message("nonsense", &deep(depth)),
            arrays(depth),
            "[".repeat(depth),
            "{\"type\":".repeat(depth),
        ] {
            if line.len() > LINE {
                continue;
            }
            let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&chain.up_to(60))).await;
            let start = Instant::now();
            socket.send(&line).await;
            // It answers others at once, and is not busy with it.
            serves(&node).await;
            assert!(start.elapsed() < Duration::from_secs(3), "{depth} deep took {:?}", start.elapsed());
            assert!(node.is_running());
        }
    }
    // The block whose payload alone was changed is valid under the rules of the reference: payloads stay text.
    assert!(raw::tip_of(node.port()).await.0 >= 60);
}

// ---- Row 5 ----

/// A value that opens so many levels.
fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

#[tokio::test(flavor = "multi_thread")]
async fn row_3_what_is_nested_deeper_than_32_is_refused_as_malformed_and_payloads_stay_text() {
    let chain = Chain::fork();
    let here = chain.up_to(60);
    let (_dir, node) = running(&here).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&here)).await;
    // Another height each time: the same range again within 10 s would wait.
    let question = |levels, height: u64| {
        let range = format!(r#""from_height": {height}, "to_height": {height}"#);
        wire::message("get_blocks", &format!(r#"{{"z": {}, {range}}}"#, nested(levels)))
    };
    // The message and its payload are two levels of the 32.
    for (height, (levels, answered)) in (7..).zip([(1, true), (30, true), (31, false), (1000, false), (500_000, false)])
    {
        socket.send(&question(levels, height)).await;
        if !answered {
            node.line("nested deeper than 32", PROMPT).await;
            // The link stays: the next question has the next answer.
            socket.send(&wire::get_blocks(height + 10, height + 10)).await;
        }
        let blocks = socket.next(PROMPT, "an answer", Received::blocks).await;
        assert_eq!(blocks[0].height, if answered { height } else { height + 10 }, "{levels} levels");
    }
    // A block with an unknown field is taken up to the same depth; the payload of one is text of any depth.
    let with_field = |levels| chain.lines[61].replacen('{', &format!(r#"{{"z":{},"#, nested(levels)), 1);
    socket.send(&wire::new_block(&with_field(30))).await;
    assert_eq!(socket.ask(30, 30).await.len(), 1, "refused, and the link stays");
    assert_eq!(raw::tip_of(node.port()).await.0, 60);
    socket.send(&wire::new_block(&with_field(29))).await;
    assert_eq!(raw::reaches(&node, 61, PROMPT).await, chain.hashes[61]);
    let deep = chain.lines[62].replacen(r#""payload":{}"#, &format!(r#""payload":{}"#, nested(200_000)), 1);
    assert!(deep.len() > 1_000_000 && deep.len() < LINE);
    socket.send(&wire::new_block(&deep)).await;
    assert_eq!(raw::reaches(&node, 62, PROMPT).await, chain.hashes[62]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_5_nothing_but_a_handshake_is_taken_before_the_handshake() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    for line in [
        wire::get_blocks(0, 10),
        wire::message("new_block", r#"{"block": {}}"#),
        wire::blocks_response::<&str>(&[]),
        wire::new_tx(&chain.transactions(61)[0]),
        wire::message("ping", "{}"),
        "garbage".to_owned(),
    ] {
        let mut socket = Socket::connect(node.port()).await;
        socket.send(&line).await;
        let before = socket.closed(Duration::from_secs(2)).await;
        assert!(before.iter().all(|message| message.kind == "handshake"), "{line} was answered: {before:?}");
    }
    assert_eq!(raw::tip_of(node.port()).await.0, 60);
}

// ---- Row 6 and the rule for SYNCED ----

#[tokio::test(flavor = "multi_thread")]
async fn row_6_liars_about_their_height_delay_synced_by_at_most_30_seconds_in_all() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let honest = Peer::listen(Script::modern(chain)).await;
    let mut peers = vec![honest.address()];
    let mut liars = Vec::new();
    let silent: fn(Request) -> Answer = |_| Answer::Silence;
    let empty: fn(Request) -> Answer = |_| Answer::Blocks(Vec::new());
    for (claim, answer) in
        [(i64::MAX, silent), (1_000_000, empty), (121, silent), (i64::MAX - 1, empty), (5_000, silent), (121, empty)]
    {
        let liar = Peer::listen(Script::modern(chain).claiming(claim).answering(answer)).await;
        peers.push(liar.address());
        liars.push(liar);
    }
    let output = Call::sync(NODE, dir.path(), &peers).output_within(SYNC).await.expect_code(0);
    assert_eq!(output.json()["tip_hash"], chain.tip_hash());
    // The rule's 30 s, and the time to start and to sync 121 blocks.
    assert!(output.took < Duration::from_secs(35), "{:?}", output.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_6_a_legacy_liar_delays_synced_no_longer_than_others() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let honest = Peer::listen(Script::legacy(chain)).await;
    let liar = Peer::listen(Script::legacy(chain).claiming(9_999).answering(|_| Answer::Silence)).await;
    let output = Call::sync(NODE, dir.path(), &[honest.address(), liar.address()]).output_within(SYNC).await;
    let output = output.expect_code(0);
    assert_eq!(output.json()["height"], 120);
    assert!(output.took < Duration::from_secs(35), "{:?}", output.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_6_claims_drive_no_memory_and_a_falling_or_absurd_one_no_state() {
    let chain = Chain::fork();
    let (dir, mut node) = running(&chain.up_to(60)).await;
    let before = node.rss_kib().unwrap();
    for claim in [i64::MAX, i64::MIN, -1, -2, 0, 3, 1 << 40] {
        let peer = Peer::dial(node.port(), Script::modern(&chain.up_to(60)).claiming(claim)).await;
        // For an absurd claim the connection may end instead.
        let _ = tokio::time::timeout(Duration::from_millis(500), peer.message(SYNC, "", Received::greeting)).await;
    }
    // Falling claims on one connection.
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(chain).claiming(1_000)).await;
    for claim in [900, 60, 5, -1] {
        socket.send(&Hello::modern(chain).claiming(claim).line()).await;
    }
    assert_eq!(socket.ask(60, 60).await.len(), 1);
    assert!(node.is_running());
    let more = node.rss_kib().unwrap().saturating_sub(before);
    assert!(more < 16 * 1024, "{more} KiB more");
    assert_eq!(raw::tip_of(node.port()).await.0, 60);
    node.stop().await;
    assert_eq!(dir.tip(NODE).await.0, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn synced_holds_at_once_where_the_only_peer_is_not_ahead_and_after_10_seconds_where_its_claim_is_empty() {
    let chain = Chain::fork();
    let level = Peer::listen(Script::modern(chain)).await;
    let liar = Peer::listen(Script::modern(chain).claiming(500).answering(|_| Answer::Silence)).await;
    for (peer, least, most) in [(&level, 0, 8), (&liar, 8, 20)] {
        let dir = Datadir::holding(NODE, chain).await;
        let output = Call::sync(NODE, dir.path(), &[peer.address()]).output_within(SYNC).await.expect_code(0);
        let took = output.took.as_secs();
        assert!((least..=most).contains(&took), "{took} s, not {least} to {most}");
        assert_eq!(output.json()["height"], 120);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_peer_is_synced_from_while_liars_are_still_believed() {
    let chain = Chain::mainline();
    let dir = Datadir::joined(NODE, chain).await;
    let honest = Peer::listen(Script::modern(chain)).await;
    let liar = Peer::listen(Script::modern(chain).claiming(i64::MAX).answering(|_| Answer::Silence)).await;
    let node = Process::run_with_peers(NODE, dir.path(), &[liar.address(), honest.address()]).await;
    assert_eq!(raw::reaches(&node, 1209, Duration::from_secs(35)).await, chain.tip_hash());
}

// ---- Row 7 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_7_an_answer_that_nobody_asked_for_ends_the_connection() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&chain.up_to(60))).await;
    socket.send(&wire::blocks_response(&chain.lines[61..70])).await;
    socket.closed(PROMPT).await;
    assert_eq!(raw::tip_of(node.port()).await.0, 60, "nothing of it was taken");
}

type WrongAnswer = Box<dyn Fn(Request) -> Vec<String> + Send + Sync>;

#[tokio::test(flavor = "multi_thread")]
async fn row_7_an_answer_must_be_the_range_asked_in_order() {
    let chain = Chain::fork();
    let lines = Arc::new(chain.lines.clone());
    let asked = |request: Request| usize::try_from(request.from).unwrap();
    let wrong: Vec<(&str, WrongAnswer)> = vec![
        (
            "from one too far on",
            Box::new({
                let lines = Arc::clone(&lines);
                move |request| lines[asked(request) + 1..].to_vec()
            }),
        ),
        (
            "with a hole",
            Box::new({
                let lines = Arc::clone(&lines);
                move |request| {
                    let mut blocks = cut(&lines, request);
                    blocks.remove(1);
                    blocks
                }
            }),
        ),
        (
            "backwards",
            Box::new({
                let lines = Arc::clone(&lines);
                move |request| cut(&lines, request).into_iter().rev().collect()
            }),
        ),
        (
            "with more than was asked",
            Box::new({
                let lines = Arc::clone(&lines);
                move |request| {
                    let mut blocks = cut(&lines, request);
                    blocks.extend(blocks.clone());
                    blocks
                }
            }),
        ),
    ];
    for (what, answer) in wrong {
        let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
        let node = Process::run(NODE, dir.path(), &[]).await;
        let script = Script::modern(chain).answering(move |request| Answer::Blocks(answer(request)));
        let peer = Peer::dial(node.port(), script).await;
        tokio::select! {
            () = peer.closed(Duration::from_secs(10)) => {}
            _ = raw::reaches(&node, 120, Duration::from_secs(10)) => panic!("an answer {what} was taken"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_7_an_answer_from_another_peer_than_the_one_asked_is_not_taken() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let asked = Peer::dial(node.port(), Script::modern(&chain.up_to(70)).answering(|_| Answer::Silence)).await;
    let (from, to) = asked.message(PROMPT, "a request", Received::range).await;
    assert_eq!((from, to), (61, 70));
    let (mut other, _) = Socket::greeted(node.port(), &Hello::modern(&chain.up_to(60))).await;
    other.send(&wire::blocks_response(&chain.lines[61..=70])).await;
    other.closed(PROMPT).await;
    assert_eq!(raw::tip_of(node.port()).await.0, 60);
}

// ---- Row 8 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_8_a_fork_that_is_not_better_is_not_tried_again_and_again() {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let (dir, node) = running(fork).await;
    // It claims 135, and its branch ends at 110.
    let short = branch.up_to(110);
    let mut script = Script::modern(branch);
    script.answer = cpc_tests::peer::honest(&short);
    let peer = Peer::dial(node.port(), script).await;
    peer.message(PROMPT, "a request", Received::range).await;
    assert!(peer.stays_open(Duration::from_secs(12)).await || !peer.requests().is_empty());
    let requests = peer.requests();
    assert!(requests.len() <= 60, "{} requests for a branch that leads nowhere: {requests:?}", requests.len());
    assert_eq!(raw::tip_of(node.port()).await, (120, Some(fork.tip_hash().to_owned())));
    // The own chain goes on as if nothing had been.
    node.stop().await;
    let node = Process::run(NODE, dir.path(), &["--rebuild-state"]).await;
    assert_eq!(raw::reaches(&node, 120, SYNC).await, fork.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_8_a_branch_without_the_proposers_signatures_rolls_nothing_back() {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let (_dir, node) = running(fork).await;
    let forged: Vec<String> =
        branch.lines.iter().map(|line| line.replace(r#""pq_signature":""#, r#""pq_signature":"00"#)).collect();
    let script = Script::modern(branch).answering(move |request| Answer::Blocks(cut(&forged, request)));
    let peer = Peer::dial(node.port(), script).await;
    peer.message(PROMPT, "a request", Received::range).await;
    let watch = async {
        loop {
            let (height, hash) = raw::tip_of(node.port()).await;
            assert_eq!((height, hash.as_deref()), (120, Some(fork.tip_hash())), "rolled back for a forgery");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), watch).await;
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

// ---- Row 9 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_9_an_answer_has_at_most_500_blocks_and_a_mebibyte_whatever_is_asked() {
    let chain = Chain::mainline();
    let (_dir, node) = running(chain).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::legacy(chain).without_blocks()).await;
    for (from, to) in [(0, u64::from(u32::MAX)), (1, i64::MAX.unsigned_abs()), (700, 1209)] {
        socket.send(&wire::get_blocks(from, to)).await;
        let answer = socket
            .next(PROMPT, "an answer", |message| (message.kind == "blocks_response").then(|| message.clone()))
            .await;
        let blocks = answer.blocks().unwrap();
        assert!((1..=MAX_BLOCKS).contains(&blocks.len()) && answer.bytes <= MIB, "{} bytes", answer.bytes);
        assert_eq!(blocks[0].height, from);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_9_the_same_range_again_waits_and_another_does_not() {
    let chain = Chain::mainline();
    let (_dir, node) = running(chain).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
    // At full speed, each range once: nothing waits.
    let start = Instant::now();
    for from in (0..1200).step_by(100) {
        assert_eq!(socket.ask(from, from + 99).await.len(), 100);
    }
    assert!(start.elapsed() < Duration::from_secs(8), "an honest sync is slowed: {:?}", start.elapsed());
    // The same range over and over: one answer at once, the others not before 10 s have gone by.
    let (mut greedy, _) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
    let start = Instant::now();
    assert!(!greedy.ask(0, 499).await.is_empty());
    greedy.send(&wire::get_blocks(0, 499)).await;
    greedy.next(Duration::from_secs(30), "the same again", Received::blocks).await;
    let took = start.elapsed();
    assert!(took > Duration::from_secs(8), "served twice within {took:?}");
}

// ---- Row 10 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_10_after_three_empty_answers_another_peer_is_asked_and_nobody_banned() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let empty = Peer::dial(node.port(), Script::modern(chain).answering(|_| Answer::Blocks(Vec::new()))).await;
    empty.message(PROMPT, "a request", Received::range).await;
    let honest = Peer::dial(node.port(), Script::modern(chain)).await;
    assert_eq!(raw::reaches(&node, 120, Duration::from_secs(30)).await, chain.tip_hash());
    assert!(!honest.requests().is_empty());
    let asked = empty.requests().len();
    assert!((1..=10).contains(&asked), "asked {asked} times");
    assert_eq!(empty.open_connections(), 1, "it was not closed for having nothing");
}

// ---- Row 16 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_16_an_address_is_saved_once_a_dial_to_it_succeeded() {
    let chain = Chain::fork();
    let (dir, node) = running(chain).await;
    // Three that dial us: one says where it listens, one lies, one claims to be somebody else's node.
    let (lie, other) = (free_port(), free_port());
    let listening = Peer::listen(Script::modern(chain)).await;
    listening.dial_again(node.port()).await;
    let mut lying = Script::modern(chain);
    lying.hello = lying.hello.listening_on(lie);
    let lying = Peer::dial(node.port(), lying).await;
    let mut posing = Script::modern(chain);
    posing.hello.node_id = format!("10.1.2.3:{other}");
    posing.hello.p2p_port = other;
    let posing = Peer::dial(node.port(), posing).await;
    for peer in [&lying, &posing] {
        peer.message(PROMPT, "a handshake", Received::greeting).await;
    }
    listening
        .wait(Duration::from_secs(30), "to be dialled back", |_| (listening.openings().len() >= 2).then_some(()))
        .await;
    // Dialled back and greeted, it is known to be there.
    let address = listening.address();
    until(PROMPT, "the address in peers.json", async || {
        std::fs::read_to_string(dir.path().join("peers.json")).ok().filter(|text| text.contains(&address))
    })
    .await;
    node.stop().await;
    let saved: Vec<String> = serde_json::from_str(&dir.read("peers.json")).unwrap();
    assert_eq!(saved, [listening.address()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_at_most_1024_addresses_are_kept() {
    const MOST: usize = 1024;
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let many: Vec<String> = (1..=5000).map(|port| format!("127.0.0.1:{port}")).collect();
    std::fs::write(dir.path().join("peers.json"), serde_json::to_string(&many).unwrap()).unwrap();
    let node = Process::run(NODE, dir.path(), &[]).await;
    node.stop().await;
    let saved: Vec<String> = serde_json::from_str(&dir.read("peers.json")).unwrap();
    assert!(saved.len() <= MOST, "{}", saved.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_wrong_entries_are_left_out_and_the_good_ones_dialled() {
    let chain = Chain::fork();
    let peer = Peer::listen(Script::modern(chain)).await;
    let dir = Datadir::joined(NODE, chain).await;
    let text = serde_json::json!(["", "nonsense", "host:99999", ":::", 7, null, peer.address(), "a b:1"]).to_string();
    std::fs::write(dir.path().join("peers.json"), text).unwrap();
    let node = Process::run(NODE, dir.path(), &[]).await;
    assert_eq!(raw::reaches(&node, 120, SYNC).await, chain.tip_hash());
}

// ---- Row 17 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_17_at_most_one_dial_in_100_ms_and_8_outbound() {
    const OUTBOUND: usize = 8;
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let mut listeners = Vec::new();
    for _ in 0..30 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let known: Vec<String> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    std::fs::write(dir.path().join("peers.json"), serde_json::to_string(&known).unwrap()).unwrap();
    // Each takes the connection, notes when, and keeps it open in silence.
    let (dials, mut dialled) = tokio::sync::mpsc::channel(1000);
    for listener in listeners {
        let dials = dials.clone();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                kept.push(stream);
                if dials.send(Instant::now()).await.is_err() {
                    break;
                }
            }
        });
    }
    let _node = Process::run(NODE, dir.path(), &[]).await;
    let mut times = vec![within(PROMPT, "a first dial", dialled.recv()).await.unwrap()];
    let window = Duration::from_secs(3);
    while let Ok(Some(at)) = tokio::time::timeout_at((times[0] + window).into(), dialled.recv()).await {
        times.push(at);
    }
    assert!(times.len() <= OUTBOUND, "{} dials at a time", times.len());
    let span = times[times.len() - 1] - times[0];
    let least = Duration::from_millis(80) * u32::try_from(times.len() - 1).unwrap();
    assert!(span >= least, "{} dials in {span:?}", times.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_17_a_configured_peer_is_dialled_again_with_growing_pauses() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    // It takes every connection and closes it at once.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _node = Process::run_with_peers(NODE, dir.path(), &[address]).await;
    let mut times = Vec::new();
    for _ in 0..4 {
        let (stream, _) = within(Duration::from_secs(20), "another dial", listener.accept()).await.unwrap();
        times.push(Instant::now());
        drop(stream);
    }
    let pauses: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    // 1 s, 2 s, 4 s, each with jitter: by half at most, as others do it.
    assert!(pauses[0] >= 0.45 && pauses[0] <= 2.1, "{pauses:?}");
    assert!(pauses[2] > pauses[0], "{pauses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_17_a_claimed_address_is_not_dialled_at_once() {
    let chain = Chain::fork();
    let (_dir, node) = running(chain).await;
    let victim = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = victim.local_addr().unwrap().port();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut script = Script::modern(chain);
        script.hello = script.hello.listening_on(port);
        peers.push(Peer::dial(node.port(), script).await);
    }
    let mut dials = 0;
    let count = async {
        while let Ok((stream, _)) = victim.accept().await {
            dials += 1;
            drop(stream);
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), count).await;
    assert!(dials <= 1, "{dials} dials in 5 s to an address that 20 peers claimed");
}

// ---- Row 19 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_19_a_node_recognises_itself_and_forgets_the_address() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let port = free_port();
    let own = format!("127.0.0.1:{port}");
    let mut node = Call::at(NODE, dir.path())
        .args(["run", "--p2p-host", "127.0.0.1", "--p2p-port", &port.to_string(), "--peers", &own])
        .start();
    node.listening(port).await;
    node.line_where("that it met itself", Duration::from_secs(10), |line| {
        let line = line.to_lowercase();
        line.contains("ourselves") || line.contains("our own")
    })
    .await;
    node.stop().await;
    if dir.path().join("peers.json").exists() {
        assert!(!dir.read("peers.json").contains(&own), "{}", dir.read("peers.json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_19_an_echo_of_the_own_handshake_is_closed_and_not_dialled_again() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _node = Process::run_with_peers(NODE, dir.path(), &[address]).await;
    let (stream, _) = within(PROMPT, "a dial", listener.accept()).await.unwrap();
    let mut socket = Socket::new(stream);
    let own = within(PROMPT, "its handshake", socket.line()).await.unwrap();
    socket.send(&own).await;
    socket.closed(PROMPT).await;
    let again = tokio::time::timeout(Duration::from_secs(5), listener.accept()).await;
    assert!(again.is_err(), "dialled again");
}

// ---- Row 22 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_22_a_reader_that_does_not_read_is_closed_and_nobody_waits_for_it() {
    /// The outbox of a peer.
    const OUTBOX: u64 = 8 * 1024;
    let chain = Chain::mainline();
    let (_dir, node) = running(chain).await;
    serves_mainline(&node).await;
    let before = node.rss_kib().unwrap();
    let (mut deaf, _) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
    // Every range another one; nothing is read. What the node does not take waits in the kernel, so send from a task.
    let asking = tokio::spawn(async move {
        for from in 0..5_000 {
            if !deaf
                .try_send(format!("{}\n", wire::get_blocks(from % 700, from % 700 + 499 - from / 700)).as_bytes())
                .await
            {
                break;
            }
        }
        deaf
    });
    let start = Instant::now();
    let mut peak = 0;
    while start.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        serves_mainline(&node).await;
        assert!(asked.elapsed() < Duration::from_secs(3), "others waited {:?}", asked.elapsed());
        peak = peak.max(node.rss_kib().unwrap().saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(peak < OUTBOX + 24 * 1024, "{peak} KiB more for one peer");
    let mut deaf = within(Duration::from_secs(30), "the requests to be sent or refused", asking).await.unwrap();
    // Ten seconds without progress end it. Reading only then shows the end after what was under way.
    tokio::time::sleep(Duration::from_secs(14).saturating_sub(start.elapsed())).await;
    let left = deaf.closed(Duration::from_secs(10)).await;
    assert!(left.len() < 100, "{} answers were served to a reader that does not read", left.len());
}

async fn serves_mainline(node: &Process) {
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(Chain::mainline()).without_blocks()).await;
    assert!(!socket.ask(0, 99).await.is_empty());
}

// ---- The care for legacy peers ----

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
