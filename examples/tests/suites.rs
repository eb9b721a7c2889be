//! The conformance suites of the framework, over the parts of `cpc_examples`.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs)]

use std::sync::Arc;

use bytes::BytesMut;
use cpc_examples::{LogStore, Mainline, MessagePackCodec, OneByOne, SenderQuota};
use cpc_framework::codec::Codec;
use cpc_framework::store::{ChainStore, StoreErrorKind};
use cpc_framework::testkit::codec::CodecFixture;
use cpc_framework::testkit::executor::Subject;
use cpc_framework::testkit::store::StoreFactory;
use cpc_framework::types::{Hash32, Message, WireBlock};
use tempfile::TempDir;

cpc_framework::codec_suite!(codec, messagepack());
cpc_framework::store_suite!(store, Log);
cpc_framework::sync_suite!(sync, OneByOne::default());
cpc_framework::executor_suite!(executor, quota());
#[cfg(unix)]
cpc_framework::transport_suite!(transport, unix());

#[cfg(unix)]
fn unix() -> cpc_framework::testkit::transport::TransportFixture {
    // A directory for each case; it goes with the last listener in it.
    let network = cpc_examples::UnixTransport::new(TempDir::new().unwrap().keep());
    cpc_framework::testkit::transport::TransportFixture {
        listener: Arc::new(network.clone()),
        dialler: Arc::new(network),
        at: cpc_framework::transport::Endpoint::new("node:0"),
    }
}

fn messagepack() -> CodecFixture {
    CodecFixture {
        codec: Box::new(MessagePackCodec),
        malformed: vec![
            frame(b""),
            // A number in place of the name.
            frame(b"\x05"),
            frame(b"\xaaget_blocks"),
            frame(b"\xaaget_blocks\x92\x01"),
            // A whole value too much, and a half of one.
            frame(b"\xaaget_blocks\x92\x01\x02\x03"),
            frame(b"\xaaget_blocks\x92\x01\x02\x91"),
            frame(b"\xa6new_tx\xc0"),
            frame(b"\xafblocks_response\x00\x00"),
        ],
        unknown: vec![frame(b"\xa4ping"), frame(b"\xa4ping\x01\x02\x03")],
        broken_response: |blocks| {
            let message = Message::BlocksResponse { blocks: blocks.to_vec(), malformed: None };
            let mut out = BytesMut::new();
            MessagePackCodec.encode(&message, usize::MAX, &mut out).unwrap();
            // One block more than there are, and a number in its place.
            let mut body = out[8..].to_vec();
            body[16] += 1;
            body.push(7);
            frame(&body)
        },
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    [b"\xc1mp\x01", &u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

/// Logs in a directory that goes with the case.
#[derive(Debug)]
struct Log(TempDir);

impl StoreFactory for Log {
    type Store = LogStore;
    const LASTS: bool = true;

    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn open(&self) -> LogStore {
        LogStore::open(self.0.path().join("chain.log")).unwrap()
    }
}

/// The transactions of a real chain, offered to a quota of one for each sender and block: some do not fit.
fn quota() -> Subject {
    let mainline = Mainline::load().unwrap();
    let with_txs = mainline.blocks.iter().filter(|block| !block.txs.is_empty()).take(12);
    let candidates = with_txs.map(|block| block.txs.iter().cloned().map(Arc::new).collect()).collect();
    Subject { executor: Arc::new(SenderQuota::new(1)), genesis: Arc::new(mainline.genesis), candidates }
}

#[test]
fn a_block_is_a_slice_of_its_frame() {
    let block = bytes::Bytes::from(vec![9; 200]);
    let mut frame = BytesMut::new();
    MessagePackCodec.encode(&Message::NewBlock(WireBlock::Encoded(block.clone())), usize::MAX, &mut frame).unwrap();
    let frame_at = frame.as_ptr_range();
    let decoded = MessagePackCodec.decoder().decode(&mut frame, usize::MAX).unwrap();
    let Some(Message::NewBlock(WireBlock::Encoded(bytes))) = decoded else { panic!("{decoded:?}") };
    assert_eq!(bytes, block);
    assert!(frame_at.contains(&bytes.as_ptr()));
}

#[tokio::test]
async fn a_record_that_was_cut_off_is_dropped() {
    let log = Log::new();
    log.open().bind(Hash32([1; 32]), Vec::new()).await.unwrap();
    let path = log.0.path().join("chain.log");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &whole[..whole.len() - 1]].concat()).unwrap();
    drop(log.open());
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn a_log_is_open_once() {
    let log = Log::new();
    let _open = log.open();
    let error = LogStore::open(log.0.path().join("chain.log")).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Locked);
}
