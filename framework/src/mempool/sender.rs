use std::time::Duration;

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
    /// When it began to wait; none where it is ready.
    waits_since: Option<Duration>,
}

impl SenderQueue {
    pub(super) fn account(&self) -> Account {
        self.account
    }

    pub(super) fn set_account(&mut self, account: Account, heard: u64, now: Duration) {
        self.heard = heard;
        if self.account != account || self.queued.is_empty() {
            self.account = account;
            self.recount(now);
        }
    }

    /// Adds a transaction, in the place of another one with its nonce.
    pub(super) fn insert(&mut self, nonce: u64, hash: Hash32, cost: u128, now: Duration) {
        let queued = Queued { nonce, hash, cost, waits_since: Some(now) };
        match self.find(nonce) {
            Ok(at) => self.queued[at] = queued,
            Err(at) if at == self.queued.len() => {
                let is_ready = self.waiting() == 0 && self.count(queued);
                self.queued.push(Queued { waits_since: if is_ready { None } else { Some(now) }, ..queued });
                return;
            }
            Err(at) => self.queued.insert(at, queued),
        }
        self.recount(now);
    }

    pub(super) fn remove(&mut self, nonce: u64, now: Duration) {
        if let Ok(at) = self.find(nonce) {
            self.queued.remove(at);
            self.recount(now);
        }
    }

    pub(super) fn get(&self, nonce: u64) -> Option<Hash32> {
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

    /// Those that have waited since then, or for longer.
    pub(super) fn waits_since(&self, then: Duration) -> impl Iterator<Item = Hash32> {
        let waiting = self.queued[self.ready..].iter();
        waiting.filter(move |queued| queued.waits_since.is_some_and(|since| since <= then)).map(|queued| queued.hash)
    }

    /// When the one that has waited longest began to.
    pub(super) fn longest_waits_since(&self) -> Option<Duration> {
        self.queued[self.ready..].iter().filter_map(|queued| queued.waits_since).min()
    }

    /// How many would wait if this were the account, and this transaction were here, in the place of another with its nonce.
    pub(super) fn waiting_with(&self, account: Account, nonce: u64, cost: u128) -> usize {
        if account == self.account && self.is_last(nonce) {
            let is_ready = self.waiting() == 0 && self.follows(nonce, cost);
            return self.waiting() + usize::from(!is_ready);
        }
        let mut anew = Self { queued: self.queued.clone(), account, ..Self::default() };
        anew.insert(nonce, Hash32([0; 32]), cost, Duration::ZERO);
        anew.recount(Duration::ZERO);
        anew.waiting()
    }

    /// Whether these are the next nonce after the ready ones, and a cost that is left after theirs.
    fn follows(&self, nonce: u64, cost: u128) -> bool {
        nonce.checked_sub(self.account.nonce) == Some(self.ready as u64) && cost <= self.left
    }

    /// Whether all nonces are lower: the next one comes most often.
    fn is_last(&self, nonce: u64) -> bool {
        self.queued.last().is_none_or(|last| last.nonce < nonce)
    }

    fn find(&self, nonce: u64) -> Result<usize, usize> {
        if self.is_last(nonce) {
            return Err(self.queued.len());
        }
        self.queued.binary_search_by_key(&nonce, |queued| queued.nonce)
    }

    /// Counts what is ready. Nonces below the account's were dropped when it was last heard.
    fn recount(&mut self, now: Duration) {
        (self.ready, self.left) = (0, self.account.balance);
        while let Some(next) = self.queued.get(self.ready).copied()
            && self.count(next)
        {}
        let (ready, waiting) = self.queued.split_at_mut(self.ready);
        for queued in ready {
            queued.waits_since = None;
        }
        for queued in waiting {
            queued.waits_since.get_or_insert(now);
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
            let (mut queue, mut now) = (SenderQueue::default(), Duration::ZERO);
            for (act, nonce, number) in steps {
                now += Duration::from_secs(1);
                let waited: Vec<u64> = queue.queued[queue.ready..].iter().map(|queued| queued.nonce).collect();
                match act {
                    0 => queue.set_account(Account { nonce, balance: 3 * number }, 0, now),
                    1 => queue.remove(nonce, now),
                    _ => queue.insert(nonce, Hash32([0; 32]), number, now),
                }
                prop_assert_eq!((queue.ready, queue.left), ready(&queue));
                prop_assert!(queue.queued.is_sorted_by(|a, b| a.nonce < b.nonce));
                for (at, queued) in queue.queued.iter().enumerate() {
                    prop_assert_eq!(queued.waits_since.is_some(), at >= queue.ready);
                    let has_just_begun = queued.waits_since.is_none_or(|since| since == now);
                    prop_assert!(has_just_begun || waited.contains(&queued.nonce));
                }
                let mut other = SenderQueue { queued: queue.queued.clone(), ..SenderQueue::default() };
                let account = Account { nonce: nonce / 2, balance: 10 };
                other.set_account(account, 0, now);
                other.insert(nonce, Hash32([0; 32]), number, now);
                other.recount(now);
                prop_assert_eq!(queue.waiting_with(account, nonce, number), other.waiting());
                let mut more = SenderQueue { queued: queue.queued.clone(), account: queue.account, ..SenderQueue::default() };
                more.insert(nonce, Hash32([0; 32]), number, now);
                more.recount(now);
                prop_assert_eq!(queue.waiting_with(queue.account, nonce, number), more.waiting());
            }
        }
    }
}
