//! Syncs from several slow servers at once: whether their rates add up, and what it costs when some fall silent.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cpc_framework::store::file::FileStore;
use cpc_framework::store::{ByteBudget, ChainStore};
use cpc_tests::process::Process;
use cpc_tests::throttle::Throttle;
use tempfile::TempDir;

use crate::chains::Served;
use crate::options::Options;
use crate::report::{Report, Row, Target};
use crate::run::{self, Run};
use crate::{speed, workloads};

const LINK: &str = "tcp+postcard";
/// Servers whose rates are to add up, and the part of the unthrottled rate that each has.
const SHARING: (usize, f64) = (4, 0.2);
/// Blocks whose size is looked at.
const SAMPLE: u64 = 200;
/// Servers of which some freeze.
const FREEZING: usize = 8;

/// The rows of several servers.
pub(crate) async fn measure(options: &Options, report: &mut Report) {
    if options.wants("4 throttled servers") {
        sharing(options, report).await;
    }
    if options.wants("8 throttled servers") {
        freezing(options, report).await;
    }
}

async fn sharing(options: &Options, report: &mut Report) {
    let chain = workloads::w3(options).await;
    let alone = speed::over(&chain, LINK).await;
    let (count, part) = SHARING;
    let rate = alone.blocks_per_second * part * bytes_per_block(&chain).await;
    let fleet = Fleet::start(&chain, count, rate).await;
    let run = fleet.sync(&chain, None).await;
    fleet.stop().await;
    let servers = f64::from(u32::try_from(count).unwrap());
    let sum = alone.blocks_per_second * part * servers;
    let what = "blocks/s, of the sum of the servers' rates";
    let ratio = run.blocks_per_second / sum;
    report.add(Row::new("4 throttled servers", LINK, what, ratio, Target::AtLeast(0.9)).of(&run, Some(sum)));
}

async fn freezing(options: &Options, report: &mut Report) {
    let chain = workloads::slow(options).await;
    let wanted = options.size(62.0, 8.0);
    let servers = f64::from(u32::try_from(FREEZING).unwrap());
    let blocks = f64::from(u32::try_from(chain.blocks).unwrap());
    let rate = blocks * bytes_per_block(&chain).await / wanted / servers;
    let mut base = None;
    for (frozen, most) in [(0, 1.0), (1, 1.15), (4, 2.2)] {
        let fleet = Fleet::start(&chain, FREEZING, rate).await;
        let half = Duration::from_secs_f64(wanted / 2.0);
        let run = fleet.sync(&chain, (frozen > 0).then_some((frozen, half))).await;
        fleet.stop().await;
        let none_frozen = *base.get_or_insert(run.seconds);
        if frozen > 0 {
            let name = format!("8 throttled servers, {frozen} frozen");
            let what = format!("of the {none_frozen:.1} s with none frozen");
            let ratio = run.seconds / none_frozen;
            report.add(Row::new(&name, LINK, &what, ratio, Target::AtMost(most)).of(&run, None));
        }
    }
}

/// What a block of this chain takes on a binary link, in bytes.
async fn bytes_per_block(chain: &Served) -> f64 {
    let store = FileStore::open(&chain.path).unwrap();
    let blocks = store.blocks(1..=SAMPLE, ByteBudget(usize::MAX)).await.unwrap();
    let bytes: usize = blocks.iter().map(|block| block.bytes.len()).sum();
    f64::from(u32::try_from(bytes / blocks.len()).unwrap())
}

/// Servers of one chain, each behind a slow line.
struct Fleet {
    servers: Vec<Process>,
    lines: Vec<Throttle>,
    /// Kept until the servers are gone.
    copies: Vec<TempDir>,
}

impl Fleet {
    /// Starts them, each on its own copy of the datadir.
    async fn start(chain: &Served, count: usize, bytes_per_second: f64) -> Self {
        let mut fleet = Self { servers: Vec::new(), lines: Vec::new(), copies: Vec::new() };
        for _ in 0..count {
            let copy = tempfile::Builder::new().prefix("cpc-bench-").tempdir().unwrap();
            let here = Served { path: copy.path().join("node"), ..chain.clone() };
            copy_folder(&chain.path, &here.path);
            // Each proves a key of its own.
            fs::remove_file(here.path.join("node_key.hex")).unwrap();
            let server = run::serve(&here, &[LINK]).await;
            fleet.lines.push(Throttle::before(run::address(&server, LINK), bytes_per_second).await);
            fleet.servers.push(server);
            fleet.copies.push(copy);
        }
        fleet
    }

    /// One sync from all of them; after a while so many freeze.
    async fn sync(&self, chain: &Served, freeze: Option<(usize, Duration)>) -> Run {
        let addresses: Vec<String> = self.lines.iter().map(|line| line.address().to_owned()).collect();
        let meanwhile = async {
            if let Some((count, after)) = freeze {
                tokio::time::sleep(after).await;
                self.lines[..count].iter().for_each(Throttle::freeze);
            }
        };
        run::sync_meanwhile(chain, LINK, &self.servers, &addresses, &[], meanwhile).await
    }

    async fn stop(self) {
        drop(self.lines);
        for server in self.servers {
            server.stop().await;
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
