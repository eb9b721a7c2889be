//! A node of one's own in about 30 lines: what the builder can be told, and what the handle tells.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example custom_node
//! ```
//!
//! ```text
//! SYNCED at block 1209 (fb8482dceff2556f7d654b2423efded4be81c07cbad852acc3aed23bcae06948)
//! 1210 blocks, 3657 transactions
//! a peer over tcp+json claims height Some(1209)
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;

use cpc_codecs::JsonCodec;
use cpc_examples::Mainline;
use cpc_framework::prelude::*;
use cpc_transports::TcpTransport;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mainline = Mainline::load()?;
    let serving = mainline.serve(TcpTransport::default(), JsonCodec, "127.0.0.1:0").await?;
    let dir = tempfile::tempdir()?;

    let node = NodeBuilder::new(mainline.genesis.clone())
        .link(TcpTransport::default(), JsonCodec, "127.0.0.1:0")
        .store(FileStore::open(dir.path())?)
        .executor(AccountExecutor)
        .sync(BatchSync::new(RollbackOne::with_bound(20)))
        .limits(Limits { inbound: 8, ..Limits::for_network("devnet") })
        .peers(serving.listening().to_vec())
        .peers_file(dir.path().join("peers.json"))
        .start()
        .await?;

    let status = node.wait_for(|status| status.mode == Mode::Synced).await?;
    let tip = status.tip.ok_or("an empty chain")?;
    println!("SYNCED at block {} ({})", tip.height, tip.hash);
    println!("{} blocks, {} transactions", status.figures.blocks, status.figures.txs);
    for peer in node.peers().await? {
        println!("a peer over {} claims height {:?}", peer.link, peer.height);
    }

    node.shutdown().await;
    serving.shutdown().await;
    Ok(())
}
