use std::io::{self, BufWriter, Write};
use std::path::Path;

use cpc_framework::store::{ByteBudget, ChainStore};
use cpc_framework::types::{Height, encoding};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::args::ExportArgs;
use crate::console::Progress;
use crate::datadir::Datadir;
use crate::files::{Access, Destination, Draft};
use crate::signals::Stop;
use crate::{CliError, console, engine_glue};

/// How many bytes of blocks are read at a time.
const READ_BYTES: usize = 4 << 20;

const INTERRUPTED: &str = "interrupted: nothing was exported";

/// `cpc-node export`
pub(super) async fn export(datadir: &Datadir, args: ExportArgs) -> Result<(), CliError> {
    let stop = Stop::listen()?;
    let genesis = datadir.genesis(args.network.network)?;
    let store = engine_glue::open_existing(datadir, &genesis)?;
    let tip = match &store {
        Some(store) => store.tip().await.map_err(|error| CliError::caused("cannot read the chain", &error))?,
        None => None,
    };
    let (Some(store), Some(tip)) = (store, tip) else {
        return Err(CliError::failed(format!("the chain in {} is empty: nothing to export", datadir.root().display())));
    };
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(tip.height));
    if from > to {
        return Err(CliError::failed(format!("cannot export the blocks from {from} to {to}: --from is above --to")));
    }
    if to > tip.height {
        return Err(CliError::failed(format!(
            "cannot export the blocks from {from} to {to}: the chain ends at {}",
            tip.height
        )));
    }
    let chain = Range { store: &store, from, to, stop: &stop };
    let compressed = args.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let at = |error: io::Error| CliError::unwritten(&args.file, &error);
    if args.file == Path::new("-") {
        return streamed(chain.write(io::stdout(), false).await, &args.file);
    }
    match destination(&args.file, stop.clone()).await? {
        Destination::File(path) => {
            let draft = Draft::create(&path, Access::Open).map_err(at)?;
            chain.write(&draft.file, compressed).await.map_err(|failure| failure.into_error(&args.file))?;
            draft.place().map_err(at)?;
            console::print(&format!(
                "exported {} blocks, {from} to {to}, into {}\n",
                to - from + 1,
                args.file.display()
            ))
        }
        // Nothing is said about it on stdout, which may be where the blocks went.
        Destination::Stream(out) => streamed(chain.write(out, compressed).await, &args.file),
    }
}

/// How it went with a destination that may have a reader.
fn streamed(written: Result<(), Failure>, file: &Path) -> Result<(), CliError> {
    match written {
        // Whoever reads has seen enough.
        Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|failure| failure.into_error(file)),
    }
}

/// Looks for the destination where waiting for the reader of a pipe does not keep a signal from being heard.
async fn destination(file: &Path, mut stop: Stop) -> Result<Destination, CliError> {
    let path = file.to_owned();
    let opening = tokio::task::spawn_blocking(move || Destination::of(&path));
    tokio::select! {
        () = stop.wanted() => Err(CliError::failed(INTERRUPTED)),
        opened = opening => opened
            .unwrap_or_else(|error| Err(error.into()))
            .map_err(|error| CliError::unwritten(file, &error)),
    }
}

/// Why an export ends early.
#[derive(Debug)]
enum Failure {
    Read(CliError),
    Write(io::Error),
}

impl Failure {
    fn into_error(self, file: &Path) -> CliError {
        match self {
            Self::Read(error) => error,
            Self::Write(error) => CliError::unwritten(file, &error),
        }
    }
}

/// The blocks to write.
#[derive(Debug)]
struct Range<'a> {
    store: &'a dyn ChainStore,
    from: Height,
    to: Height,
    stop: &'a Stop,
}

impl Range<'_> {
    /// Writes the blocks, and sees that all arrived.
    async fn write(&self, out: impl Write + Send, compressed: bool) -> Result<(), Failure> {
        let mut out = BufWriter::new(out);
        if compressed {
            let mut packed = GzEncoder::new(out, Compression::default());
            self.write_lines(&mut packed).await?;
            out = packed.finish().map_err(Failure::Write)?;
        } else {
            self.write_lines(&mut out).await?;
        }
        out.flush().map_err(Failure::Write)
    }

    /// Writes the blocks, one a line.
    async fn write_lines(&self, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
        let &Self { store, from, to, stop } = self;
        let mut progress = Progress::start("exporting", 0);
        let mut next = from;
        while next <= to {
            if stop.is_wanted() {
                return Err(Failure::Read(CliError::failed(INTERRUPTED)));
            }
            let unreadable = |error: &(dyn std::error::Error + 'static)| {
                Failure::Read(CliError::caused(format_args!("cannot read block {next}"), error))
            };
            let blocks = store.blocks(next..=to, ByteBudget(READ_BYTES)).await.map_err(|error| unreadable(&error))?;
            if blocks.is_empty() {
                return Err(Failure::Read(CliError::failed(format!("block {next} is missing from the store"))));
            }
            for encoded in &blocks {
                let block = encoding::decode_block(&encoded.bytes).map_err(|error| unreadable(&error))?;
                serde_json::to_writer(&mut *out, &block).map_err(|error| Failure::Write(error.into()))?;
                out.write_all(b"\n").map_err(Failure::Write)?;
            }
            next += blocks.len() as u64;
            progress.set(next - from, Some(to - from + 1));
        }
        Ok(())
    }
}
