use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::env::{Clock, ComputePool};
use crate::executor::accounts::AccountExecutor;
use crate::producer::{JournalError, MemoryJournal, SignError, Signed, SigningJournal, Slot};
use crate::rules::keys::{Scheme, SecretKey, VALIDATOR_PREFIX};
use crate::store::memory::MemoryStore;
use crate::types::{Genesis, Network};

/// A clock that stands where it was set.
#[derive(Debug, Default)]
pub(super) struct SetClock(pub(super) AtomicU64);

impl Clock for SetClock {
    fn unix_seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fn vector(file: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1/mainline");
    std::fs::read(root.join(file)).unwrap()
}

pub(super) fn mainline() -> (Arc<Genesis>, Vec<Block>) {
    let genesis = Genesis::from_json(&vector("genesis.json"), Network::Devnet).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&vector("blocks.jsonl.gz")[..]).read_to_string(&mut text).unwrap();
    let blocks = text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
    (Arc::new(genesis), blocks)
}

fn validators() -> Vec<SecretKey> {
    #[derive(serde::Deserialize)]
    struct Keys {
        validators: Vec<String>,
    }
    let keys: Keys = serde_json::from_slice(&vector("keys.json")).unwrap();
    keys.validators.iter().map(|key| SecretKey::from_hex(Scheme::Secp256k1, key).unwrap()).collect()
}

pub(super) async fn open(genesis: &Arc<Genesis>, clock: &Arc<SetClock>) -> Chain {
    let env = Env { clock: Arc::clone(clock) as Arc<dyn Clock>, pool: ComputePool::Inline, seed: 0 };
    let store = Arc::new(MemoryStore::default());
    Chain::open(Arc::clone(genesis), store, Arc::new(AccountExecutor), env).await.unwrap()
}

fn txs(block: &Block) -> Vec<Arc<Transaction>> {
    block.txs.iter().cloned().map(Arc::new).collect()
}

#[tokio::test]
async fn makes_every_block_of_the_reference_chain_again_with_its_hash() {
    let (genesis, blocks) = mainline();
    let clock = Arc::new(SetClock::default());
    let mut chain = open(&genesis, &clock).await;
    let signers: Vec<Arc<Mutex<Signer>>> = validators()
        .into_iter()
        .map(|key| Arc::new(Mutex::new(Signer::new(key, Box::new(MemoryJournal::default())))))
        .collect();
    assert_eq!(blocks.len(), 1210);
    for (at, theirs) in blocks.iter().enumerate() {
        clock.0.store(theirs.header.timestamp, Ordering::Relaxed);
        // Of all validators only the reference's proposer has a slot now, and it is of the same round.
        let mut made = Vec::new();
        for signer in &signers {
            chain.signer = Some(Arc::clone(signer));
            let Some(slot) = chain.next_slot(theirs.header.timestamp) else { continue };
            if slot.contains(theirs.header.timestamp) {
                made.push(chain.produce(chain.tip(), slot, txs(theirs)).await.unwrap());
            }
        }
        assert_eq!(made.len(), 1, "block {at}");
        let ours = made.remove(0);
        assert_eq!(ours.block.header, theirs.header);
        assert_eq!(ours.block.txs, theirs.txs);
        if let Some(next) = blocks.get(at + 1) {
            assert_eq!(ours.link.hash, next.header.prev_hash, "the reference's own hash of block {at}");
        }
        let report = chain.import(vec![ours.block]).await.unwrap();
        assert!(report.stop.is_none(), "{:?}", report.stop);
    }
    let summary: serde_json::Value = serde_json::from_slice(&vector("summary.json")).unwrap();
    assert_eq!(chain.tip().unwrap().hash.to_string(), summary["best_hash"].as_str().unwrap());
}

/// What is on record.
type Kept = (Signed, Arc<Block>);

/// A journal on a disk that fails when it is told to.
#[derive(Debug, Clone, Default)]
struct Failing {
    kept: Arc<Mutex<Option<Kept>>>,
    fails: Arc<std::sync::atomic::AtomicBool>,
}

