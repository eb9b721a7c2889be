//! An executor of one's own: another executor with one more rule, and with a count of what it did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::executor::{ExecuteError, Executor, ExecutorError, ProposalTemplate, Proposer, StateMachine};
use cpc_framework::rules::{HashedBlock, Rejection, Rule};
use cpc_framework::store::{StateChange, StateKey, StateValue, StateView, StoreError};
use cpc_framework::types::{Address, Block, Genesis, HexText, Transaction};

/// Nobody may send more than so many transactions in one block. All nodes of a network must have the same quota.
#[derive(Debug, Clone)]
pub struct SenderQuota<E = AccountExecutor> {
    inner: E,
    most: usize,
    count: Count,
}

/// What was done so far. Clones see the same figures.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    executed: AtomicU64,
    reverted: AtomicU64,
}

impl Count {
    /// Blocks executed, those that were taken back later included.
    pub fn executed(&self) -> u64 {
        self.0.executed.load(Ordering::Relaxed)
    }

    /// Blocks taken back or put back.
    pub fn reverted(&self) -> u64 {
        self.0.reverted.load(Ordering::Relaxed)
    }
}

impl SenderQuota {
    /// The rules of accounts, and `most` transactions for each sender in a block.
    pub fn new(most: usize) -> Self {
        Self::over(AccountExecutor, most)
    }
}

impl<E: Executor> SenderQuota<E> {
    /// The rules of `inner`, and `most` transactions for each sender in a block.
    pub fn over(inner: E, most: usize) -> Self {
        Self { inner, most, count: Count::default() }
    }

    /// The figures of all machines of this executor.
    pub fn count(&self) -> Count {
        self.count.clone()
    }
}

impl<E: Executor> Executor for SenderQuota<E> {
    fn name(&self) -> &'static str {
        "sender-quota"
    }

    fn genesis_state(&self, genesis: &Genesis) -> Result<Vec<(StateKey, StateValue)>, ExecutorError> {
        self.inner.genesis_state(genesis)
    }

    fn open(&self, genesis: Arc<Genesis>, view: &dyn StateView) -> Result<Box<dyn StateMachine>, ExecutorError> {
        let inner = self.inner.open(genesis, view)?;
        Ok(Box::new(QuotaMachine { inner, most: self.most, count: self.count.clone() }))
    }
}

#[derive(Debug)]
struct QuotaMachine {
    inner: Box<dyn StateMachine>,
    most: usize,
    count: Count,
}

impl StateMachine for QuotaMachine {
    fn proposer(&self, height: u64, round: u64) -> Option<Proposer> {
        self.inner.proposer(height, round)
    }

    fn validator_key(&self, view: &dyn StateView, address: &Address) -> Result<Option<HexText>, StoreError> {
        self.inner.validator_key(view, address)
    }

    fn execute(
        &mut self,
        view: &dyn StateView,
        block: &HashedBlock,
        round: u64,
    ) -> Result<Vec<StateChange>, ExecuteError> {
        let mut quota = Quota::new(self.most);
        if let Some(over) = block.block.txs.iter().find(|tx| !quota.takes(tx)) {
            let detail = format!("{} sends more than {} transactions", over.from_address, self.most);
            return Err(Rejection::new(block.link.height, Rule::TxSender, detail).into());
        }
        let changes = self.inner.execute(view, block, round)?;
        self.count.0.executed.fetch_add(1, Ordering::Relaxed);
        Ok(changes)
    }

    fn revert(&mut self, view: &dyn StateView, changes: &[StateChange]) -> Result<(), ExecutorError> {
        self.count.0.reverted.fetch_add(1, Ordering::Relaxed);
        self.inner.revert(view, changes)
    }

    /// What is proposed must be accepted: the same rule chooses among the candidates.
    fn propose(&mut self, view: &dyn StateView, mut template: ProposalTemplate) -> Result<Block, ExecuteError> {
        let mut quota = Quota::new(self.most);
        template.txs.retain(|tx| quota.takes(tx));
        self.inner.propose(view, template)
    }
}

/// What is left for each sender of one block.
struct Quota {
    most: usize,
    sent: BTreeMap<Address, usize>,
}

impl Quota {
    fn new(most: usize) -> Self {
        Self { most, sent: BTreeMap::new() }
    }

    fn takes(&mut self, tx: &Transaction) -> bool {
        let sent = self.sent.entry(tx.from_address.clone()).or_default();
        *sent += 1;
        *sent <= self.most
    }
}
