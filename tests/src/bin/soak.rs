//! `soak`: a network under load and perturbations. `cargo run -p cpc-tests --features long --bin soak -- --seconds 60 --seed 7`
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a program for developers")]

use std::alloc::System;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use cap::Cap;
use cpc_tests::soak::{Soak, heap};

/// Counts what is allocated; it refuses nothing.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

const USAGE: &str = "usage: soak [--seconds 60] [--seed NUMBER] [--load 50] [--leak BYTES] [--keep DIR]";

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    // The nodes are this very program, so that it needs no other one beside it.
    if args.get(1).is_some_and(|first| first == "node") {
        args.remove(1);
        // Before there is another thread.
        cpc_node::settle_allocator();
        heap::tell(|| HEAP.allocated());
        return cpc_node::run_cli(args);
    }
    match Options::read(args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned())) {
        Ok(options) => run(options),
        Err(why) => {
            eprintln!("soak: {why}; {USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Options {
    seconds: u64,
    seed: u64,
    load: u32,
    leak: u64,
    keep: Option<String>,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let seed = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), ());
        let mut options = Self { seconds: 60, seed, load: 50, leak: 0, keep: None };
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let wrong = |_| format!("{name} {value} is no number");
            match name.as_str() {
                "--seconds" => options.seconds = value.parse().map_err(wrong)?,
                "--seed" => options.seed = value.parse().map_err(wrong)?,
                "--load" => options.load = value.parse().map_err(wrong)?,
                "--leak" => options.leak = value.parse().map_err(wrong)?,
                "--keep" => options.keep = Some(value),
                _ => return Err(format!("{name} is no option")),
            }
        }
        Ok(options)
    }
}

fn run(options: Options) -> ExitCode {
    let Options { seconds, seed, load, leak, keep } = options;
    println!("soak of {seconds} s, seed {seed}: the same again with --seconds {seconds} --seed {seed}");
    let temporary = tempfile::Builder::new().prefix("cpc-soak-").tempdir().unwrap();
    let root = keep.map_or_else(|| temporary.path().to_owned(), Into::into);
    let soak = Soak { seed, time: Duration::from_secs(seconds), load, leak, root: root.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(soak.run());
    print!("{}", outcome.report);
    if outcome.faults.is_empty() {
        println!("result      {}", outcome.result());
        return ExitCode::SUCCESS;
    }
    for fault in &outcome.faults {
        println!("FAULT       {fault}");
    }
    println!("result      {}; the logs are in {}", outcome.result(), root.display());
    // For whoever looks into it.
    let _ = temporary.keep();
    ExitCode::FAILURE
}
