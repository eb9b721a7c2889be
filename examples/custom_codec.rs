//! A codec of one's own in a node: MessagePack over TCP. The codec is `src/msgpack.rs`.
//!
//! ```sh
//! cargo run --release -p cpc-examples --example custom_codec
//! ```
//!
//! ```text
//! 1210 blocks synced over tcp+msgpack
//! a node that speaks json has 0 peers
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;

use cpc_codecs::JsonCodec;
use cpc_examples::{Mainline, MessagePackCodec};
use cpc_framework::node::NodeBuilder;
use cpc_framework::transport::Endpoint;
use cpc_transports::TcpTransport;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mainline = Mainline::load()?;
    let serving = mainline.serve(TcpTransport::default(), MessagePackCodec, "127.0.0.1:0").await?;
    let node = NodeBuilder::new(mainline.genesis.clone())
        .dial_link(TcpTransport::default(), MessagePackCodec)
        .peers(serving.listening().to_vec())
        .start()
        .await?;
    let status = mainline.synced(&node).await?;
    println!("{} blocks synced over tcp+msgpack", status.figures.blocks);

    // The two sides of a link must speak the same codec: anything else is refused at the first byte. A node does not even start
    // with peers over a link that it has not, so that the stranger gets the bare address.
    let stranger = NodeBuilder::new(mainline.genesis.clone())
        .dial_link(TcpTransport::default(), JsonCodec)
        .peers(serving.listening().iter().map(Endpoint::without_link).collect::<Vec<_>>())
        .start()
        .await?;
    let refused = stranger.wait_for(|status| status.last_error.is_some() || !status.failed_dials.is_empty()).await?;
    println!("a node that speaks json has {} peers", refused.peers);

    for node in [stranger, node, serving] {
        node.shutdown().await;
    }
    Ok(())
}
