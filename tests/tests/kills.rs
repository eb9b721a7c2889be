//! A few of the runs that the program `kills` makes by the hundreds.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a broken assumption of a test is a failed test")]

use cpc_framework::testkit::messages::Messages;
use cpc_tests::kills::{Kills, Scenario};

/// How many runs: a few of each kind.
const RUNS: u64 = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_at_any_instant_keeps_what_it_acknowledged_and_goes_on() {
    let seed = Messages::from_printed_seed().bits();
    let kills = Kills { binary: cpc_tests::node_binary!().to_owned(), seed, from: 0, runs: RUNS, jobs: 4 };
    let report = kills.run().await;
    println!("{report}");
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
    assert!(Scenario::ALL.iter().all(|scenario| report.runs_of(*scenario) >= 2));
}