impl SigningJournal for Failing {
    fn last(&self) -> Option<Signed> {
        self.kept.lock().unwrap().as_ref().map(|(signed, _)| *signed)
    }

    fn last_block(&self) -> Option<Arc<Block>> {
        self.kept.lock().unwrap().as_ref().map(|(_, block)| Arc::clone(block))
    }

    fn record(&mut self, signed: Signed, block: &Arc<Block>) -> Result<(), JournalError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(JournalError { message: "the disk is full".into(), source: None });
        }
        *self.kept.lock().unwrap() = Some((signed, Arc::clone(block)));
        Ok(())
    }
}

/// A chain at block 0, whose next proposer signs with this journal, with its slot for block 1.
async fn about_to_sign(journal: Failing) -> (Chain, Slot, Arc<SetClock>, Vec<Block>) {
    let (genesis, blocks) = mainline();
    let clock = Arc::new(SetClock(AtomicU64::new(blocks[1].header.timestamp)));
    let mut chain = open(&genesis, &clock).await;
    chain.import(vec![Arc::new(blocks[0].clone())]).await.unwrap();
    let proposer = &blocks[1].header.proposer_address;
    let key = validators().into_iter().find(|key| key.address(VALIDATOR_PREFIX) == *proposer).unwrap();
    let chain = chain.with_signer(Signer::new(key, Box::new(journal)));
    let slot = chain.next_slot(blocks[1].header.timestamp).unwrap();
    (chain, slot, clock, blocks)
}

#[tokio::test]
async fn a_block_that_is_not_on_record_is_never_given_out() {
    let journal = Failing::default();
    let (mut chain, slot, _, blocks) = about_to_sign(journal.clone()).await;
    journal.fails.store(true, Ordering::Relaxed);
    let error = chain.produce(chain.tip(), slot, txs(&blocks[1])).await.unwrap_err();
    assert!(matches!(error, ProduceError::Sign(SignError::Journal(_))), "{error}");
    assert_eq!(journal.last(), None);
    journal.fails.store(false, Ordering::Relaxed);
    let block = chain.produce(chain.tip(), slot, txs(&blocks[1])).await.unwrap();
    assert_eq!(journal.last().unwrap().hash, block.link.hash);
}

#[tokio::test]
async fn after_a_crash_between_record_and_sending_the_very_same_block_is_given_again() {
    let journal = Failing::default();
    let (mut chain, slot, _, blocks) = about_to_sign(journal.clone()).await;
    let before = chain.produce(chain.tip(), slot, txs(&blocks[1])).await.unwrap();
    drop(chain);
    // The chain knows nothing of the block, only the journal does. A second later, and with an empty pool, it would be another one.
    let (mut chain, slot, clock, _) = about_to_sign(journal.clone()).await;
    clock.0.fetch_add(1, Ordering::Relaxed);
    let again = chain.produce(chain.tip(), slot, Vec::new()).await.unwrap();
    assert_eq!((again.link, &again.block), (before.link, &before.block));
    assert!(chain.import(vec![again.block]).await.unwrap().stop.is_none());
}

#[tokio::test]
async fn the_next_round_has_a_block_of_its_own_after_a_crash() {
    let journal = Failing::default();
    let (mut chain, slot, _, blocks) = about_to_sign(journal.clone()).await;
    let before = chain.produce(chain.tip(), slot, txs(&blocks[1])).await.unwrap();
    drop(chain);
    let (mut chain, slot, clock, _) = about_to_sign(journal.clone()).await;
    let next = chain.next_slot(slot.ends).unwrap();
    clock.0.store(next.starts, Ordering::Relaxed);
    assert!(next.round > slot.round);
    let block = chain.produce(chain.tip(), next, Vec::new()).await.unwrap();
    assert_ne!(block.link.hash, before.link.hash);
}

