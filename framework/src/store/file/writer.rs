//! The one writer of a file store.
//!
//! A commit appends its blocks and one record of what they changed, and nothing else: the state table and the hash index,
//! whose keys lie all over the place, are brought up to date only now and then, many commits at once. Until then their
//! news is in memory ([`Shown`]) and, durably, in the records.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Builder, Database, WriteTransaction};

use super::fault::{Fault, Quiet, guarded};
use super::layout::{CACHE_BYTES, Layout};
use super::tables::{self, Snapshot, Tables};
use super::values::{self, Entry, Meta};
use crate::fast_map::FastMap;
use crate::store::fold::{self, Folded, KeptBlocks};
use crate::store::versions::Versions;
use crate::store::{
    Commit, Moved, ReorgOutcome, StateChange, StateKey, StateValue, StoreError, UNDO_DEPTH, check_linkage,
};
use crate::types::{Hash32, Height, Tip};

/// So many blocks may be missing in the hash index: 1 MiB of memory.
const MAX_TAIL: usize = 16_384;

/// So many keys may be newer in memory than in the state table: with values of the usual size about 4 MiB.
const MAX_OVERLAY_KEYS: usize = 16_384;

/// So many bytes of new keys and values may be committed between two checkpoints; bounds what opening reads again.
const MAX_OVERLAY_BYTES: usize = CACHE_BYTES / 2;

/// What readers see: all of one commit.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) genesis: Option<Hash32>,
    pub(super) tip: Option<Tip>,
    pub(super) snapshot: Arc<Snapshot>,
    /// The state where it is newer than the snapshot's table.
    pub(super) overlay: Arc<Versions>,
    /// The blocks that are not in the snapshot's index.
    pub(super) tail: FastMap<Hash32, Height>,
}

/// Where readers find it.
pub(super) type Shelf = RwLock<Shown>;

/// The engine, and what is known of its tables.
#[derive(Debug)]
pub(super) struct Writer {
    db: Quiet<Database>,
    meta: Meta,
    /// The first heights of the records.
    records: VecDeque<Height>,
    /// Bytes that went into the overlay since it was empty.
    overlay_bytes: usize,
    /// So many may: [`MAX_OVERLAY_BYTES`], or as much less as the page cache is smaller than usual.
    max_overlay_bytes: usize,
}

/// What a write leaves in memory.
enum News {
    /// The tables lack these.
    Pending(Folded, Vec<(Hash32, Height)>),
    /// The tables have it all.
    Settled,
}

impl Writer {
    /// Opens the engine's file, or makes it. The lock must be held.
    pub(super) fn open(layout: &Layout) -> Result<(Self, Shown), StoreError> {
        if layout.exists()? {
            layout.check_format()?;
        } else {
            layout.clear_unfinished()?;
            layout.write_format()?;
            guarded(&layout.unfinished, || {
                let db = builder(layout.cache).create(&layout.unfinished)?;
                let txn = begin(&db)?;
                Tables::create(&txn)?;
                txn.commit()?;
                Ok(db.close()?)
            })?;
            layout.finish_database()?;
        }
        let (mut writer, shown) =
            guarded(&layout.database, || Self::load(builder(layout.cache).open(&layout.database)?))?;
        writer.max_overlay_bytes = MAX_OVERLAY_BYTES.min(layout.cache / 2);
        Ok((writer, shown))
    }

    /// Reads what an open database holds.
    pub(super) fn load(db: Database) -> Result<(Self, Shown), Fault> {
        let meta = tables::load_meta(&db)?;
        let (records, entries) = tables::load_records(&db, meta.checkpoint)?;
        if meta.checkpoint + entries.len() as u64 != meta.count() {
            return Err(Fault::Damage(format!(
                "there are {} blocks, but the state is known up to {} only",
                meta.count(),
                meta.checkpoint + entries.len() as u64
            )));
        }
        let overlay = fold::forward(entries.iter().map(|entry| entry.changes.as_slice()));
        let shown = Shown {
            genesis: meta.genesis,
            tip: meta.tip,
            snapshot: Arc::new(tables::snapshot(&db)?),
            tail: entries.iter().map(|entry| entry.hash).zip(meta.checkpoint..).collect(),
            overlay: Arc::new(Versions::over_base(overlay)),
        };
        let overlay_bytes = entries.iter().map(|entry| changes_len(&entry.changes)).sum();
        Ok((
            Self {
                db: Quiet::new(db),
                meta,
                records: records.into(),
                overlay_bytes,
                max_overlay_bytes: MAX_OVERLAY_BYTES,
            },
            shown,
        ))
    }

