//! What the commands do.

use std::future::Future;

use crate::args::{Cli, Command, StatusArgs};
use crate::datadir::Datadir;
use crate::{CliError, logging, signals, wallet};

pub(crate) mod check;
mod devnet;
mod export;
mod import;
mod init;
mod run;
mod status;
mod sync;

/// Does what the command line asks for.
pub(crate) fn run(cli: Cli) -> Result<(), CliError> {
    logging::start(&cli)?;
    signals::outlive_file_limits()?;
    let datadir = Datadir::new(cli.datadir());
    if datadir.root().exists() && !datadir.root().is_dir() {
        return Err(CliError::failed(format!("--datadir {} is no directory", datadir.root().display())));
    }
    match cli.command {
        Some(Command::Init(args)) => init::init(&datadir, &args),
        Some(Command::Run(args)) => in_runtime(run::run(&datadir, args)),
        Some(Command::Sync(args)) => in_runtime(sync::sync(&datadir, args)),
        Some(Command::Import(args)) => in_runtime(import::import(&datadir, args)),
        Some(Command::Export(args)) => in_runtime(export::export(&datadir, args)),
        Some(Command::Status(StatusArgs { node: Some(node), json, .. })) => in_runtime(wallet::status(node, json)),
        Some(Command::Check(args)) => in_runtime(check::check(&datadir, &args)),
        Some(Command::Status(args)) => status::status(&datadir, &args),
        Some(Command::Devnet(args)) => in_runtime(devnet::devnet(&datadir, args, cli.log_level, cli.log_format)),
        Some(Command::Keys(command)) => wallet::keys(&datadir, command),
        Some(Command::Tx(command)) => in_runtime(wallet::tx(&datadir, command)),
        Some(Command::Balance(args)) => in_runtime(wallet::balance(args)),
        Some(Command::Block(args)) => in_runtime(wallet::block(args)),
        Some(Command::Validators(args)) => in_runtime(wallet::validators(args)),
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
