//! Row 9: bytes scheduled fairly between those who ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cpc_framework::types::{HEADER_CHAIN, Handshake, Message, REQUEST_ID};
use cpc_tests::datadir::Datadir;
use cpc_tests::framed::{Framed, frame};
use cpc_tests::process::Process;
use cpc_tests::vectors::Chain;
use tokio::task::JoinSet;

use crate::NODE;

const LINK: &str = "tcp+postcard";
/// Those who ask for all there is, again and again.
const GREEDY: usize = 60;
/// What the honest one asks for at a time.
const FEW: u64 = 4;
/// How long answers are counted.
const COUNTED: Duration = Duration::from_secs(8);

fn hello() -> Handshake {
    static NONCE: AtomicU64 = AtomicU64::new(1 << 50);
    Handshake {
        node_id: "127.0.0.1:9".to_owned(),
        p2p_port: 9,
        protocol_version: 1,
        network: "devnet".to_owned(),
        best_height: None,
        best_hash: None,
        genesis_hash: None,
        features: Some([REQUEST_ID, HEADER_CHAIN].map(str::to_owned).to_vec()),
        nonce: Some(NONCE.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Asks what `question` says, one after the other, and counts the answers.
async fn ask(mut peer: Framed, question: impl Fn(u64) -> Message, answers: Arc<AtomicUsize>) {
    for n in 0.. {
        if !peer.send(&frame(&question(n).with_id(Some(n)))).await {
            return;
        }
        let answer = |message: &Message| matches!(message, Message::Numbered { id, .. } if *id == n).then_some(());
        if peer.next(answer).await.is_none() {
            return;
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_9_sixty_who_ask_for_much_leave_one_who_asks_for_little_as_many_bytes_as_each_of_them() {
    let chain = Chain::mainline();
    let dir = Datadir::holding(NODE, chain).await;
    let node = Process::run_over(NODE, dir.path(), &[LINK], &[]).await;
    let port = node.port_of(LINK);
    let height = chain.height();
    let mut tasks = JoinSet::new();
    let greedy = Arc::new(AtomicUsize::new(0));
    for _ in 0..GREEDY {
        let peer = Framed::greeted(LINK, port, &hello()).await;
        // The headers of the whole chain, for which all its blocks are read; each time from another one on.
        let all = move |n: u64| Message::GetHeaderChain { from_height: n % 100, to_height: height - n / 100 };
        tasks.spawn(ask(peer, all, Arc::clone(&greedy)));
    }
    let honest = Arc::new(AtomicUsize::new(0));
    let peer = Framed::greeted(LINK, port, &hello()).await;
    let few = move |n: u64| {
        let from_height = n * FEW % (height - FEW);
        Message::GetBlocks { from_height, to_height: from_height + FEW - 1 }
    };
    tasks.spawn(ask(peer, few, Arc::clone(&honest)));
    let start = Instant::now();
    // On a slow machine until there is enough to compare.
    while start.elapsed() < COUNTED || greedy.load(Ordering::Relaxed) < 3 * GREEDY {
        assert!(start.elapsed() < 10 * COUNTED, "{} answers to the greedy", greedy.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (honest, greedy) = (honest.load(Ordering::Relaxed), greedy.load(Ordering::Relaxed));
    // An answer to each in turn would be one for one; in bytes the honest one's cost a hundredth.
    assert!(honest >= 8 * greedy / GREEDY, "{honest} answers to the honest one, {greedy} to {GREEDY} greedy ones");
}
