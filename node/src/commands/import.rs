use std::path::{Path, PathBuf};
use std::sync::Arc;

use cpc_framework::chain::{Chain, Stop as ChainStop};
use cpc_framework::rules::{Rejection, Rule};
use cpc_framework::types::Height;
use tokio::sync::mpsc;

use crate::args::ImportArgs;
use crate::console::Progress;
use crate::datadir::Datadir;
use crate::lines::{BlockLine, BlockLines, LineError};
use crate::signals::Stop;
use crate::{CliError, console, engine_glue, one_line};

/// A batch is verified at once and committed at once: large enough to keep all cores busy, small enough to say often how far it is.
const BATCH_BLOCKS: usize = 500;

/// The most JSON in a batch; one block may exceed it. With a batch being read and one waiting, three are in memory.
const BATCH_BYTES: usize = 4 << 20;

/// `cpc-node import`
pub(super) async fn import(datadir: &Datadir, args: ImportArgs) -> Result<(), CliError> {
    let stop = Stop::listen()?;
    let genesis = engine_glue::with_checkpoints(datadir.genesis(args.network.network)?, &args.checkpoint)?;
    let genesis = Arc::new(genesis);
    let lines = open(args.file.clone(), stop.clone()).await?;
    let store = engine_glue::open_file_store(datadir, &genesis)?;
    let chain = engine_glue::open_chain(datadir, genesis, store).await?;
    let mut import = Import { chain, imported: 0, skipped: 0 };
    let outcome = import.all(lines, stop).await;
    let at = import.chain.tip().map_or_else(
        || "the chain is empty".to_owned(),
        |tip| format!("the chain is at {} ({})", tip.height, tip.hash),
    );
    let Import { imported, skipped, .. } = import;
    match outcome {
        Ok(()) => console::print(&format!("imported {imported} blocks, skipped {skipped} known ones: {at}\n")),
        Err(why) => Err(CliError::failed(format!(
            "{}: {why}; the {imported} blocks imported before it are kept: {at}",
            source_name(&args.file)
        ))),
    }
}

/// Opens the file where waiting for its first bytes, as for those of a terminal, does not keep a signal from being heard.
async fn open(file: PathBuf, mut stop: Stop) -> Result<BlockLines, CliError> {
    let opening = tokio::task::spawn_blocking(move || {
        BlockLines::open(&file).map_err(|error| CliError::file("read", &file, &error))
    });
    tokio::select! {
        () = stop.wanted() => Err(CliError::failed("interrupted: nothing was imported")),
        opened = opening => opened.map_err(|error| CliError::caused("cannot read the file", &error))?,
    }
}

fn source_name(file: &Path) -> String {
    if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() }
}

/// Lines that were read together, and why no more were.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<BlockLine>,
    error: Option<LineError>,
    /// Which part of the file is read now, where that can be told.
    fraction: Option<f64>,
}

/// How many blocks there are, if the rest of the file is like the part that is read.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate for people; casts of floats saturate"
)]
fn estimate(done: u64, fraction: f64) -> u64 {
    (done as f64 / fraction).round() as u64
}

/// Reads in a thread of its own, one batch ahead.
fn read_ahead(mut lines: BlockLines) -> mpsc::Receiver<Batch> {
    let (batches, receiver) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut batch = Batch::default();
            let mut bytes = 0;
            while batch.lines.len() < BATCH_BLOCKS && bytes < BATCH_BYTES {
                match lines.next() {
                    Some(Ok(line)) => {
                        bytes += line.bytes;
                        batch.lines.push(line);
                    }
                    Some(Err(error)) => {
                        batch.error = Some(error);
                        break;
                    }
                    None => break,
                }
            }
            batch.fraction = lines.fraction();
            let ended = batch.error.is_some() || batch.lines.is_empty();
            // Fails where the import stopped: nobody wants more.
            if batches.blocking_send(batch).is_err() || ended {
                break;
            }
        }
    });
    receiver
}

#[derive(Debug)]
struct Import {
    chain: Chain,
    imported: u64,
    skipped: u64,
}

