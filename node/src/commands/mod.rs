//! What the commands do.

use crate::args::{Cli, Command};
use crate::datadir::Datadir;
use crate::{CliError, logging};

mod init;

/// Does what the command line asks for.
pub(crate) fn run(cli: Cli) -> Result<(), CliError> {
    logging::start(&cli)?;
    let datadir = Datadir::new(cli.datadir);
    if datadir.root().exists() && !datadir.root().is_dir() {
        return Err(CliError::failed(format!("--datadir {} is no directory", datadir.root().display())));
    }
    match cli.command {
        Some(Command::Init(args)) => init::init(&datadir, &args),
        _ => Err(CliError::failed("this command is not here yet")),
    }
}
