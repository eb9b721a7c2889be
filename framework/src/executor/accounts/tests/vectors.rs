//! What the reference's chains must come to.

use std::sync::Arc;

use serde_json::Value;

use super::fixtures::{Chain, vector, vector_blocks, vector_genesis, vector_summary};
use crate::executor::ProposalTemplate;
use crate::executor::accounts::state;
use crate::rules::keys::{ACCOUNT_PREFIX, address_of};
use crate::rules::{Parent, Rejection, Rule, Verifier};
use crate::types::{Address, Block, HashRules, Header, HexText};

/// All that a chain's `summary.json` says of its state.
fn assert_ends_as_summarised(chain: &mut Chain, summary: &Value) {
    let tip = chain.tip().unwrap();
    assert_eq!(tip.height, summary["best_height"].as_u64().unwrap());
    assert_eq!(tip.hash.to_string(), summary["best_hash"].as_str().unwrap());
    let expected = summary["balances"].as_object().unwrap();
    // The summary lists what was allocated; the account of the first validator's key came with its first reward.
    let mut unlisted = chain.accounts();
    unlisted.retain(|address, _| !expected.contains_key(address.as_str()));
    let first_key = &chain.genesis.validators[0].pub_key;
    let first_account = address_of(HashRules::ComputechainV1, first_key, ACCOUNT_PREFIX).unwrap();
    assert_eq!(unlisted.into_keys().collect::<Vec<_>>(), [first_account]);
    for (address, figures) in expected {
        let account = chain.account(&Address::new(address)).unwrap();
        assert_eq!(account.balance.to_string(), figures[0].as_str().unwrap(), "balance of {address}");
        assert_eq!(account.nonce, figures[1].as_u64().unwrap(), "nonce of {address}");
    }
    let mut active: Vec<_> = state::validators(&chain.state).unwrap();
    active.retain(|validator| validator.is_active);
    let mut active: Vec<_> = active.iter().map(|validator| validator.address.as_str()).collect();
    active.sort_unstable();
    let expected: Vec<_> = summary["active_validators"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(active, expected);
    assert_eq!(state::epoch(&chain.state).unwrap(), Some((tip.height + 1) / 10));
    assert_eq!(chain.root().to_string(), summary["final_state_root"].as_str().unwrap());
}

#[test]
fn ends_where_the_reference_ended_on_its_main_chain() {
    let mut chain = Chain::new(vector_genesis("mainline"));
    chain.execute_all(&vector_blocks("mainline", "blocks.jsonl.gz"));
    assert_ends_as_summarised(&mut chain, &vector_summary("mainline"));
}

#[test]
fn ends_where_the_reference_ended_on_both_branches_of_a_fork() {
    let summary = vector_summary("fork");
    let mut chain = Chain::new(vector_genesis("fork"));
    chain.execute_all(&vector_blocks("fork", "blocks.jsonl.gz"));
    assert_ends_as_summarised(&mut chain, &summary);

    let branch = vector_blocks("fork", "branch.jsonl.gz");
    let common = summary["fork"]["common"].as_u64().unwrap();
    while chain.tip().unwrap().height > common {
        chain.revert();
    }
    chain.execute_all(&branch[chain.done.len()..]);
    let tip = chain.tip().unwrap();
    assert_eq!(tip.height, summary["fork"]["best_height"].as_u64().unwrap());
    assert_eq!(tip.hash.to_string(), summary["fork"]["best_hash"].as_str().unwrap());

    let mut straight = Chain::new(vector_genesis("fork"));
    straight.execute_all(&branch);
    assert_eq!(straight.state, chain.state);
    assert_eq!(straight.root(), chain.root());
}

#[test]
fn rolls_back_to_block_50_and_forward_again_to_the_same_state_at_each_block() {
    let mut chain = Chain::new(vector_genesis("fork"));
    let mut states = Vec::new();
    for block in vector_blocks("fork", "blocks.jsonl.gz") {
        chain.execute(&block);
        states.push((chain.state.clone(), chain.root()));
    }
    let mut taken_back = Vec::new();
    while chain.tip().unwrap().height > 50 {
        taken_back.push(chain.revert());
        let (state, root) = &states[chain.done.len() - 1];
        assert!(*state == chain.state, "state after taking back {}", chain.done.len());
        assert_eq!(*root, chain.root(), "root after taking back {}", chain.done.len());
    }
    for block in taken_back.iter().rev() {
        chain.execute(block);
        let (state, root) = &states[chain.done.len() - 1];
        assert!(*state == chain.state, "state after {}", block.header.height);
        assert_eq!(*root, chain.root(), "root after {}", block.header.height);
    }
}

#[test]
fn proposes_the_headers_that_the_reference_proposed() {
    let mut chain = Chain::new(vector_genesis("mainline"));
    for block in &vector_blocks("mainline", "blocks.jsonl.gz")[..200] {
        let template = ProposalTemplate {
            parent: chain.tip(),
            timestamp: block.header.timestamp,
            proposer: block.header.proposer_address.clone(),
            scheme_id: block.pq_sig_scheme_id,
            txs: block.txs.iter().cloned().map(Arc::new).collect(),
        };
        let proposed = chain.machine.propose(&chain.state, template).unwrap();
        assert_eq!(proposed, Block { pq_signature: HexText::default(), ..block.clone() });
        chain.execute(block);
    }
}

/// The rule that must refuse a candidate, where that takes the state.
fn stateful_rule(name: &str) -> Option<Rule> {
    Some(match name {
        "wrong proposer for the round" | "unknown proposer" | "timestamp one round late, same proposer" => {
            Rule::Proposer
        }
        "state_root wrong" => Rule::StateRoot,
        "compute_root set without results" => Rule::ComputeRoot,
        "gas_used wrong" => Rule::GasUsed,
        "tx nonce too high" | "tx nonce too low" | "tx repeated in the block" => Rule::TxNonce,
        "tx amount above balance" => Rule::TxBalance,
        _ => return None,
    })
}

#[test]
fn judges_each_candidate_as_the_vectors_say_and_changes_nothing() {
    let mut chain = Chain::new(vector_genesis("fork"));
    chain.execute_all(&vector_blocks("fork", "blocks.jsonl.gz")[..61]);
    let verifier = Verifier::new(Arc::clone(&chain.genesis));
    let (state, root) = (chain.state.clone(), chain.root());
    let candidates = vector("fork", "candidates-at-61.jsonl");
    let mut stateful = 0;
    for line in candidates.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let candidate: Candidate<'_> = serde_json::from_slice(line).unwrap();
        let name = candidate.name;
        let Ok(block) = serde_json::from_str::<Block>(candidate.block.get()) else {
            assert_ne!(candidate.must, "accept", "{name} cannot be read");
            continue;
        };
        let executed = chain.try_execute(&block);
        if executed.is_ok() {
            chain.revert();
        }
        match (stateful_rule(&name), &executed) {
            (Some(rule), Err(rejection)) => {
                assert_eq!(rejection.rule, rule, "{name}: {rejection}");
                stateful += 1;
            }
            (Some(rule), Ok(_)) => panic!("{name} must be refused by {rule}"),
            (None, _) => {}
        }
        let verdict = stateless(&verifier, &chain, &block).and(executed.map(drop));
        match candidate.must.as_ref() {
            "accept" => assert_eq!(verdict, Ok(()), "{name}"),
            "reject" => assert!(verdict.is_err(), "{name} must be rejected"),
            _ => {}
        }
        assert!(state == chain.state, "{name} changed the state");
        assert_eq!(root, chain.root(), "{name} changed the root");
    }
    assert_eq!(stateful, 10);
}

#[derive(serde::Deserialize)]
struct Candidate<'a> {
    name: std::borrow::Cow<'a, str>,
    must: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    block: &'a serde_json::value::RawValue,
}

/// The checks that come before execution, with a clock far ahead of the vectors but behind "an hour ahead".
fn stateless(verifier: &Verifier, chain: &Chain, block: &Block) -> Result<(), Rejection> {
    const NOW: u64 = 1_900_000_000;
    let header: &Header = &block.header;
    let hashed = verifier.hasher().hash_block(Arc::new(block.clone()));
    let (parent, _) = chain.done.last().unwrap();
    let parent = Parent { tip: parent.link.tip(), timestamp: parent.block.header.timestamp };
    verifier.check_block(&hashed)?;
    verifier.check_parent(header, Some(parent))?;
    verifier.check_clock(header, NOW)?;
    let mut checks = verifier.transaction_signatures(&hashed, &|_, _| false)?;
    if let Some(key) = chain.machine.validator_key(&chain.state, &header.proposer_address).unwrap() {
        checks.push(verifier.block_signature(&hashed, &key)?);
    }
    verifier.verify(&checks).map_err(|index| verifier.signature_rejection(&hashed, &checks[index]))
}
