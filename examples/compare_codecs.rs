//! JSON and postcard side by side: bytes, and time to encode and decode, for each message type and for a whole sync.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example compare_codecs -- [--out FILE]
//! ```
//!
//! Answers (`blocks_response`) are encoded from stored blocks, which postcard copies and JSON spells out; a new block and a transaction from
//! values in memory. Decoding ends with blocks in memory. Times differ from run to run, bytes do not. On two busy cores:
//!
//! ```text
//! one message                     json    postcard   share      encode      decode
//! handshake                        336         116    0.35       1.4 x       4.0 x
//! get_blocks                        70          14    0.20       2.3 x       4.5 x
//! new_tx                           499         180    0.36       3.5 x       3.9 x
//! new_block, 3 txs                2103         734    0.35       4.1 x       4.0 x
//! blocks_response, 500         1036571      365626    0.35      25.9 x       4.9 x
//!
//! a whole sync                    json    postcard   share      encode      decode
//! mainline, 1210 blocks        2510783      885977    0.35      28.1 x       5.1 x
//! 40 blocks of 0 txs             27311        8828    0.32      21.0 x       3.9 x
//! 40 blocks of 20 txs           385671      137708    0.36      43.7 x       4.5 x
//! 40 blocks of 100 txs         1818511      652948    0.36      52.9 x       4.5 x
//!
//! in bytes; "4.0 x": postcard is four times as fast as json
//! chart: /tmp/compare_codecs.svg
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;
use std::path::PathBuf;

use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_examples::compare::{Codecs, Comparison};

/// Each time is the shortest of so many. Without optimisation the times say nothing, and few do.
const ROUNDS: usize = if cfg!(debug_assertions) { 2 } else { 25 };

fn main() -> Result<(), Box<dyn Error>> {
    let out = out_file()?;
    let codecs = Codecs { base: &JsonCodec, other: &PostcardCodec };
    let comparison = Comparison::run(codecs, ROUNDS)?;
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
