//! A node with a part of one's own in each slot at once.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use cpc_examples::{LogStore, Mainline, MessagePackCodec, OneByOne, SenderQuota, UnixTransport};
use cpc_framework::node::NodeBuilder;
use cpc_framework::store::ChainStore;
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::testkit::messages::Messages;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_custom_part_in_each_slot_syncs_mainline_and_serves_it_on() {
    let mainline = Mainline::load().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let unix = || UnixTransport::new(dir.path().join("sockets"));
    let log = |name: &str| LogStore::open(dir.path().join(name)).unwrap();
    let serving = mainline.serve(unix(), MessagePackCodec, "serving:0").await.unwrap();

    let quota = SenderQuota::new(100);
    let executed = quota.count();
    let custom = NodeBuilder::new(mainline.genesis.clone())
        .link(unix(), MessagePackCodec, "custom:0")
        .store(log("custom.log"))
        .sync(OneByOne::default())
        .executor(quota)
        .peers(serving.listening().to_vec())
        .start()
        .await
        .unwrap();
    mainline.synced(&custom).await.unwrap();
    assert_eq!(executed.executed(), mainline.blocks.len() as u64);
    assert_same_state(custom.store().as_ref(), serving.store().as_ref());

    // It serves what it has, to a node like itself.
    serving.shutdown().await;
    let next = NodeBuilder::new(mainline.genesis.clone())
        .link(unix(), MessagePackCodec, "next:0")
        .store(log("next.log"))
        .sync(OneByOne::default())
        .executor(SenderQuota::new(100))
        .peers(custom.listening().to_vec())
        .start()
        .await
        .unwrap();
    mainline.synced(&next).await.unwrap();
    assert_same_state(custom.store().as_ref(), next.store().as_ref());
    next.shutdown().await;
    custom.shutdown().await;
}

/// A message of every kind comes through a pair of custom plugs, whatever is in it.
#[tokio::test]
async fn messages_cross_a_unix_socket_in_messagepack() {
    use bytes::BytesMut;
    use cpc_framework::codec::Codec;
    use cpc_framework::transport::{Endpoint, Transport};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const CAP: usize = 1 << 24;
    let dir = tempfile::tempdir().unwrap();
    let unix = UnixTransport::new(dir.path().join("sockets"));
    let mut listener = unix.listen(&Endpoint::new("node:0")).await.unwrap();
    let mut dialled = unix.dial(&listener.local()).await.unwrap();
    let mut accepted = listener.accept().await.unwrap().upgrade.await.unwrap();
    let sent = Messages::from_printed_seed().one_of_each();
    let mut frames = BytesMut::new();
    for message in &sent {
        MessagePackCodec.encode(message, CAP, &mut frames).unwrap();
    }
    let writing = tokio::spawn(async move {
        dialled.control.writer.write_all(&frames).await.unwrap();
        dialled.control.writer.shutdown().await.unwrap();
    });
    let (mut decoder, mut buffer, mut kinds) = (MessagePackCodec.decoder(), BytesMut::new(), Vec::new());
    while accepted.control.reader.read_buf(&mut buffer).await.unwrap() > 0 {
        while let Some(message) = decoder.decode(&mut buffer, CAP).unwrap() {
            kinds.push(message.kind());
        }
    }
    writing.await.unwrap();
    assert_eq!(kinds, sent.iter().map(cpc_framework::types::Message::kind).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_log_holds_the_chain_of_a_node_that_was_stopped() {
    let mainline = Mainline::load().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.log");
    let network = cpc_framework::transport::memory::MemoryNetwork::new();
    let serving = mainline.serve(network.member("serving"), MessagePackCodec, "serving:1").await.unwrap();
    let node = NodeBuilder::new(mainline.genesis.clone())
        .dial_link(network.member("node"), MessagePackCodec)
        .store(LogStore::open(&path).unwrap())
        .peers(serving.listening().to_vec())
        .start()
        .await
        .unwrap();
    mainline.synced(&node).await.unwrap();
    node.shutdown().await;
    drop(node);
    let log = LogStore::open(&path).unwrap();
    assert_eq!(log.tip().await.unwrap(), mainline.tip());
    assert_same_state(&log, serving.store().as_ref());
    serving.shutdown().await;
}

fn assert_same_state(one: &dyn ChainStore, other: &dyn ChainStore) {
    let all = |store: &dyn ChainStore| {
        let mut all = Vec::new();
        let mut note = |key: &[u8], value: &[u8]| {
            all.push((key.to_vec(), value.to_vec()));
            true
        };
        store.state().unwrap().scan(b"", &mut note).unwrap();
        all
    };
    let (one, other) = (all(one), all(other));
    assert!(!one.is_empty());
    assert!(one == other, "{} and {} entries differ", one.len(), other.len());
}

/// The plugs are used by value above; behind pointers they must do as well.
#[test]
fn a_store_behind_a_pointer_is_a_store() {
    fn takes(_: impl ChainStore) {}
    takes(Arc::new(MemoryStore::new()));
    takes(Box::new(MemoryStore::new()) as Box<dyn ChainStore>);
}
