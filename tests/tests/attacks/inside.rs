//! A node within this process, for limits that the program does not let an operator choose; its links are real sockets all the same.

use std::net::SocketAddr;

use cpc_codecs::JsonCodec;
use cpc_framework::limits::Limits;
use cpc_framework::node::{NodeBuilder, NodeHandle};
use cpc_framework::rules::Hasher;
use cpc_framework::types::{Genesis, Network};
use cpc_tests::deadline::within;
use cpc_tests::vectors::Chain;
use cpc_transports::TcpTransport;

use crate::SYNC;

/// The defaults of a network, for peers that come from 127.0.0.2 and up as if from other machines, as fast as they like.
pub(crate) fn limits(network: &str) -> Limits {
    Limits { exempt_loopback: false, accept_burst: 10_000, ..Limits::for_network(network) }
}

/// A node of the network of `chain`, without a block, over TCP and JSON.
pub(crate) fn builder(chain: &Chain, limits: Limits) -> NodeBuilder {
    NodeBuilder::new(genesis(chain)).link(TcpTransport::default(), JsonCodec, "127.0.0.1:0").limits(limits)
}

/// What hashes the transactions of the network of `chain`.
pub(crate) fn hasher(chain: &Chain) -> Hasher {
    Hasher::new(&genesis(chain))
}

/// The genesis of the network of `chain`.
pub(crate) fn genesis(chain: &Chain) -> Genesis {
    Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap()
}

/// Where it listens.
pub(crate) fn port(node: &NodeHandle) -> u16 {
    let address: SocketAddr = node.listening()[0].address.parse().unwrap();
    address.port()
}

/// Waits until its tip is that of `chain`.
pub(crate) async fn has(node: &NodeHandle, chain: &Chain) {
    let there =
        |tip: cpc_framework::types::Tip| tip.height == chain.height() && tip.hash.to_string() == chain.tip_hash();
    let synced = node.wait_for(|status| status.tip.is_some_and(there));
    within(SYNC, &format!("block {} by an honest peer", chain.height()), synced).await.unwrap();
}
