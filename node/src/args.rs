//! The command line.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cpc_framework::transport::{Endpoint, LinkName};
use cpc_framework::types::{Checkpoint, Height, Network};

use crate::CliError;
use crate::links::LinkSpec;
pub use crate::wallet::args::{BalanceArgs, BlockArgs, KeysCommand, NodeUrl, TxCommand, ValidatorsArgs};

/// The longest time that an option can ask for: 100 years, which every clock can count to.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

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
    /// Where the node keeps its chain, keys and peers.
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        value_name = "DIR",
        env = "CPC_DATADIR",
        default_value = "./.computechain"
    )]
    pub datadir: PathBuf,

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

/// Options of every command that runs a node.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Peers to connect to, besides those of peers.json [default: none]
    ///
    /// HOST:PORT is over the default link, the first one; LINK://HOST:PORT over any other. ID@ before the host takes only
    /// the node with this key, as in `quic+postcard://ID@192.0.2.7:9001`.
    #[arg(long, value_name = "[LINK://][ID@]HOST:PORT,...", env = "CPC_PEERS", value_delimiter = ',', value_parser = peer)]
    pub peers: Vec<Endpoint>,

    /// Listen on a link: a transport (tcp, quic), a codec (json, postcard; tcp+auto takes both), and where. May be repeated
    /// [default: one link, as the short form says: transport, codec, host and port]
    #[arg(
        long,
        value_name = "LINK://HOST:PORT",
        env = "CPC_LISTEN",
        value_delimiter = ',',
        value_parser = LinkSpec::parse,
        conflicts_with_all = ["p2p_host", "p2p_port", "transport", "codec"]
    )]
    pub listen: Vec<LinkSpec>,

    /// The address to listen on for peers.
    #[arg(long, value_name = "HOST", env = "CPC_P2P_HOST", default_value = "0.0.0.0", value_parser = listen_host)]
    pub p2p_host: String,

    /// The port to listen on for peers; 0 takes any free one [default: 9000; `sync` listens only where this is given]
    #[arg(long, value_name = "PORT", env = "CPC_P2P_PORT")]
    pub p2p_port: Option<u16>,

    /// The address that the RPC of `run` listens on; one beyond this machine opens it to whoever reaches it.
    #[arg(long, value_name = "HOST", env = "CPC_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// The port that the RPC of `run` listens on; 0 takes any free one.
    #[arg(long, value_name = "PORT", env = "CPC_PORT", default_value_t = 8000)]
    pub port: u16,

    /// How bytes travel between peers.
    #[arg(long, value_name = "NAME", env = "CPC_TRANSPORT", default_value = "tcp")]
    pub transport: TransportName,

    /// How messages are written as bytes [default: json over tcp, postcard over quic]
    #[arg(long, value_name = "NAME", env = "CPC_CODEC")]
    pub codec: Option<CodecName>,

    /// Where the chain is kept; `memory` forgets it at the end.
    #[arg(long, value_name = "NAME", env = "CPC_STORE", default_value = "file")]
    pub store: StoreName,

    /// A block that the chain must contain, besides those in the genesis file. May be repeated [default: none]
    ///
    /// Below it, blocks that are known to be its ancestors by their hashes are taken without a look at signatures: whoever
    /// gives you the hash is trusted for that. All else is checked. Another block at HEIGHT is refused, and
    /// nothing below it is rolled back.
    #[arg(long, value_name = "HEIGHT:HASH", env = "CPC_CHECKPOINT", value_delimiter = ',', value_parser = checkpoint)]
    pub checkpoint: Vec<Checkpoint>,

    /// First compute the state again from the stored blocks, checking every state root [default: off]
    #[arg(long, env = "CPC_REBUILD_STATE", value_parser = BoolishValueParser::new())]
    pub rebuild_state: bool,

    /// The network of a v1 genesis file.
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// Which network a v1 genesis file belongs to, which names none.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// The network of a v1 genesis file, which names none [default: what `init` was told, or devnet]
    #[arg(long, value_name = "NETWORK", env = "CPC_NETWORK", value_parser = network())]
    pub network: Option<Network>,
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

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The transports that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransportName {
    /// TCP, as the reference.
    Tcp,
    /// QUIC: encrypted, and each node proves its key.
    Quic,
}

