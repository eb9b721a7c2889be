//! A chain of our own rules, and rules that the vectors do not reach.

use std::sync::Arc;

use super::fixtures::{Chain, GAS_PRICE, User, WEALTH, genesis, users, vector_genesis};
use crate::executor::Executor;
use crate::executor::accounts::{AccountExecutor, state};
use crate::rules::Rule;
use crate::testkit::executor::MemoryState;
use crate::types::{Address, HashRules, Transaction};

const BLOCKS: u64 = 300;

#[test]
fn grows_for_hundreds_of_blocks_with_stakes_epochs_and_results() {
    let users = users(HashRules::Canonical, 12);
    let mut chain = Chain::new(genesis(HashRules::Canonical, &users));
    let mut proposers = std::collections::BTreeSet::new();
    let mut nonces = vec![0; users.len()];
    for (newcomer, height) in (500..).zip(0..BLOCKS) {
        let mut txs = Vec::new();
        for (number, user) in users.iter().enumerate().filter(|(number, _)| (*number as u64 + height).is_multiple_of(3))
        {
            let nonce = nonces[number];
            nonces[number] += 1;
            txs.push(match (number as u64 + height) % 5 {
                0 => user.stake(&chain.genesis, nonce, &user.pub_key(), 300 + 100 * (number as u128)),
                1 => user.result(&chain.genesis, nonce),
                2 => user.transfer(&chain.genesis, nonce, &User::new(HashRules::Canonical, newcomer).address, 1),
                _ => user.transfer(&chain.genesis, nonce, &users[(number + 1) % 12].address, 1000),
            });
        }
        let offered = txs.len();
        let block = chain.grow(txs);
        assert_eq!(block.txs.len(), offered, "all that is offered to block {height} can be included");
        proposers.insert(block.header.proposer_address);
    }
    assert!(proposers.len() > 3, "stakes changed who proposes: {proposers:?}");
    assert_eq!(state::epoch(&chain.state).unwrap(), Some(BLOCKS / 5));
    let all = state::validators(&chain.state).unwrap();
    assert_eq!(all.iter().filter(|validator| validator.is_active).count(), 3);
    let weakest_active = all.iter().filter(|validator| validator.is_active).map(|validator| validator.power).min();
    let strongest_other = all.iter().filter(|validator| !validator.is_active).map(|validator| validator.power).max();
    assert!(weakest_active >= strongest_other, "{weakest_active:?} {strongest_other:?}");

    let (end, mut taken_back) = (chain.state.clone(), Vec::new());
    while !chain.done.is_empty() {
        taken_back.push(chain.revert());
    }
    assert_eq!(chain.state, Chain::new((*chain.genesis).clone()).state);
    taken_back.reverse();
    chain.execute_all(&taken_back);
    assert!(end == chain.state);
}

/// Two newcomers of equal power for one free seat: the later one has the lower address.
fn elected_of_two_equals(rules: HashRules) -> (Address, Address, Vec<Address>) {
    let users = users(rules, 8);
    let mut chain = Chain::new(genesis(rules, &users[..1]));
    let mut sorted: Vec<&User> = users[1..].iter().collect();
    sorted.sort_by_key(|user| std::cmp::Reverse(user.validator()));
    let (first, second) = (sorted[0], sorted[1]);
    let strong = sorted[2];
    let staker = &users[0];
    let txs = [(strong, 9000), (first, 4000), (second, 4000)];
    let genesis = Arc::clone(&chain.genesis);
    let stake =
        |(nonce, (user, power)): (usize, &(&User, u128))| staker.stake(&genesis, nonce as u64, &user.pub_key(), *power);
    chain.grow(txs.iter().enumerate().map(stake).collect());
    for _ in 1..5 {
        chain.grow(Vec::new());
    }
    let active =
        state::validators(&chain.state).unwrap().into_iter().filter(|v| v.is_active).map(|v| v.address).collect();
    (first.validator(), second.validator(), active)
}

#[test]
fn equal_power_goes_by_registration_under_v1_and_by_address_under_canonical_rules() {
    let (first, second, active) = elected_of_two_equals(HashRules::ComputechainV1);
    assert!(active.contains(&first) && !active.contains(&second), "{active:?}");
    let (first, second, active) = elected_of_two_equals(HashRules::Canonical);
    assert!(!active.contains(&first) && active.contains(&second), "{active:?}");
}

#[test]
fn pays_the_reward_to_the_reward_address_or_else_to_the_account_of_the_key() {
    let users = users(HashRules::Canonical, 2);
    let mut chain = Chain::new(genesis(HashRules::Canonical, &users));
    chain.grow(vec![users[1].transfer(&chain.genesis, 0, &users[1].address, 7)]);
    let gas = 21_000 * GAS_PRICE;
    assert_eq!(chain.account(&users[0].address).unwrap().balance, WEALTH + 10u128.pow(19) + gas);
    assert_eq!(chain.account(&users[1].address).unwrap(), state::Account { balance: WEALTH - gas, nonce: 1 });

    let mut elsewhere = genesis(HashRules::Canonical, &users);
    elsewhere.validators[0].reward_address = Some(users[1].address.clone());
    let mut chain = Chain::new(elsewhere);
    chain.grow(Vec::new());
    assert_eq!(chain.account(&users[1].address).unwrap().balance, WEALTH + 10u128.pow(19));
}

