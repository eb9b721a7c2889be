//! A node that takes in what one peer sends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cpc_framework::codec::Codec;
use cpc_framework::limits::Limits;
use cpc_framework::node::NodeBuilder;
use cpc_framework::store::file::FileStore;
use cpc_framework::types::Genesis;
use cpc_tests::feeder::Feeder;
use cpc_tests::network::reaches;
use cpc_transports::TcpTransport;

/// For all of a run, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) txs: usize,
    /// From the first byte sent to the last transaction in the pool.
    pub(crate) seconds: f64,
    /// Processor time of everything but the peer, in seconds.
    pub(crate) node_cpu: f64,
    /// Processor time of the peer, in seconds.
    pub(crate) peer_cpu: f64,
}

/// Sends all frames to a new node, and waits until all of the `count` transactions are in its pool.
pub(crate) fn take_in(genesis: &Genesis, codec: &Arc<dyn Codec>, frames: Vec<Bytes>, count: usize) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let builder = NodeBuilder::new(genesis.clone())
        .link(TcpTransport::default(), Arc::clone(codec), "127.0.0.1:0")
        .store(FileStore::open(dir.path()).unwrap())
        .limits(Limits { pool_txs: count, pool_bytes: usize::MAX, ..Limits::for_network(&genesis.network) });
    let node = runtime.block_on(builder.start()).unwrap();
    let mut feeder = Feeder::connect(&node.listening()[0].address, codec, &genesis.network);
    runtime.block_on(reaches(&node, PATIENCE, "the peer", |status| status.peers == 1));

    let (start, before) = (Instant::now(), cpu("/proc/self/stat"));
    let peer = std::thread::spawn(move || {
        for frames in frames {
            feeder.send(&frames);
        }
        (cpu("/proc/thread-self/stat"), feeder)
    });
    runtime.block_on(reaches(&node, PATIENCE, "all transactions in the pool", |status| status.pool == count));
    let (seconds, after) = (start.elapsed().as_secs_f64(), cpu("/proc/self/stat"));
    let (peer_cpu, feeder) = peer.join().unwrap();
    drop(feeder);
    runtime.block_on(node.shutdown());
    Run { txs: count, seconds, node_cpu: after - before - peer_cpu, peer_cpu }
}

/// Processor time of a process or thread so far, in seconds.
fn cpu(stat: &str) -> f64 {
    /// Linux counts these times in hundredths of a second for user space, on every architecture.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(stat).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS_PER_SECOND
}
