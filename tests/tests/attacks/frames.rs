//! Rows 1, 2, 3 and 5: what comes before and within a frame.

use std::time::{Duration, Instant};

use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::peer::{Answer, Peer, Script, cut};
use cpc_tests::process::Process;
use cpc_tests::raw::{self, PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};

use crate::{KIB, LINE, LINE_BEFORE_HANDSHAKE, LINE_WHILE_ASKED, MIB, NODE, SYNC, honest, running, serves};

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
    honest::syncs_while(&node, Chain::fork(), async |_| {
        let mut socket = Socket::connect(node.port()).await;
        let _ = socket.try_send(&[b'x'; LINE_BEFORE_HANDSHAKE + 1]).await;
        socket.closed(PROMPT).await;
    })
    .await;
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
    honest::syncs(&node, Chain::fork()).await;
    let _ = socket.try_send(&piece).await;
    socket.closed(Duration::from_secs(1)).await;
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
            // It is dialled again, and goes on.
            honest::syncs(&node, chain).await;
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
    let (drip, silence, _) = tokio::join!(drip, silence, honest::syncs(&node, Chain::fork()));
    for took in [drip, silence] {
        assert!((4.0..8.0).contains(&took.as_secs_f64()), "closed after {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_a_started_frame_must_end_within_20_seconds() {
    let (_dir, node) = running(&Chain::fork().up_to(5)).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&Chain::fork().up_to(5))).await;
    let start = Instant::now();
    let drip = async {
        for byte in r#"{"type": "new_block", "payload": {"block": {"header": {"#.bytes() {
            if !socket.try_send(&[byte]).await || !socket.stays_open(Duration::from_secs(1)).await {
                break;
            }
        }
        start.elapsed()
    };
    let (took, behind_front, _) =
        tokio::join!(drip, drips_the_rest(&node, Chain::fork()), honest::syncs(&node, Chain::fork()));
    for took in [took, behind_front] {
        assert!((18.0..25.0).contains(&took.as_secs_f64()), "closed after {took:?}");
    }
}

/// Answers with a block and a line of more than 4 MiB, so that the block is taken at once, and drips the rest. Gives how long it may.
async fn drips_the_rest(node: &Process, chain: &Chain) -> Duration {
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(chain)).await;
    let (from, _) = socket.next(SYNC, "a request", Received::range).await;
    let block = &chain.lines[usize::try_from(from).unwrap()];
    let front = format!(r#"{{"type": "blocks_response", "payload": {{"blocks": [{block}{}"#, " ".repeat(4 * MIB));
    assert!(socket.try_send(front.as_bytes()).await);
    let start = Instant::now();
    while socket.try_send(b" ").await && socket.stays_open(Duration::from_secs(1)).await {
        assert!(start.elapsed() < SYNC, "it may drip for ever");
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_at_most_64_handshakes_are_pending() {
    const PENDING: usize = 64;
    const MORE: usize = 16;
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(5)).await;
    // Whom the node has dialled needs none of these places.
    let honest_peer = Peer::listen(Script::modern(&Chain::fork().up_to(5))).await;
    let node = Process::run_with_peers(NODE, dir.path(), &[honest_peer.address()]).await;
    honest_peer.message(SYNC, "a handshake", Received::greeting).await;
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
    honest::syncs_from(&honest_peer, &node, Chain::fork()).await;
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
    honest::syncs_while(&node, chain, async |_| {
        let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&chain.up_to(60))).await;
        socket.send(&"[".repeat(500_000)).await;
        assert_eq!(socket.ask(7, 7).await.len(), 1);
    })
    .await;
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
    honest::syncs(&node, chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_5_nothing_but_a_handshake_is_taken_before_the_handshake() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let lines = [
        wire::get_blocks(0, 10),
        wire::message("new_block", r#"{"block": {}}"#),
        wire::blocks_response::<&str>(&[]),
        wire::new_tx(&chain.transactions(61)[0]),
        wire::message("ping", "{}"),
        "garbage".to_owned(),
    ];
    let attack = async |limit: Duration| {
        for line in &lines {
            let mut socket = Socket::connect(node.port()).await;
            socket.send(line).await;
            let before = socket.closed(limit).await;
            assert!(before.iter().all(|message| message.kind == "handshake"), "{line} was answered: {before:?}");
        }
    };
    attack(Duration::from_secs(2)).await;
    assert_eq!(raw::tip_of(node.port()).await.0, 60);
    honest::syncs_while(&node, chain, async |_| attack(PROMPT).await).await;
}
