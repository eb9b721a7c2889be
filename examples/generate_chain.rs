//! Makes a chain of any shape, as JSON lines that `cpc-node import` reads, and the genesis file of its network beside it.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example generate_chain -- --blocks 1000 --txs 20 --out /tmp/chain/blocks.jsonl.gz
//! cpc-node --datadir /tmp/node init --genesis /tmp/chain/genesis.json
//! cpc-node --datadir /tmp/node import /tmp/chain/blocks.jsonl.gz
//! ```
//!
//! ```text
//! 1000 blocks of 20 transfers in 3.4 s: /tmp/chain/blocks.jsonl.gz, tip 999 (4f0c...)
//! its genesis: /tmp/chain/genesis.json
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use cpc_framework::env::ComputePool;
use cpc_framework::testkit::chains::{Shape, ShapedChain};
use cpc_framework::types::HashRules;
use flate2::Compression;
use flate2::write::GzEncoder;

const USAGE: &str = "\
usage: generate_chain --out FILE [--rules canonical|v1] [--blocks N] [--txs T] [--accounts A] [--new-accounts SHARE]

  --out FILE            where the blocks go, a line of JSON each; compressed where it ends in .gz. genesis.json goes beside it
  --rules RULES         canonical (the default: Ed25519) or v1 (those of the reference, on a devnet: secp256k1)
  --blocks N            how many blocks (1000)
  --txs T               transfers in each block (20)
  --accounts A          accounts with a balance at the beginning, of which the first 10,000 send (10000)
  --new-accounts SHARE  the share of transfers, 0 to 1, that go to an address which was not there before (0)";

fn main() -> Result<(), Box<dyn Error>> {
    let Wanted { out, blocks, shape } = read(std::env::args().skip(1)).map_err(|why| format!("{why}\n{USAGE}"))?;
    let folder = out.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let begun = Instant::now();
    let mut chain = ShapedChain::new(shape, ComputePool::all_cores()?)?;
    let genesis = folder.join("genesis.json");
    fs::write(&genesis, chain.genesis().to_json())?;

    let file = BufWriter::new(File::create(&out)?);
    let tip = if out.extension().is_some_and(|extension| extension == "gz") {
        let mut file = GzEncoder::new(file, Compression::fast());
        let tip = write(&mut chain, blocks, &mut file)?;
        file.finish()?.flush()?;
        tip
    } else {
        let mut file = file;
        let tip = write(&mut chain, blocks, &mut file)?;
        file.flush()?;
        tip
    };
    let (seconds, txs) = (begun.elapsed().as_secs_f64(), shape.txs);
    println!("{blocks} blocks of {txs} transfers in {seconds:.1} s: {}, tip {tip}", out.display());
    println!("its genesis: {}", genesis.display());
    Ok(())
}

/// Gives the last block's height and hash.
fn write(chain: &mut ShapedChain, blocks: u64, to: &mut impl Write) -> Result<String, Box<dyn Error>> {
    let mut tip = "none".to_owned();
    for _ in 0..blocks {
        let made = chain.next_block()?.block;
        serde_json::to_writer(&mut *to, &*made.block)?;
        to.write_all(b"\n")?;
        tip = format!("{} ({})", made.link.height, made.link.hash);
    }
    Ok(tip)
}

struct Wanted {
    out: PathBuf,
    blocks: u64,
    shape: Shape,
}

fn read(mut args: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut out = None;
    let mut blocks = 1000;
    let mut shape = Shape { rules: HashRules::Canonical, txs: 20, accounts: 10_000, new_accounts: 0.0 };
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--out" => out = Some(PathBuf::from(value)),
            "--rules" => {
                shape.rules = match value.as_str() {
                    "canonical" => HashRules::Canonical,
                    "v1" | "computechain-v1" => HashRules::ComputechainV1,
                    _ => return Err(format!("--rules is {value}, expected canonical or v1")),
                }
            }
            "--blocks" => blocks = number(&name, &value)?,
            "--txs" => shape.txs = number(&name, &value)?,
            "--accounts" => shape.accounts = number(&name, &value)?,
            "--new-accounts" => shape.new_accounts = number(&name, &value)?,
            _ => return Err(format!("{name} is no option")),
        }
    }
    if !(0.0..=1.0).contains(&shape.new_accounts) {
        return Err(format!("--new-accounts is {}, expected a share from 0 to 1", shape.new_accounts));
    }
    Ok(Wanted { out: out.ok_or("--out is missing")?, blocks, shape })
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} is {value}, expected a number"))
}
