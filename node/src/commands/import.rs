use std::path::Path;
use std::sync::Arc;

use cpc_framework::chain::{Chain, Stop as ChainStop};
use cpc_framework::rules::{Rejection, Rule};
use cpc_framework::types::Height;
use tokio::sync::mpsc;

use crate::args::{ImportArgs, StoreName};
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
    let genesis = Arc::new(datadir.genesis(args.network.network)?);
    let lines = BlockLines::open(&args.file).map_err(|error| CliError::file("read", &args.file, &error))?;
    let store = engine_glue::open_store(datadir, StoreName::File)?;
    let chain = engine_glue::open_chain(datadir, genesis, store).await?;
    let mut import = Import { chain, imported: 0, skipped: 0 };
    let outcome = import.all(lines, &stop).await;
    let at = import.chain.tip().map_or_else(|| "the chain is empty".to_owned(), |tip| {
        format!("the chain is at {} ({})", tip.height, tip.hash)
    });
    let Import { imported, skipped, .. } = import;
    match outcome {
        Ok(()) => console::print(&format!("imported {imported} blocks, skipped {skipped} known ones: {at}\n")),
        Err(why) => Err(CliError::failed(format!(
            "{}: {why}; the {imported} blocks imported before it are kept: {at}",
            source_name(&args.file)
        ))),
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
    async fn all(&mut self, lines: BlockLines, stop: &Stop) -> Result<(), String> {
        let mut progress = Progress::start("importing");
        let mut batches = read_ahead(lines);
        while let Some(batch) = batches.recv().await {
            if stop.is_wanted() {
                return Err("interrupted".to_owned());
            }
            self.batch(batch.lines).await?;
            progress.set(self.imported + self.skipped, None);
            if let Some(error) = batch.error {
                return Err(self.unreadable(&error));
            }
        }
        Ok(())
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
                let rejection = Rejection {
                    height,
                    rule: Rule::Height,
                    detail: format!(
                        "the chain is at {} and has another block at this height, not {hash}",
                        tip.height
                    ),
                    stricter_than_v1: false,
                };
                Err(format!("line {}: {rejection}", line.line))
            }
        }
    }

    /// A line that is no block, told as a broken rule where it can be.
    fn unreadable(&self, error: &LineError) -> String {
        match error {
            LineError::NotABlock { line, height, source } => {
                let next: Height = self.chain.tip().map_or(0, |tip| tip.height + 1);
                let rejection = Rejection {
                    height: height.unwrap_or(next),
                    rule: Rule::Encoding,
                    detail: source.to_string(),
                    stricter_than_v1: false,
                };
                format!("line {line}: {rejection}")
            }
            other => one_line(other),
        }
    }
}
