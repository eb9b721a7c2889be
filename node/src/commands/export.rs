use std::io::{self, BufWriter, Write};
use std::path::Path;

use cpc_framework::store::{ByteBudget, ChainStore};
use cpc_framework::types::{Height, encoding};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::args::ExportArgs;
use crate::console::Progress;
use crate::datadir::Datadir;
use crate::files::{Access, Draft};
use crate::signals::Stop;
use crate::{CliError, console, engine_glue};

/// How many bytes of blocks are read at a time.
const READ_BYTES: usize = 4 << 20;

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
    if from > to || to > tip.height {
        return Err(CliError::failed(format!(
            "cannot export the blocks from {from} to {to}: the chain ends at {}",
            tip.height
        )));
    }
    if args.file == Path::new("-") {
        let mut out = BufWriter::new(io::stdout());
        let written = write_blocks(&store, from, to, &mut out, &stop).await;
        return match written.and_then(|()| out.flush().map_err(Failure::Write)) {
            // Whoever reads has seen enough.
            Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|failure| failure.into_error(&args.file)),
        };
    }
    let at = |error: io::Error| CliError::file("write", &args.file, &error);
    let draft = Draft::create(&args.file, Access::Open).map_err(at)?;
    let out = BufWriter::new(&draft.file);
    let written = if args.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        let mut out = GzEncoder::new(out, Compression::default());
        match write_blocks(&store, from, to, &mut out, &stop).await {
            Ok(()) => out.finish().map_err(Failure::Write).map(|_| ()),
            Err(failure) => Err(failure),
        }
    } else {
        let mut out = out;
        match write_blocks(&store, from, to, &mut out, &stop).await {
            Ok(()) => out.flush().map_err(Failure::Write),
            Err(failure) => Err(failure),
        }
    };
    written.map_err(|failure| failure.into_error(&args.file))?;
    draft.place().map_err(at)?;
    console::print(&format!("exported {} blocks, {from} to {to}, into {}\n", to - from + 1, args.file.display()))
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
            Self::Write(error) => CliError::file("write", file, &error),
        }
    }
}

/// Writes the blocks of a range, one a line.
async fn write_blocks(
    store: &dyn ChainStore,
    from: Height,
    to: Height,
    out: &mut (dyn Write + Send),
    stop: &Stop,
) -> Result<(), Failure> {
    let mut progress = Progress::start("exporting", 0);
    let mut next = from;
    while next <= to {
        if stop.is_wanted() {
            return Err(Failure::Read(CliError::failed("interrupted: nothing was exported")));
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
