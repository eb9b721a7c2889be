//! JSON and postcard side by side: bytes, and time to encode and decode, for each message type and for a whole sync.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example compare_codecs -- [--out FILE]
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;
use std::path::PathBuf;

use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_examples::compare::{Codecs, Comparison};

/// Each time is the shortest of so many. Without optimisation the times say nothing, and few do.
const ROUNDS: usize = if cfg!(debug_assertions) { 2 } else { 25 };

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let out = out_file()?;
    let codecs = Codecs { base: &JsonCodec, other: &PostcardCodec };
    let comparison = Comparison::run(codecs, ROUNDS).await?;
    println!("{comparison}");
    std::fs::write(&out, comparison.chart().to_svg())?;
    println!("chart: {}", out.display());
    Ok(())
}

fn out_file() -> Result<PathBuf, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [] => Ok(std::env::temp_dir().join("compare_codecs.svg")),
        [option, file] if option == "--out" => Ok(file.into()),
        _ => Err("usage: compare_codecs [--out FILE]".into()),
    }
}
