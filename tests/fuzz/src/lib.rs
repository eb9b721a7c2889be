//! The fuzz targets: which part of the node is fed with which bytes. The programs in `fuzz_targets` call these for a fuzzer;
//! `cpc_tests::fuzz` has the same file, for what runs without one. What must hold is in `cpc_framework::testkit::fuzz`.

use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::sync::BatchSync;
use cpc_framework::testkit::fuzz;

/// A stream in JSON.
pub fn json(data: &[u8]) {
    fuzz::decodes(&JsonCodec, data);
}

/// A stream in postcard.
pub fn postcard(data: &[u8]) {
    fuzz::decodes(&PostcardCodec, data);
}

/// A stream in either, whose messages then go through the other one and back.
pub fn differential(data: &[u8]) {
    fuzz::agree(&JsonCodec, &PostcardCodec, data);
    fuzz::agree(&PostcardCodec, &JsonCodec, data);
}

/// A stream in pieces, for every framer.
pub fn framing(data: &[u8]) {
    fuzz::frames(&[&JsonCodec, &PostcardCodec], data);
}

/// `genesis.json`
pub fn genesis(data: &[u8]) {
    fuzz::genesis_file(&AccountExecutor, data);
}

/// `peers.json`
pub fn peers(data: &[u8]) {
    fuzz::peers_file(data);
}

/// Events in any order for the sync state machine.
pub fn sync_events(data: &[u8]) {
    fuzz::sync_events(BatchSync::default(), data);
}

/// A network of peers around the sync state machine.
pub fn sync_network(data: &[u8]) {
    fuzz::sync_network(|| Box::new(BatchSync::default()), data);
}