#[tokio::test]
async fn the_first_block_that_a_crash_cut_short_is_given_again_however_late() {
    let (genesis, blocks) = mainline();
    let clock = Arc::new(SetClock(AtomicU64::new(blocks[0].header.timestamp)));
    let key = |block: &Block| {
        let proposer = &block.header.proposer_address;
        validators().into_iter().find(|key| key.address(VALIDATOR_PREFIX) == *proposer).unwrap()
    };
    let journal = Failing::default();
    let mut made = Vec::new();
    for later in [0, 1, 100_000] {
        clock.0.store(blocks[0].header.timestamp + later, Ordering::Relaxed);
        let chain = open(&genesis, &clock).await;
        let mut chain = chain.with_signer(Signer::new(key(&blocks[0]), Box::new(journal.clone())));
        let slot = chain.next_slot(blocks[0].header.timestamp + later).unwrap();
        made.push(chain.produce(None, slot, Vec::new()).await.unwrap().block);
        assert!(chain.import(made.clone()[made.len() - 1..].to_vec()).await.unwrap().stop.is_none());
    }
    assert!(made.iter().all(|block| *block == made[0]), "{made:?}");
}

#[tokio::test]
async fn a_journal_that_keeps_no_blocks_or_another_one_signs_nothing_twice() {
    /// Keeps what was signed, and of blocks this one.
    #[derive(Debug)]
    struct Forgetful(Failing, Option<Arc<Block>>);

    impl SigningJournal for Forgetful {
        fn last(&self) -> Option<Signed> {
            self.0.last()
        }

        fn last_block(&self) -> Option<Arc<Block>> {
            self.1.clone()
        }

        fn record(&mut self, signed: Signed, block: &Arc<Block>) -> Result<(), JournalError> {
            self.0.record(signed, block)
        }
    }

    let journal = Failing::default();
    let (mut chain, slot, _, blocks) = about_to_sign(journal.clone()).await;
    chain.produce(chain.tip(), slot, txs(&blocks[1])).await.unwrap();
    for kept in [None, Some(Arc::new(blocks[1].clone())), Some(Arc::new(blocks[2].clone()))] {
        let (mut chain, slot, clock, _) = about_to_sign(Failing::default()).await;
        clock.0.fetch_add(1, Ordering::Relaxed);
        let key =
            validators().into_iter().find(|key| key.address(VALIDATOR_PREFIX) == blocks[1].header.proposer_address);
        chain.signer =
            Some(Arc::new(Mutex::new(Signer::new(key.unwrap(), Box::new(Forgetful(journal.clone(), kept))))));
        let result = chain.produce(chain.tip(), slot, Vec::new()).await;
        match result {
            Err(ProduceError::Sign(SignError::SignedBefore { .. })) => {}
            Ok(block) => assert_eq!(Some(block.link.hash), journal.last().map(|last| last.hash)),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_signed_block_that_came_to_nothing_is_given_again_for_its_slot_and_parent() {
    let (mut chain, slot, clock, blocks) = about_to_sign(Failing::default()).await;
    let before = chain.produce(chain.tip(), slot, txs(&blocks[1])).await.unwrap();
    // The store did not take it; a second later, and without its transactions, it would be another one.
    clock.0.fetch_add(1, Ordering::Relaxed);
    let again = chain.produce(chain.tip(), slot, Vec::new()).await.unwrap();
    assert_eq!((again.link, &again.block), (before.link, &before.block));
}

#[tokio::test]
async fn nothing_is_signed_outside_of_the_slot_or_on_another_parent() {
    let (mut chain, slot, clock, blocks) = about_to_sign(Failing::default()).await;
    let error = chain.produce(None, slot, Vec::new()).await.unwrap_err();
    assert!(matches!(error, ProduceError::Moved), "{error}");
    for second in [slot.starts - 1, slot.ends] {
        clock.0.store(second, Ordering::Relaxed);
        let error = chain.produce(chain.tip(), slot, txs(&blocks[1])).await.unwrap_err();
        assert!(matches!(error, ProduceError::NotOurSlot { .. }), "{error}");
    }
}
