//! The options of the wallet's commands.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme as UriScheme;
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand, ValueEnum};
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme};
use cpc_framework::types::{Address, Height, Network};

use super::amount;
use crate::args::{network, seconds};

/// `keys ...`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key file that only its owner may read; never overwrites one.
    New(KeysNewArgs),
    /// List the keys of the datadir.
    List(KeysListArgs),
    /// Show a key's public part: addresses and public key.
    Show(KeysShowArgs),
}

/// Options of `keys new`.
#[derive(Debug, Args)]
pub struct KeysNewArgs {
    /// A name, for `NAME_key.hex` in the datadir, or a path, which has a slash or ends in .hex.
    #[arg(value_name = "KEY", default_value = "wallet")]
    pub key: String,

    /// The network.
    #[command(flatten)]
    pub rules: SchemeArgs,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `keys list`.
#[derive(Debug, Args)]
pub struct KeysListArgs {
    /// The network.
    #[command(flatten)]
    pub rules: SchemeArgs,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `keys show`.
#[derive(Debug, Args)]
pub struct KeysShowArgs {
    /// A key of the datadir by its name, or a path.
    #[arg(value_name = "KEY")]
    pub key: String,

    /// The network.
    #[command(flatten)]
    pub rules: SchemeArgs,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `tx ...`
#[derive(Debug, Subcommand)]
pub enum TxCommand {
    /// Send CPC to an address.
    Send(TxSendArgs),
    /// Stake CPC on a validator.
    Stake(TxStakeArgs),
}

/// Options of `tx send`.
#[derive(Debug, Args)]
pub struct TxSendArgs {
    /// Who receives [default: none]
    #[arg(long, value_name = "ADDR", env = "CPC_TO_ADDRESS", value_parser = account_address)]
    pub to: Address,

    /// What all transactions need.
    #[command(flatten)]
    pub common: TxArgs,
}

/// Options of `tx stake`.
#[derive(Debug, Args)]
pub struct TxStakeArgs {
    /// The validator's key, by its name in the datadir or its path [default: validator, where the datadir has it, else the sender's]
    #[arg(long, value_name = "KEY", env = "CPC_VALIDATOR", conflicts_with = "pub_key")]
    pub validator: Option<String>,

    /// The validator's public key, where its secret key is elsewhere [default: none]
    #[arg(long, value_name = "HEX", env = "CPC_PUB_KEY")]
    pub pub_key: Option<String>,

    /// What all transactions need.
    #[command(flatten)]
    pub common: TxArgs,
}

/// Options of every transaction.
#[derive(Debug, Args)]
pub struct TxArgs {
    /// The sender's key: a name in the datadir, or a path [default: none]
    #[arg(long, value_name = "KEY", env = "CPC_KEY")]
    pub from: String,

    /// How much, in CPC with up to 18 decimal places, or as units of 10^-18 CPC: 25units [default: none]
    #[arg(long, value_name = "CPC", env = "CPC_AMOUNT", value_parser = amount::parse)]
    pub amount: u128,

    /// Units paid for each unit of gas [default: the network's minimum]
    #[arg(long, value_name = "UNITS", env = "CPC_GAS_PRICE")]
    pub gas_price: Option<u128>,

    /// The transaction's number among the sender's, to replace one that waits [default: the next]
    #[arg(long, value_name = "NONCE", env = "CPC_NONCE")]
    pub nonce: Option<u64>,

    /// Return once the node has the transaction, before a block has it [default: off]
    #[arg(long, env = "CPC_NO_WAIT", value_parser = BoolishValueParser::new())]
    pub no_wait: bool,

    /// How long to wait for a block that has the transaction.
    #[arg(long, value_name = "SECONDS", env = "CPC_TIMEOUT", default_value = "120", value_parser = seconds)]
    pub timeout: Duration,

    /// Which node.
    #[command(flatten)]
    pub node: NodeUrlArgs,

    /// Which network.
    #[command(flatten)]
    pub network: RulesArgs,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `balance`.
#[derive(Debug, Args)]
pub struct BalanceArgs {
    /// Whose balance.
    #[arg(value_name = "ADDR")]
    pub address: String,

    /// Which node.
    #[command(flatten)]
    pub node: NodeUrlArgs,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `block`.
#[derive(Debug, Args)]
pub struct BlockArgs {
    /// Its height, or `latest`.
    #[arg(value_name = "HEIGHT", value_parser = which_block)]
    pub block: WhichBlock,

    /// Which node.
    #[command(flatten)]
    pub node: NodeUrlArgs,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `validators`.
#[derive(Debug, Args)]
pub struct ValidatorsArgs {
    /// Which node.
    #[command(flatten)]
    pub node: NodeUrlArgs,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which node to ask.
#[derive(Debug, Args)]
pub struct NodeUrlArgs {
    /// The RPC of the node to ask.
    #[arg(long, value_name = "URL", env = "CPC_NODE", default_value = "http://127.0.0.1:8000")]
    pub node: NodeUrl,
}

/// How to print.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Print one JSON line [default: off]
    #[arg(long, env = "CPC_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
}

/// Which network's rules to sign by.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// The network's genesis file [default: that of the datadir]
    #[arg(long, value_name = "FILE", env = "CPC_GENESIS")]
    pub genesis: Option<PathBuf>,

