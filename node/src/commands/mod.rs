//! What the commands do.

use std::future::Future;
use std::sync::Arc;

use cpc_framework::store::ChainStore;
use cpc_framework::types::{Genesis, Network};

use crate::args::{Cli, Command, StoreName};
use crate::datadir::Datadir;
use crate::{CliError, engine_glue, logging};

mod export;
mod import;
mod init;
mod run;
mod status;
mod sync;

/// Does what the command line asks for.
pub(crate) fn run(cli: Cli) -> Result<(), CliError> {
    logging::start(&cli)?;
    let datadir = Datadir::new(cli.datadir);
    if datadir.root().exists() && !datadir.root().is_dir() {
        return Err(CliError::failed(format!("--datadir {} is no directory", datadir.root().display())));
    }
    match cli.command {
        Some(Command::Init(args)) => init::init(&datadir, &args),
        Some(Command::Run(args)) => in_runtime(run::run(&datadir, args.node)),
        Some(Command::Sync(args)) => in_runtime(sync::sync(&datadir, args)),
        Some(Command::Import(args)) => in_runtime(import::import(&datadir, args)),
        Some(Command::Export(args)) => in_runtime(export::export(&datadir, args)),
        Some(Command::Status(args)) => in_runtime(status::status(&datadir, args)),
        // `args::parse` puts `run` in.
        None => Err(CliError::usage("no command")),
    }
}

/// Runs a command on all cores, and waits for nothing but the command when it ends.
fn in_runtime(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::caused("cannot start threads", &error))?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// The genesis of a datadir and its store, which then belongs to this process; `None` where there is no chain yet and
/// reading alone shall not begin one.
async fn open_to_read(
    datadir: &Datadir,
    network: Option<Network>,
) -> Result<(Arc<Genesis>, Option<Arc<dyn ChainStore>>), CliError> {
    let genesis = Arc::new(datadir.genesis(network)?);
    if !datadir.chain_dir().exists() {
        return Ok((genesis, None));
    }
    let store = engine_glue::open_store(datadir, StoreName::File)?;
    engine_glue::bind(&genesis, store.as_ref()).await?;
    Ok((genesis, Some(store)))
}
