//! What a transaction must be to get into the pool, but for its signature.

use std::time::Duration;

use super::cost::{cost, gas_cost, tx_bytes};
use super::{Account, Accounts, Entry, Mempool, Refusal, SenderQueue};
use crate::fast_map::FastMap;
use crate::types::{Address, Hash32, HashRules, Transaction};

/// What a transaction was found to be that may be added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    /// Its sender's account.
    pub(super) account: Account,
    /// Which one it replaces.
    pub(super) replaced: Option<Hash32>,
}

impl Mempool {
    /// [`check`](Self::check), which gives the account that it looked up, and what would be replaced.
    pub(super) fn checked(
        &mut self,
        tx: &Transaction,
        hash: &Hash32,
        accounts: Accounts<'_>,
    ) -> Result<Checked, Refusal> {
        if self.contains(hash) {
            return Err(Refusal::AlreadyInPool);
        }
        self.verifier.check_transaction_limits(tx)?;
        let queue = self.senders.get(&tx.from_address);
        let replaced = queue.and_then(|queue| queue.get(tx.nonce));
        let old = replaced.and_then(|old| self.entries.get(&old));
        self.check_room(tx, queue, old)?;
        self.check_addresses(tx)?;
        let account = match queue.filter(|queue| queue.heard == self.tips) {
            Some(queue) => queue.account(),
            None => hear(&mut self.heard, self.limits.pool_txs, &tx.from_address, accounts),
        };
        if tx.nonce < account.nonce {
            return Err(Refusal::NonceUsed { nonce: tx.nonce, next: account.nonce });
        }
        if tx.nonce - account.nonce > self.limits.pool_nonce_gap {
            let most = self.limits.pool_nonce_gap;
            return Err(Refusal::NonceGap { nonce: tx.nonce, next: account.nonce, most });
        }
        if let Some(old) = old {
            self.check_replacement(tx, &old.tx, account)?;
        }
        self.check_waiting(tx, queue, account)?;
        Ok(Checked { account, replaced })
    }

    pub(super) fn check_room(
        &self,
        tx: &Transaction,
        queue: Option<&SenderQueue>,
        replaced: Option<&Entry>,
    ) -> Result<(), Refusal> {
        let limits = &self.limits;
        let bytes = tx_bytes(tx);
        if bytes > limits.pool_tx_bytes {
            return Err(Refusal::TooLarge { bytes, most: limits.pool_tx_bytes });
        }
        let others = self.bytes - replaced.map_or(0, |old| old.bytes);
        if (replaced.is_none() && self.entries.len() >= limits.pool_txs) || others + bytes > self.most_bytes() {
            return Err(Refusal::PoolFull);
        }
        let of_sender = queue.map_or(0, SenderQueue::len);
        if replaced.is_none() && of_sender >= limits.pool_per_sender {
            return Err(Refusal::SenderLimit);
        }
        Ok(())
    }

    /// An address with a colon gives reference v1 another state root after its restart (protocol.md section 4).
    pub(super) fn check_addresses(&self, tx: &Transaction) -> Result<(), Refusal> {
        let v1 = self.verifier.hasher().rules() == HashRules::ComputechainV1;
        let mut addresses = std::iter::once(&tx.from_address).chain(&tx.to_address);
        match addresses.find(|address| v1 && address.as_str().contains(':')) {
            Some(address) => Err(Refusal::Colon { address: address.as_str().chars().take(100).collect() }),
            None => Ok(()),
        }
    }

    /// Neither the fee that the sender signed nor what the gas pays may fall, one of them must rise by a tenth, and the
    /// account must have the fee: so a transaction is replaced a few hundred times at most, whatever its sender holds.
    pub(super) fn check_replacement(
        &self,
        new: &Transaction,
        old: &Transaction,
        account: Account,
    ) -> Result<(), Refusal> {
        let old_fee = old.fee.to_u128().unwrap_or(u128::MAX);
        let needed = self.raised(old_fee);
        let refused = Err(Refusal::Replacement { nonce: new.nonce, needed });
        let (Some(fee), Some(pays)) = (new.fee.to_u128(), gas_cost(new)) else { return refused };
        let old_pays = gas_cost(old).unwrap_or(u128::MAX);
        let affordable = new.amount.checked_add(fee).is_some_and(|cost| cost <= account.balance);
        let rises = fee >= needed || pays >= self.raised(old_pays);
        if affordable && rises && fee >= old_fee && pays >= old_pays { Ok(()) } else { refused }
    }

    /// A price with what a replacement must pay more.
    fn raised(&self, price: u128) -> u128 {
        let percent = self.limits.pool_replacement_percent;
        let more =
            (price / 100).saturating_mul(percent).saturating_add((price % 100).saturating_mul(percent).div_ceil(100));
        price.saturating_add(more.max(1))
    }

    /// Neither it nor what it takes the funds from may wait where too many do: a replacement that spends all that its
    /// sender has would leave the higher nonces without.
    fn check_waiting(&self, tx: &Transaction, queue: Option<&SenderQueue>, account: Account) -> Result<(), Refusal> {
        let (before, after) = match queue {
            Some(queue) => (queue.waiting(), queue.waiting_with(account, tx.nonce, cost(tx))),
            None => (0, usize::from(tx.nonce != account.nonce || cost(tx) > account.balance)),
        };
        let most = self.most_waiting();
        if after > before && self.waiting - before + after > most {
            return Err(Refusal::WaitingFull { most });
        }
        Ok(())
    }

    /// So many transactions may wait (`attacks.md` row 14).
    pub(super) fn most_waiting(&self) -> usize {
        percent_of(self.limits.pool_txs, self.limits.pool_waiting_percent)
    }

    /// Notes the time; it never runs backwards.
    pub(super) fn tell_time(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }
}

/// The account of a sender without a queue: looked up once a tip.
fn hear(heard: &mut FastMap<Address, Account>, most: usize, sender: &Address, accounts: Accounts<'_>) -> Account {
    if let Some(account) = heard.get(sender) {
        return *account;
    }
    let account = accounts(sender);
    if heard.len() >= most {
        heard.clear();
    }
    heard.insert(sender.clone(), account);
    account
}

fn percent_of(whole: usize, percent: usize) -> usize {
    whole / 100 * percent + whole % 100 * percent / 100
}