impl Import {
    /// Imports until the end or the first bad line; the error says which and why.
    async fn all(&mut self, lines: BlockLines, mut stop: Stop) -> Result<(), String> {
        let mut progress = Progress::start("importing", 0);
        let mut batches = read_ahead(lines);
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.wanted() => return Err("interrupted".to_owned()),
                batch = batches.recv() => match batch {
                    Some(batch) => batch,
                    None => return Ok(()),
                },
            };
            self.batch(batch.lines).await?;
            let done = self.imported + self.skipped;
            progress.set(done, batch.fraction.map(|fraction| estimate(done, fraction)));
            if let Some(error) = batch.error {
                return Err(self.unreadable(&error));
            }
        }
    }

    async fn batch(&mut self, lines: Vec<BlockLine>) -> Result<(), String> {
        let mut run: Vec<BlockLine> = Vec::with_capacity(lines.len());
        for line in lines {
            let follows = |last: &BlockLine| last.block.header.height.checked_add(1) == Some(line.block.header.height);
            if !run.last().is_none_or(follows) {
                // Perhaps a block that the file has twice: that shows only once those before it are on the chain.
                self.apply(std::mem::take(&mut run)).await?;
            }
            if run.is_empty() && self.is_known(&line).await? {
                self.skipped += 1;
            } else {
                run.push(line);
            }
        }
        self.apply(run).await
    }

    async fn apply(&mut self, run: Vec<BlockLine>) -> Result<(), String> {
        let numbers: Vec<u64> = run.iter().map(|line| line.line).collect();
        let blocks = run.into_iter().map(|line| Arc::new(line.block)).collect();
        let report = self.chain.import(blocks).await.map_err(|error| one_line(&error))?;
        self.imported += report.applied.len() as u64;
        let Some(why) = report.stop else { return Ok(()) };
        let line = numbers.get(report.applied.len()).copied().unwrap_or_default();
        Err(match why {
            ChainStop::Rejected(rejection) => format!("line {line}: {rejection}"),
            ChainStop::Local(error) => format!("line {line}: {}", one_line(&error)),
        })
    }

    /// Whether the chain has this very block.
    ///
    /// # Errors
    /// The chain has another block at its height, or the store cannot be read.
    async fn is_known(&self, line: &BlockLine) -> Result<bool, String> {
        let height = line.block.header.height;
        let Some(tip) = self.chain.tip().filter(|tip| height <= tip.height) else { return Ok(false) };
        let hash = self.chain.verifier().hasher().header_hash(&line.block.header);
        match self.chain.store().height_of(hash).await.map_err(|error| one_line(&error))? {
            Some(known) if known == height => Ok(true),
            _ => {
                let detail = format!("the chain is at {} and has another block at this height, not {hash}", tip.height);
                let rejection = Rejection::new(height, Rule::Height, detail);
                Err(format!("line {}: {rejection}", line.line))
            }
        }
    }

    /// A line that is no block, told as a broken rule where it can be.
    fn unreadable(&self, error: &LineError) -> String {
        match error {
            LineError::NotABlock { line, height, source } => {
                let next: Height = self.chain.tip().map_or(0, |tip| tip.height + 1);
                let rejection = Rejection::new(height.unwrap_or(next), Rule::Encoding, source.to_string());
                format!("line {line}: {rejection}")
            }
            other => one_line(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use cpc_framework::store::memory::MemoryStore;
    use cpc_framework::types::{Genesis, Network};

    use super::*;

    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/computechain-v1/fork");

    async fn empty() -> Import {
        let genesis = std::fs::read(Path::new(VECTORS).join("genesis.json")).unwrap();
        let genesis = Arc::new(Genesis::from_json(&genesis, Network::Devnet).unwrap());
        let datadir = Datadir::new("unused");
        let chain = engine_glue::open_chain(&datadir, genesis, Arc::new(MemoryStore::default())).await.unwrap();
        Import { chain, imported: 0, skipped: 0 }
    }

    /// The lines of one of the vector files.
    fn file(name: &str) -> Vec<String> {
        let lines = BlockLines::open(&Path::new(VECTORS).join(name)).unwrap();
        lines.map(|line| serde_json::to_string(&line.unwrap().block).unwrap()).collect()
    }

    async fn import(import: &mut Import, lines: &[String]) -> Result<(), String> {
        let lines = BlockLines::new(Cursor::new(lines.join("\n"))).unwrap();
        import.all(lines, Stop::never()).await
    }

    fn height(import: &Import) -> Option<Height> {
        import.chain.tip().map(|tip| tip.height)
    }

    #[tokio::test]
    async fn blocks_that_are_there_are_skipped_also_where_the_file_has_them_twice() {
        let mut chain = empty().await;
        let lines = file("blocks.jsonl.gz");
        let twice = [&lines[..60], &lines[..]].concat();
        import(&mut chain, &twice).await.unwrap();
        assert_eq!((chain.imported, chain.skipped, height(&chain)), (121, 60, Some(120)));
        import(&mut chain, &lines).await.unwrap();
        assert_eq!((chain.imported, chain.skipped), (121, 181));
    }

    #[tokio::test]
    async fn stops_at_the_first_bad_block_with_its_line_height_and_rule() {
        let good = file("blocks.jsonl.gz");
        for (bad, words) in [
            (good[50].replacen("\"gas_used\":", "\"gas_used\":1", 1), "block 50 is invalid: gas used"),
            (good[50].replacen("\"amount\":", "\"amount\":-", 1), "block 50 is invalid: encoding"),
            (good[51].clone(), "block 51 is invalid: height"),
            ("{".to_owned(), "block 50 is invalid: encoding"),
        ] {
            let mut chain = empty().await;
            let mut lines = good.clone();
            lines[50] = bad;
            let why = import(&mut chain, &lines).await.unwrap_err();
            assert!(why.starts_with("line 51: ") && why.contains(words), "{why}");
            assert_eq!((chain.imported, height(&chain)), (50, Some(49)));
        }
    }

    #[tokio::test]
    async fn a_block_that_no_node_would_read_is_refused_with_its_length() {
        let good = file("blocks.jsonl.gz");
        let at = good.iter().position(|line| line.contains(r#""payload":{}"#)).unwrap();
        let mut lines = good[..=at].to_vec();
        // A line may have 32 MiB, and so may an answer, which has more in it than the block.
        let payload = format!(r#""payload":{{"x":"{}"}}"#, "x".repeat((32 << 20) - 20 - lines[at].len()));
        lines[at] = lines[at].replacen(r#""payload":{}"#, &payload, 1);
        let mut chain = empty().await;
        let why = import(&mut chain, &lines).await.unwrap_err();
        let words = format!("line {}: block {at} is invalid: length: it has 3355", at + 1);
        assert!(why.starts_with(&words) && why.contains("nodes read 33554176 at most"), "{why}");
        import(&mut chain, &good[at..]).await.unwrap();
        assert_eq!(height(&chain), Some(120));
    }

    #[tokio::test]
    async fn another_branch_is_refused_where_it_leaves_ours() {
        let mut chain = empty().await;
        import(&mut chain, &file("blocks.jsonl.gz")).await.unwrap();
        let why = import(&mut chain, &file("branch.jsonl.gz")).await.unwrap_err();
        assert!(why.contains("block 101 is invalid: height: the chain is at 120"), "{why}");
        assert_eq!(height(&chain), Some(120));
    }
}
