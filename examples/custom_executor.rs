//! An executor of one's own in a node: the usual rules and a quota for each sender. The executor is `src/quota.rs`.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example custom_executor
//! ```
//!
//! ```text
//! a quota of 3: executed 1210 blocks
//! a quota of 0: block 0 is invalid: transaction sender: cpc1s7fcmewatu5nksgzmd75ln2k5l3ge0c0hqp2ph sends more than 0 transactions
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;

use cpc_codecs::PostcardCodec;
use cpc_examples::{Mainline, SenderQuota};
use cpc_framework::node::NodeBuilder;
use cpc_framework::transport::memory::MemoryNetwork;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mainline = Mainline::load()?;
    let network = MemoryNetwork::new();
    let serving = mainline.serve(network.member("serving"), PostcardCodec, "serving:1").await?;
    let syncing = |quota: SenderQuota| {
        NodeBuilder::new(mainline.genesis.clone())
            .dial_link(network.member("syncing"), PostcardCodec)
            .executor(quota)
            .peers(serving.listening().to_vec())
            .start()
    };

    let quota = SenderQuota::new(3);
    let count = quota.count();
    let node = syncing(quota).await?;
    mainline.synced(&node).await?;
    println!("a quota of 3: executed {} blocks", count.executed());
    node.shutdown().await;

    // Nobody may send anything: the node stops before the first block with a transaction.
    let node = syncing(SenderQuota::new(0)).await?;
    let status = node.wait_for(|status| status.last_error.is_some()).await?;
    println!("a quota of 0: {}", status.last_error.unwrap_or_default());
    node.shutdown().await;
    serving.shutdown().await;
    Ok(())
}
