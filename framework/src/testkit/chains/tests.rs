use std::collections::BTreeSet;

use super::*;
use crate::chain::Chain;
use crate::env::{ComputePool, Env};
use crate::store::memory::MemoryStore;
use crate::types::HashRules;

fn blocks(shape: Shape, count: usize) -> (Arc<Genesis>, Vec<Arc<Block>>) {
    let mut chain = ShapedChain::new(shape, ComputePool::Inline).unwrap();
    let blocks = (0..count).map(|_| chain.next_block().unwrap().block.block).collect();
    (Arc::clone(chain.genesis()), blocks)
}

#[tokio::test]
async fn a_chain_of_any_shape_is_valid_under_its_rules() {
    for rules in [HashRules::Canonical, HashRules::ComputechainV1] {
        for (txs, accounts) in [(0, 0), (3, 2), (30, 40)] {
            let (genesis, blocks) = blocks(Shape { rules, txs, accounts, new_accounts: 0.5 }, 12);
            assert_eq!(
                Genesis::from_json(genesis.to_json().as_bytes(), crate::types::Network::Devnet).unwrap(),
                *genesis
            );
            assert!(blocks.iter().all(|block| block.txs.len() == txs));
            let (store, executor) = (Arc::new(MemoryStore::new()), Arc::new(AccountExecutor));
            let mut chain = Chain::open(genesis, store, executor, Env::system().unwrap()).await.unwrap();
            let report = chain.import(blocks).await.unwrap();
            assert!(report.stop.is_none(), "{rules} with {txs} transfers: {:?}", report.stop);
            assert_eq!(report.applied.len(), 12);
        }
    }
}

#[test]
fn senders_take_turns_and_the_wanted_share_goes_to_new_accounts() {
    let shape = Shape { rules: HashRules::Canonical, txs: 40, accounts: 100, new_accounts: 0.25 };
    let (genesis, blocks) = blocks(shape, 2);
    let txs: Vec<&Transaction> = blocks.iter().flat_map(|block| &block.txs).collect();
    let senders: BTreeSet<_> = txs.iter().map(|tx| &tx.from_address).collect();
    assert_eq!(senders.len(), 80);
    let recipients = txs.iter().filter_map(|tx| tx.to_address.as_ref());
    let new: BTreeSet<_> = recipients.filter(|to| !genesis.alloc.contains_key(*to)).collect();
    assert_eq!(new.len(), 20);
}

#[test]
fn the_same_shape_gives_the_same_chain() {
    let shape = Shape { rules: HashRules::Canonical, txs: 5, accounts: 7, new_accounts: 0.5 };
    assert_eq!(blocks(shape, 3).1, blocks(shape, 3).1);
}
