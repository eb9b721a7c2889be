use std::sync::Arc;

use bytes::Bytes;

use super::failing_store_tests::Late;
use super::produce_tests::mainline;
use super::*;
use crate::env::ComputePool;
use crate::executor::accounts::AccountExecutor;
use crate::rules::Rule;
use crate::store::memory::MemoryStore;
use crate::store::{StateKey, StateValue};
use crate::testkit::store::{HookedStore, StoreHooks};
use crate::types::{EncodedBlock, HexText};

/// How much of the reference's chain these tests read.
const BLOCKS: usize = 60;

/// A store that gives another body than it was given at one height.
type Altered = HookedStore<MemoryStore, Body>;

#[derive(Debug, Default)]
struct Body(Option<(Height, Option<Bytes>)>);

impl StoreHooks for Body {
    fn read(&self, mut blocks: Vec<EncodedBlock>) -> Vec<EncodedBlock> {
        if let Some((height, body)) = &self.0
            && let Some(at) = blocks.iter().position(|block| block.link.height == *height)
        {
            match body {
                Some(body) => blocks[at].bytes = body.clone(),
                None => blocks.truncate(at),
            }
        }
        blocks
    }
}

fn env() -> Env {
    Env { clock: Arc::new(Late), pool: ComputePool::Inline, seed: 0 }
}

/// A store with the first blocks of the reference's chain; what was imported is right.
async fn stored() -> (Arc<Genesis>, Vec<Block>, Altered) {
    let (genesis, mut blocks) = mainline();
    blocks.truncate(BLOCKS);
    let store = Arc::new(Altered::default());
    let mut chain =
        Chain::open(Arc::clone(&genesis), Arc::clone(&store) as _, Arc::new(AccountExecutor), env()).await.unwrap();
    let report = chain.import(blocks.iter().cloned().map(Arc::new).collect()).await.unwrap();
    assert!(report.stop.is_none(), "{:?}", report.stop);
    drop(chain);
    (genesis, blocks, Arc::into_inner(store).unwrap())
}

async fn found(genesis: &Arc<Genesis>, store: &Altered) -> Result<AuditReport, ChainError> {
    audit(Arc::clone(genesis), store, Arc::new(AccountExecutor), &env(), |_| {}).await
}

#[tokio::test]
async fn finds_nothing_wrong_with_what_an_import_left() {
    let (genesis, blocks, store) = stored().await;
    let report = found(&genesis, &store).await.unwrap();
    assert_eq!(report.blocks, BLOCKS as u64);
    assert_eq!(report.txs, blocks.iter().map(|block| block.txs.len() as u64).sum::<u64>());
    assert_eq!(report.tip.unwrap().height, BLOCKS as u64 - 1);
    assert!(report.state_entries > 0);
}

#[tokio::test]
async fn names_the_height_and_the_rule_of_a_block_that_is_not_what_it_was() {
    let (genesis, blocks, mut store) = stored().await;
    let at = blocks.iter().rposition(|block| !block.txs.is_empty()).unwrap();
    let signature = |block: &mut Block| block.txs[0].signature = HexText::from_bytes(&[1; 64]);
    let own_signature = |block: &mut Block| block.pq_signature = HexText::from_bytes(&[1; 64]);
    let amount = |block: &mut Block| block.txs[0].amount += 1;
    let header = |block: &mut Block| block.header.timestamp += 1;
    let parent = |block: &mut Block| block.header.prev_hash = Hash32([1; 32]);
    let alterations = [
        (signature as fn(&mut Block), Rule::TxSignature),
        (own_signature, Rule::BlockSignature),
        (amount, Rule::TxRoot),
        (header, Rule::PrevHash),
        (parent, Rule::PrevHash),
    ];
    for (alter, rule) in alterations {
        let mut block = blocks[at].clone();
        alter(&mut block);
        store.hooks.0 = Some((at as Height, Some(encoding::encode_block(&block).into())));
        match found(&genesis, &store).await.unwrap_err() {
            ChainError::StoredBlock(rejection) => assert_eq!((rejection.height, rejection.rule), (at as Height, rule)),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn names_a_block_that_cannot_be_read_and_one_that_is_missing() {
    let (genesis, _, mut store) = stored().await;
    for body in [Some(Bytes::from_static(b"\xff\xff")), None] {
        store.hooks.0 = Some((7, body));
        let error = found(&genesis, &store).await.unwrap_err();
        assert!(error.to_string().contains("block 7 "), "{error}");
    }
}

#[tokio::test]
async fn finds_a_state_that_is_not_what_the_blocks_give() {
    let (genesis, _, store) = stored().await;
    let mut right = Vec::new();
    store
        .state()
        .unwrap()
        .scan(b"", &mut |key, value| {
            right.push((StateKey::copy_from_slice(key), StateValue::copy_from_slice(value)));
            true
        })
        .unwrap();
    let changed = || {
        let mut state = right.clone();
        state[3].1 = StateValue::from_static(b"something else");
        state
    };
    let missing = || right[1..].to_vec();
    let more = || {
        let mut state = right.clone();
        state.push((StateKey::from_static(b"\xffmore"), StateValue::from_static(b"1")));
        state
    };
    for (state, word) in [(changed(), "another value"), (missing(), "is missing"), (more(), "no block made")] {
        store.replace_state(state, Vec::new()).await.unwrap();
        match found(&genesis, &store).await.unwrap_err() {
            ChainError::StoredState { height: Some(height), detail } => {
                assert_eq!(height, BLOCKS as u64 - 1);
                assert!(detail.contains(word), "{detail}");
            }
            other => panic!("{other}"),
        }
    }
}
