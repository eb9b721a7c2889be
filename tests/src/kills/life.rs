//! One life of a node: from its start to its kill, with all that it is heard to say of its chain meanwhile.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::deadline::within;
use crate::http;
use crate::process::{Call, Output, Process, free_port};

/// How long to pause between two questions for a node's tip.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// A block that a node said it has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Tip {
    pub(super) height: u64,
    pub(super) hash: String,
}

/// A running node that is asked for its tip again and again.
#[derive(Debug)]
pub(super) struct Life {
    node: Process,
    rpc_port: u16,
    heard: Arc<Mutex<Vec<Tip>>>,
    /// How many tips were heard; 0 also where the node answered that it has none.
    answers: watch::Sender<u64>,
    asking: JoinHandle<()>,
    over: watch::Sender<bool>,
}

impl Life {
    /// Starts `run` on `datadir` with these peers.
    pub(super) fn start(binary: &str, datadir: &Path, peers: &[String]) -> Self {
        let (p2p_port, rpc_port) = (free_port(), free_port());
        let call = Call::at(binary, datadir)
            .args(["run", "--p2p-host", "127.0.0.1", "--p2p-port", &p2p_port.to_string()])
            .args(["--port", &rpc_port.to_string()]);
        let node = if peers.is_empty() { call } else { call.arg("--peers").arg(peers.join(",")) }.start();
        let heard: Arc<Mutex<Vec<Tip>>> = Arc::default();
        let (answers, over) = (watch::Sender::new(0), watch::Sender::new(false));
        let (noted, count, ended) = (Arc::clone(&heard), answers.clone(), over.subscribe());
        let asking = tokio::spawn(async move {
            while !*ended.borrow() {
                if let Some(tip) = ask(rpc_port).await {
                    if let Some(tip) = tip {
                        let mut heard = noted.lock().unwrap();
                        if heard.last() != Some(&tip) {
                            heard.push(tip);
                        }
                    }
                    count.send_modify(|count| *count += 1);
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        });
        Self { node, rpc_port, heard, answers, asking, over }
    }

    /// The port of its RPC.
    pub(super) fn rpc_port(&self) -> u16 {
        self.rpc_port
    }

    /// Waits until it answers.
    pub(super) async fn answers(&mut self, limit: Duration) {
        let mut answers = self.answers.subscribe();
        within(limit, "an answer of the node", answers.wait_for(|count| *count > 0)).await.unwrap();
    }

    /// Waits until it said that it has a block of this height or a higher one, and gives that.
    ///
    /// # Panics
    /// It says so not in time, or ends.
    pub(super) async fn reaches(&mut self, height: u64, limit: Duration) -> Tip {
        let mut answers = self.answers.subscribe();
        let node = &mut self.node;
        let heard = &self.heard;
        within(limit, &format!("block {height}"), async {
            loop {
                answers.borrow_and_update();
                if let Some(tip) = heard.lock().unwrap().last().filter(|tip| tip.height >= height) {
                    return tip.clone();
                }
                tokio::select! {
                    changed = answers.changed() => changed.unwrap(),
                    () = tokio::time::sleep(crate::deadline::LOOK_AGAIN) => {}
                }
                assert!(node.is_running(), "the node ended by itself:\n{}", node.stderr());
            }
        })
        .await
    }

    /// Kills it with a signal that it cannot see. Gives every tip that it was heard to have, in order.
    pub(super) async fn kill(mut self) -> Vec<Tip> {
        assert!(self.node.is_running(), "the node ended by itself:\n{}", self.node.stderr());
        let output: Output = self.node.kill().await;
        assert_eq!(output.code, None, "it was to be killed: {output:?}");
        assert!(!output.stderr.contains("panicked"), "{output:?}");
        self.over.send_replace(true);
        // What was on its way when the node was killed has been said, too.
        self.asking.await.unwrap();
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

/// The tip by the RPC: none where it does not answer, none inside where it has no block.
async fn ask(rpc_port: u16) -> Option<Option<Tip>> {
    #[derive(Deserialize)]
    struct Status {
        height: i64,
        last_hash: String,
    }
    let answer = http::attempt(rpc_port, "GET", "/status", "").await?;
    let status: Status = serde_json::from_str(&answer.body).ok()?;
    Some(u64::try_from(status.height).ok().map(|height| Tip { height, hash: status.last_hash }))
}