impl TransportName {
    /// What it is called in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }

    /// The transport of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Quic].into_iter().find(|transport| transport.name() == name)
    }

    /// The codec that goes with it where nobody says otherwise: that of the reference over TCP, the lean one elsewhere.
    pub fn usual_codec(self) -> CodecName {
        match self {
            Self::Tcp => CodecName::Json,
            Self::Quic => CodecName::Postcard,
        }
    }
}

/// The codecs that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CodecName {
    /// Newline-delimited JSON, as the reference.
    Json,
    /// Binary frames of about a third of the size.
    Postcard,
    /// Whichever of the two a peer begins with; dials are in JSON. Over tcp only.
    Auto,
}

impl CodecName {
    /// What it is called in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Postcard => "postcard",
            Self::Auto => LinkName::AUTO,
        }
    }

    /// The codec of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Json, Self::Postcard, Self::Auto].into_iter().find(|codec| codec.name() == name)
    }
}

/// The stores that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreName {
    /// In the datadir.
    File,
    /// In memory.
    Memory,
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

/// Names of networks, listed in the help.
pub(crate) fn network() -> impl clap::builder::TypedValueParser<Value = Network> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(Network::ALL.map(Network::name)).try_map(|name| name.parse::<Network>())
}

/// The address of a peer: what cannot be dialled is refused here, before anything starts.
fn peer(text: &str) -> Result<Endpoint, String> {
    let endpoint: Endpoint = text.parse().map_err(|error| format!("{error}"))?;
    let (_, port) = endpoint.host_port().map_err(|error| error.to_string())?;
    if port == 0 {
        return Err(format!("{text:?} has port 0, which nobody can listen on"));
    }
    Ok(endpoint)
}

/// A height and the hash of the block there.
fn checkpoint(text: &str) -> Result<Checkpoint, String> {
    let (height, hash) = text.split_once(':').ok_or("expected HEIGHT:HASH")?;
    let height = height.parse().map_err(|_| format!("{height:?} is no height"))?;
    let hash = hash.parse().map_err(|error| format!("{hash:?} is no hash: {error}"))?;
    Ok(Checkpoint { height, hash })
}

/// A host to listen on, in the form that goes before `:port`.
fn listen_host(text: &str) -> Result<String, String> {
    let host = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => text.to_owned(),
    };
    match Endpoint::new(format!("{host}:0")).host_port() {
        Ok(_) => Ok(host),
        Err(_) => Err("expected an IP address or a host name without a port".to_owned()),
    }
}

/// A time above 0. What is longer than anybody waits is the longest time.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .map(|time| time.min(LONGEST_TIMEOUT))
        .ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

