//! Rows 12 and 13: announcing what does not exist keeps nothing out that does.

use std::cell::Cell;
use std::time::Duration;

use cpc_framework::testkit::messages::Messages;
use cpc_tests::raw::{PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};

use crate::{honest, running};

/// Peers that announce inventions: four of them were enough to fill all room for fetches.
const LIARS: usize = 6;
/// What one may be asked for at a time.
const MOST_PER_PEER: usize = 4096;
/// Hashes in a message.
const TOGETHER: usize = 1024;

/// Names transactions.
pub(crate) fn new_hashes(hashes: &[String]) -> String {
    let txs: Vec<String> = hashes.iter().map(|hash| format!("\"{hash}\"")).collect();
    wire::message("new_hashes", &format!(r#"{{"blocks": [], "txs": [{}]}}"#, txs.join(", ")))
}

fn invented(random: &mut Messages, count: usize) -> Vec<String> {
    (0..count).map(|_| hex::encode(random.bytes(32))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_13_invented_announcements_keep_no_honest_one_out() {
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let (_dir, node) = running(&short).await;
    let mut random = Messages::from_printed_seed();
    let hello = Hello { features: Some(vec!["announce-1".to_owned()]), ..Hello::modern(&short) };
    let mut talkers = Vec::new();
    for _ in 0..LIARS {
        talkers.push(Socket::greeted(node.port(), &hello).await.0.talker());
    }
    let (mut announcer, _) = Socket::greeted(node.port(), &hello).await;
    let over = Cell::new(false);
    let attack = async {
        while !over.get() {
            for talker in &mut talkers {
                for _ in 0..MOST_PER_PEER / TOGETHER {
                    assert!(
                        talker.send(&[new_hashes(&invented(&mut random, TOGETHER))]).await,
                        "nobody is closed for it"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let announcements = async {
        // Whatever is announced, and once only, is asked for.
        let mut random = Messages::from_printed_seed();
        for round in 0..10 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let hash = invented(&mut random, 1).remove(0);
            announcer.send(&new_hashes(std::slice::from_ref(&hash))).await;
            let asked =
                |received: &Received| (received.kind == "get_data" && received.payload.contains(&hash)).then_some(());
            announcer.next(PROMPT, &format!("a question for announcement {round}"), asked).await;
        }
        honest::syncs(&node, chain).await;
        over.set(true);
    };
    tokio::join!(attack, announcements);
}
