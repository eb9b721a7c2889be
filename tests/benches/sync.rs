//! How fast nodes sync, beside what this machine's signatures would allow, with servers and clients as processes and the
//! file store: `cargo bench -p cpc-tests --bench sync -- [--quick] [--only W1,W2]`.
//!
//! `README.md` beside this file says what each row is.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is a program of its own"
)]

use std::path::Path;
use std::time::Duration;

#[path = "sync/chains.rs"]
mod chains;
#[path = "sync/fleet.rs"]
mod fleet;
#[path = "sync/limit.rs"]
mod limit;
#[path = "sync/memory.rs"]
mod memory;
#[path = "sync/options.rs"]
mod options;
#[path = "sync/report.rs"]
mod report;
#[path = "sync/run.rs"]
mod run;
#[path = "sync/speed.rs"]
mod speed;
#[path = "sync/store.rs"]
mod store;
#[path = "sync/workloads.rs"]
mod workloads;

use self::options::Options;
use self::report::{Report, Row, Target};

/// The node's program.
const NODE: &str = cpc_tests::node_binary!();

fn main() {
    let options = Options::read(std::env::args().skip(1));
    tokio::runtime::Runtime::new().unwrap().block_on(all(&options));
}

async fn all(options: &Options) {
    workloads::make(options).await;
    if options.make {
        return;
    }
    let limit = limit::measure(Duration::from_secs(options.size(2, 1)));
    let mut report = Report::default();
    let what = format!("L, {} cores, batches of {}, by one-by-one of ed25519-dalek", limit.cores, limit.batch);
    let ratio = limit.sigs_per_second / limit.one_by_one;
    let mut row = Row::new("limit", "", &what, ratio, Target::AtLeast(1.6));
    (row.sigs_per_second, row.limit) = (Some(limit.sigs_per_second), Some(limit.one_by_one));
    report.add(row);

    speed::measure(options, &limit, &mut report).await;
    speed::below_a_checkpoint(options, &mut report).await;
    fleet::measure(options, &mut report).await;
    memory::measure(options, &mut report).await;
    store::measure(options, &mut report).await;

    report.write(Path::new(env!("CARGO_TARGET_TMPDIR")), &limit, options.quick);
}
