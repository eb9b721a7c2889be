use std::net::IpAddr;

use clap::Args;
use clap::builder::BoolishValueParser;
use cpc_framework::limits::Limits;
use cpc_framework::transport::{Endpoint, PeerId};
use cpc_framework::types::{Checkpoint, Network};

use super::values::{checkpoint, listen_host, memory, network, peer, peer_id};
use super::{CodecName, StoreName, TransportName};
use crate::links::LinkSpec;

/// Options of every command that runs a node.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Peers to connect to, besides those of peers.json [default: none]
    ///
    /// HOST:PORT is over the default link, the first one; LINK://HOST:PORT over any other. ID@ before the host takes only
    /// the node with this key, as in `quic+postcard://ID@192.0.2.7:9001`.
    #[arg(long, value_name = "[LINK://][ID@]HOST:PORT,...", env = "CPC_PEERS", value_delimiter = ',', value_parser = peer)]
    pub peers: Vec<Endpoint>,

    /// Connect with the peers that have these keys and with nobody else, whoever dials; over quic alone, which proves keys. May be
    /// repeated [default: with everybody]
    #[arg(long, value_name = "PEERID,...", env = "CPC_ALLOW", value_delimiter = ',', value_parser = peer_id)]
    pub allow: Vec<PeerId>,

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

    /// How many KiB of the stored chain are kept in memory, and half as many of its newest state (4 MiB at most).
    #[arg(long, value_name = "KIB", env = "CPC_PAGE_CACHE", default_value_t = 8192)]
    pub page_cache: u64,

    /// What everything that waits may take together: messages that come and go, blocks and transactions to be checked. At least
    /// 16MiB; sizes are written as 64MiB, 64M or 67108864.
    ///
    /// The process takes more: see the README. Too little makes a node slow, and closes peers that hold much of it for long.
    #[arg(long, value_name = "SIZE", env = "CPC_MEMORY", default_value = "64MiB", value_parser = memory)]
    pub memory: usize,

    /// A block that the chain must contain, besides those in the genesis file. May be repeated [default: none]
    ///
    /// Below it, blocks that are known to be its ancestors by their hashes are taken without a look at signatures: whoever
    /// gives you the hash is trusted for that. All else is checked, and signatures before such a block is given to a peer. Another
    /// block at HEIGHT is refused, nothing below it is rolled back, and until it is reached nothing is proposed.
    #[arg(long, value_name = "HEIGHT:HASH", env = "CPC_CHECKPOINT", value_delimiter = ',', value_parser = checkpoint)]
    pub checkpoint: Vec<Checkpoint>,

    /// How many transactions and blocks are remembered as seen, so that they are not looked at twice. Full, this takes some 300
    /// bytes each; a busy node that remembers fewer asks for some again.
    #[arg(long, value_name = "COUNT", env = "CPC_REMEMBER", default_value_t = Limits::default().seen_cache)]
    pub remember: usize,

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
