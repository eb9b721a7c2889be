//! What the strategy needs to find a swapped STAKE key: which blocks have STAKEs, and a digest of the keys that these name.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::core::{Action, Core};
use super::serve::LOOK_UP;
use crate::rules::keys::{VALIDATOR_PREFIX, address_of};
use crate::rules::payload::stake_pub_key;
use crate::store::{ChainStore, StoreError, UNDO_DEPTH};
use crate::sync::{BatchId, StakeBlock, SyncEvent};
use crate::types::{Block, BlockLink, Hash32, HashRules, Height, TxType, encoding};

impl Core {
    /// Has our own STAKEs read that may be why a block's proposer was refused; the event that says so where there are none.
    pub(super) fn find_stakes(&mut self, below: Height) -> Option<SyncEvent> {
        let genesis = self.config.verifier.genesis();
        // Other rules' hashes cover the payload.
        let tip = self.tip.filter(|_| genesis.hash_rules == HashRules::ComputechainV1).map(|tip| tip.height);
        let last = tip.zip(below.checked_sub(1)).map(|(tip, last)| tip.min(last));
        let Some(to) = last else { return Some(SyncEvent::OwnStakes { below, stakes: Vec::new() }) };
        let epoch = genesis.params.epoch_length.max(1);
        let previous = (below / epoch).saturating_sub(1).saturating_mul(epoch);
        let from = previous.max(to.saturating_sub(UNDO_DEPTH - 1));
        self.push(Action::FindStakes { below, from, to });
        None
    }

    /// Our own STAKEs, as far as they could be read.
    pub(crate) fn own_stakes(&mut self, now: Duration, below: Height, stakes: Vec<StakeBlock>) {
        self.sync_event(now, SyncEvent::OwnStakes { below, stakes });
    }

    /// What is staked in a batch that a peer delivered.
    pub(super) fn read_stakes(&self, batch: BatchId) -> SyncEvent {
        let rules = self.config.verifier.genesis().hash_rules;
        let blocks = self.delivered.get(&batch).into_iter().flatten();
        let stakes = blocks.filter_map(|hashed| stakes_of(rules, &hashed.block, hashed.link)).collect();
        SyncEvent::Stakes { batch, stakes }
    }
}

/// Our own blocks with STAKEs at these heights.
pub(super) async fn own_stakes(
    store: &dyn ChainStore,
    rules: HashRules,
    from: Height,
    to: Height,
) -> Result<Vec<StakeBlock>, StoreError> {
    let mut stakes = Vec::new();
    let mut next = from;
    while next <= to {
        let blocks = store.blocks(next..=to, LOOK_UP).await?;
        let Some(last) = blocks.last() else { break };
        next = last.link.height + 1;
        for stored in &blocks {
            // A block that cannot be read was not found to be another one's either.
            let block = encoding::decode_block(&stored.bytes).ok();
            stakes.extend(block.and_then(|block| stakes_of(rules, &block, stored.link)));
        }
    }
    Ok(stakes)
}

/// The keys that the STAKEs of a block name. What no hash covers and what changes nothing, such as other fields of a payload, is left out:
/// a peer that adds such must not make two equal blocks look different.
fn stakes_of(rules: HashRules, block: &Block, link: BlockLink) -> Option<StakeBlock> {
    let mut digest: Option<Sha256> = None;
    for tx in block.txs.iter().filter(|tx| tx.tx_type == TxType::Stake) {
        let key = stake_pub_key(rules, &tx.payload);
        // A STAKE that names no key makes its block invalid, whichever way it fails to.
        let named = key.map_or_else(
            |_| String::new(),
            |key| {
                address_of(rules, &key, VALIDATOR_PREFIX).map_or_else(|_| key.text().into_owned(), |at| at.to_string())
            },
        );
        let digest = digest.get_or_insert_default();
        digest.update((named.len() as u64).to_be_bytes());
        digest.update(named.as_bytes());
    }
    digest.map(|digest| StakeBlock { link, keys: Hash32(digest.finalize().into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::messages::Messages;
    use crate::types::{Payload, Transaction};

    const LINK: BlockLink = BlockLink { height: 7, hash: Hash32([1; 32]), prev_hash: Hash32([2; 32]) };

    fn keys(payloads: &[&str]) -> Option<Hash32> {
        let mut random = Messages::from_printed_seed();
        let mut block: Block = random.block();
        let blank = Transaction { tx_type: TxType::Stake, ..random.transaction() };
        let staking = |payload: &&str| Transaction { payload: Payload::new(payload).unwrap(), ..blank.clone() };
        block.txs = payloads.iter().map(staking).collect();
        block.txs.push(Transaction { tx_type: TxType::Transfer, ..blank.clone() });
        stakes_of(HashRules::ComputechainV1, &block, LINK).map(|stakes| stakes.keys)
    }

    #[test]
    fn blocks_differ_in_the_keys_that_they_stake_and_in_nothing_else() {
        let (one, other) = ("02".repeat(33), "03".repeat(33));
        let of = |key: &str, more: &str| format!(r#"{{"pub_key":"{key}"{more}}}"#);
        assert_eq!(keys(&[]), None, "no STAKE, no keys");
        let plain = keys(&[&of(&one, "")]);
        assert!(plain.is_some());
        assert_eq!(keys(&[&of(&one, r#","note":[1]"#)]), plain);
        assert_eq!(keys(&[&of(&one.to_uppercase(), "")]), plain);
        assert_ne!(keys(&[&of(&other, "")]), plain);
        assert_ne!(keys(&[&of(&one, ""), &of(&other, "")]), keys(&[&of(&other, ""), &of(&one, "")]));
    }
}
