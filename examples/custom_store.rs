//! A store of one's own in a node: an append-only log. The store is `src/log_store.rs`.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example custom_store
//! ```
//!
//! ```text
//! synced 1210 blocks into a log of 1602 kB
//! opened again at block 1209 (fb8482dceff2556f7d654b2423efded4be81c07cbad852acc3aed23bcae06948)
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;

use cpc_codecs::PostcardCodec;
use cpc_examples::{LogStore, Mainline};
use cpc_framework::node::NodeBuilder;
use cpc_transports::TcpTransport;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mainline = Mainline::load()?;
    let serving = mainline.serve(TcpTransport::default(), PostcardCodec, "127.0.0.1:0").await?;
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("chain.log");

    let node = NodeBuilder::new(mainline.genesis.clone())
        .dial_link(TcpTransport::default(), PostcardCodec)
        .store(LogStore::open(&log)?)
        .peers(serving.listening().to_vec())
        .start()
        .await?;
    let status = mainline.synced(&node).await?;
    println!("synced {} blocks into a log of {} kB", status.figures.blocks, std::fs::metadata(&log)?.len() / 1000);
    node.shutdown().await;
    serving.shutdown().await;
    drop((node, serving));

    // Without any peer: what is there now was read from the log.
    let node = NodeBuilder::new(mainline.genesis.clone()).store(LogStore::open(&log)?).start().await?;
    let tip = mainline.synced(&node).await?.tip.ok_or("an empty chain")?;
    println!("opened again at block {} ({})", tip.height, tip.hash);
    node.shutdown().await;
    Ok(())
}
