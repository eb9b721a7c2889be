//! How long a block of 100 transactions takes from one node to the next, over a line of ten.
//!
//! `cargo bench -p cpc-tests --bench propagation -- [--quick]` prints a table, and the same figures as one line of JSON.
//!
//! Ten nodes, each with a store on disk, cores' worth of threads and a real socket on the loopback interface, share one
//! process and its processors; node i knows only node i - 1. A validator without a node sends its blocks to the first one,
//! the next when all ten hold the last. A hop is the time between a block's being durable at one node and at the next one.
//! Once the pools of all nodes know the transactions, so that their signatures were verified when they came; once they do not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program of its own")]

#[path = "propagation/line.rs"]
mod line;

use std::time::Duration;

use serde_json::json;

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let blocks = if quick { 30 } else { 250 };
    let mut figures = serde_json::Map::new();
    println!("{:<14} {:<8} {:>9} {:>9} {:>9} {:>16}", "link", "pools", "p50", "p99", "worst", "all nine, p50");
    for link in line::LinkPair::ALL {
        for known in [true, false] {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let times = runtime.block_on(line::measure(link, known, blocks));
            let (mut hops, mut lines) = (times.hops, times.lines);
            hops.sort();
            lines.sort();
            let ms = |sorted: &[Duration], percent: usize| {
                sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e3
            };
            let pools = if known { "know" } else { "do not" };
            let (p50, p99, worst, line) = (ms(&hops, 50), ms(&hops, 99), ms(&hops, 100), ms(&lines, 50));
            println!("{:<14} {pools:<8} {p50:>6.2} ms {p99:>6.2} ms {worst:>6.2} ms {line:>13.2} ms", link.name());
            figures.insert(
                format!("{}, pools {pools}", link.name()),
                json!({ "hops": hops.len(), "p50_ms": p50, "p99_ms": p99, "worst_ms": worst, "line_p50_ms": line }),
            );
        }
    }
    println!("{}", json!(figures));
}
