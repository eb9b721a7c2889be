//! A peer that knows nothing but the wire drives the node through handshake, sync both ways, fork and gossip.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::{Duration, Instant};

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Answer, MAX_BLOCKS, Peer, Script, cut};
use cpc_tests::process::{Call, Process};
use cpc_tests::raw::{self, PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};

const NODE: &str = cpc_tests::node_binary!();

/// How long a sync of one of the test chains may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);

/// One mebibyte: the most that an answer may have.
const MIB: usize = 1 << 20;

async fn running(chain: &Chain) -> (Datadir, Process) {
    let dir = Datadir::holding(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    (dir, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_answers_a_handshake_with_its_own() {
    let chain = Chain::fork();
    let (_dir, node) = running(chain).await;
    for hello in [Hello::legacy(chain), Hello::modern(chain), Hello::legacy(chain).without_blocks()] {
        let (mut socket, greeting) = Socket::greeted(node.port(), &hello).await;
        assert_eq!(greeting.node_id.matches(':').count(), 1, "a reference node splits it: {greeting:?}");
        assert_eq!(greeting.p2p_port, node.port());
        assert!(greeting.node_id.ends_with(&format!(":{}", node.port())), "{greeting:?}");
        assert_eq!(greeting.protocol_version, 1);
        assert_eq!(greeting.network, "devnet");
        assert_eq!(greeting.best_height, 120);
        assert_eq!(greeting.best_hash.as_deref(), Some(chain.tip_hash()));
        assert_eq!(greeting.genesis_hash.as_deref(), Some(chain.genesis_hash()));
        assert!(socket.stays_open(Duration::from_millis(300)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_blocks_says_so_as_the_reference_does() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let mut socket = Socket::connect(node.port()).await;
    socket.send(&Hello::legacy(Chain::fork()).without_blocks().line()).await;
    let payload = socket
        .next(PROMPT, "a handshake", |message| (message.kind == "handshake").then(|| message.payload.clone()))
        .await;
    let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(payload["best_height"], -1);
    assert_eq!(payload["best_hash"], wire::NO_HASH);
    assert!(payload.get("genesis_hash").is_some_and(serde_json::Value::is_null), "null, not left out: {payload}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialling_node_sends_its_handshake_first() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let mut script = Script::legacy(chain);
    script.greets = false;
    let peer = Peer::listen(script).await;
    let node = Process::run_with_peers(NODE, dir.path(), &[peer.address()]).await;
    let greeting = peer.message(PROMPT, "the dialler's handshake", Received::greeting).await;
    assert_eq!((greeting.best_height, greeting.p2p_port), (120, node.port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_of_another_network_or_genesis_ends_the_connection() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(5)).await;
    let mut of_another_network = Hello::legacy(chain);
    of_another_network.network = "testnet".to_owned();
    let mut of_another_genesis = Hello::legacy(chain);
    of_another_genesis.genesis_hash = Some(Chain::mainline().genesis_hash().to_owned());
    for (hello, reason) in [(of_another_network, "testnet"), (of_another_genesis, "genesis")] {
        let mut socket = Socket::connect(node.port()).await;
        socket.send(&hello.line()).await;
        socket.closed(PROMPT).await;
        node.line(reason, PROMPT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_handshake_is_a_tip_update() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    for script in [Script::legacy(&chain.up_to(60)), Script::modern(&chain.up_to(60))] {
        let peer = Peer::dial(node.port(), script).await;
        peer.message(PROMPT, "a handshake", Received::greeting).await;
        let from = raw::tip_of(node.port()).await.0;
        let to = usize::try_from(from).unwrap() + 20;
        let longer = chain.up_to(to);
        peer.change(|script| {
            script.answer = cpc_tests::peer::honest(&longer);
            script.hello = script.hello.clone().claiming(i64::try_from(to).unwrap());
            script.hello.best_hash = longer.tip_hash().to_owned();
        });
        peer.repeat_hello().await;
        assert_eq!(raw::reaches(&node, from + 20, SYNC).await, longer.tip_hash());
        assert_eq!(peer.open_connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_syncs_a_whole_chain_from_a_peer_that_it_dials() {
    let chain = Chain::mainline();
    for script in [Script::legacy(chain), Script::modern(chain)] {
        let dir = Datadir::joined(NODE, chain).await;
        let peer = Peer::listen(script).await;
        let output = Call::sync(NODE, dir.path(), &[peer.address()]).output_within(SYNC).await.expect_code(0);
        assert_eq!(output.json()["tip_hash"], chain.tip_hash());
        let requests = peer.requests();
        assert_eq!(requests[0].0, 0, "the first block comes first: {requests:?}");
        let longest = requests.iter().map(|(from, to)| to - from + 1).max();
        assert!(longest <= Some(MAX_BLOCKS as u64), "more than an answer can hold: {requests:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_syncs_from_a_peer_that_dials_it() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let _peer = Peer::dial(node.port(), Script::legacy(chain)).await;
    assert_eq!(raw::reaches(&node, 120, SYNC).await, chain.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn short_answers_are_asked_on_from_where_they_end() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let lines = chain.lines.clone();
    let script = Script::legacy(chain).answering(move |request| {
        let mut blocks = cut(&lines, request);
        blocks.truncate(1 + request.nth % 7);
        Answer::Blocks(blocks)
    });
    let peer = Peer::listen(script).await;
    let output = Call::sync(NODE, dir.path(), &[peer.address()]).output_within(SYNC).await.expect_code(0);
    assert_eq!(output.json()["tip_hash"], chain.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_serves_its_chain_within_500_blocks_and_a_mebibyte_an_answer() {
    let chain = Chain::mainline();
    let (_dir, node) = running(chain).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::legacy(chain).without_blocks()).await;
    let mut blocks = Vec::new();
    while blocks.len() < chain.lines.len() {
        socket.send(&wire::get_blocks(blocks.len() as u64, chain.height())).await;
        let answer = socket
            .next(PROMPT, "an answer", |message| (message.kind == "blocks_response").then(|| message.clone()))
            .await;
        let part = answer.blocks().unwrap();
        assert!(!part.is_empty() && part.len() <= MAX_BLOCKS, "{} blocks", part.len());
        assert!(answer.bytes <= MIB, "{} bytes", answer.bytes);
        blocks.extend(part);
    }
    for (height, block) in blocks.iter().enumerate() {
        assert_eq!(block.height, height as u64);
        assert_eq!(block.prev_hash == chain.hashes[height.saturating_sub(1)], height > 0);
        let (ours, theirs): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&block.text).unwrap(), serde_json::from_str(&chain.lines[height]).unwrap());
        assert_eq!(ours, theirs, "block {height} as the reference writes it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_beyond_the_tip_is_answered_with_nothing_and_a_range_across_it_with_what_there_is() {
    let chain = Chain::fork();
    let (_dir, node) = running(chain).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::legacy(chain)).await;
    assert!(socket.ask(121, 200).await.is_empty());
    assert_eq!(socket.ask(119, 200).await.len(), 2);
    assert_eq!(socket.ask(7, 7).await[0].height, 7);
    assert!(socket.ask(9, 8).await.is_empty());
    assert!(socket.ask(u64::MAX - 1, u64::MAX).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_block_goes_on_to_other_peers_and_not_back() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let at_60 = chain.up_to(60);
    let sender = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let others =
        [Peer::dial(node.port(), Script::modern(&at_60)).await, Peer::dial(node.port(), Script::legacy(&at_60)).await];
    for peer in [&sender, &others[0], &others[1]] {
        peer.message(PROMPT, "a handshake", Received::greeting).await;
    }
    sender.send(&wire::new_block(&chain.lines[61])).await;
    for other in &others {
        let block = other.message(PROMPT, "the block to be relayed", Received::block).await;
        assert_eq!((block.height, block.prev_hash.as_str()), (61, chain.hashes[60].as_str()));
    }
    // The next one comes to those who were told of the first; by then an echo of the first would have come too.
    others[0].send(&wire::new_block(&chain.lines[62])).await;
    let next =
        sender.message(PROMPT, "the next block", |message| message.block().filter(|block| block.height == 62)).await;
    assert_eq!(next.prev_hash, chain.hashes[61]);
    let echoed = sender.received("new_block").iter().filter_map(Received::block).any(|block| block.height == 61);
    assert!(!echoed, "a block came back to its sender");
    let twice = others[1].received("new_block").iter().filter_map(Received::block).filter(|b| b.height == 61).count();
    assert_eq!(twice, 1, "a block was sent twice");
    assert_eq!(raw::reaches(&node, 62, PROMPT).await, chain.hashes[62], "it is passed on before it is durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_new_block_is_not_relayed() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let at_60 = chain.up_to(60);
    let sender = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let other = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let honest = Peer::dial(node.port(), Script::modern(&at_60)).await;
    for peer in [&sender, &other, &honest] {
        peer.message(PROMPT, "a handshake", Received::greeting).await;
    }
    let bad = chain.lines[61].replace(r#""gas_used":42000"#, r#""gas_used":42001"#);
    assert_ne!(bad, chain.lines[61]);
    sender.send(&wire::new_block(&bad)).await;
    honest.send(&wire::new_block(&chain.lines[61])).await;
    let block = other.message(PROMPT, "the good block", Received::block).await;
    assert!(!block.text.contains("42001"), "the bad one was relayed");
    assert_eq!(raw::reaches(&node, 61, PROMPT).await, chain.hashes[61]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_copy_of_a_block_under_the_same_hash_does_not_keep_the_good_one_out() {
    let chain = Chain::fork();
    // No hash covers a block's signature or those of its transactions, so whoever relays a block can change them.
    let other_digit = |line: &str, key: &str| {
        let at = line.find(key).unwrap() + key.len() + 20;
        format!("{}{}{}", &line[..at], if &line[at..=at] == "0" { "1" } else { "0" }, &line[at + 1..])
    };
    let good = &chain.lines[61];
    for key in [r#""pq_signature":""#, r#""signature":""#] {
        println!("another {key}");
        let (_dir, node) = running(&chain.up_to(60)).await;
        let at_60 = chain.up_to(60);
        let tamperer = Peer::dial(node.port(), Script::modern(&at_60)).await;
        // The good copy may come while the bad one is still looked at: its sender is asked for it again then.
        let sender = Peer::dial(node.port(), Script::modern(&chain.up_to(61)).claiming(60)).await;
        for peer in [&tamperer, &sender] {
            peer.message(PROMPT, "a handshake", Received::greeting).await;
        }
        // An answer on the same connection, or its end, shows that the copy has been looked at.
        let lines = [wire::new_block(&other_digit(good, key)), wire::get_blocks(1, 1)];
        tamperer.send(&lines.join("\n")).await;
        tamperer
            .wait(PROMPT, "an answer or the end", |_| {
                (tamperer.open_connections() == 0 || !tamperer.received("blocks_response").is_empty()).then_some(())
            })
            .await;
        sender.send(&wire::new_block(good)).await;
        assert_eq!(raw::reaches(&node, 61, PROMPT).await, chain.hashes[61], "after another {key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_transaction_goes_on_to_peers_that_have_not_seen_it() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let at_60 = chain.up_to(60);
    let sender = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let knowing = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let others =
        [Peer::dial(node.port(), Script::modern(&at_60)).await, Peer::dial(node.port(), Script::legacy(&at_60)).await];
    for peer in [&sender, &knowing, &others[0], &others[1]] {
        peer.message(PROMPT, "a handshake", Received::greeting).await;
    }
    let txs = chain.transactions(61);
    let signature = |tx: &str| {
        let tx: serde_json::Value = serde_json::from_str(tx).unwrap();
        tx["signature"].as_str().unwrap().to_owned()
    };
    sender.send(&wire::new_tx(&txs[0])).await;
    for other in [&knowing, &others[0], &others[1]] {
        let payload = other
            .message(PROMPT, "the transaction to be relayed", |message| {
                (message.kind == "new_tx").then(|| message.payload.clone())
            })
            .await;
        assert!(payload.contains(&signature(&txs[0])));
    }
    // Again, from somebody else: nobody hears of it twice. The second one shows that all before it has arrived.
    knowing.send(&wire::new_tx(&txs[0])).await;
    knowing.send(&wire::new_tx(&txs[1])).await;
    for other in [&sender, &others[0], &others[1]] {
        other
            .message(PROMPT, "the second transaction", |message| {
                (message.kind == "new_tx" && message.payload.contains(&signature(&txs[1]))).then_some(())
            })
            .await;
        let firsts = other.received("new_tx").iter().filter(|tx| tx.payload.contains(&signature(&txs[0]))).count();
        assert_eq!(firsts, usize::from(!std::ptr::eq(other, &raw const sender)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_breaks_the_rules_is_not_relayed() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let at_60 = chain.up_to(60);
    let sender = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let forger = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let legacy = Peer::dial(node.port(), Script::legacy(&at_60)).await;
    for peer in [&sender, &forger, &legacy] {
        peer.message(PROMPT, "a handshake", Received::greeting).await;
    }
    let txs = chain.transactions(61);
    let forged = txs[0].replace(r#""amount":1000"#, r#""amount":2000"#);
    assert_ne!(forged, txs[0]);
    forger.send(&wire::new_tx(&forged)).await;
    // Block 81 has the nonce of the first sender but one: a gap, on which a reference proposer chokes for ever.
    let of = |tx: &str| -> serde_json::Value { serde_json::from_str(tx).unwrap() };
    let later = chain.transactions(81);
    let gap = later.iter().find(|tx| of(tx)["nonce"].as_u64() == of(&txs[0])["nonce"].as_u64().map(|nonce| nonce + 2));
    sender.send(&wire::new_tx(gap.unwrap())).await;
    for tx in &txs {
        sender.send(&wire::new_tx(tx)).await;
    }
    legacy.wait(PROMPT, "the two good ones", |_| (legacy.received("new_tx").len() >= 2).then_some(())).await;
    // Of two senders: which of them is verified first is nobody's concern.
    let signature = |tx: &serde_json::Value| tx["signature"].as_str().unwrap().to_owned();
    let mut relayed: Vec<_> = legacy.received("new_tx").iter().map(|tx| signature(&of(&tx.payload)["tx"])).collect();
    let mut good: Vec<_> = txs.iter().map(|tx| signature(&of(tx))).collect();
    relayed.sort();
    good.sort();
    assert_eq!(relayed, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_copy_of_a_transaction_under_the_same_hash_does_not_keep_the_good_one_out() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let at_60 = chain.up_to(60);
    let tamperer = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let sender = Peer::dial(node.port(), Script::modern(&at_60)).await;
    let other = Peer::dial(node.port(), Script::legacy(&at_60)).await;
    for peer in [&sender, &tamperer, &other] {
        peer.message(PROMPT, "a handshake", Received::greeting).await;
    }
    // The reference's hash covers neither gas nor payload, so whoever relays a transaction can change them.
    let good = &chain.transactions(61)[0];
    let cheap = good.replace(r#""gas_price":1000"#, r#""gas_price":999"#);
    assert_ne!(&cheap, good);
    tamperer.send(&wire::new_tx(&cheap)).await;
    // An answer on the same connection shows that the copy has been looked at.
    tamperer.send(&wire::get_blocks(1, 1)).await;
    tamperer.message(PROMPT, "an answer", Received::blocks).await;
    sender.send(&wire::new_tx(good)).await;
    let relayed = other
        .message(PROMPT, "the good one", |message| (message.kind == "new_tx").then(|| message.payload.clone()))
        .await;
    assert!(!relayed.contains("999"), "{relayed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_block_above_a_gap_starts_a_catch_up_with_its_sender() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    // It claims no more than we have; only the block shows that it is ahead.
    let mut script = Script::legacy(&chain.up_to(60));
    script.answer = cpc_tests::peer::honest(&chain.up_to(80));
    let peer = Peer::dial(node.port(), script).await;
    peer.message(PROMPT, "a handshake", Received::greeting).await;
    peer.send(&wire::new_block(&chain.lines[80])).await;
    assert_eq!(raw::reaches(&node, 80, SYNC).await, chain.hashes[80]);
    assert!(peer.requests().iter().any(|(from, _)| *from == 61), "{:?}", peer.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_block_of_a_longer_branch_starts_a_rollback_even_when_synced() {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let (dir, node) = running(fork).await;
    let mut script = Script::legacy(fork);
    script.answer = cpc_tests::peer::honest(branch);
    let peer = Peer::dial(node.port(), script).await;
    peer.message(PROMPT, "a handshake", Received::greeting).await;
    peer.send(&wire::new_block(&branch.lines[135])).await;
    assert_eq!(raw::reaches(&node, 135, SYNC).await, branch.tip_hash());
    node.stop().await;
    assert_eq!(dir.tip(NODE).await, (135, branch.tip_hash().to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_is_not_known_keeps_the_connection() {
    let chain = Chain::fork();
    let (_dir, node) = running(chain).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::legacy(chain)).await;
    for line in [
        "",
        "hello",
        "{",
        "[]",
        "null",
        r#"{"type": "handshake"}"#,
        r#"{"type": "ping", "payload": {}}"#,
        r#"{"type": "status", "payload": {"height": 7}}"#,
        r#"{"type": "peers", "payload": {"peers": ["127.0.0.1:9"]}}"#,
        r#"{"payload": {}, "type": "pong"}"#,
        r#"{"type": 7, "payload": {}}"#,
        r#"{"type": "get_blocks", "payload": {"from_height": -1, "to_height": "x"}}"#,
        r#"{"type": "new_block", "payload": {}}"#,
        "\u{fffd}\u{0}",
    ] {
        socket.send(line).await;
    }
    assert!(socket.try_send(b"\xff\xfe\n").await);
    // Fields in another order, and fields that nobody knows.
    socket.send(r#"{"x": [1], "payload": {"to_height": 4, "from_height": 3, "y": {}}, "type": "get_blocks"}"#).await;
    let blocks = socket.next(PROMPT, "an answer after all that", Received::blocks).await;
    assert_eq!(blocks.iter().map(|block| block.height).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_before_the_acceptors_handshake_is_skipped() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let mut script = Script::legacy(chain);
    script.before_hello = (113..=120).map(|height| wire::new_block(&chain.lines[height])).collect();
    let peer = Peer::listen(script).await;
    let output = Call::sync(NODE, dir.path(), &[peer.address()]).output_within(SYNC).await.expect_code(0);
    assert_eq!(output.json()["tip_hash"], chain.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_legacy_peer_hears_from_us_every_20_seconds_and_its_progress_is_asked_for() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let start = Instant::now();
    let peer = Peer::dial(node.port(), Script::legacy(&chain.up_to(60))).await;
    peer.message(PROMPT, "a handshake", Received::greeting).await;
    // It gets further and says nothing, as a follower of the reference does.
    peer.change(|script| script.answer = cpc_tests::peer::honest(&Chain::fork().up_to(70)));
    raw::reaches(&node, 70, Duration::from_secs(60)).await;
    assert!(peer.stays_open(Duration::from_secs(25)).await);
    let silence = peer.longest_silence(start);
    assert!(silence < Duration::from_secs(23), "{silence:?} of silence");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_peer_that_answers_nothing_hears_our_handshake_again() {
    let chain = Chain::fork();
    let (_dir, node) = running(chain).await;
    let peer = Peer::dial(node.port(), Script::legacy(chain).answering(|_| Answer::Silence)).await;
    let repeated = peer
        .wait(Duration::from_secs(45), "a repeated handshake", |_| peer.received("handshake").get(1).cloned())
        .await;
    assert_eq!(repeated.greeting().unwrap().best_height, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_one_write_with_the_handshake_may_be_longer_than_a_handshake() {
    let chain = Chain::mainline();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let mut socket = Socket::connect(node.port()).await;
    let hello = Hello::modern(&chain.up_to(61)).line();
    let block = wire::new_block(&chain.lines[61]);
    assert!(block.len() > 2048, "{} bytes are too few to show anything", block.len());
    assert!(socket.try_send(format!("{}\n{}\n", hello.trim_end(), block.trim_end()).as_bytes()).await);
    assert_eq!(raw::reaches(&node, 61, PROMPT).await, chain.up_to(61).tip_hash());
    assert!(socket.stays_open(Duration::from_millis(100)).await);
}
