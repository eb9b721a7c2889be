//! Blocks and transactions that are not what they seem.

use std::sync::Arc;

use super::super::clock;
use super::super::load::{self, BLOCK_TIME, Wallet};
use super::super::oracle::Oracle;
use super::super::rng::Rng;
use crate::rules::keys::{SecretKey, VALIDATOR_PREFIX};
use crate::rules::{Hasher, schedule};
use crate::types::{
    Block, BlockLink, EncodedBlock, Genesis, Hash32, Header, Height, HexText, Payload, Tip, Transaction, encoding,
};

/// Makes them.
#[derive(Debug)]
pub(super) struct Forger {
    pub(super) hasher: Hasher,
    /// A validator's key, where it has one.
    pub(super) validator: Option<SecretKey>,
    pub(super) genesis: Arc<Genesis>,
    pub(super) rng: Rng,
}

impl Forger {
    /// So many blocks on top of `parent` that nobody can apply; signed by the stolen key, or by one that is no validator's.
    pub(super) fn branch(&mut self, parent: Option<(Tip, u64)>, count: usize) -> Vec<Block> {
        let mut branch = Vec::with_capacity(count);
        let mut parent = parent;
        for _ in 0..count {
            let height = parent.map_or(0, |(tip, _)| tip.height + 1);
            let timestamp = parent.map_or(clock::EPOCH.as_secs(), |(_, at)| at + BLOCK_TIME);
            let block = self.block(parent.map(|(tip, _)| tip), timestamp);
            parent = Some((Tip { height, hash: self.hasher.header_hash(&block.header) }, timestamp));
            branch.push(block);
        }
        branch
    }

    /// A block with a state that is none, in the next turn of the stolen key.
    pub(super) fn proposal(&mut self, oracle: &Oracle) -> Option<Block> {
        let own = self.validator.as_ref()?.address(VALIDATOR_PREFIX);
        let best = oracle.best()?;
        let parent = decoded(oracle.branch(best.hash, 1).first()?)?;
        let mut addresses: Vec<_> = self.genesis.validators.iter().map(|one| one.address.clone()).collect();
        addresses.sort();
        let now = clock::EPOCH.as_secs() + oracle.now().as_secs();
        let round = schedule::round(now.saturating_sub(parent.header.timestamp), BLOCK_TIME);
        let turn = schedule::proposer_index(best.height + 1, round, addresses.len())?;
        (addresses.get(turn) == Some(&own)).then(|| self.block(Some(best), now.max(parent.header.timestamp + 1)))
    }

    /// A block of a turn of the stolen key that is yet to come: soon, or within the next hour.
    pub(super) fn proposal_ahead(&mut self, oracle: &Oracle) -> Option<Block> {
        let best = oracle.best()?;
        let parent = decoded(oracle.branch(best.hash, 1).first()?)?;
        let now = clock::EPOCH.as_secs() + oracle.now().as_secs();
        let least = now.max(parent.header.timestamp) - parent.header.timestamp + self.rng.within(1..=3600);
        let turns = self.genesis.validators.len() as u64;
        let own = self.validator.as_ref()?.address(VALIDATOR_PREFIX);
        let mut addresses: Vec<_> = self.genesis.validators.iter().map(|one| one.address.clone()).collect();
        addresses.sort();
        (0..turns).map(|more| least + more * BLOCK_TIME).find_map(|waited| {
            let round = schedule::round(waited, BLOCK_TIME);
            let turn = schedule::proposer_index(best.height + 1, round, addresses.len())?;
            (addresses.get(turn) == Some(&own)).then(|| self.block(Some(best), parent.header.timestamp + waited))
        })
    }

    /// A transaction that its owner did sign: with a gap before it, for more or less than one of its nonce before, or nested deep.
    pub(super) fn spam(&mut self) -> Transaction {
        let mut from = Wallet::new(load::USERS + self.rng.below(load::SPAMMERS));
        let to = Wallet::new(self.rng.below(load::ACCOUNTS)).address;
        from.nonce = self.rng.within(0..=90);
        let price = load::GAS_PRICE + u128::from(self.rng.within(0..=200));
        let depth = if self.rng.percent(20) { self.rng.below(60) } else { 0 };
        let payload = format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        from.transfer_at(&self.hasher, &to, 1, price, Payload::new(&payload).unwrap_or_default()).0
    }

    fn block(&mut self, parent: Option<Tip>, timestamp: u64) -> Block {
        let stranger = load::validator_key(1000 + self.rng.below(1000));
        let key = self.validator.as_ref().unwrap_or(&stranger);
        let header = Header {
            height: parent.map_or(0, |tip| tip.height + 1),
            prev_hash: parent.map_or(Hash32::ZERO, |tip| tip.hash),
            timestamp,
            chain_id: self.genesis.chain_id.clone(),
            proposer_address: key.address(VALIDATOR_PREFIX),
            tx_root: self.hasher.tx_root(&[]),
            state_root: random_hash(&mut self.rng),
            compute_root: None,
            gas_used: 0,
            gas_limit: self.genesis.params.block_gas_limit,
            zk_state_proof_hash: None,
            zk_compute_proof_hash: None,
        };
        let pq_signature = key.sign(&self.hasher.header_hash(&header));
        Block { header, txs: Vec::new(), pq_signature, pq_sig_scheme_id: key.scheme().id() }
    }

    /// A good block, changed in one place.
    pub(super) fn corrupted(&mut self, good: &EncodedBlock) -> Option<Block> {
        let mut block = decoded(good)?;
        match self.rng.below(7) {
            0 => block.pq_signature = HexText::from_bytes(&[9; 64]),
            1 => block.header.state_root = random_hash(&mut self.rng),
            2 => block.header.timestamp += 1,
            3 => block.txs.clear(),
            4 => block.header.proposer_address = self.genesis.validators[0].address.clone(),
            5 => block.txs.push(self.transaction()),
            _ => block.header.prev_hash = random_hash(&mut self.rng),
        }
        Some(block)
    }

    /// A transaction of an account with money, which its owner did not sign.
    pub(super) fn transaction(&mut self) -> Transaction {
        let [from, to] = [0, 1].map(|_| Wallet::new(self.rng.below(load::ACCOUNTS)));
        let (mut tx, _) = from.transfer(&self.hasher, &to.address, u128::from(self.rng.bits()));
        if self.rng.percent(80) {
            tx.signature = HexText::from_bytes(&[self.rng.bits().to_le_bytes(); 8].concat());
        } else {
            tx.nonce += 1 << self.rng.below(63);
        }
        tx
    }
}

pub(super) fn random_hash(rng: &mut Rng) -> Hash32 {
    let mut bytes = [0; 32];
    bytes.chunks_mut(8).for_each(|part| part.copy_from_slice(&rng.bits().to_le_bytes()));
    Hash32(bytes)
}

pub(super) fn decoded(stored: &EncodedBlock) -> Option<Block> {
    encoding::decode_block(&stored.bytes).ok()
}

/// A place that is none, as announcements name them.
pub(super) fn random_link(rng: &mut Rng, height: Height) -> BlockLink {
    BlockLink { height, hash: random_hash(rng), prev_hash: random_hash(rng) }
}
