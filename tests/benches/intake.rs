//! Transactions from one peer into the pool, as a share of the signatures that the machine verifies in the same run.
//!
//! `cargo bench -p cpc-tests --bench intake -- [--quick]` prints a table, and the same figures as one line of JSON.
//!
//! First the limit: Ed25519 under ZIP 215, all keys distinct, on all cores and with nothing else to do, in the size of
//! batch that is the fastest. Then, for each codec, a node (file store, a real socket, the pool's limits raised, nothing
//! else changed) whose only peer writes `new_tx` after `new_tx`, each from another sender than the one before, as fast as
//! TCP takes them. All frames are made beforehand, so that the peer only writes; what processor time that and the kernel's
//! part of it takes comes out of the same cores, and is shown, not subtracted.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program of its own")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "intake/limit.rs"]
mod limit;
#[path = "intake/load.rs"]
mod load;
#[path = "intake/node.rs"]
mod node;

use std::sync::Arc;

use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::codec::Codec;
use serde_json::json;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Accounts that send.
    pub(crate) senders: u16,
    /// Transactions of each.
    pub(crate) rounds: usize,
}

/// More than ten seconds' worth on two cores.
const FULL: Size = Size { senders: 32_768, rounds: 40 };
const QUICK: Size = Size { senders: 8192, rounds: 12 };

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let size = if quick { QUICK } else { FULL };
    let load = load::make(size);
    let limit = limit::measure(&load.signed, quick);
    println!(
        "{:<10} {:>9} {:>8} {:>7} {:>17} {:>17}",
        "codec", "tx/s", "seconds", "share", "node, CPU us/tx", "peer, CPU us/tx"
    );
    let mut figures = json!({ "verifications_per_second": limit.per_second, "batch": limit.batch });
    let codecs: [Arc<dyn Codec>; 2] = [Arc::new(PostcardCodec), Arc::new(JsonCodec)];
    for codec in codecs {
        let frames = load::encode(&load.rounds, &codec);
        let run = node::take_in(&load.genesis, &codec, frames, load.count());
        let rate = run.txs as f64 / run.seconds;
        let share = rate / limit.per_second;
        let (node, peer) = (run.node_cpu * 1e6 / run.txs as f64, run.peer_cpu * 1e6 / run.txs as f64);
        println!("{:<10} {rate:>9.0} {:>8.2} {share:>7.2} {node:>17.1} {peer:>17.1}", codec.name(), run.seconds);
        figures[codec.name()] = json!({
            "txs_per_second": rate, "share": share, "seconds": run.seconds, "txs": run.txs,
            "node_cpu_us_per_tx": node, "peer_cpu_us_per_tx": peer
        });
    }
    println!("{figures}");
}
