//! Transfers between accounts of the devnet, at a steady rate.
//!
//! Each node has some of the accounts as its senders; while it is down, another one takes their transactions. A transaction follows
//! from its sender and nonce alone, so that one that a killed node took with it can be sent again, and one that is known
//! already does no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, SecretKey};
use cpc_framework::types::{Address, Genesis, HexText, Payload, Transaction, TxType};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::client::Client;

/// How often transactions are sent: as many at a time as are due by then.
const EVERY: Duration = Duration::from_millis(50);

/// How many of a sender's transactions may wait for a block; a pool takes 64.
const WAITING: u64 = 48;

/// How old what is known of a sender may be.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How many block times a sender's transactions may wait before they are sent again, and seconds on top of them.
const LOST_AFTER: (u32, Duration) = (5, Duration::from_secs(5));

/// The largest amount, in units: nothing beside what the senders have.
const MOST_UNITS: u64 = 1000;

/// What was done so far.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    included: AtomicU64,
    refused: AtomicU64,
}

/// Which nodes take transactions, and where.
#[derive(Debug)]
pub struct Target {
    /// The port of its RPC.
    pub port: u16,
    /// Whether it is there.
    pub is_up: AtomicBool,
}

/// A load that goes on until this is dropped.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Counts>,
    rate: u32,
    _workers: JoinSet<()>,
}

impl Load {
    /// Begins to send `rate` transactions a second between these accounts, which must have balances. Needs a runtime.
    pub fn start(genesis: &Genesis, accounts: Vec<SecretKey>, targets: &Arc<[Target]>, rate: u32) -> Self {
        let counts = Arc::new(Counts::default());
        let addresses: Arc<[Address]> = accounts.iter().map(|key| key.address(ACCOUNT_PREFIX)).collect();
        let mut shares: Vec<Vec<Sender>> = targets.iter().map(|_| Vec::new()).collect();
        for (number, key) in accounts.into_iter().enumerate() {
            let at = number % targets.len();
            shares[at].push(Sender { number, key, next: 0, mined: None, looked: None, moved: Instant::now() });
        }
        shares.retain(|share| !share.is_empty());
        let workers = u32::try_from(shares.len()).unwrap_or(u32::MAX);
        let block_time = Duration::from_secs(genesis.params.block_time);
        let mut tasks = JoinSet::new();
        for (home, senders) in shares.into_iter().enumerate() {
            let worker = Worker {
                hasher: Hasher::new(genesis),
                gas_price: genesis.params.min_gas_price,
                lost_after: block_time * LOST_AFTER.0 + LOST_AFTER.1,
                addresses: Arc::clone(&addresses),
                counts: Arc::clone(&counts),
                targets: Arc::clone(targets),
                home,
                client: None,
                senders,
                turn: 0,
            };
            tasks.spawn(worker.run(f64::from(rate) / f64::from(workers)));
        }
        Self { counts, rate, _workers: tasks }
    }

    /// How many of its transactions were seen in blocks.
    pub fn included(&self) -> u64 {
        self.counts.included.load(Ordering::Relaxed)
    }

    /// How it goes, in words.
    pub fn told(&self) -> String {
        let Counts { sent, included, refused } = &*self.counts;
        let [sent, included, refused] = [sent, included, refused].map(|count| count.load(Ordering::Relaxed));
        format!("load of {} tx/s: {sent} sent, {included} in blocks, {refused} refused", self.rate)
    }
}

#[derive(Debug)]
struct Sender {
    number: usize,
    key: SecretKey,
    /// The nonce to send next.
    next: u64,
    /// The account's nonce, once it is known.
    mined: Option<u64>,
    /// When it was asked for.
    looked: Option<Instant>,
    /// When it last grew, or everything was sent again.
    moved: Instant,
}

#[derive(Debug)]
struct Worker {
    hasher: Hasher,
    gas_price: u128,
    lost_after: Duration,
    addresses: Arc<[Address]>,
    counts: Arc<Counts>,
    targets: Arc<[Target]>,
    /// Which target takes these senders' transactions, if it can.
    home: usize,
    /// The one that takes them now.
    client: Option<(usize, Client)>,
    senders: Vec<Sender>,
    turn: usize,
}

