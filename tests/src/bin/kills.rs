//! `kills`: a node that is killed at random instants, again and again. `cargo run -p cpc-tests --features long --bin kills -- --runs 500 --seed 7`
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a program for developers")]

use std::process::ExitCode;

use cpc_tests::kills::Kills;

const USAGE: &str = "usage: kills [--runs 500] [--seed NUMBER] [--from RUN] [--jobs 4]";

fn main() -> ExitCode {
    // The nodes are this very program, so that it needs no other one beside it.
    if std::env::args_os().nth(1).is_some_and(|first| first == "--datadir") {
        return cpc_node::run_cli(std::env::args_os());
    }
    match read(std::env::args().skip(1)) {
        Ok(kills) => run(&kills),
        Err(why) => {
            eprintln!("kills: {why}; {USAGE}");
            ExitCode::from(2)
        }
    }
}

fn read(mut args: impl Iterator<Item = String>) -> Result<Kills, String> {
    let seed = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), ());
    let binary = std::env::current_exe().map_err(|error| error.to_string())?;
    let binary = binary.to_str().ok_or("the path of this program is no text")?.to_owned();
    let mut kills = Kills { binary, seed, from: 0, runs: 500, jobs: 4 };
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let wrong = |_| format!("{name} {value} is no number");
        match name.as_str() {
            "--runs" => kills.runs = value.parse().map_err(wrong)?,
            "--seed" => kills.seed = value.parse().map_err(wrong)?,
            "--from" => kills.from = value.parse().map_err(wrong)?,
            "--jobs" => kills.jobs = value.parse().map_err(wrong)?,
            _ => return Err(format!("{name} is no option")),
        }
    }
    Ok(kills)
}

fn run(kills: &Kills) -> ExitCode {
    println!(
        "{} runs from {} on: the same again with --seed {} --from {}",
        kills.runs, kills.from, kills.seed, kills.from
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(kills.run());
    print!("{report}");
    for fault in &report.faults {
        println!("FAULT {fault}");
    }
    if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
