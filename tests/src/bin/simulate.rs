//! Runs simulations of whole nodes by seed: `simulate --seeds 1000`, or one again with its log: `simulate --seed 17`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cpc_framework::testkit::sim::{BLOCK_TIME, CONVERGENCE, Figures, Report, Simulation};
use cpc_tests::simulation::{plugs, scenario};

const HELP: &str = "\
simulate --seeds COUNT [--from SEED] [--jobs COUNT]   runs so many seeds; prints those that fail
simulate --seed SEED                                  runs one seed with the log of all its nodes
simulate --minutes COUNT [--from SEED] [--jobs COUNT] runs seeds for so long";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Args {
    seed: Option<u64>,
    seeds: Option<u64>,
    minutes: Option<u64>,
    from: u64,
    jobs: Option<usize>,
}

impl Args {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self::default();
        while let Some(name) = args.next() {
            let value = args.next().and_then(|value| value.parse::<u64>().ok());
            let value = value.ok_or_else(|| format!("{name} needs a number\n{HELP}"))?;
            match name.as_str() {
                "--seed" => read.seed = Some(value),
                "--seeds" => read.seeds = Some(value),
                "--minutes" => read.minutes = Some(value),
                "--from" => read.from = value,
                "--jobs" => read.jobs = usize::try_from(value).ok(),
                _ => return Err(format!("there is no {name}\n{HELP}")),
            }
        }
        if read.seed.is_none() && read.seeds.is_none() && read.minutes.is_none() {
            return Err(HELP.into());
        }
        Ok(read)
    }
}

fn main() -> ExitCode {
    let args = match Args::read(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let failed = match args.seed {
        Some(seed) => {
            println!("{:#?}", scenario(seed));
            let report = Simulation::new(scenario(seed), plugs(seed)).with_log().run();
            println!("{}\n{report}\ntrace {}", report.lines.join("\n"), report.trace);
            !report.is_ok()
        }
        None => run_many(&args) > 0,
    };
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says how many failed.
fn run_many(args: &Args) -> u64 {
    let begun = Instant::now();
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let next = AtomicU64::new(args.from);
    let over = |seed: u64| match (args.seeds, args.minutes) {
        (Some(seeds), _) => seed - args.from >= seeds,
        (None, Some(minutes)) => begun.elapsed().as_secs() >= 60 * minutes,
        (None, None) => true,
    };
    let work = || {
        let mut sum = Sum::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if over(seed) {
                return sum;
            }
            let report = Simulation::new(scenario(seed), plugs(seed)).run();
            if !report.is_ok() {
                println!("{report}");
            }
            sum.add(&report);
        }
    };
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut all = Sum::default();
    let lost = jobs - sums.len();
    for sum in sums {
        all.join(&sum);
    }
    all.failed += lost as u64;
    println!("{all}, in {} s of real time", begun.elapsed().as_secs());
    all.failed
}

/// What many simulations did together.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    failed: u64,
    slowest: Option<(u64, u64)>,
    figures: Figures,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        let converged = report.converged.map(|time| (time.as_secs(), report.seed));
        let one = Self { seeds: 1, failed: u64::from(!report.is_ok()), slowest: converged, figures: report.figures };
        self.join(&one);
    }

    fn join(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
        let (all, more) = (&mut self.figures, &other.figures);
        all.signed += more.signed;
        all.committed += more.committed;
        all.reorganised += more.reorganised;
        all.put_back += more.put_back;
        all.penalties += more.penalties;
        all.bans += more.bans;
        all.txs += more.txs;
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { signed, committed, reorganised, put_back, penalties, bans, txs } = self.figures;
        write!(
            f,
            "{} seeds, {} failed; {signed} blocks signed, {committed} committed, {txs} transactions, {reorganised} branches left, \
             {put_back} put back, {penalties} penalties, {bans} bans",
            self.seeds, self.failed
        )?;
        let bound = u64::from(CONVERGENCE) * BLOCK_TIME;
        self.slowest
            .map_or(Ok(()), |(time, seed)| write!(f, "; the slowest to agree took {time} s of {bound} s (seed {seed})"))
    }
}