    /// See [`ChainStore::bind`](crate::store::ChainStore::bind).
    pub(super) fn bind(
        &mut self,
        shelf: &Shelf,
        genesis: Hash32,
        state: Vec<(StateKey, StateValue)>,
    ) -> Result<(), Fault> {
        fold::check_state(&state)?;
        if !fold::needs_binding(self.meta.genesis, self.meta.tip, genesis)? {
            return Ok(());
        }
        let mut meta = self.meta.clone();
        meta.genesis = Some(genesis);
        let state: Folded = state.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let txn = begin(&self.db)?;
        {
            let mut tables = Tables::open(&txn)?;
            tables.put_state(&state)?;
            tables.put_meta(&meta)?;
        }
        self.publish(shelf, txn, meta, News::Settled)
    }

    /// See [`ChainStore::commit`](crate::store::ChainStore::commit).
    pub(super) fn commit(&mut self, shelf: &Shelf, batch: &[Commit]) -> Result<Tip, Fault> {
        check_linkage(self.meta.tip, batch)?;
        fold::check_changes(batch.iter().flat_map(|commit| &commit.changes))?;
        let Some(last) = batch.last() else {
            return self.meta.tip.ok_or_else(|| fold::nothing_to_commit().into());
        };
        let (first, tip) = (self.meta.count(), last.block.link.tip());
        let mut meta = self.meta.clone();
        meta.tip = Some(tip);
        raise_floor(&mut meta);
        let changes = fold::forward(batch.iter().map(|commit| commit.changes.as_slice()));
        let tail: Vec<(Hash32, Height)> = batch.iter().map(|commit| commit.block.link.hash).zip(first..).collect();
        let overlay_bytes = self.overlay_bytes + batch.iter().map(|c| changes_len(&c.changes)).sum::<usize>();
        let due = overlay_bytes > self.max_overlay_bytes || is_due(shelf, changes.len(), tail.len());

        let txn = begin(&self.db)?;
        let expired;
        {
            let mut tables = Tables::open(&txn)?;
            for commit in batch {
                tables.put_block(&commit.block)?;
            }
            let entries = batch.iter().map(|commit| (commit.block.link.hash, commit.changes.as_slice()));
            tables.records.insert(first, values::write_record(first, entries)?.as_slice())?;
            if due {
                let (mut state, mut index) = pending(shelf);
                state.extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
                index.extend(&tail);
                settle(&mut tables, &mut meta, &state, index)?;
            }
            expired = self.expired_records(&meta);
            for first in self.records.range(..expired) {
                tables.records.remove(first)?;
            }
            tables.put_meta(&meta)?;
        }
        self.publish(shelf, txn, meta, if due { News::Settled } else { News::Pending(changes, tail) })?;
        self.records.drain(..expired);
        self.records.push_back(first);
        self.overlay_bytes = if due { 0 } else { overlay_bytes };
        Ok(tip)
    }

    /// See [`ChainStore::rollback`](crate::store::ChainStore::rollback).
    pub(super) fn rollback(&mut self, shelf: &Shelf, keep: Option<Height>) -> Result<Moved, Fault> {
        let count = self.meta.count();
        let undo = usize::try_from(count.saturating_sub(self.meta.undo_floor)).unwrap_or(usize::MAX);
        let kept = KeptBlocks::new(self.meta.tip, keep, undo)?.count as u64;
        let old_end = self.meta.fork.unwrap_or(count);
        let mut meta = self.meta.clone();
        meta.fork = Some(old_end.min(kept));
        let txn = begin(&self.db)?;
        let taken;
        {
            let mut tables = Tables::open(&txn)?;
            taken = self.take_off(&mut tables, kept, old_end)?;
            let (mut state, index) = pending(shelf);
            state.extend(fold::backward(taken.iter().map(|entry| entry.changes.as_slice())));
            meta.tip = tables.tip_of(kept)?;
            settle(&mut tables, &mut meta, &state, index.into_iter().filter(|(_, height)| *height < kept))?;
            tables.put_meta(&meta)?;
        }
        let tip = meta.tip;
        self.publish(shelf, txn, meta, News::Settled)?;
        self.records.retain(|first| *first < kept);
        Ok(Moved { tip, steps: steps_off(taken) })
    }

