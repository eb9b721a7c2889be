//! One node with two links joins a TCP+JSON network and a QUIC+postcard network: blocks and transactions cross both ways.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example bridge
//! ```
//!
//! ```text
//! TCP+JSON -> bridge -> QUIC+postcard: 600 blocks
//! QUIC+postcard -> bridge -> TCP+JSON: 610 blocks
//! one transaction each way
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;
use std::time::Duration;

use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_examples::Mainline;
use cpc_examples::generate::{address, transfer};
use cpc_framework::executor::accounts::state;
use cpc_framework::node::{NodeBuilder, NodeHandle, NodeStatus};
use cpc_framework::rules::Hasher;
use cpc_framework::store::memory::MemoryStore;
use cpc_transports::{NodeIdentity, QuicTransport, TcpTransport};

const HERE: &str = "127.0.0.1:0";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mainline = Mainline::load()?;
    let node = || NodeBuilder::new(mainline.genesis.clone());
    let quic = || Ok::<_, Box<dyn Error>>(QuicTransport::new(&NodeIdentity::generate()?, "postcard")?);

    let bridge = node().link(TcpTransport::default(), JsonCodec, HERE).link(quic()?, PostcardCodec, HERE);
    let bridge = bridge.start().await?;
    let [over_tcp, over_quic] = bridge.listening() else { return Err("a listener for each link".into()) };

    // On the TCP side a node that holds the first 600 blocks, on the QUIC side an empty one.
    let some = mainline.store_up_to(600).await?;
    let left = node().link(TcpTransport::default(), JsonCodec, HERE).store(some).peers([over_tcp.clone()]);
    let left = left.start().await?;
    let right = node().link(quic()?, PostcardCodec, HERE).store(MemoryStore::new()).peers([over_quic.clone()]);
    let right = right.start().await?;
    until(&right, |status| status.tip.is_some_and(|tip| tip.height == 599)).await?;
    println!("TCP+JSON -> bridge -> QUIC+postcard: 600 blocks");

    // Another node on the QUIC side knows how the chain goes on.
    let ahead = node().link(quic()?, PostcardCodec, HERE).store(mainline.store().await?).peers([over_quic.clone()]);
    let ahead = ahead.start().await?;
    let status = mainline.synced(&left).await?;
    println!("QUIC+postcard -> bridge -> TCP+JSON: {} blocks", status.figures.blocks);
    mainline.synced(&right).await?;

    let (key, hasher) = (mainline.account()?, Hasher::new(&mainline.genesis));
    let account = state::account(left.store().state()?.as_ref(), &address(&key))?;
    let nonce = account.map_or(0, |account| account.nonce);
    left.submit(transfer(&hasher, &key, address(&key), nonce)).await?;
    until(&right, |status| status.pool == 1).await?;
    right.submit(transfer(&hasher, &key, address(&key), nonce + 1)).await?;
    until(&left, |status| status.pool == 2).await?;
    println!("one transaction each way");

    for node in [ahead, right, left, bridge] {
        node.shutdown().await;
    }
    Ok(())
}

async fn until(node: &NodeHandle, condition: impl FnMut(&NodeStatus) -> bool) -> Result<(), Box<dyn Error>> {
    tokio::time::timeout(Duration::from_secs(60), node.wait_for(condition)).await??;
    Ok(())
}
