//! The ComputeChain node as a program: a command line, a datadir and a log around [`cpc_framework`].
//!
//! [`run_cli`] is the whole program; `main` only calls it. What a node *does* lives in the framework; here is what an
//! operator sees: options ([`args`]), files ([`datadir`], [`init`]), errors of one line, a log, a progress bar, signals;
//! what clients see: an RPC; and what a user of the network needs: a wallet.

use std::ffi::OsString;
use std::process::ExitCode;

use cpc_framework::store::file::panic_becomes_error;

pub mod args;
mod commands;
mod console;
pub mod datadir;
pub mod devnet;
mod engine_glue;
mod error;
mod files;
pub mod init;
pub mod lines;
pub mod links;
mod logging;
mod malloc;
mod parent;
mod rpc;
mod signals;
mod wallet;

pub use error::{CliError, one_line};
pub use malloc::settle as settle_allocator;

/// Runs the program with these arguments, the first of which is its own name. Returns when it is done; a second Ctrl-C ends the process at once.
///
/// The exit code is 0 where the command did what it was asked for, 1 where it failed, 2 where the command line is wrong.
/// Each error is one line on stderr.
pub fn run_cli<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    malloc::settle();
    keep_quiet_over_damage();
    let outcome = match args::parse(args) {
        Ok(args::Parsed::Run(cli)) => commands::run(*cli),
        Ok(args::Parsed::Print(text)) => console::print(&text),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What the store's engine panics over comes back as an error with one line of its own: the panic itself is not shown.
fn keep_quiet_over_damage() {
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic_becomes_error() {
            show(panic);
        }
    }));
}