    /// A network of the reference, where there is no genesis file or it names none [default: what `init` was told, or devnet]
    #[arg(long, value_name = "NETWORK", env = "CPC_NETWORK", value_parser = network())]
    pub network: Option<Network>,
}

/// Which signature scheme.
#[derive(Debug, Args)]
pub struct SchemeArgs {
    /// The signature scheme of the keys [default: that of the network]
    #[arg(long, value_name = "SCHEME", env = "CPC_SCHEME")]
    pub scheme: Option<SchemeName>,

    /// Which network.
    #[command(flatten)]
    pub network: RulesArgs,
}

/// The signature schemes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemeName {
    /// That of the reference's networks.
    Secp256k1,
    /// That of networks of one's own.
    Ed25519,
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Self {
        match name {
            SchemeName::Secp256k1 => Self::Secp256k1,
            SchemeName::Ed25519 => Self::Ed25519,
        }
    }
}

impl From<Scheme> for SchemeName {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Secp256k1 => Self::Secp256k1,
            Scheme::Ed25519 => Self::Ed25519,
        }
    }
}

/// A block by its height or place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichBlock {
    /// The one at this height.
    At(Height),
    /// The last one.
    Latest,
}

/// Where a node's RPC is: `http://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl {
    /// A name or number, without the brackets of IPv6.
    pub host: String,
    /// 80 where none is given, as everywhere.
    pub port: u16,
    /// `host[:port]`, as given.
    pub authority: String,
}

impl FromStr for NodeUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a URL such as http://127.0.0.1:8000".to_owned();
        let uri: Uri = text.parse().map_err(|_| expected())?;
        match uri.scheme() {
            Some(scheme) if *scheme == UriScheme::HTTP => {}
            Some(scheme) if *scheme == UriScheme::HTTPS => {
                return Err("nodes speak plain http; for another machine use a tunnel, such as ssh -L".to_owned());
            }
            _ => return Err(expected()),
        }
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let plain = matches!(uri.path(), "" | "/") && uri.query().is_none() && !authority.contains('@');
        let named = uri.host().unwrap_or_default();
        let port_as_given = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
        // A port that is no number is left in the authority alone.
        let is_whole = authority == format!("{named}{port_as_given}");
        let host = named.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !plain || host.is_empty() || !is_whole {
            return Err(expected());
        }
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), authority })
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// An address whose checksum is right: a slip of the hand must not send money to nobody.
fn account_address(text: &str) -> Result<Address, String> {
    let address = Address::new(text);
    if address.known_prefix() == Some(ACCOUNT_PREFIX) {
        return Ok(address);
    }
    Err(format!("expected an address that begins with {ACCOUNT_PREFIX}1 and has a right checksum"))
}

fn which_block(text: &str) -> Result<WhichBlock, String> {
    match text {
        "latest" => Ok(WhichBlock::Latest),
        _ => text.parse().map(WhichBlock::At).map_err(|_| "expected a height, or latest".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_node_has_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("http://127.0.0.1:8000", "127.0.0.1", 8000),
            ("http://node.example", "node.example", 80),
            ("http://node.example:81/", "node.example", 81),
            ("http://[::1]:8000", "::1", 8000),
        ] {
            let url: NodeUrl = text.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            assert_eq!(url.to_string(), text.trim_end_matches('/'));
        }
    }

    #[test]
    fn what_is_no_url_of_a_node_is_refused() {
        for text in [
            "",
            "127.0.0.1:8000",
            "localhost",
            "http://",
            "https://node.example",
            "ftp://node.example",
            "http://a:x",
            "http://a:99999",
            "http://a:",
            "http://a/path",
            "http://a?q=1",
            "http://me@a",
            "http://a b",
        ] {
            assert!(text.parse::<NodeUrl>().is_err(), "{text:?} gave {:?}", text.parse::<NodeUrl>());
        }
    }

    #[test]
    fn a_recipient_has_a_right_checksum() {
        let key = cpc_framework::rules::keys::SecretKey::generate(Scheme::Ed25519);
        let address = key.address(ACCOUNT_PREFIX).as_str().to_owned();
        assert!(account_address(&address).is_ok());
        let last = if address.ends_with('q') { 'p' } else { 'q' };
        let slip = format!("{}{last}", &address[..address.len() - 1]);
        for wrong in [slip.as_str(), "cpc1", "", key.address("cpcvalcons").as_str(), "alice"] {
            assert!(account_address(wrong).is_err(), "{wrong}");
        }
    }
}