/// Checks each part of a filter by itself: the filter's own parser takes a misspelt level for the name of a module.
fn log_level(text: &str) -> Result<String, String> {
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        level
            .trim()
            .parse::<tracing_subscriber::filter::LevelFilter>()
            .map_err(|_| format!("{level:?} is no level: use off, error, warn, info, debug or trace"))?;
    }
    tracing_subscriber::EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn command(line: &str) -> Command {
        match parse(line.split(' ')).unwrap() {
            Parsed::Run(cli) => cli.command.unwrap(),
            Parsed::Print(text) => panic!("only printed {text}"),
        }
    }

    fn refusal(line: &str) -> String {
        let error = parse(line.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_run_with_its_defaults() {
        let Command::Run(run) = command("cpc-node --datadir x") else { panic!("not run") };
        assert_eq!((run.node.p2p_host.as_str(), run.node.p2p_port), ("0.0.0.0", None));
        assert_eq!((run.node.host.to_string().as_str(), run.node.port), ("127.0.0.1", 8000));
        assert!(run.node.peers.is_empty());
        assert!(!run.node.rebuild_state);
    }

    #[test]
    fn the_datadir_may_stand_before_and_after_the_command() {
        for line in ["cpc-node --datadir d status", "cpc-node status --datadir d"] {
            let Parsed::Run(cli) = parse(line.split(' ')).unwrap() else { panic!("only printed") };
            assert_eq!(cli.datadir, PathBuf::from("d"), "{line}");
        }
    }

    #[test]
    fn peers_are_a_list_of_addresses() {
        let Command::Sync(sync) = command("cpc-node sync --peers a:1,[::1]:2 --timeout 1.5") else {
            panic!("not sync")
        };
        let peers: Vec<String> = sync.node.peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["a:1", "[::1]:2"]);
        assert_eq!(sync.timeout, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn checkpoints_are_heights_with_hashes_and_may_be_repeated() {
        let (one, two) = ("ab".repeat(32), "cd".repeat(32));
        let Command::Run(run) = command(&format!("cpc-node run --checkpoint 7:{one} --checkpoint 9:{two}")) else {
            panic!("not run")
        };
        let shown: Vec<_> = run.node.checkpoint.iter().map(|point| (point.height, point.hash.to_string())).collect();
        assert_eq!(shown, [(7, one), (9, two)]);
    }

    #[test]
    fn an_ipv6_host_is_put_into_brackets() {
        let Command::Run(run) = command("cpc-node run --p2p-host ::1") else { panic!("not run") };
        assert_eq!(run.node.p2p_host, "[::1]");
    }

    #[test]
    fn wrong_usage_is_refused_in_one_line_that_names_the_value() {
        for (line, named) in [
            ("cpc-node --no-such-flag", "--no-such-flag"),
            ("cpc-node fly", "fly"),
            ("cpc-node run --peers localhost", "localhost"),
            ("cpc-node run --peers a:1,b:0", "b:0"),
            ("cpc-node run --peers a:99999", "a:99999"),
            ("cpc-node run --p2p-port 70000", "70000"),
            ("cpc-node run --p2p-host 1.2.3.4:5", "1.2.3.4:5"),
            ("cpc-node run --checkpoint 12", "12"),
            ("cpc-node run --checkpoint x:00", "x:00"),
            ("cpc-node sync --checkpoint 5:00ff", "5:00ff"),
            ("cpc-node run --transport pigeon", "pigeon"),
            ("cpc-node run --listen tcp+xml://a:1", "xml"),
            ("cpc-node run --listen 0.0.0.0:9000", "0.0.0.0:9000"),
            ("cpc-node run --listen tcp+json://a:1 --codec json", "--codec"),
            ("cpc-node run --peers quic://a:1", "quic://a:1"),
            ("cpc-node run --host nowhere", "nowhere"),
            ("cpc-node init --network moonnet", "moonnet"),
            ("cpc-node sync --timeout -1", "-1"),
            ("cpc-node sync --timeout 0", "0"),
            ("cpc-node export x --from many", "many"),
            ("cpc-node import", "FILE"),
            ("cpc-node --log-level loud status", "loud"),
            ("cpc-node --log-level info,x=loud status", "loud"),
        ] {
            let text = refusal(line);
            assert!(text.contains(named), "{line}: {text}");
        }
    }

    #[test]
    fn every_option_has_help_an_environment_variable_and_a_default() {
        let mut root = Cli::command();
        root.build();
        let all = root.get_subcommands().flat_map(clap::Command::get_arguments).chain(root.get_arguments());
        for arg in all.filter(|arg| !arg.is_positional() && !["help", "version"].contains(&arg.get_id().as_str())) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let env = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(env.starts_with("CPC_"), "{arg}: {env:?}");
            assert!(!help.is_empty(), "{arg}");
            assert!(help.contains("[default: ") || !arg.get_default_values().is_empty(), "{arg}: {help}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["cpc-node --help", "cpc-node --version", "cpc-node sync --help"] {
            let parsed = parse(line.split(' ')).unwrap();
            assert!(matches!(parsed, Parsed::Print(text) if text.contains("cpc-node")), "{line}");
        }
    }
}
