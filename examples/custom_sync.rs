//! A sync strategy of one's own in a node: one peer, one request at a time. The strategy is `src/one_by_one.rs`.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example custom_sync
//! ```
//!
//! ```text
//! 1210 blocks synced one request at a time, Synced
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;

use cpc_codecs::PostcardCodec;
use cpc_examples::{Mainline, OneByOne};
use cpc_framework::node::NodeBuilder;
use cpc_framework::transport::memory::MemoryNetwork;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mainline = Mainline::load()?;
    let network = MemoryNetwork::new();
    let first = mainline.serve(network.member("first"), PostcardCodec, "first:1").await?;
    let second = mainline.serve(network.member("second"), PostcardCodec, "second:1").await?;
    let node = NodeBuilder::new(mainline.genesis.clone())
        .dial_link(network.member("syncing"), PostcardCodec)
        .sync(OneByOne::default())
        .peers([first.listening(), second.listening()].concat())
        .start()
        .await?;
    let status = mainline.synced(&node).await?;
    println!("{} blocks synced one request at a time, {:?}", status.figures.blocks, status.mode);
    for node in [node, first, second] {
        node.shutdown().await;
    }
    Ok(())
}
