//! Two nodes, one socket: the second syncs a chain that a Python network made from the first, and checks every block.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example two_nodes
//! ```
//!
//! Besides the log it says
//!
//! ```text
//! synced to block 1209 (fb8482dceff2556f7d654b2423efded4be81c07cbad852acc3aed23bcae06948)
//! 1210 blocks, 3657 transactions in 546.28ms
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;
use std::time::Instant;

use cpc_codecs::JsonCodec;
use cpc_examples::Mainline;
use cpc_framework::node::NodeBuilder;
use cpc_framework::sync::Mode;
use cpc_transports::TcpTransport;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_target(false).init();
    let mainline = Mainline::load()?;
    let best = mainline.blocks.last().map(|block| block.header.height);

    let serving = NodeBuilder::new(mainline.genesis.clone())
        .link(TcpTransport::default(), JsonCodec, "127.0.0.1:0")
        .store(mainline.store().await?)
        .start()
        .await?;

    let begun = Instant::now();
    let syncing = NodeBuilder::new(mainline.genesis)
        .link(TcpTransport::default(), JsonCodec, "127.0.0.1:0")
        .peers(serving.listening().to_vec())
        .start()
        .await?;
    let status =
        syncing.wait_for(|status| status.mode == Mode::Synced && status.tip.map(|tip| tip.height) == best).await?;

    let tip = status.tip.ok_or("an empty chain")?;
    println!("synced to block {} ({})", tip.height, tip.hash);
    println!("{} blocks, {} transactions in {:.2?}", status.figures.blocks, status.figures.txs, begun.elapsed());
    syncing.shutdown().await;
    serving.shutdown().await;
    Ok(())
}
