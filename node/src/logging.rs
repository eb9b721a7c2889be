//! The log: lines on stderr, for people or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::CliError;
use crate::args::{Cli, LogFormat};
use crate::console::StderrAroundBar;

/// Starts the log. A second call in the same process keeps the first log.
pub(crate) fn start(cli: &Cli) -> Result<(), CliError> {
    let filter = EnvFilter::builder()
        .parse(&cli.log_level)
        .map_err(|error| CliError::usage(format!("--log-level {:?}: {error}", cli.log_level)))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| StderrAroundBar);
    // Fails only where a log exists already, as where a test calls the program twice.
    let _ = match cli.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
