//! Runs in which a whole node is killed at a random instant: of a sync, of a reorganisation, of the making of a block.
//!
//! After the kill the datadir must hold every block that the node was heard to have, `check` must find nothing wrong, and the node
//! must go on to where it was going. What is random follows from a seed: who serves, in which steps, and the instant, which
//! is said by what the node has done (asked for, said) and a delay after that. The machine's own timing is not in the seed.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpc_framework::testkit::messages::Messages;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::stage::Stage;

mod life;
mod runs;
mod stage;

/// Something that a node is killed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Catching up with a node or a script.
    Sync,
    /// Taking a peer's better branch, 20 blocks below.
    Reorganisation,
    /// Making blocks, one a second, with its signing journal.
    Production,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sync, Self::Reorganisation, Self::Production];

    /// That of the run with this number: three of five sync.
    fn of(run: u64) -> Self {
        match run % 5 {
            3 => Self::Reorganisation,
            4 => Self::Production,
            _ => Self::Sync,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Reorganisation => "reorganisation",
            Self::Production => "production",
        }
    }
}

/// How far a node was when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    /// It had not shown a sign of what it was about to do.
    Before,
    Amid,
    /// It had said that it is done.
    After,
}

/// What one run saw.
#[derive(Debug)]
struct Outcome {
    killed: Killed,
    /// Blocks that the node was heard to have before the kill, and that were looked for after it.
    acknowledged: u64,
}

/// Which runs to make.
#[derive(Debug, Clone)]
pub struct Kills {
    /// The node's binary.
    pub binary: String,
    /// What all randomness follows from.
    pub seed: u64,
    /// The first run's number.
    pub from: u64,
    /// How many.
    pub runs: u64,
    /// How many at a time.
    pub jobs: usize,
}

/// What runs came to.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(Scenario, Row)>,
    took: Duration,
    /// What went wrong, with the run.
    pub faults: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Row {
    runs: u64,
    before: u64,
    amid: u64,
    after: u64,
    acknowledged: u64,
    faults: u64,
}

impl Kills {
    /// Makes the runs.
    pub async fn run(&self) -> Report {
        let begun = Instant::now();
        let stage = Arc::new(Stage::set(&self.binary).await);
        let places = Arc::new(Semaphore::new(self.jobs.max(1)));
        let mut running = JoinSet::new();
        for run in self.from..self.from.saturating_add(self.runs) {
            let (stage, places) = (Arc::clone(&stage), Arc::clone(&places));
            // Each run's randomness is its own, so that it can be repeated alone.
            let random = Messages::new(Messages::new(self.seed.wrapping_add(run)).bits());
            running.spawn(async move {
                let _place = places.acquire_owned().await.unwrap();
                // In a task of its own: a broken expectation is a panic, and ends that run only.
                (run, tokio::spawn(runs::run(stage, Scenario::of(run), random)).await)
            });
        }
        let mut report = Report { rows: Scenario::ALL.map(|s| (s, Row::default())).into(), ..Report::default() };
        while let Some(ended) = running.join_next().await {
            let (run, outcome) = ended.unwrap();
            let outcome = outcome.map_err(|error| match error.try_into_panic() {
                Ok(panic) => said_by(panic.as_ref()),
                Err(error) => error.to_string(),
            });
            report.add(Scenario::of(run), outcome, || {
                format!("run {run}; again with --seed {} --from {run} --runs 1", self.seed)
            });
        }
        report.took = begun.elapsed();
        report
    }
}

impl Report {
    fn add(&mut self, scenario: Scenario, outcome: Result<Outcome, String>, run: impl FnOnce() -> String) {
        let Some((_, row)) = self.rows.iter_mut().find(|(of, _)| *of == scenario) else { return };
        row.runs += 1;
        match outcome {
            Ok(Outcome { killed, acknowledged }) => {
                row.acknowledged += acknowledged;
                *match killed {
                    Killed::Before => &mut row.before,
                    Killed::Amid => &mut row.amid,
                    Killed::After => &mut row.after,
                } += 1;
            }
            Err(why) => {
                row.faults += 1;
                self.faults.push(format!("{}: {}: {why}", scenario.name(), run()));
            }
        }
    }

    /// How many runs there were of a scenario.
    pub fn runs_of(&self, scenario: Scenario) -> u64 {
        self.rows.iter().find(|(of, _)| *of == scenario).map_or(0, |(_, row)| row.runs)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<15} {:>6} {:>8} {:>8} {:>8} {:>13} {:>7}",
            "killed in", "runs", "before", "amid", "after", "blocks heard", "faults"
        )?;
        for (scenario, row) in &self.rows {
            let Row { runs, before, amid, after, acknowledged, faults } = row;
            let name = scenario.name();
            writeln!(f, "{name:<15} {runs:>6} {before:>8} {amid:>8} {after:>8} {acknowledged:>13} {faults:>7}")?;
        }
        let runs: u64 = self.rows.iter().map(|(_, row)| row.runs).sum();
        writeln!(f, "{runs} runs in {:.0} s, {} faults", self.took.as_secs_f64(), self.faults.len())
    }
}

fn said_by(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given").to_owned()
}
