use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use clap::value_parser;

use super::values::time;
use super::{CodecName, TransportName};

/// The most nodes: each is a process with a store of its own, and all are connected with all.
pub(crate) const MOST_NODES: u16 = 32;

/// The longest block time, in seconds: nobody waits longer than an hour to see a block.
const LONGEST_BLOCK_TIME: u64 = 3600;

/// The most transactions a second: what the pools take of the load's senders within one block time, with room.
const MOST_LOAD: u32 = 1000;

/// Options of `devnet`.
#[derive(Debug, Args)]
pub struct DevnetArgs {
    /// How many nodes [default: 4, or as many as the datadir has]
    #[arg(long, value_name = "NUMBER", env = "CPC_NODES", value_parser = value_parser!(u16).range(1..=i64::from(MOST_NODES)))]
    pub nodes: Option<u16>,

    /// How many of them are validators, the first ones [default: 3, or all of fewer nodes, or as many as the datadir's network has]
    #[arg(long, value_name = "NUMBER", env = "CPC_VALIDATORS", value_parser = value_parser!(u16).range(1..=i64::from(MOST_NODES)))]
    pub validators: Option<u16>,

    /// Seconds between blocks [default: 1, or that of the datadir's network]
    #[arg(long, value_name = "SECONDS", env = "CPC_BLOCK_TIME", value_parser = value_parser!(u64).range(1..=LONGEST_BLOCK_TIME))]
    pub block_time: Option<u64>,

    /// How bytes travel between the nodes.
    #[arg(long, value_name = "NAME", env = "CPC_TRANSPORT", default_value = "quic")]
    pub transport: TransportName,

    /// How messages are written as bytes [default: json over tcp, postcard over quic]
    #[arg(long, value_name = "NAME", env = "CPC_CODEC")]
    pub codec: Option<CodecName>,

    /// Send so many transfers a second [default: none]
    #[arg(long, value_name = "TPS", env = "CPC_LOAD", value_parser = value_parser!(u32).range(1..=i64::from(MOST_LOAD)))]
    pub load: Option<u32>,

    /// When the last node joins, in seconds after the others.
    #[arg(long, value_name = "SECONDS", env = "CPC_JOIN_AFTER", default_value = "10", value_parser = time)]
    pub join_after: Duration,

    /// Leave a node that ended by itself, or was killed, as it is [default: off, so that it is started again]
    #[arg(long, env = "CPC_NO_RESTART", value_parser = BoolishValueParser::new())]
    pub no_restart: bool,

    /// The first node's port for peers; the others take those that follow; 0 takes any free ones [default: free ones from 9000 up]
    #[arg(long, value_name = "PORT", env = "CPC_P2P_PORT")]
    pub p2p_port: Option<u16>,

    /// The first node's port of the RPC; the others take those that follow; 0 takes any free ones [default: free ones from 8000 up]
    #[arg(long, value_name = "PORT", env = "CPC_PORT")]
    pub port: Option<u16>,
}
