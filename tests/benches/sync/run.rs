//! One sync between two processes, watched.

use std::time::Duration;

use cpc_tests::process::{Call, Process};
use serde_json::Value;

use crate::NODE;
use crate::chains::Served;
use crate::limit::Limit;

/// How often the memory and the processor time of the syncing node are read.
const SAMPLE: Duration = Duration::from_millis(10);
/// The longest that any sync may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a sync took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// From the first request for blocks to the last durable commit, as the syncing node says.
    pub(crate) seconds: f64,
    pub(crate) blocks_per_second: f64,
    pub(crate) sigs_per_second: f64,
    /// Processor time of the syncing process, in seconds, from its start to its end.
    pub(crate) client_cpu: f64,
    /// Processor time of all serving processes meanwhile.
    pub(crate) server_cpu: f64,
    /// The most memory that the syncing process had.
    pub(crate) peak_rss_mib: f64,
}

impl Run {
    /// The part of the machine that the servers took.
    pub(crate) fn servers_share(&self, limit: &Limit) -> f64 {
        let cores = f64::from(u32::try_from(limit.cores).unwrap());
        self.server_cpu / (self.seconds * cores)
    }

    /// What was verified, as a share of what the rest of the machine could have verified.
    pub(crate) fn share_of(&self, limit: &Limit) -> f64 {
        self.sigs_per_second / (limit.sigs_per_second * (1.0 - self.servers_share(limit)))
    }
}

/// A node that serves a chain over these links.
pub(crate) async fn serve(chain: &Served, links: &[&str]) -> Process {
    Process::run_over(NODE, &chain.path, links, &[]).await
}

/// Syncs the whole chain over one link from these servers: at each the address to dial, which may be a proxy's.
pub(crate) async fn sync(chain: &Served, link: &str, servers: &[Process], addresses: &[String]) -> Run {
    sync_meanwhile(chain, link, servers, addresses, &[], async {}).await
}

/// As [`sync`], with more arguments for the syncing node, and something else that happens meanwhile.
pub(crate) async fn sync_meanwhile(
    chain: &Served,
    link: &str,
    servers: &[Process],
    addresses: &[String],
    more: &[&str],
    meanwhile: impl Future<Output = ()>,
) -> Run {
    let here = chain.empty().await;
    let peers: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let served = || servers.iter().map(|server| server.cpu_seconds().unwrap()).sum::<f64>();
    let served_before = served();
    let node = Call::sync_over(NODE, here.path(), link, &peers).args(more).start();
    let (watched, ()) = tokio::join!(watch(node), meanwhile);
    let (report, client_cpu, peak_kib) = watched;
    let server_cpu = served() - served_before;
    assert_eq!(report["blocks"], chain.blocks, "{report}");
    let seconds = report["seconds"].as_f64().unwrap();
    let blocks_per_second = report["blocks_per_second"].as_f64().unwrap();
    Run {
        seconds,
        blocks_per_second,
        sigs_per_second: blocks_per_second * chain.sigs_per_block(),
        client_cpu,
        server_cpu,
        peak_rss_mib: f64::from(u32::try_from(peak_kib).unwrap()) / 1024.0,
    }
}

/// The address of a server's link on this machine.
pub(crate) fn address(server: &Process, link: &str) -> String {
    format!("127.0.0.1:{}", server.port_of(link))
}

/// Waits for a node's end; gives what it printed, its processor time in seconds, and its most memory in KiB.
async fn watch(mut node: Process) -> (Value, f64, u64) {
    let (mut peak, mut cpu) = (0, 0.0);
    while node.is_running() {
        peak = node.peak_rss_kib().unwrap_or(peak).max(peak);
        cpu = node.cpu_seconds().unwrap_or(cpu);
        assert!(node.age() < PATIENCE, "a sync takes too long: {}", node.stderr());
        tokio::time::sleep(SAMPLE).await;
    }
    (node.exit(Duration::from_secs(1)).await.expect_code(0).json(), cpu, peak)
}