    /// See [`ChainStore::finish_reorg`](crate::store::ChainStore::finish_reorg).
    pub(super) fn finish_reorg(&mut self, shelf: &Shelf, outcome: ReorgOutcome) -> Result<Moved, Fault> {
        let mut meta = self.meta.clone();
        let Some(fork) = meta.fork.take() else { return Ok(Moved { tip: meta.tip, steps: Vec::new() }) };
        let txn = begin(&self.db)?;
        let (mut taken, mut back) = (Vec::new(), Vec::new());
        let put_back = outcome == ReorgOutcome::PutBack;
        let news = if put_back { News::Settled } else { News::Pending(Folded::new(), Vec::new()) };
        {
            let mut tables = Tables::open(&txn)?;
            if put_back {
                taken = self.take_off(&mut tables, fork, 0)?;
                back = tables.put_back(fork)?;
                if !back.is_empty() {
                    tables
                        .records
                        .insert(fork, values::write_record(fork, back.iter().map(Entry::borrowed))?.as_slice())?;
                }
                let (mut state, mut index) = pending(shelf);
                state.extend(fold::backward(taken.iter().map(|entry| entry.changes.as_slice())));
                state.extend(fold::forward(back.iter().map(|entry| entry.changes.as_slice())));
                index.retain(|(_, height)| *height < fork);
                index.extend(back.iter().map(|entry| entry.hash).zip(fork..));
                meta.tip = tables.tip_of(fork + back.len() as u64)?;
                settle(&mut tables, &mut meta, &state, index)?;
            }
            tables.clear_removed()?;
            raise_floor(&mut meta);
            tables.put_meta(&meta)?;
        }
        let tip = meta.tip;
        self.publish(shelf, txn, meta, news)?;
        if put_back {
            self.records.retain(|first| *first < fork);
            if !back.is_empty() {
                self.records.push_back(fork);
            }
        }
        let mut steps = steps_off(taken);
        steps.extend(back.into_iter().map(|entry| fold::swapped(&entry.changes)));
        Ok(Moved { tip, steps })
    }

    /// See [`ChainStore::replace_state`](crate::store::ChainStore::replace_state).
    pub(super) fn replace_state(
        &mut self,
        shelf: &Shelf,
        state: Vec<(StateKey, StateValue)>,
        mut undo: Vec<Vec<StateChange>>,
    ) -> Result<(), Fault> {
        fold::check_state(&state)?;
        fold::check_replacement(self.meta.tip, &undo, self.meta.fork.is_some())?;
        undo.truncate(usize::try_from(UNDO_DEPTH).unwrap_or(usize::MAX));
        let mut meta = self.meta.clone();
        let first = meta.count() - undo.len() as u64;
        meta.undo_floor = first;
        let state: Folded = state.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let txn = begin(&self.db)?;
        let recorded = !undo.is_empty();
        {
            let mut tables = Tables::open(&txn)?;
            tables.clear_state()?;
            for old in &self.records {
                tables.records.remove(old)?;
            }
            let mut entries = Vec::with_capacity(undo.len());
            for (height, changes) in (first..).zip(undo.into_iter().rev()) {
                entries.push(Entry { hash: tables.hash_at(height)?, changes });
            }
            if recorded {
                tables
                    .records
                    .insert(first, values::write_record(first, entries.iter().map(Entry::borrowed))?.as_slice())?;
            }
            let (_, index) = pending(shelf);
            settle(&mut tables, &mut meta, &state, index)?;
            tables.put_meta(&meta)?;
        }
        self.publish(shelf, txn, meta, News::Settled)?;
        self.records.clear();
        self.records.extend(recorded.then_some(first));
        Ok(())
    }

