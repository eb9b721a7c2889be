//! How fast a chain syncs, beside what the signatures alone would allow.

use std::time::Duration;

use cpc_tests::deadline::until;
use cpc_tests::http::get;
use cpc_tests::process::{Call, Process};

use crate::NODE;
use crate::chains::Served;
use crate::limit::Limit;
use crate::options::Options;
use crate::report::{Report, Row, Target};
use crate::run::{self, Run};
use crate::{store, workloads};

/// Every pair of transport and codec.
const LINKS: [&str; 4] = ["tcp+postcard", "tcp+json", "quic+postcard", "quic+json"];
/// The reference syncs 15 blocks a second; 400 times that.
const V1_BLOCKS_PER_SECOND: f64 = 6000.0;

/// What the index of transactions may cost, as processor time with it by that without.
const WITH_INDEX: f64 = 1.1;

/// The rows W1 to W4.
pub(crate) async fn measure(options: &Options, limit: &Limit, report: &mut Report) {
    if options.wants("W1") {
        let run = over(&workloads::w1(options).await, LINKS[0]).await;
        report.add(share("W1", LINKS[0], &run, limit, 0.60));
        report.add(server_cost("W1", &run));
    }
    for (name, least) in [("W2", [0.80, 0.70]), ("W3", [0.85, 0.75])] {
        for link in LINKS.into_iter().filter(|link| options.wants(&format!("{name} {link}"))) {
            let chain = if name == "W2" { workloads::w2(options).await } else { workloads::w3(options).await };
            let run = over(&chain, link).await;
            report.add(share(name, link, &run, limit, least[usize::from(link.ends_with("json"))]));
            if link == LINKS[0] {
                report.add(server_cost(name, &run));
            }
        }
    }
    if options.wants("W3 of 10,000") {
        let run = over(&workloads::w3_of_more(options).await, LINKS[0]).await;
        report.add(share("W3 of 10,000", LINKS[0], &run, limit, 0.85));
    }
    if options.wants("W4") {
        let chain = workloads::w4(options).await;
        let run = over(&chain, "tcp+json").await;
        let (ratio, what) = (run.blocks_per_second / V1_BLOCKS_PER_SECOND, "of 6,000 blocks/s");
        let row = Row::new("W4", "tcp+json", what, ratio, Target::AtLeast(1.0));
        report.add(row.of(&run, Some(V1_BLOCKS_PER_SECOND)));
        let what = "processor time of `run`, which keeps the index of transactions, by that of `sync`";
        let by_run = cpu_of_run(&chain, "tcp+json").await / run.client_cpu;
        report.add(Row::new("W4 by run", "tcp+json", what, by_run, Target::AtMost(WITH_INDEX)));
    }
}

/// Syncs by `run`, until the chain is there and every transaction of it is found. Gives the processor time.
async fn cpu_of_run(chain: &Served, link: &str) -> f64 {
    let server = run::serve(chain, &[link]).await;
    let (here, address) = (chain.empty().await, run::address(&server, link));
    let node = Process::run_with_peers(NODE, here.path(), &[address]).await;
    until(Duration::from_secs(600), "the whole chain", async || {
        (get(node.rpc_port(), "/status").await.json()["height"] == chain.blocks - 1).then_some(())
    })
    .await;
    until(Duration::from_secs(60), "the index to be at the tip", async || {
        (get(node.rpc_port(), &format!("/tx/{}", "0".repeat(64))).await.status == 404).then_some(())
    })
    .await;
    let cpu = node.cpu_seconds().unwrap();
    node.stop().await;
    server.stop().await;
    cpu
}

/// W1 below a checkpoint, where no signature is checked: beside what the store alone takes.
pub(crate) async fn below_a_checkpoint(options: &Options, report: &mut Report) {
    const OF_THE_STORE: f64 = 0.5;
    if !options.wants("W5") {
        return;
    }
    let help = Call::new(NODE).args(["sync", "--help"]).output().await;
    if !help.stdout.contains("--checkpoint") {
        eprintln!("W5 is left out: this node knows no --checkpoint");
        return;
    }
    let chain = workloads::w1(options).await;
    let store = store::commits_per_second(&chain).await;
    let checkpoint = chain.tip().await;
    let server = run::serve(&chain, &LINKS[..1]).await;
    let addresses = [run::address(&server, LINKS[0])];
    let servers = [server];
    let more = ["--checkpoint", &checkpoint];
    let run = run::sync_meanwhile(&chain, LINKS[0], &servers, &addresses, &more, async {}).await;
    for server in servers {
        server.stop().await;
    }
    let ratio = run.blocks_per_second / store;
    let what = "blocks/s, of what the store alone takes in group commits";
    report.add(Row::new("W5", LINKS[0], what, ratio, Target::AtLeast(OF_THE_STORE)).of(&run, Some(store)));
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
    Row::new(&format!("{name} server's cost"), LINKS[0], what, ratio, Target::AtLeast(10.0)).of(run, None)
}
