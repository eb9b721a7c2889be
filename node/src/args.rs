//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use cpc_framework::types::{Checkpoint, Height, Network};

use crate::CliError;
use crate::commands::check::CheckArgs;
pub use crate::wallet::args::{BalanceArgs, BlockArgs, KeysCommand, NodeUrl, TxCommand, ValidatorsArgs};

mod devnet;
mod names;
mod node;
#[cfg(test)]
mod tests;
mod values;

pub use devnet::DevnetArgs;
pub(crate) use devnet::MOST_NODES;
pub use names::{CodecName, LogFormat, StoreName, TransportName};
pub use node::{NetworkArgs, NodeArgs};
use values::{checkpoint, log_level};
pub(crate) use values::{network, seconds};

/// Where a node is kept where nobody says.
const DEFAULT_DATADIR: &str = "./.computechain";

/// Where the nodes of a devnet are kept where nobody says: beside a node that may be there already.
const DEVNET_DATADIR: &str = "./.computechain-devnet";

/// The port of the P2P link where none is given.
pub const DEFAULT_P2P_PORT: u16 = 9000;

/// A node of a ComputeChain network: follows the chain, checks every block in full, and serves it to others.
#[derive(Debug, Parser)]
#[command(
    name = "cpc-node",
    version,
    disable_help_subcommand = true,
    after_help = "Without a command it does what `run` does.\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage. Logs and errors go to stderr, results to stdout."
)]
pub struct Cli {
    /// Where the node keeps its chain, keys and peers [default: ./.computechain; of `devnet` ./.computechain-devnet]
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "DIR", env = "CPC_DATADIR")]
    pub datadir: Option<PathBuf>,

    /// What to log: off, error, warn, info, debug or trace, or a list such as `info,cpc_framework=debug`.
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "LEVEL", env = "CPC_LOG", default_value = "info", value_parser = log_level)]
    pub log_level: String,

    /// How log lines look.
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        value_name = "FORMAT",
        env = "CPC_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// The datadir that the command works on.
    pub fn datadir(&self) -> PathBuf {
        let default = if matches!(self.command, Some(Command::Devnet(_))) { DEVNET_DATADIR } else { DEFAULT_DATADIR };
        self.datadir.clone().unwrap_or_else(|| default.into())
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a network of one's own, or a datadir that joins another one; never overwrites anything.
    Init(InitArgs),
    /// Run a node until it is told to stop (Ctrl-C or SIGTERM; twice to stop at once).
    ///
    /// With an empty datadir it makes a network of its own first.
    Run(RunArgs),
    /// Catch up with the peers, print the figures as one JSON line, and end.
    ///
    /// Exit code 0 once nobody reached is ahead, 1 where nobody could be reached or the last peer was lost half way.
    Sync(SyncArgs),
    /// Read blocks from a JSON-lines file, checking them in full.
    ///
    /// Blocks that the chain has already are skipped. Stops at the first bad one; all before it are kept.
    Import(ImportArgs),
    /// Write blocks into a JSON-lines file.
    Export(ExportArgs),
    /// Say what a datadir holds, while no node runs on it; with --node, how a running node stands.
    Status(StatusArgs),
    /// Verify a datadir from end to end, while no node runs on it.
    ///
    /// Every block with its link, hash, roots and signatures; the state; the other files. Changes nothing. Exit code 1 where something is wrong.
    Check(CheckArgs),
    /// Run a whole network on this machine: several nodes, each a process, and a view of them.
    ///
    /// The last node joins a little later, so that it can be seen to sync. Ctrl-C stops all; the next run goes on from there.
    Devnet(DevnetArgs),
    /// Make, list and show keys.
    #[command(subcommand, arg_required_else_help = false)]
    Keys(KeysCommand),
    /// Send transactions through a running node, and wait until a block has them.
    #[command(subcommand, arg_required_else_help = false)]
    Tx(TxCommand),
    /// Ask a running node what an address owns.
    Balance(BalanceArgs),
    /// Ask a running node for a block.
    Block(BlockArgs),
    /// Ask a running node who may propose blocks.
    Validators(ValidatorsArgs),
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Join the network of this genesis file instead of making one [default: none]
    #[arg(long, value_name = "FILE", env = "CPC_GENESIS")]
    pub genesis: Option<PathBuf>,

    /// Give the new network the rules and parameters of the reference's; with --genesis, the network of a v1 genesis
    /// file, which names none [default: none; with a v1 genesis file devnet]
    #[arg(long, value_name = "NETWORK", env = "CPC_NETWORK", value_parser = network())]
    pub network: Option<Network>,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What a running node needs.
    #[command(flatten)]
    pub node: NodeArgs,

    /// Stop once the standard input ends, as it does when the process that started the node is gone, and propose no block
    /// after a line `hold` on it [default: off]
    #[arg(long, hide = true, env = "CPC_UNTIL_STDIN_CLOSES", value_parser = BoolishValueParser::new())]
    pub until_stdin_closes: bool,
}

/// Options of `sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// What a running node needs.
    #[command(flatten)]
    pub node: NodeArgs,

    /// Give up after so long [default: none]
    #[arg(long, value_name = "SECONDS", env = "CPC_TIMEOUT", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A file with one block a line, plain or gzip-compressed; - reads stdin.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// A block that the chain must contain, besides those in the genesis file; signatures are checked all the same. May be repeated
    /// [default: none]
    #[arg(long, value_name = "HEIGHT:HASH", env = "CPC_CHECKPOINT", value_delimiter = ',', value_parser = checkpoint)]
    pub checkpoint: Vec<Checkpoint>,

    /// The network of a v1 genesis file.
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Where to write, one block a line, gzip-compressed if the name ends in .gz; - writes to stdout.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The first height [default: 0]
    #[arg(long, value_name = "HEIGHT", env = "CPC_FROM")]
    pub from: Option<Height>,

    /// The last height [default: that of the last block]
    #[arg(long, value_name = "HEIGHT", env = "CPC_TO")]
    pub to: Option<Height>,

    /// The network of a v1 genesis file.
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Ask the node that has its RPC at this URL [default: none, which means the datadir]
    #[arg(long, value_name = "URL", env = "CPC_NODE")]
    pub node: Option<NodeUrl>,

    /// Print one JSON line [default: off]
    #[arg(long, env = "CPC_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,

    /// The network of a v1 genesis file.
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// A command, which is always present.
    Run(Box<Cli>),
    /// Text to print: help or version.
    Print(String),
}

/// Reads a command line and the environment.
///
/// # Errors
/// A usage error of one line.
pub fn parse<I, T>(args: I) -> Result<Parsed, CliError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let mut parsed = Cli::try_parse_from(&args);
    if matches!(&parsed, Ok(cli) if cli.command.is_none()) {
        // The options of `run` come from the environment and their defaults, as if it had been written out.
        args.push("run".into());
        parsed = Cli::try_parse_from(&args);
    }
    match parsed {
        Ok(cli) => Ok(Parsed::Run(Box::new(cli))),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Parsed::Print(error.render().to_string()))
        }
        Err(error) => Err(CliError::usage(usage_line(&error))),
    }
}

/// Clap's message without its layout: what is wrong, and the tip if it has one.
fn usage_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let text = rendered.strip_prefix("error: ").unwrap_or(&rendered);
    let told = text.split("\n\n").filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let parts: Vec<String> = told.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    format!("{}; see 'cpc-node --help'", parts.join("; "))
}