#[test]
fn pays_no_reward_to_a_proposer_that_its_own_block_made_inactive() {
    let users = users(HashRules::Canonical, 1);
    let mut weak = genesis(HashRules::Canonical, &users);
    weak.validators[0].power = 10;
    let mut chain = Chain::new(weak);
    for _ in 0..5 {
        chain.grow(Vec::new());
    }
    assert_eq!(chain.account(&users[0].address).unwrap().balance, WEALTH + 4 * 10u128.pow(19));
    assert_eq!(chain.machine.proposer(5, 0), None);
}

#[test]
fn sums_beyond_128_bits_are_refused_and_change_nothing() {
    let users = users(HashRules::ComputechainV1, 3);
    let mut chain = Chain::new(genesis(HashRules::ComputechainV1, &users));
    let plain = users[1].transfer(&chain.genesis, 0, &users[2].address, 1);
    let changed = |change: &dyn Fn(&mut Transaction)| {
        let mut tx = Transaction::clone(&plain);
        change(&mut tx);
        tx
    };
    let bad = [
        (Rule::TxBalance, changed(&|tx| tx.gas_price = u128::MAX)),
        (Rule::TxBalance, changed(&|tx| tx.amount = u128::MAX)),
        (Rule::TxBalance, changed(&|tx| tx.amount = WEALTH)),
        (Rule::TxNonce, changed(&|tx| tx.nonce = u64::MAX)),
    ];
    let template = chain.propose(Vec::new());
    let before = chain.state.clone();
    for (rule, tx) in bad {
        let mut block = template.clone();
        block.txs = vec![tx];
        assert_eq!(chain.try_execute(&block).unwrap_err().rule, rule);
        assert_eq!(before, chain.state);
    }
}

#[test]
fn a_transfer_of_nothing_makes_an_account_and_taking_it_back_unmakes_it() {
    for rules in [HashRules::ComputechainV1, HashRules::Canonical] {
        let users = users(rules, 2);
        let stranger = User::new(rules, 77).address;
        let mut chain = Chain::new(genesis(rules, &users));
        let root = chain.root();
        chain.grow(vec![users[1].transfer(&chain.genesis, 0, &stranger, 0)]);
        assert_eq!(chain.account(&stranger), Some(state::Account::default()));
        chain.revert();
        assert_eq!(chain.account(&stranger), None);
        assert_eq!(chain.root(), root);
    }
}

#[test]
fn addresses_too_long_for_a_key_are_accounts_like_others() {
    let users = users(HashRules::ComputechainV1, 2);
    let mut chain = Chain::new(genesis(HashRules::ComputechainV1, &users));
    let long = Address::new("ж".repeat(2000));
    chain.grow(vec![users[1].transfer(&chain.genesis, 0, &long, 5)]);
    assert_eq!(chain.account(&long), Some(state::Account { balance: 5, nonce: 0 }));
    assert!(chain.accounts().contains_key(&long));
    assert!(chain.state.0.keys().all(|key| key.len() <= 1024));
    let opened = AccountExecutor.open(Arc::clone(&chain.genesis), &chain.state).unwrap();
    let ran = chain.root();
    chain.machine = opened;
    assert_eq!(ran, chain.root());
}

#[test]
fn a_proposal_stops_at_the_gas_limit_and_at_the_most_transactions() {
    let users = users(HashRules::Canonical, 2);
    let mut small = genesis(HashRules::Canonical, &users);
    small.params.block_gas_limit = 50_000;
    let mut chain = Chain::new(small.clone());
    let transfers = |chain: &Chain| {
        (0..4).map(|nonce| users[1].transfer(&chain.genesis, nonce, &users[0].address, 1)).collect::<Vec<_>>()
    };
    let txs = transfers(&chain);
    assert_eq!(chain.propose(txs).txs.len(), 2);
    small.params.block_gas_limit = 10_000_000;
    small.params.max_txs_per_block = 3;
    let mut chain = Chain::new(small);
    let txs = transfers(&chain);
    assert_eq!(chain.propose(txs).header.gas_used, 63_000);
}

#[test]
fn refuses_to_open_a_state_that_is_not_its_own() {
    let genesis = Arc::new(vector_genesis("fork"));
    let error = AccountExecutor.open(genesis, &MemoryState::default()).unwrap_err();
    assert!(error.to_string().contains("not written by the accounts executor"), "{error}");
}

#[test]
fn refuses_a_genesis_validator_whose_address_fits_no_key() {
    let mut genesis = vector_genesis("fork");
    genesis.validators[0].address = Address::new("v".repeat(901));
    let error = AccountExecutor.genesis_state(&genesis).unwrap_err();
    assert!(error.to_string().contains("901 bytes"), "{error}");
}

#[test]
fn the_first_state_commits_to_every_account_validator_and_the_epoch() {
    let users = users(HashRules::Canonical, 3);
    let plain = genesis(HashRules::Canonical, &users);
    let mut roots = std::collections::BTreeSet::from([Chain::new(plain.clone()).root()]);
    let mut differs = |change: &dyn Fn(&mut crate::types::Genesis)| {
        let mut other = plain.clone();
        change(&mut other);
        assert!(roots.insert(Chain::new(other).root()), "another genesis with a root that another one has");
    };
    differs(&|genesis| *genesis.alloc.get_mut(&users[1].address).unwrap() += 1);
    differs(&|genesis| assert!(genesis.alloc.insert(User::new(HashRules::Canonical, 50).address, 0).is_none()));
    differs(&|genesis| genesis.validators[0].power += 1);
    differs(&|genesis| genesis.validators[0].reward_address = Some(users[2].address.clone()));
}
