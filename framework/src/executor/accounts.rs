//! The account executor: balances, stakes and results under all the rules of protocol.md section 4.
//!
//! How the state is laid out, and how to read it, says [`state`].

use std::sync::Arc;

use self::election::{ActiveSet, count_epoch, elect, ends_epoch};
use self::overlay::Overlay;
use self::state::{Account, EPOCH, MAX_KEY_ADDRESS, REGISTERED, Validator};
use self::transition::Transition;
use self::tree::StateTree;
use super::{ExecuteError, Executor, ExecutorError, ProposalTemplate, Proposer, StateMachine};
use crate::rules::{HashedBlock, Rule, Verifier};
use crate::store::{StateChange, StateKey, StateValue, StateView, StoreError};
use crate::types::{Address, Block, Genesis, Hash32, HashRules, Header, HexText, Transaction};

mod election;
mod flat;
mod overlay;
mod sparse;
pub mod state;
#[cfg(test)]
mod tests;
mod transition;
mod tree;

/// Who gets the rewards of a proposer, as of a state; nobody where it is no validator, or that cannot be read.
pub(crate) fn reward_address(rules: HashRules, view: &dyn StateView, proposer: &Address) -> Option<Address> {
    let validator = state::validator(view, proposer).ok().flatten()?;
    transition::reward_account(rules, &validator)
}

/// Executes blocks on accounts and validators. Its machines keep the active validators and the hashes of the state tree in
/// memory: about 150 bytes for each account.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccountExecutor;

impl Executor for AccountExecutor {
    fn name(&self) -> &'static str {
        "accounts"
    }

    fn genesis_state(&self, genesis: &Genesis) -> Result<Vec<(StateKey, StateValue)>, ExecutorError> {
        if let Some(validator) = genesis.validators.iter().find(|v| v.address.as_str().len() > MAX_KEY_ADDRESS) {
            let length = validator.address.as_str().len();
            let message = format!("a validator's address has {length} bytes: the limit is {MAX_KEY_ADDRESS}");
            return Err(ExecutorError { message, source: None });
        }
        let mut transition = Transition::new(genesis, 0, Overlay::new(&Nothing));
        for (address, &balance) in &genesis.alloc {
            let (place, _) = transition.overlay.account(address)?;
            transition.overlay.put_account(place, address, Account { balance, nonce: 0 });
        }
        for (order, validator) in (0..).zip(&genesis.validators) {
            transition.put_validator(&Validator {
                address: validator.address.clone(),
                pub_key: validator.pub_key.clone(),
                power: validator.power,
                is_active: validator.is_active,
                reward_address: validator.reward_address.clone(),
                order,
            })?;
        }
        transition.overlay.put_counter(REGISTERED, genesis.validators.len() as u64)?;
        transition.overlay.put_counter(EPOCH, 0)?;
        let changes = transition.overlay.into_changes().into_iter();
        Ok(changes.filter_map(|change| Some((change.key, change.new?))).collect())
    }

    fn open(&self, genesis: Arc<Genesis>, view: &dyn StateView) -> Result<Box<dyn StateMachine>, ExecutorError> {
        if state::epoch(view)?.is_none() {
            let message = "the state has no epoch: it was not written by the accounts executor".to_owned();
            return Err(ExecutorError { message, source: None });
        }
        Ok(Box::new(AccountMachine {
            active: ActiveSet::open(genesis.hash_rules, view)?,
            settled: false,
            tree: StateTree::open(genesis.hash_rules, view)?,
            verifier: Verifier::new(genesis),
        }))
    }
}

#[derive(Debug)]
struct AccountMachine {
    verifier: Verifier,
    active: ActiveSet,
    /// Whether nobody has staked since the election that `active` came from, so that another one would end the same.
    settled: bool,
    tree: StateTree,
}

impl StateMachine for AccountMachine {
    fn proposer(&self, height: u64, round: u64) -> Option<Proposer> {
        self.active.scheduled(height, round).cloned()
    }

    fn validator_key(&self, view: &dyn StateView, address: &Address) -> Result<Option<HexText>, StoreError> {
        Ok(state::validator(view, address)?.map(|validator| validator.pub_key))
    }

    fn execute(
        &mut self,
        view: &dyn StateView,
        block: &HashedBlock,
        round: u64,
    ) -> Result<Vec<StateChange>, ExecuteError> {
        let genesis = Arc::clone(self.verifier.genesis());
        let mut transition = Transition::new(&genesis, block.link.height, Overlay::new(view));
        match self.run(&mut transition, &block.block, round) {
            Ok(elected) => {
                self.settled = elected.is_some() || (self.settled && !transition.staked);
                if let Some(elected) = elected {
                    self.active = elected;
                }
                Ok(transition.overlay.into_changes())
            }
            Err(error) => {
                self.tree.forget(&transition.overlay)?;
                Err(error)
            }
        }
    }

    fn revert(&mut self, _view: &dyn StateView, changes: &[StateChange]) -> Result<(), ExecutorError> {
        self.settled = false;
        self.active.revert(self.verifier.genesis().hash_rules, changes)?;
        self.tree.revert(changes)?;
        Ok(())
    }

