//! What links carry: bytes through each transport and codec beside bare sockets, what a message costs in each codec, and
//! whether news is prompt while bulk answers flow.
//!
//! `cargo bench -p cpc-tests --bench links -- [--quick] [--codecs]` prints a table, and the same figures as one line of JSON;
//! with `--codecs` only those of the messages.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program of its own")]

#[path = "links/bare.rs"]
mod bare;
#[path = "links/codecs.rs"]
mod codecs;
#[path = "links/news.rs"]
mod news;
#[path = "links/throughput.rs"]
mod throughput;

use serde_json::json;

fn main() {
    let given = |option: &str| std::env::args().any(|arg| arg == option);
    let quick = given("--quick");
    if given("--codecs") {
        println!("{}", json!({ "codecs": codecs::measure(quick) }));
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let links = runtime.block_on(throughput::measure(quick));
    let codecs = codecs::measure(quick);
    let news = runtime.block_on(news::measure(quick));
    println!("{}", json!({ "links": links, "codecs": codecs, "news": news }));
}
