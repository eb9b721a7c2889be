use super::Account;
use crate::types::Hash32;

/// The pooled transactions of one sender. Small ([`Limits::pool_per_sender`](crate::limits::Limits::pool_per_sender)),
/// so that walking all of it costs little; what comes in order needs no walk.
#[derive(Debug, Default)]
pub(super) struct SenderQueue {
    /// The account, as last heard.
    account: Account,
    /// At which tip, by the pool's count, the account was heard.
    pub(super) heard: u64,
    /// In order of the nonces.
    queued: Vec<Queued>,
    /// So many of the first can follow each other from the account's nonce on, as long as its balance lasts.
    ready: usize,
    /// What they leave of the balance.
    left: u128,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    nonce: u64,
    hash: Hash32,
    cost: u128,
}

impl SenderQueue {
    pub(super) fn account(&self) -> Account {
        self.account
    }

    pub(super) fn set_account(&mut self, account: Account, heard: u64) {
        self.heard = heard;
        if self.account != account || self.queued.is_empty() {
            self.account = account;
            self.recount();
        }
    }

    /// Adds a transaction, in the place of another one with its nonce.
    pub(super) fn insert(&mut self, nonce: u64, hash: Hash32, cost: u128) {
        let queued = Queued { nonce, hash, cost };
        if self.queued.last().is_none_or(|last| last.nonce < nonce) {
            self.queued.push(queued);
            if self.ready + 1 == self.queued.len() {
                self.count(queued);
            }
            return;
        }
        match self.find(nonce) {
            Ok(at) => self.queued[at] = queued,
            Err(at) => self.queued.insert(at, queued),
        }
        self.recount();
    }

    pub(super) fn remove(&mut self, nonce: u64) {
        if let Ok(at) = self.find(nonce) {
            self.queued.remove(at);
            self.recount();
        }
    }

    pub(super) fn get(&self, nonce: u64) -> Option<Hash32> {
        // The next one comes most often.
        if self.queued.last().is_none_or(|last| last.nonce < nonce) {
            return None;
        }
        self.find(nonce).ok().map(|at| self.queued[at].hash)
    }

    pub(super) fn len(&self) -> usize {
        self.queued.len()
    }

    pub(super) fn below(&self, nonce: u64) -> Vec<Hash32> {
        self.queued.iter().take_while(|queued| queued.nonce < nonce).map(|queued| queued.hash).collect()
    }

    /// In order of the nonces.
    pub(super) fn above(&self, nonce: u64) -> Vec<Hash32> {
        self.queued.iter().filter(|queued| queued.nonce > nonce).map(|queued| queued.hash).collect()
    }

    /// Those that can follow each other from the account's nonce on, as long as its balance lasts.
    pub(super) fn ready_hashes(&self) -> impl Iterator<Item = Hash32> {
        self.queued[..self.ready].iter().map(|queued| queued.hash)
    }

    /// The others.
    pub(super) fn waiting_hashes(&self) -> impl Iterator<Item = Hash32> {
        self.queued[self.ready..].iter().map(|queued| queued.hash)
    }

    pub(super) fn waiting(&self) -> usize {
        self.len() - self.ready
    }

    /// Whether a transaction with a nonce that is free would not have to wait, if this were the account.
    pub(super) fn would_be_ready(&self, account: Account, nonce: u64, cost: u128) -> bool {
        if account == self.account {
            return self.follows(nonce, cost);
        }
        let mut anew = Self { queued: self.queued.clone(), account, ..Self::default() };
        anew.recount();
        anew.follows(nonce, cost)
    }

    /// Whether these are the next nonce after the ready ones, and a cost that is left after theirs.
    fn follows(&self, nonce: u64, cost: u128) -> bool {
        nonce.checked_sub(self.account.nonce) == Some(self.ready as u64) && cost <= self.left
    }

    fn find(&self, nonce: u64) -> Result<usize, usize> {
        self.queued.binary_search_by_key(&nonce, |queued| queued.nonce)
    }

    /// Counts what is ready. Nonces below the account's were dropped when it was last heard.
    fn recount(&mut self) {
        (self.ready, self.left) = (0, self.account.balance);
        for at in 0..self.queued.len() {
            if !self.count(self.queued[at]) {
                return;
            }
        }
    }

    /// Counts one that stands behind all that are ready; says whether it is ready too.
    fn count(&mut self, next: Queued) -> bool {
        let is_ready = self.follows(next.nonce, next.cost);
        if is_ready {
            self.ready += 1;
            self.left -= next.cost;
        }
        is_ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is ready, worked out from nothing.
    fn ready(queue: &SenderQueue) -> (usize, u128) {
        let mut left = queue.account.balance;
        for (count, queued) in queue.queued.iter().enumerate() {
            if queued.nonce != queue.account.nonce + count as u64 || queued.cost > left {
                return (count, left);
            }
            left -= queued.cost;
        }
        (queue.queued.len(), left)
    }

    proptest! {
        #[test]
        fn what_is_counted_step_by_step_is_what_is_there(
            steps in prop::collection::vec((0u8..4, 0u64..6, 0u128..6), 0..60)
        ) {
            let mut queue = SenderQueue::default();
            for (act, nonce, number) in steps {
                match act {
                    0 => queue.set_account(Account { nonce, balance: 3 * number }, 0),
                    1 => queue.remove(nonce),
                    _ => queue.insert(nonce, Hash32([0; 32]), number),
                }
                prop_assert_eq!((queue.ready, queue.left), ready(&queue));
                prop_assert!(queue.queued.is_sorted_by(|a, b| a.nonce < b.nonce));
                let mut other = SenderQueue { queued: queue.queued.clone(), ..SenderQueue::default() };
                let account = Account { nonce: nonce / 2, balance: 10 };
                other.set_account(account, 0);
                other.recount();
                prop_assert_eq!(queue.would_be_ready(account, nonce, number), other.follows(nonce, number));
            }
        }
    }
}