    fn propose(&mut self, view: &dyn StateView, template: ProposalTemplate) -> Result<Block, ExecuteError> {
        let genesis = Arc::clone(self.verifier.genesis());
        let height = template.parent.map_or(0, |parent| parent.height.saturating_add(1));
        let mut transition = Transition::new(&genesis, height, Overlay::new(view));
        let txs = self.select(&mut transition, &template.txs)?;
        let state_root = self.tree.update(&mut transition.overlay).map(|()| self.tree.root());
        self.tree.forget(&transition.overlay)?;
        let tx_hashes: Vec<Hash32> = txs.iter().map(|tx| self.verifier.hasher().transaction_hash(tx)).collect();
        let header = Header {
            height,
            prev_hash: template.parent.map_or(Hash32::ZERO, |parent| parent.hash),
            timestamp: template.timestamp,
            chain_id: genesis.chain_id.clone(),
            proposer_address: template.proposer,
            tx_root: self.verifier.hasher().tx_root(&tx_hashes),
            state_root: state_root?,
            compute_root: self.compute_root(&transition, &txs)?,
            gas_used: transition.gas,
            gas_limit: genesis.params.block_gas_limit,
            zk_state_proof_hash: None,
            zk_compute_proof_hash: None,
        };
        Ok(Block { header, txs, pq_signature: HexText::default(), pq_sig_scheme_id: template.scheme_id })
    }
}

impl AccountMachine {
    /// Takes a block through the rules in their order; gives who is active after it, where it ends an epoch and others may be.
    fn run(
        &mut self,
        transition: &mut Transition<'_, '_>,
        block: &Block,
        round: u64,
    ) -> Result<Option<ActiveSet>, ExecuteError> {
        let header = &block.header;
        let expected = self.active.scheduled(header.height, round).map(|proposer| &proposer.address);
        if expected != Some(&header.proposer_address) {
            let turn = expected.map_or("nobody's", Address::as_str);
            let detail = format!("round {round} is {turn}, got {}", header.proposer_address);
            return Err(transition.rejection(Rule::Proposer, detail).into());
        }
        for (index, tx) in block.txs.iter().enumerate() {
            transition.apply(index, tx)?;
        }
        if transition.gas != header.gas_used {
            let detail = format!("the transactions use {}, the header says {}", transition.gas, header.gas_used);
            return Err(transition.rejection(Rule::GasUsed, detail).into());
        }
        let compute_root = self.compute_root(transition, &block.txs)?;
        if compute_root != header.compute_root {
            let text = |root: Option<Hash32>| root.map_or("none".to_owned(), |root| root.to_string());
            let detail = format!("expected {}, got {}", text(compute_root), text(header.compute_root));
            return Err(transition.rejection(Rule::ComputeRoot, detail).into());
        }
        self.tree.update(&mut transition.overlay)?;
        let state_root = self.tree.root();
        if state_root != header.state_root {
            let detail = format!("expected {state_root}, got {}", header.state_root);
            return Err(transition.rejection(Rule::StateRoot, detail).into());
        }
        let mut elected = None;
        if ends_epoch(&self.verifier.genesis().params, header.height) {
            if !self.settled || transition.staked {
                elected = Some(elect(transition, &self.active)?);
            }
            count_epoch(transition)?;
        }
        // Who is voted out by its own block earns nothing for it.
        let active = elected.as_ref().unwrap_or(&self.active).get(&header.proposer_address);
        if let Some(reward_to) = active.and_then(|active| active.reward_to.as_ref()) {
            transition.reward(reward_to)?;
        }
        // The next block's root covers what came after this one's.
        self.tree.update(&mut transition.overlay)?;
        Ok(elected)
    }

    /// Applies those of the candidates that can be applied and fit the block.
    fn select(
        &self,
        transition: &mut Transition<'_, '_>,
        candidates: &[Arc<Transaction>],
    ) -> Result<Vec<Transaction>, ExecuteError> {
        let params = &self.verifier.genesis().params;
        let limit = usize::try_from(params.max_txs_per_block).unwrap_or(usize::MAX);
        let mut txs = Vec::new();
        for tx in candidates {
            if txs.len() >= limit {
                break;
            }
            let gas = tx.tx_type.base_gas().and_then(|gas| gas.checked_add(transition.gas));
            if gas.is_none_or(|gas| gas > params.block_gas_limit) || self.verifier.check_transaction(tx).is_err() {
                continue;
            }
            match transition.apply(txs.len(), tx) {
                Ok(()) => txs.push(Transaction::clone(tx)),
                Err(ExecuteError::Rejected(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // The block is kept for a while, to be passed on.
        txs.shrink_to_fit();
        Ok(txs)
    }

    fn compute_root(
        &self,
        transition: &Transition<'_, '_>,
        txs: &[Transaction],
    ) -> Result<Option<Hash32>, ExecuteError> {
        self.verifier
            .hasher()
            .compute_root(txs)
            .map_err(|(index, why)| transition.rejection(Rule::TxPayload, format!("transaction {index}: {why}")).into())
    }
}

/// The state before there is one.
#[derive(Debug)]
struct Nothing;

impl StateView for Nothing {
    fn get(&self, _key: &[u8]) -> Result<Option<StateValue>, StoreError> {
        Ok(None)
    }

    fn scan(&self, _prefix: &[u8], _visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        Ok(())
    }
}
