//! A node's disk: it survives the node, is slow or full at times, and is watched.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::network::Member;
use super::oracle::Oracle;
use super::rng::Rng;
use crate::producer::{JournalError, Signed, SigningJournal};
use crate::store::{
    ByteBudget, ChainStore, Commit, Moved, ReorgOutcome, StateChange, StateKey, StateValue, StateView, StoreError,
    StoreErrorKind,
};
use crate::types::{Block, EncodedBlock, Hash32, Height, Tip};

/// The disk of one node, with its chain and its signing journal.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    node: String,
    oracle: Oracle,
    store: Arc<dyn ChainStore>,
    state: Arc<Mutex<DiskState>>,
}

#[derive(Debug)]
struct DiskState {
    rng: Rng,
    /// Milliseconds that each write takes.
    latency: RangeInclusive<u64>,
    full: bool,
    /// The run of the node that has the disk open; writes of an earlier one come to nothing.
    run: u64,
    /// What was signed last.
    signed: Option<(Signed, Arc<Block>)>,
    /// The run that ends as soon as it has signed a block, between its journal and all else.
    ends_signing: Option<Member>,
    /// It has ended so.
    ended_signing: bool,
    /// Where the chain ends, as far as it was written.
    tip: Option<Tip>,
    /// Where it ended before the reorganisation under way.
    left: Option<Left>,
}

impl Disk {
    pub(super) fn new(node: &str, store: Arc<dyn ChainStore>, oracle: &Oracle, rng: Rng) -> Self {
        let state = DiskState {
            rng,
            latency: 0..=0,
            full: false,
            run: 0,
            signed: None,
            ends_signing: None,
            ended_signing: false,
            tip: None,
            left: None,
        };
        Self { node: node.to_owned(), oracle: oracle.clone(), store, state: Arc::new(Mutex::new(state)) }
    }

    /// Lets each write take so many milliseconds.
    pub(super) fn set_latency(&self, latency: RangeInclusive<u64>) {
        self.lock().latency = latency;
    }

    /// Lets writes fail for want of room, or succeed again.
    pub(super) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Takes the disk from the run that has it open. Nothing of that run is written from here on.
    pub(super) fn take(&self) {
        let mut state = self.lock();
        state.run += 1;
        (state.ends_signing, state.ended_signing) = (None, false);
    }

    /// Lets the run of a node that has the disk open crash as soon as its next signature is on record.
    pub(super) fn end_signing(&self, member: Member) {
        self.lock().ends_signing = Some(member);
    }

    /// Whether that has come; if not, it will not come any more.
    pub(super) fn ended_signing(&self) -> bool {
        let mut state = self.lock();
        state.ends_signing = None;
        state.ended_signing
    }

    /// Opens the disk for a new run: what was acknowledged is there, and no half of a reorganisation.
    pub(super) async fn open(&self) -> Result<(SimStore, u64), StoreError> {
        self.take();
        let moved = self.store.finish_reorg(ReorgOutcome::PutBack).await?;
        if !moved.steps.is_empty() {
            self.oracle.count(|figures| figures.put_back += 1);
        }
        let found = self.store.tip().await?;
        let (run, expected) = {
            let mut state = self.lock();
            let expected = state.left.take().map_or(state.tip, |left| left.0);
            state.tip = found;
            (state.run, expected)
        };
        if found != expected {
            self.oracle
                .breach(format_args!("{} was opened at {found:?}, and had been left at {expected:?}", self.node));
        }
        Ok((SimStore { disk: self.clone(), run }, run))
    }

    /// The journal, for the run that has the disk open.
    pub(super) fn journal(&self, run: u64, validator: usize, twins: bool) -> SimJournal {
        SimJournal { disk: self.clone(), run, validator, twins }
    }

