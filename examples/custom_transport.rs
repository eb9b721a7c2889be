//! A transport of one's own in a node: Unix sockets. The transport is `src/unix.rs`.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example custom_transport
//! ```
//!
//! ```text
//! 1210 blocks synced from unix+postcard://first:1 to unix+postcard://second:1
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    use cpc_codecs::PostcardCodec;
    use cpc_examples::{Mainline, UnixTransport};
    use cpc_framework::node::NodeBuilder;

    let dir = tempfile::tempdir()?;
    let unix = UnixTransport::new(dir.path().join("sockets"));
    let mainline = Mainline::load()?;
    let serving = mainline.serve(unix.clone(), PostcardCodec, "first:0").await?;
    let node = NodeBuilder::new(mainline.genesis.clone())
        .link(unix, PostcardCodec, "second:0")
        .peers(serving.listening().to_vec())
        .start()
        .await?;
    let status = mainline.synced(&node).await?;
    println!("{} blocks synced from {} to {}", status.figures.blocks, serving.listening()[0], node.listening()[0]);
    node.shutdown().await;
    serving.shutdown().await;
    Ok(())
}

#[cfg(not(unix))]
fn main() -> Result<(), Box<dyn Error>> {
    println!("this system has no Unix sockets");
    Ok(())
}
