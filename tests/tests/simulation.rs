//! Whole nodes in virtual time, by seed. The long stage runs a thousand seeds: `cargo run --release -p cpc-tests --features long --bin simulate`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cpc_framework::store::memory::MemoryStore;
use cpc_framework::sync::{BatchSync, Mode, SyncAction, SyncEvent, SyncStatus, SyncStrategy};
use cpc_framework::testkit::sim::{Attack, ByzantinePlan, Fault, Report, Separation, Simulation};
use cpc_tests::simulation::{plugs, scenario};

/// Seeds of this run: few, since this is part of the tests of every change.
const SEEDS: u64 = 6;

fn run(seed: u64) -> Report {
    Simulation::new(scenario(seed), plugs(seed)).run()
}

#[test]
fn every_seed_is_safe_and_comes_to_one_chain() {
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < SEEDS) {
                    let report = run(seed);
                    if !report.is_ok() {
                        failed.lock().unwrap().push(report.to_string());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Seeds that showed a fault once, each with what it was.
#[test]
fn seeds_that_have_found_faults_stay_well() {
    for (seed, found) in FOUND {
        let report = run(*seed);
        assert!(report.is_ok(), "{found}: {report}");
    }
}

const FOUND: &[(u64, &str)] = &[
    (9, "a first block that a full disk had not taken was never proposed again"),
    (439, "a node that was stopped after it had crashed over a signature was started twice by the simulation"),
    (202, "a block was applied after a branch was found better, and left for one of its own height"),
    (431, "a better branch whose end hostile peers spoil again and again is left alone for longer and longer"),
    (762, "transactions of a branch that was left were not told of again to peers that had had no use for them"),
];

#[test]
fn a_seed_gives_the_same_run_again_and_another_seed_another() {
    let [first, again, other] = [3, 3, 4].map(run);
    assert_eq!((first.trace, first.figures), (again.trace, again.figures));
    assert_ne!(first.trace, other.trace);
}

#[test]
fn the_seeds_see_faults_and_attacks_at_all() {
    let reports: Vec<Report> = (0..6).map(run).collect();
    let sum = |figure: fn(&Report) -> u64| reports.iter().map(figure).sum::<u64>();
    assert!(sum(|report| report.figures.reorganised) > 0, "no branch was ever left for another");
    assert!(sum(|report| report.figures.bans) > 0, "no Byzantine peer was ever banned");
    assert!(sum(|report| report.figures.txs) > 0, "no transaction was ever sent");
}

/// A plan with nothing but two groups that are kept apart, of which only one can make blocks in most turns.
fn divided(seed: u64) -> cpc_framework::testkit::sim::Scenario {
    let mut plan = scenario(seed);
    plan.byzantine.clear();
    plan.nodes.iter_mut().for_each(|node| node.dials_byzantine.clear());
    plan.healed = Duration::from_secs(300);
    let lasts = Duration::from_secs(250);
    let partition = Fault::Partition { group: vec![0], how: Separation::Cut, lasts };
    plan.faults = vec![(Duration::from_secs(50), partition)];
    plan
}

#[test]
fn a_scenario_can_be_written_by_hand() {
    let seed = (0..100).find(|seed| scenario(*seed).validators == 3).unwrap();
    let report = Simulation::new(divided(seed), plugs(seed)).run();
    assert!(report.is_ok(), "{report}");
    assert!(report.figures.reorganised > 0, "the two branches were never joined");
}

#[test]
fn bombs_and_floods_of_errors_cost_those_who_send_them_points_and_nobody_else_anything() {
    // One seed speaks JSON, the other postcard.
    for seed in [4, 5] {
        let mut plan = scenario(seed);
        plan.faults.clear();
        let attacks = vec![Attack::Bombs, Attack::Errors];
        plan.byzantine = vec![ByzantinePlan { attacks, validator: None }; 2];
        plan.nodes.iter_mut().for_each(|node| node.dials_byzantine = vec![0, 1]);
        plan.healed = Duration::from_secs(150);
        let report = Simulation::new(plan, plugs(seed)).run();
        assert!(report.is_ok(), "{report}");
        assert!(report.figures.penalties > 0, "seed {seed}: {report}");
    }
}

#[test]
fn a_chain_begins_although_its_first_proposer_crashes_with_what_it_has_signed() {
    let mut plan = scenario((0..100).find(|seed| scenario(*seed).validators == 3).unwrap());
    plan.byzantine.clear();
    plan.faults.clear();
    for (number, node) in plan.nodes.iter_mut().enumerate() {
        node.dials_byzantine.clear();
        node.starts = Duration::ZERO;
        plan.faults.push((Duration::ZERO, Fault::CrashSigning { node: number, lasts: Duration::from_secs(20) }));
    }
    plan.healed = Duration::from_secs(100);
    let seed = plan.seed;
    let report = Simulation::new(plan, plugs(seed)).with_log().run();
    assert!(report.is_ok(), "{report}");
    let at = |what: &str| report.lines.iter().position(|line| line.contains(what));
    let (crash, commit) = (at("crashes with what it has signed"), at("commits 0 "));
    assert!(crash.is_some() && crash < commit, "{}", report.lines.join("\n"));
}

/// A strategy that ends every reorganisation with the new branch, however it went: what the watch is there to find.
#[derive(Debug)]
struct Careless(BatchSync);

impl SyncStrategy for Careless {
    fn handle(&mut self, now: Duration, event: SyncEvent) {
        self.0.handle(now, event);
    }

    fn poll_action(&mut self) -> Option<SyncAction> {
        self.0.poll_action().map(|action| match action {
            SyncAction::FinishReorg { .. } => SyncAction::FinishReorg { keep: true },
            other => other,
        })
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.0.next_deadline()
    }

    fn status(&self) -> SyncStatus {
        self.0.status()
    }
}

/// A strategy that never asks anybody for anything.
#[derive(Debug)]
struct Deaf;

impl SyncStrategy for Deaf {
    fn handle(&mut self, _: Duration, _: SyncEvent) {}

    fn poll_action(&mut self) -> Option<SyncAction> {
        None
    }

    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    fn status(&self) -> SyncStatus {
        SyncStatus { mode: Mode::Synced, target: None, outstanding: 0, rolled_back: 0 }
    }
}

#[test]
fn a_strategy_that_leaves_better_branches_is_found_out() {
    let found = (0..200).find_map(|seed| {
        let careless = plugs(seed).store(MemoryStore::new).sync(|| Careless(BatchSync::default()));
        let report = Simulation::new(scenario(seed), careless).run();
        report.breaches.iter().any(|breach| breach.contains("which is not better")).then_some(report)
    });
    let report = found.expect("no seed finds it");
    assert!(report.to_string().contains("simulate -- --seed"), "{report}");
}

#[test]
fn nodes_that_do_not_sync_are_found_out() {
    let seed = (0..100).find(|seed| scenario(*seed).validators == 3).unwrap();
    let report = Simulation::new(divided(seed), plugs(seed).sync(|| Deaf)).run();
    assert!(report.breaches.iter().any(|breach| breach.contains("no one tip within")), "{report}");
}
