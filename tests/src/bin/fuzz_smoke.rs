//! Runs the fuzz targets over their corpus and over changed inputs: `fuzz_smoke --seconds 60`, or one input again:
//! `fuzz_smoke --target json --input FILE`. `fuzz_smoke --write-seeds` makes the first inputs of the corpus again.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cpc_tests::fuzz::{Smoke, TARGETS, Target, directory, run_one, seeds};

const HELP: &str = "\
fuzz_smoke --seconds COUNT [--seed SEED] [--target NAME]   so long in all, the same again with the same seed
fuzz_smoke --target NAME --input FILE                      one input again
fuzz_smoke --write-seeds                                   the first inputs of the corpus, into the repository";

/// Where inputs that fail are written: beside what is built.
const FAILURES: &str = "target/fuzz_smoke";

/// What the command line asks for.
#[derive(Debug)]
enum Asked {
    Smoke(Smoke),
    Replay(Target, PathBuf),
    WriteSeeds,
}

fn main() -> ExitCode {
    match read(std::env::args().skip(1)) {
        Ok(Asked::Smoke(smoke)) => run(&smoke),
        Ok(Asked::Replay(target, path)) => replay(target, &path),
        Ok(Asked::WriteSeeds) => write_seeds(),
        Err(why) => {
            eprintln!("{why}\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn read(mut args: impl Iterator<Item = String>) -> Result<Asked, String> {
    let (mut seconds, mut seed, mut target, mut input) = (None, None, None, None);
    while let Some(name) = args.next() {
        if name == "--write-seeds" {
            return Ok(Asked::WriteSeeds);
        }
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} {value} is no number"));
        match name.as_str() {
            "--seconds" => seconds = Some(number()?),
            "--seed" => seed = Some(number()?),
            "--target" => target = Some(named(&value)?),
            "--input" => input = Some(PathBuf::from(value)),
            _ => return Err(format!("there is no {name}")),
        }
    }
    match (seconds, target, input) {
        (None, Some(target), Some(input)) => Ok(Asked::Replay(target, input)),
        (Some(seconds), target, None) => {
            let targets = if target.is_some() { 1 } else { TARGETS.len() };
            Ok(Asked::Smoke(Smoke {
                seed: seed.unwrap_or_else(random),
                time: Duration::from_secs(seconds) / u32::try_from(targets).unwrap_or(u32::MAX),
                failures: FAILURES.into(),
                only: target.map(|target| target.name.to_owned()),
            }))
        }
        _ => Err("either --seconds, or --target and --input".to_owned()),
    }
}

fn named(name: &str) -> Result<Target, String> {
    TARGETS
        .into_iter()
        .find(|target| target.name == name)
        .ok_or_else(|| format!("there is no target {name}: there are {}", TARGETS.map(|target| target.name).join(", ")))
}

fn random() -> u64 {
    std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), ())
}

fn run(smoke: &Smoke) -> ExitCode {
    println!("{} s for each target: the same again with --seed {}", smoke.time.as_secs_f32(), smoke.seed);
    let report = smoke.run();
    for fault in &report.faults {
        println!("FAULT {fault}");
    }
    println!("{report}");
    if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write_seeds() -> ExitCode {
    for target in TARGETS {
        let directory = directory(target.name);
        std::fs::create_dir_all(&directory).expect("the corpus is in the repository");
        for (name, bytes) in seeds(target.name) {
            std::fs::write(directory.join(name), bytes).expect("the corpus can be written");
        }
    }
    ExitCode::SUCCESS
}

fn replay(target: Target, path: &PathBuf) -> ExitCode {
    let input = match std::fs::read(path) {
        Ok(input) => input,
        Err(error) => {
            eprintln!("cannot read {}: {error}", path.display());
            return ExitCode::from(2);
        }
    };
    match run_one(target, &input) {
        Ok(()) => {
            println!("{}: nothing is wrong with {}", target.name, path.display());
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("FAULT {}: {why}", target.name);
            ExitCode::FAILURE
        }
    }
}