    /// Takes the blocks from `kept` on off; those below `keep_until` are kept as removed ones. Says what they changed.
    fn take_off(&self, tables: &mut Tables<'_>, kept: u64, keep_until: u64) -> Result<Vec<Entry>, Fault> {
        let entries = tables::entries_from(&tables.records, &self.records, kept)?;
        let missing = || Fault::Damage(format!("undo records of the blocks from {kept} on are missing"));
        if entries.len() as u64 != self.meta.count() - kept {
            return Err(missing());
        }
        for first in self.records.iter().rev() {
            let sealed = tables.records.remove(first)?.ok_or_else(missing)?.value().to_vec();
            if *first < kept {
                let mut shorter = values::read_record(*first, &sealed)?;
                shorter.truncate(usize::try_from(kept - first).unwrap_or(usize::MAX));
                tables
                    .records
                    .insert(first, values::write_record(*first, shorter.iter().map(Entry::borrowed))?.as_slice())?;
                break;
            }
        }
        for (height, entry) in (kept..).zip(&entries) {
            tables.take_block(height, (height < keep_until).then_some(entry))?;
            if height < self.meta.checkpoint {
                tables.drop_index(entry.hash, height)?;
            }
        }
        Ok(entries)
    }

    /// How many records, from the oldest on, neither a rollback nor the next opening needs.
    fn expired_records(&self, meta: &Meta) -> usize {
        let needed_from = meta.undo_floor.min(meta.checkpoint);
        let nexts = self.records.iter().skip(1);
        nexts.take_while(|next| **next <= needed_from).count()
    }

    /// Makes a transaction durable and shows it to the readers.
    fn publish(&mut self, shelf: &Shelf, txn: WriteTransaction, meta: Meta, news: News) -> Result<(), Fault> {
        txn.commit()?;
        let snapshot = Arc::new(tables::snapshot(&self.db)?);
        let mut shown = shelf.write().unwrap_or_else(PoisonError::into_inner);
        match news {
            News::Pending(changes, tail) => {
                shown.overlay.apply(changes);
                shown.tail.extend(tail);
            }
            News::Settled => {
                shown.overlay = Arc::new(Versions::over_base(Folded::new()));
                shown.tail = FastMap::default();
                self.overlay_bytes = 0;
            }
        }
        shown.snapshot = snapshot;
        shown.tip = meta.tip;
        shown.genesis = meta.genesis;
        self.meta = meta;
        Ok(())
    }
}

/// A transaction whose commit leaves a file that opens at once, however the process ends.
fn begin(db: &Database) -> Result<WriteTransaction, Fault> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}

/// How the engine is opened, with so many bytes of page cache.
pub(super) fn builder(cache: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache);
    builder
}

/// Brings the state table and the index up to the tip.
fn settle(
    tables: &mut Tables<'_>,
    meta: &mut Meta,
    state: &Folded,
    index: impl IntoIterator<Item = (Hash32, Height)>,
) -> Result<(), Fault> {
    tables.put_state(state)?;
    tables.put_index(index.into_iter())?;
    meta.checkpoint = meta.count();
    Ok(())
}

/// What the tables lack.
fn pending(shelf: &Shelf) -> (Folded, Vec<(Hash32, Height)>) {
    let shown = shelf.read().unwrap_or_else(PoisonError::into_inner);
    (shown.overlay.latest(), shown.tail.iter().map(|(hash, height)| (*hash, *height)).collect())
}

fn is_due(shelf: &Shelf, keys: usize, blocks: usize) -> bool {
    let shown = shelf.read().unwrap_or_else(PoisonError::into_inner);
    shown.overlay.len() + keys > MAX_OVERLAY_KEYS || shown.tail.len() + blocks > MAX_TAIL
}

/// Outside of a reorganisation, gives up undo records that are deeper than promised.
fn raise_floor(meta: &mut Meta) {
    if meta.fork.is_none() {
        meta.undo_floor = meta.undo_floor.max(meta.count().saturating_sub(UNDO_DEPTH));
    }
}

fn changes_len(changes: &[StateChange]) -> usize {
    let len = |value: &Option<StateValue>| value.as_ref().map_or(0, |value| value.len());
    changes.iter().map(|change| change.key.len() + len(&change.old) + len(&change.new)).sum()
}

fn steps_off(taken: Vec<Entry>) -> Vec<Vec<StateChange>> {
    taken.into_iter().rev().map(|entry| entry.changes).collect()
}
