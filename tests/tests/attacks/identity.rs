//! Row 20: somebody else's `node_id`.

use cpc_framework::transport::{Connection, Endpoint, Transport as _};
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{until, within};
use cpc_tests::http;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::Process;
use cpc_tests::raw::{PROMPT, Socket};
use cpc_tests::vectors::{Chain, candidates};
use cpc_tests::wire::{self, Hello, Received};
use cpc_transports::{NodeIdentity, QuicTransport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{NODE, SYNC, honest, running};

/// A block 61 that whoever sends it is banned for: its proposer's signature is wrong.
fn forged_block() -> String {
    let forged = candidates().into_iter().find(|candidate| candidate.name == "block signature flipped").unwrap();
    forged.block.get().to_owned()
}

async fn peers(node: &Process) -> Value {
    http::get(node.rpc_port(), "/peers").await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_over_tcp_a_name_is_a_label_and_its_bearer_neither_evicted_nor_blamed() {
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let (_dir, node) = running(&short).await;
    let mut script = Script::modern(&short);
    script.hello.node_id = "192.0.2.7:9000".to_owned();
    let real = Peer::dial(node.port(), script.clone()).await;
    real.message(PROMPT, "a handshake", Received::greeting).await;
    // One with the same name just stays; three do what a connection is closed for.
    let (mut quiet, _) = Socket::greeted_from("127.0.0.2", node.port(), &script.hello).await;
    for fault in [
        wire::blocks_response(&chain.lines[61..63]),
        wire::new_block(&forged_block()),
        wire::blocks_response::<&str>(&[]),
    ] {
        let (mut impostor, _) = Socket::greeted_from("127.0.0.2", node.port(), &script.hello).await;
        impostor.send(&fault).await;
        impostor.closed(SYNC).await;
    }
    let shown = peers(&node).await;
    let named: Vec<&Value> =
        shown["peers"].as_array().unwrap().iter().filter(|peer| peer["node_id"] == "192.0.2.7:9000").collect();
    assert_eq!(named.len(), 2, "two connections with one name are two peers: {shown}");
    for peer in named {
        let is_real = peer["address"].as_str().unwrap().starts_with("127.0.0.1:");
        assert_eq!(peer["score"] == 0, is_real, "{shown}");
        assert_eq!(peer["penalties"] == json!([]), is_real, "{shown}");
    }
    let blamed: Vec<&str> =
        shown["penalties"].as_array().unwrap().iter().map(|one| one["peer"].as_str().unwrap()).collect();
    assert_eq!(blamed, ["127.0.0.2"; 3], "{shown}");
    assert_eq!(real.open_connections(), 1, "the real one was evicted");
    honest::syncs_from(&real, &node, chain).await;
    assert!(quiet.stays_open(std::time::Duration::from_millis(10)).await, "a name is nothing to be closed for");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_over_quic_the_key_is_the_identity_and_an_impostors_ban_is_its_own() {
    let chain = Chain::fork();
    let (dir, there) = (Datadir::holding(NODE, &chain.up_to(60)).await, Datadir::holding(NODE, chain).await);
    let node = Process::run_over(NODE, dir.path(), &["quic+json"], &[]).await;
    let key = there.node_id(NODE).await;
    let at = format!("quic+json://127.0.0.1:{}", node.port());
    // The impostor takes the real one's name, port and address, and is banned.
    let hello = Hello { features: Some(Vec::new()), ..Hello::legacy(&chain.up_to(60)) };
    let identity = NodeIdentity::generate().unwrap();
    let mut impostor = dial(&identity, node.port()).await;
    say(&mut impostor, &hello.line()).await;
    say(&mut impostor, &wire::new_block(&forged_block())).await;
    let heard = rest(&mut impostor).await;
    assert!(heard.contains("handshake"), "it was let in first");
    let shown = peers(&node).await;
    assert_eq!(shown["bans"][0]["peer"], json!(identity.peer_id().to_string()), "{shown}");
    assert_eq!((&shown["banned"], &shown["bans"][0]["offence"]), (&json!(1), &json!("invalid block")), "{shown}");
    let (since, expires) = (shown["bans"][0]["since"].as_u64().unwrap(), shown["bans"][0]["expires"].as_u64().unwrap());
    assert!((3599..=3601).contains(&(expires - since)), "a first ban is an hour: {shown}");

    // From the same address, under the same name, the real one is let in, and syncs the node while the impostor tries again and again.
    let mut real = Process::run_over(NODE, there.path(), &["quic+json"], &["--peers", &at]).await;
    let attack = async {
        loop {
            let mut again = dial(&identity, node.port()).await;
            say(&mut again, &Hello { p2p_port: real.port(), ..hello.clone() }.line()).await;
            let heard = rest(&mut again).await;
            assert!(heard.is_empty(), "a banned key was let in: {heard}");
        }
    };
    let synced = until(SYNC, "height 120 by the real one", async || {
        let status = http::get(node.rpc_port(), "/status").await.expect(200).json();
        (status["last_hash"] == chain.tip_hash()).then_some(())
    });
    tokio::select! {
        () = synced => {}
        () = attack => {}
    }
    let shown = peers(&node).await;
    let one = &shown["peers"][0];
    assert_eq!((&one["identity"], &one["score"], &one["penalties"]), (&json!(key), &json!(0), &json!([])), "{shown}");
    assert_eq!(shown["banned"], 1, "{shown}");
    assert!(real.is_running());
}

async fn dial(identity: &NodeIdentity, port: u16) -> Connection {
    let transport = QuicTransport::new(identity, "json").unwrap();
    let to = Endpoint::new(format!("127.0.0.1:{port}"));
    within(SYNC, "a QUIC connection", transport.dial(&to)).await.unwrap()
}

/// Says a line, if the node still listens.
async fn say(connection: &mut Connection, line: &str) {
    let writer = &mut connection.control.writer;
    let _ = writer.write_all(format!("{line}\n").as_bytes()).await;
    let _ = writer.flush().await;
}

/// All that the node says until it ends the connection.
async fn rest(connection: &mut Connection) -> String {
    let mut heard = Vec::new();
    // How a connection ends is no matter here.
    let _ = within(SYNC, "the node to close", connection.control.reader.read_to_end(&mut heard)).await;
    String::from_utf8(heard).unwrap()
}
