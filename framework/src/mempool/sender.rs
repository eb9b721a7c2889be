use std::collections::BTreeMap;

use super::Account;
use crate::types::Hash32;

/// The pooled transactions of one sender. Small ([`Limits::pool_per_sender`](crate::limits::Limits::pool_per_sender)),
/// so that walking all of it costs nothing.
#[derive(Debug, Default)]
pub(super) struct SenderQueue {
    /// The account, as last heard.
    account: Account,
    by_nonce: BTreeMap<u64, Queued>,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    hash: Hash32,
    cost: u128,
}

impl SenderQueue {
    pub(super) fn set_account(&mut self, account: Account) {
        self.account = account;
    }

    pub(super) fn insert(&mut self, nonce: u64, hash: Hash32, cost: u128) {
        self.by_nonce.insert(nonce, Queued { hash, cost });
    }

    pub(super) fn remove(&mut self, nonce: u64) {
        self.by_nonce.remove(&nonce);
    }

    pub(super) fn get(&self, nonce: u64) -> Option<Hash32> {
        self.by_nonce.get(&nonce).map(|queued| queued.hash)
    }

    pub(super) fn len(&self) -> usize {
        self.by_nonce.len()
    }

    pub(super) fn below(&self, nonce: u64) -> Vec<Hash32> {
        self.by_nonce.range(..nonce).map(|(_, queued)| queued.hash).collect()
    }

    /// In order of the nonces.
    pub(super) fn above(&self, nonce: u64) -> Vec<Hash32> {
        self.by_nonce.iter().filter(|(other, _)| **other > nonce).map(|(_, queued)| queued.hash).collect()
    }

    /// Those that can follow each other from the account's nonce on, as long as its balance lasts.
    pub(super) fn ready_hashes(&self) -> impl Iterator<Item = Hash32> {
        self.ready(self.account).map(|(queued, _)| queued.hash)
    }

    /// The others.
    pub(super) fn waiting_hashes(&self) -> impl Iterator<Item = Hash32> {
        self.by_nonce.values().skip(self.ready(self.account).count()).map(|queued| queued.hash)
    }

    pub(super) fn waiting(&self) -> usize {
        self.len() - self.ready(self.account).count()
    }

    /// Whether a transaction with a nonce that is free would not have to wait.
    pub(super) fn would_be_ready(&self, account: Account, nonce: u64, cost: u128) -> bool {
        let (count, left) = self.ready(account).fold((0, account.balance), |(count, _), (_, left)| (count + 1, left));
        nonce.checked_sub(account.nonce) == Some(count) && cost <= left
    }

    /// Those that can follow each other, each with what it leaves of the balance. Nonces below the account's were
    /// dropped when it was last heard.
    fn ready(&self, account: Account) -> impl Iterator<Item = (Queued, u128)> {
        (account.nonce..=u64::MAX).zip(&self.by_nonce).scan(account.balance, |balance, (expected, (nonce, queued))| {
            *balance = (expected == *nonce).then(|| balance.checked_sub(queued.cost))??;
            Some((*queued, *balance))
        })
    }
}
