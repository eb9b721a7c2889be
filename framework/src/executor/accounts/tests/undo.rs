//! Random blocks, forwards and backwards, under both families of rules.

use std::sync::Arc;

use proptest::prelude::*;

use super::fixtures::{Chain, User, genesis, users};
use crate::executor::Executor;
use crate::executor::accounts::AccountExecutor;
use crate::types::{Address, HashRules, Transaction};

/// Who does what with how much: kind, sender, target, amount.
type Step = (u8, usize, u32, u128);

fn blocks() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0..4u8, 0..6usize, 0..30u32, prop_oneof![0..3000u128, any::<u128>()]);
    proptest::collection::vec(proptest::collection::vec(step, 0..8), 1..14)
}

fn transactions(chain: &Chain, users: &[User], steps: &[Step]) -> Vec<Arc<Transaction>> {
    let rules = chain.genesis.hash_rules;
    let mut nonces: Vec<u64> = users.iter().map(|user| chain.account(&user.address).map_or(0, |a| a.nonce)).collect();
    let step = |&(kind, sender, target, amount): &Step| {
        let (user, genesis) = (&users[sender], &chain.genesis);
        let nonce = nonces[sender];
        // What is too much is left out, and so is all that this sender does after it.
        nonces[sender] += 1;
        match kind {
            0 => user.transfer(genesis, nonce, &User::new(rules, target).address, amount),
            1 if rules == HashRules::ComputechainV1 => {
                let long = "long ".repeat(300);
                user.transfer(genesis, nonce, &Address::new(format!("{long}{target}")), amount)
            }
            2 => user.result(genesis, nonce),
            _ => user.stake(genesis, nonce, &User::new(rules, target).pub_key(), amount % 4000),
        }
    };
    steps.iter().map(step).collect()
}

fn check(rules: HashRules, blocks: &[Vec<Step>]) -> Result<(), TestCaseError> {
    let users = users(rules, 6);
    let mut chain = Chain::new(genesis(rules, &users));
    let mut before = Vec::new();
    for steps in blocks {
        before.push((chain.state.clone(), chain.root()));
        let txs = transactions(&chain, &users, steps);
        let Some(_) = chain.machine.proposer(chain.next_height(), 0) else { break };
        chain.grow(txs);
        let (_, changes) = chain.done.last().unwrap();
        prop_assert!(changes.iter().all(|change| change.old != change.new), "a change that changes nothing");
        let opened = AccountExecutor.open(Arc::clone(&chain.genesis), &chain.state).unwrap();
        let ran = std::mem::replace(&mut chain.machine, opened);
        let root = chain.root();
        chain.machine = ran;
        prop_assert_eq!(root, chain.root(), "a machine opened here and one that ran here");
    }
    let after = chain.state.clone();
    let mut taken_back = Vec::new();
    while !chain.done.is_empty() {
        taken_back.push(chain.revert());
        let (state, root) = &before[chain.done.len()];
        prop_assert_eq!(state, &chain.state);
        prop_assert_eq!(*root, chain.root());
    }
    taken_back.reverse();
    chain.execute_all(&taken_back);
    prop_assert_eq!(after, chain.state);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn taking_back_random_blocks_restores_state_and_root_under_v1_rules(blocks in blocks()) {
        check(HashRules::ComputechainV1, &blocks)?;
    }

    #[test]
    fn taking_back_random_blocks_restores_state_and_root_under_canonical_rules(blocks in blocks()) {
        check(HashRules::Canonical, &blocks)?;
    }
}