impl Worker {
    async fn run(mut self, rate: f64) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut credit = 0.0;
        let mut last = Instant::now();
        loop {
            ticks.tick().await;
            // What could not be sent for a second is not made up for.
            credit = (credit + rate * last.elapsed().as_secs_f64()).min(rate.max(1.0));
            last = Instant::now();
            let mut idle = 0;
            while credit >= 1.0 && idle < self.senders.len() {
                self.turn = (self.turn + 1) % self.senders.len();
                match self.send().await {
                    Some(true) => (credit, idle) = (credit - 1.0, 0),
                    Some(false) => idle += 1,
                    None => break,
                }
            }
        }
    }

    /// Sends the next transaction of the sender whose turn it is. `Some(false)` where that one has enough waiting, `None` where
    /// no node takes anything.
    async fn send(&mut self) -> Option<bool> {
        let Self { hasher, addresses, counts, targets, .. } = self;
        let up = |at: &usize| targets.get(*at).is_some_and(|target| target.is_up.load(Ordering::Relaxed));
        let target = (self.home..self.home + targets.len()).map(|at| at % targets.len()).find(up)?;
        if self.client.as_ref().is_none_or(|(at, _)| *at != target) {
            self.client = Some((target, Client::new(targets[target].port)));
        }
        let (_, client) = self.client.as_mut()?;
        let sender = &mut self.senders[self.turn];
        if sender.mined.is_none() || sender.looked.is_none_or(|at| at.elapsed() > LOOK_AGAIN) {
            let nonce = client.nonce(addresses[sender.number].as_str()).await?;
            sender.looked = Some(Instant::now());
            sender.learn(nonce, self.lost_after, counts);
        }
        if sender.next >= sender.mined? + WAITING {
            return Some(false);
        }
        let tx = transfer(sender, hasher, addresses, self.gas_price);
        let sent = client.send(&tx).await?;
        let known = sent.error.as_deref().is_some_and(|why| why.starts_with("already_in_pool"));
        if sent.status == "received" || known {
            counts.sent.fetch_add(u64::from(!known), Ordering::Relaxed);
            sender.next += 1;
        } else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(nonce = tx.nonce, "refused: {}", sent.error.unwrap_or(sent.status));
            // Perhaps the chain is further on than we know: look, and go on from there.
            (sender.mined, sender.next) = (None, 0);
        }
        Some(true)
    }
}

impl Sender {
    /// The chain has this nonce for the account.
    fn learn(&mut self, nonce: u64, lost_after: Duration, counts: &Counts) {
        match self.mined {
            Some(before) => {
                counts.included.fetch_add(nonce.saturating_sub(before), Ordering::Relaxed);
                if nonce > before || self.next <= nonce {
                    self.moved = Instant::now();
                } else if self.moved.elapsed() > lost_after {
                    self.moved = Instant::now();
                    self.next = nonce;
                }
            }
            None => self.moved = Instant::now(),
        }
        self.mined = Some(nonce);
        self.next = self.next.max(nonce);
    }
}

/// The sender's next transaction.
fn transfer(sender: &Sender, hasher: &Hasher, addresses: &[Address], gas_price: u128) -> Transaction {
    let nonce = sender.next;
    let count = addresses.len() as u64;
    // Each of the others in its turn, never oneself.
    let step = 1 + nonce % (count - 1).max(1);
    let to = usize::try_from((sender.number as u64 + step) % count).unwrap_or_default();
    let gas = TxType::Transfer.base_gas().unwrap_or_default();
    let mut tx = Transaction {
        tx_type: TxType::Transfer,
        from_address: addresses[sender.number].clone(),
        to_address: Some(addresses[to].clone()),
        amount: u128::from(1 + nonce % MOST_UNITS),
        fee: (gas_price * u128::from(gas)).into(),
        nonce,
        signature: HexText::default(),
        pub_key: sender.key.public_key(),
        payload: Payload::default(),
        gas_price,
        gas_limit: gas.into(),
    };
    tx.signature = sender.key.sign(&hasher.transaction_hash(&tx));
    tx
}
