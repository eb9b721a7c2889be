//! How fast a chain syncs, beside what the signatures alone would allow.

use cpc_framework::testkit::chains::Shape;
use cpc_framework::types::HashRules;

use crate::chains::{Served, canonical};
use crate::limit::Limit;
use crate::options::Options;
use crate::report::{Report, Row, Target};
use crate::run::{self, Run};

/// Every pair of transport and codec.
const LINKS: [&str; 4] = ["tcp+postcard", "tcp+json", "quic+postcard", "quic+json"];
/// Accounts that send to each other: more than a batch of signatures has, so that its keys are distinct.
const ACCOUNTS: usize = 10_000;
/// The reference syncs 15 blocks a second; 400 times that.
const V1_BLOCKS_PER_SECOND: f64 = 6000.0;

/// W1: empty blocks.
pub(crate) async fn empty_blocks(options: &Options) -> Served {
    Served::chain(canonical(0, 1000), options.size(600_000, 60_000)).await
}

/// W3: 100 transfers a block.
pub(crate) async fn wide_blocks(options: &Options) -> Served {
    Served::chain(canonical(100, ACCOUNTS), options.size(10_000, 1000)).await
}

/// The rows W1 to W4.
pub(crate) async fn measure(options: &Options, limit: &Limit, report: &mut Report) {
    if options.wants("W1") {
        let chain = empty_blocks(options).await;
        let run = over(&chain, "tcp+postcard").await;
        report.add(share("W1", "tcp+postcard", &run, limit, 0.60));
        report.add(server_cost("W1", &run));
    }
    let narrow = Shape { txs: 20, ..canonical(20, ACCOUNTS) };
    for (name, least) in [("W2", [0.80, 0.70]), ("W3", [0.85, 0.75])] {
        for link in LINKS.into_iter().filter(|link| options.wants(&format!("{name} {link}"))) {
            let chain = match name {
                "W2" => Served::chain(narrow, options.size(45_000, 4500)).await,
                _ => wide_blocks(options).await,
            };
            let run = over(&chain, link).await;
            report.add(share(name, link, &run, limit, least[usize::from(link.ends_with("json"))]));
            if link == "tcp+postcard" {
                report.add(server_cost(name, &run));
            }
        }
    }
    if options.wants("W4") {
        let shape = Shape { rules: HashRules::ComputechainV1, txs: 3, accounts: 20, new_accounts: 0.0 };
        let chain = Served::chain(shape, options.size(100_000, 10_000)).await;
        let run = over(&chain, "tcp+json").await;
        let (ratio, what) = (run.blocks_per_second / V1_BLOCKS_PER_SECOND, "of 6,000 blocks/s");
        let row = Row::new("W4", "tcp+json", what, ratio, Target::AtLeast(1.0));
        report.add(row.of(&run, Some(V1_BLOCKS_PER_SECOND)));
    }
}

/// One sync from one server.
pub(crate) async fn over(chain: &Served, link: &str) -> Run {
    let server = run::serve(chain, &[link]).await;
    let address = run::address(&server, link);
    let servers = [server];
    let run = run::sync(chain, link, &servers, &[address]).await;
    for server in servers {
        server.stop().await;
    }
    run
}

fn share(name: &str, link: &str, run: &Run, limit: &Limit, least: f64) -> Row {
    let left = limit.sigs_per_second * (1.0 - run.servers_share(limit));
    let what = "of the signatures that the machine verifies beside the server";
    Row::new(name, link, what, run.share_of(limit), Target::AtLeast(least)).of(run, Some(left))
}

fn server_cost(name: &str, run: &Run) -> Row {
    let what = "blocks served per CPU second, by blocks verified per CPU second";
    let ratio = run.client_cpu / run.server_cpu.max(0.01);
    Row::new(&format!("{name} server's cost"), "tcp+postcard", what, ratio, Target::AtLeast(10.0)).of(run, None)
}
