use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::produce_tests::{SetClock, mainline, open};
use super::*;
use crate::rules::Rule;
use crate::types::{Payload, TxType};

#[tokio::test]
async fn blocks_that_came_a_moment_ago_are_passed_over_and_those_after_them_applied() {
    let (genesis, blocks) = mainline();
    let blocks: Vec<Arc<Block>> = blocks.into_iter().map(Arc::new).collect();
    let clock = Arc::new(SetClock::default());
    clock.0.store(u64::MAX / 2, Ordering::Relaxed);
    let mut chain = open(&genesis, &clock).await;
    assert_eq!(chain.import(blocks[..20].to_vec()).await.unwrap().applied.len(), 20);
    for (again, applied) in [(10..20, 0), (19..20, 0), (12..25, 5)] {
        let report = chain.import(blocks[again.clone()].to_vec()).await.unwrap();
        assert!(report.stop.is_none(), "{again:?}: {:?}", report.stop);
        assert_eq!(report.applied.len(), applied, "{again:?}");
    }
    assert_eq!(chain.tip().map(|tip| tip.height), Some(24));
}

#[tokio::test]
async fn a_block_that_was_rolled_back_is_no_longer_passed_over() {
    let (genesis, blocks) = mainline();
    let blocks: Vec<Arc<Block>> = blocks.into_iter().map(Arc::new).collect();
    let clock = Arc::new(SetClock::default());
    clock.0.store(u64::MAX / 2, Ordering::Relaxed);
    let mut chain = open(&genesis, &clock).await;
    chain.import(blocks[..20].to_vec()).await.unwrap();
    chain.rollback(Some(14)).await.unwrap();
    let gap = chain.import(blocks[16..20].to_vec()).await.unwrap();
    assert!(matches!(gap.stop, Some(Stop::Rejected(rejection)) if rejection.rule == Rule::Height));
    assert_eq!(chain.import(blocks[15..20].to_vec()).await.unwrap().applied.len(), 5);
}

#[tokio::test]
async fn a_rollback_gives_no_more_transactions_than_there_is_room_for() {
    let (genesis, blocks) = mainline();
    let mut blocks: Vec<Block> = blocks[..20].to_vec();
    // Somebody padded one: no hash covers its payload.
    let payload = format!(r#"{{"note":"{}"}}"#, "x".repeat(1 << 20));
    let (at, tx) = (1..20)
        .flat_map(|at| (0..blocks[at].txs.len()).map(move |tx| (at, tx)))
        .find(|(at, tx)| blocks[*at].txs[*tx].tx_type == TxType::Transfer)
        .unwrap();
    blocks[at].txs[tx].payload = Payload::new(&payload).unwrap();
    let all: Vec<_> = blocks[1..].iter().flat_map(|block| block.txs.clone()).collect();
    let clock = Arc::new(SetClock::default());
    clock.0.store(u64::MAX / 2, Ordering::Relaxed);
    let mut chain = open(&genesis, &clock).await;
    let imported = chain.import(blocks.into_iter().map(Arc::new).collect()).await.unwrap();
    assert_eq!(imported.applied.len(), 20);
    let removed = chain.rollback_within(Some(0), 64 << 10).await.unwrap();
    assert_eq!(removed.len(), all.len() - 1, "all but the padded one");
    assert!(removed.iter().all(|tx| tx.payload.as_str().len() < 1 << 20));
    chain.finish_reorg(ReorgOutcome::PutBack).await.unwrap();
    assert!(chain.rollback_within(Some(0), 0).await.unwrap().is_empty());
    chain.finish_reorg(ReorgOutcome::PutBack).await.unwrap();
    assert_eq!(chain.rollback(Some(0)).await.unwrap().len(), all.len());
}
