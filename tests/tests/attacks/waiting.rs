//! Row 14: how long a transaction waits for a lower nonce, in a whole node for which an hour takes no time.

use std::sync::Arc;
use std::time::Duration;

use cpc_codecs::JsonCodec;
use cpc_framework::env::{Clock, ComputePool, Env};
use cpc_framework::node::{NodeBuilder, NodeHandle};
use cpc_framework::transport::Transport as _;
use cpc_framework::transport::memory::MemoryNetwork;
use cpc_tests::crowd::Crowd;
use cpc_tests::wire::{self, Hello};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep_until};

use crate::inside;

/// How long one waits.
const WAIT: Duration = Duration::from_secs(60 * 60);

/// The runtime's clock, which stands still but for jumps to the next thing that anybody waits for.
#[derive(Debug)]
struct Virtual(Instant);

impl Clock for Virtual {
    fn unix_seconds(&self) -> u64 {
        1_800_000_000 + self.0.elapsed().as_secs()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

async fn pooled(node: &NodeHandle, count: usize) {
    node.wait_for(|status| status.pool == count).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn row_14_what_waits_for_a_lower_nonce_goes_after_an_hour_to_the_second() {
    let crowd = Crowd::new(2);
    let chain = crowd.chain(&vec![Vec::new(); 3]);
    let network = MemoryNetwork::new();
    let node = NodeBuilder::new(inside::genesis(&chain))
        .link(network.member("node"), JsonCodec, "node:1")
        .env(Env { clock: Arc::new(Virtual(Instant::now())), pool: ComputePool::Inline, seed: 1 })
        .start()
        .await
        .unwrap();
    let mut connection = network.member("sender").dial(&node.listening()[0]).await.unwrap();
    let mut send = async |lines: &[String]| {
        connection.control.writer.write_all((lines.join("\n") + "\n").as_bytes()).await.unwrap();
    };
    let new_tx = |account, nonce| wire::new_tx(&serde_json::to_string(&crowd.transfer(account, nonce)).unwrap());
    // One that waits for nothing, and one that waits for the one before it.
    let start = Instant::now();
    send(&[Hello::modern(&chain).without_blocks().line(), new_tx(0, 0), new_tx(1, 1)]).await;
    pooled(&node, 2).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep_until(start + WAIT - Duration::from_secs(1)).await;
    assert_eq!(node.status().pool, 2, "it has waited for 59:59");
    pooled(&node, 1).await;
    let waited = start.elapsed();
    // Timers are exact to a millisecond.
    assert!((WAIT..WAIT + Duration::from_millis(10)).contains(&waited), "it has waited for {waited:?}");
    // It may come again, and a new hour begins.
    let mut connection = network.member("sender").dial(&node.listening()[0]).await.unwrap();
    let lines = [Hello::modern(&chain).without_blocks().line(), new_tx(1, 1)].join("\n") + "\n";
    connection.control.writer.write_all(lines.as_bytes()).await.unwrap();
    pooled(&node, 2).await;
    sleep_until(start + 2 * WAIT - Duration::from_secs(1)).await;
    assert_eq!(node.status().pool, 2);
    pooled(&node, 1).await;
    node.shutdown().await;
}