    /// The store itself, for reading.
    pub(super) fn store(&self) -> &Arc<dyn ChainStore> {
        &self.store
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a chain ended that is being left; an empty one ended nowhere.
#[derive(Debug, Clone, Copy)]
struct Left(Option<Tip>);

/// The chain on a [`Disk`], as one run of its node sees it.
#[derive(Debug)]
pub(super) struct SimStore {
    disk: Disk,
    run: u64,
}

/// What a write is.
enum Write {
    Commit(Vec<Commit>),
    Rollback(Option<Height>),
    Finish(ReorgOutcome),
}

impl SimStore {
    fn check(&self) -> Result<(), StoreError> {
        let gone = || StoreError::new(StoreErrorKind::Io, "this run of the node is over");
        if self.disk.lock().run == self.run { Ok(()) } else { Err(gone()) }
    }

    /// Writes before or after its time has passed: a crash meanwhile finds the write done or not done, never acknowledged.
    async fn write(&self, write: Write) -> Result<Moved, StoreError> {
        self.check()?;
        let (pause, first) = {
            let mut state = self.disk.lock();
            if state.full && !matches!(write, Write::Finish(_)) {
                return Err(StoreError::new(StoreErrorKind::Full, "the simulated disk is full"));
            }
            let latency = state.latency.clone();
            (state.rng.millis(latency), state.rng.percent(50))
        };
        if first {
            let moved = self.apply(write).await;
            sleep(pause).await;
            self.check()?;
            return moved;
        }
        sleep(pause).await;
        self.check()?;
        self.apply(write).await
    }

    async fn apply(&self, write: Write) -> Result<Moved, StoreError> {
        let Disk { node, oracle, store, .. } = &self.disk;
        match write {
            Write::Commit(batch) => {
                let tip = store.commit(batch.clone()).await?;
                self.disk.lock().tip = Some(tip);
                oracle.committed(node, &batch);
                Ok(Moved { tip: Some(tip), steps: Vec::new() })
            }
            Write::Rollback(keep) => {
                let moved = store.rollback(keep).await?;
                let mut state = self.disk.lock();
                let before = state.tip;
                state.left.get_or_insert(Left(before));
                state.tip = moved.tip;
                drop(state);
                oracle.rolled_back(node, &moved);
                Ok(moved)
            }
            Write::Finish(outcome) => {
                let moved = store.finish_reorg(outcome).await?;
                let (left, before) = {
                    let mut state = self.disk.lock();
                    (state.left.take(), std::mem::replace(&mut state.tip, moved.tip))
                };
                let Some(Left(left)) = left else { return Ok(moved) };
                match outcome {
                    ReorgOutcome::KeepNew => {
                        oracle.count(|figures| figures.reorganised += 1);
                        oracle.left_for(node, left, before);
                    }
                    ReorgOutcome::PutBack => {
                        oracle.count(|figures| figures.put_back += 1);
                        oracle.note(format_args!("{node} puts back"));
                        if moved.tip != left {
                            oracle.breach(format_args!("{node} put back {:?}, and had {left:?}", moved.tip));
                        }
                    }
                }
                Ok(moved)
            }
        }
    }
}

/// A pause of nothing is no pause at all: it would still cost a turn of the timer.
async fn sleep(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

#[async_trait]
impl ChainStore for SimStore {
    async fn bind(&self, genesis: Hash32, state: Vec<(StateKey, StateValue)>) -> Result<(), StoreError> {
        self.check()?;
        self.disk.store.bind(genesis, state).await
    }

    async fn tip(&self) -> Result<Option<Tip>, StoreError> {
        self.check()?;
        self.disk.store.tip().await
    }

    async fn blocks(
        &self,
        heights: RangeInclusive<Height>,
        budget: ByteBudget,
    ) -> Result<Vec<EncodedBlock>, StoreError> {
        self.check()?;
        self.disk.store.blocks(heights, budget).await
    }

    async fn height_of(&self, hash: Hash32) -> Result<Option<Height>, StoreError> {
        self.check()?;
        self.disk.store.height_of(hash).await
    }

    async fn commit(&self, batch: Vec<Commit>) -> Result<Tip, StoreError> {
        let moved = self.write(Write::Commit(batch)).await?;
        moved.tip.ok_or_else(|| StoreError::new(StoreErrorKind::Invalid, "nothing was committed"))
    }

    async fn rollback(&self, keep: Option<Height>) -> Result<Moved, StoreError> {
        self.write(Write::Rollback(keep)).await
    }

    async fn finish_reorg(&self, outcome: ReorgOutcome) -> Result<Moved, StoreError> {
        self.write(Write::Finish(outcome)).await
    }

    fn state(&self) -> Result<Arc<dyn StateView>, StoreError> {
        self.check()?;
        self.disk.store.state()
    }

    async fn replace_state(
        &self,
        state: Vec<(StateKey, StateValue)>,
        undo: Vec<Vec<StateChange>>,
    ) -> Result<(), StoreError> {
        self.check()?;
        self.disk.store.replace_state(state, undo).await
    }
}

/// The signing journal on a [`Disk`], as one run of its node sees it.
#[derive(Debug)]
pub(super) struct SimJournal {
    disk: Disk,
    run: u64,
    validator: usize,
    twins: bool,
}

impl SigningJournal for SimJournal {
    fn last(&self) -> Option<Signed> {
        self.disk.lock().signed.as_ref().map(|(signed, _)| *signed)
    }

    fn last_block(&self) -> Option<Arc<Block>> {
        self.disk.lock().signed.as_ref().map(|(_, block)| Arc::clone(block))
    }

    fn record(&mut self, signed: Signed, block: &Arc<Block>) -> Result<(), JournalError> {
        {
            let mut state = self.disk.lock();
            if state.run != self.run {
                return Err(JournalError { message: "this run of the node is over".into(), source: None });
            }
            if state.full {
                return Err(JournalError { message: "the simulated disk is full".into(), source: None });
            }
            state.signed = Some((signed, Arc::clone(block)));
        }
        self.disk.oracle.signed(self.validator, signed, self.twins);
        let ends = self.disk.lock().ends_signing.take();
        if let Some(member) = ends {
            self.disk.oracle.note(format_args!("{} crashes with what it has signed", self.disk.node));
            member.kill();
            let mut state = self.disk.lock();
            state.run += 1;
            state.ended_signing = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::types::BlockLink;

    fn disk() -> Disk {
        let height = |tip: Option<Tip>| tip.map(|tip| tip.height);
        let oracle =
            Oracle::new(&Arc::new(load::genesis(1)), Arc::new(move |old, new| height(new) > height(old)), true);
        Disk::new("n0", Arc::new(MemoryStore::new()), &oracle, Rng::new(1))
    }

    fn block(height: u64, hash: u8, parent: u8) -> Vec<Commit> {
        let link = BlockLink { height, hash: Hash32([hash; 32]), prev_hash: Hash32([parent; 32]) };
        vec![Commit { block: EncodedBlock { link, bytes: vec![hash].into() }, changes: Vec::new() }]
    }

    fn signed(height: u64, hash: u8) -> Signed {
        Signed { height, round: 0, hash: Hash32([hash; 32]) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_a_crash_comes_into_is_not_acknowledged() {
        let disk = disk();
        let (store, _) = disk.open().await.unwrap();
        disk.set_latency(100..=100);
        let write = tokio::spawn(async move { store.commit(block(0, 1, 0)).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        disk.take();
        assert!(write.await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_over_neither_writes_nor_signs() {
        let disk = disk();
        let (store, run) = disk.open().await.unwrap();
        let mut journal = disk.journal(run, 0, false);
        journal.record(signed(0, 1), &crate::producer::any_block()).unwrap();
        let (next, _) = disk.open().await.unwrap();
        assert!(
            store.commit(block(0, 1, 0)).await.is_err()
                && journal.record(signed(1, 1), &crate::producer::any_block()).is_err()
        );
        assert_eq!(next.tip().await.unwrap(), None);
        assert_eq!(journal.last(), Some(signed(0, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reorganisation_that_a_crash_cut_short_is_put_back() {
        let disk = disk();
        let (store, _) = disk.open().await.unwrap();
        let left = store.commit(block(0, 1, 0)).await.unwrap();
        store.rollback(None).await.unwrap();
        store.commit(block(0, 2, 0)).await.unwrap();
        let (store, _) = disk.open().await.unwrap();
        assert_eq!(store.tip().await.unwrap(), Some(left));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_be_is_a_breach() {
        let disk = disk();
        let (store, run) = disk.open().await.unwrap();
        let breaches = || disk.oracle.breaches().len();
        store.commit(block(0, 1, 0)).await.unwrap();
        assert_eq!(breaches(), 1, "nobody signed this block");
        store.rollback(None).await.unwrap();
        store.finish_reorg(ReorgOutcome::KeepNew).await.unwrap();
        assert_eq!(breaches(), 2, "nothing is not better than a block");
        let mut journal = disk.journal(run, 0, false);
        journal.record(signed(7, 1), &crate::producer::any_block()).unwrap();
        journal.record(signed(8, 1), &crate::producer::any_block()).unwrap();
        assert_eq!(breaches(), 2);
        journal.record(signed(8, 2), &crate::producer::any_block()).unwrap();
        assert_eq!(breaches(), 3, "a second block for one height and round");
        disk.store.commit(block(0, 3, 0)).await.unwrap();
        disk.open().await.unwrap();
        assert_eq!(breaches(), 4, "a disk that holds what was never written");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_takes_nothing_until_there_is_room() {
        let disk = disk();
        let (store, _) = disk.open().await.unwrap();
        disk.set_full(true);
        assert_eq!(store.commit(block(0, 1, 0)).await.unwrap_err().kind, StoreErrorKind::Full);
        disk.set_full(false);
        store.commit(block(0, 1, 0)).await.unwrap();
    }
}
