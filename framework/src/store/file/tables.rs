//! The engine's tables, and snapshots of them.

use std::fmt;

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::fault::{Fault, Quiet};
use super::values::{self, Entry, Meta};
use crate::store::fold::Folded;
use crate::types::{EncodedBlock, Hash32, Height, Tip};

/// Height to block.
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// First height to what a batch of blocks changed: undo records, and what the state table has not got yet.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// Hash prefix and height, for the blocks below the checkpoint.
const INDEX: TableDefinition<'_, &[u8; 16], ()> = TableDefinition::new("index");
/// The state at the checkpoint.
const STATE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");
/// Height to block, for blocks that a reorganisation took off.
const REMOVED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("removed");
/// Height to what such a block changed.
const REMOVED_RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("removed_records");
/// One entry: [`Meta`].
const META: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("meta");
const META_KEY: u8 = 0;

type Rows<'t> = Table<'t, u64, &'static [u8]>;

/// All tables in one write transaction.
pub(super) struct Tables<'t> {
    txn: &'t WriteTransaction,
    pub(super) blocks: Rows<'t>,
    pub(super) records: Rows<'t>,
    index: Table<'t, &'static [u8; 16], ()>,
    meta: Table<'t, u8, &'static [u8]>,
}

/// The tables as of one commit.
pub(super) struct Snapshot {
    pub(super) blocks: Quiet<ReadOnlyTable<u64, &'static [u8]>>,
    pub(super) index: Quiet<ReadOnlyTable<&'static [u8; 16], ()>>,
    pub(super) state: Quiet<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(txn: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            txn,
            blocks: txn.open_table(BLOCKS)?,
            records: txn.open_table(RECORDS)?,
            index: txn.open_table(INDEX)?,
            meta: txn.open_table(META)?,
        })
    }

    /// Makes all tables, with an empty [`Meta`].
    pub(super) fn create(txn: &WriteTransaction) -> Result<(), Fault> {
        txn.open_table(STATE)?;
        txn.open_table(REMOVED)?;
        txn.open_table(REMOVED_RECORDS)?;
        Tables::open(txn)?.put_meta(&Meta::default())
    }

    pub(super) fn put_meta(&mut self, meta: &Meta) -> Result<(), Fault> {
        self.meta.insert(META_KEY, values::write_meta(meta)?.as_slice())?;
        Ok(())
    }

    pub(super) fn put_block(&mut self, block: &EncodedBlock) -> Result<(), Fault> {
        let mut place = self.blocks.insert_reserve(block.link.height, values::block_len(block))?;
        values::write_block(block, place.as_mut());
        Ok(())
    }

    /// Adds blocks to the hash index, in the order that costs the engine least.
    pub(super) fn put_index(&mut self, blocks: impl Iterator<Item = (Hash32, Height)>) -> Result<(), Fault> {
        let mut keys: Vec<[u8; 16]> = blocks.map(|(hash, height)| values::index_key(hash, height)).collect();
        keys.sort_unstable();
        for key in &keys {
            self.index.insert(key, ())?;
        }
        Ok(())
    }

    pub(super) fn drop_index(&mut self, hash: Hash32, height: Height) -> Result<(), Fault> {
        self.index.remove(&values::index_key(hash, height))?;
        Ok(())
    }

    pub(super) fn put_state(&mut self, changes: &Folded) -> Result<(), Fault> {
        let mut state = self.txn.open_table(STATE)?;
        for (key, value) in changes {
            match value {
                Some(value) => drop(state.insert(key.as_ref(), values::seal(key, value).as_slice())?),
                None => drop(state.remove(key.as_ref())?),
            }
        }
        Ok(())
    }

    pub(super) fn clear_state(&mut self) -> Result<(), Fault> {
        self.txn.delete_table(STATE)?;
        self.txn.open_table(STATE)?;
        Ok(())
    }

    /// Takes a block off the chain, and keeps it for a while where `entry` says what it changed.
    pub(super) fn take_block(&mut self, height: Height, keep: Option<&Entry>) -> Result<(), Fault> {
        let Some(block) = self.blocks.remove(height)? else { return Err(missing_block(height)) };
        if let Some(entry) = keep {
            self.txn.open_table(REMOVED)?.insert(height, block.value())?;
            let record = values::write_record(height, std::iter::once(entry.borrowed()))?;
            self.txn.open_table(REMOVED_RECORDS)?.insert(height, record.as_slice())?;
        }
        Ok(())
    }

    /// Puts the removed blocks back on the chain, from `first` on. Says what they change.
    pub(super) fn put_back(&mut self, first: Height) -> Result<Vec<Entry>, Fault> {
        let (removed, records) = (self.txn.open_table(REMOVED)?, self.txn.open_table(REMOVED_RECORDS)?);
        let mut entries = Vec::new();
        for (height, row) in (first..).zip(removed.iter()?) {
            let (key, block) = row?;
            let record = records.get(height)?.filter(|_| key.value() == height);
            let record = record.ok_or_else(|| Fault::Damage(format!("the removed block {height} is missing")))?;
            self.blocks.insert(height, block.value())?;
            entries.extend(values::read_record(height, record.value())?);
        }
        Ok(entries)
    }

    pub(super) fn clear_removed(&mut self) -> Result<(), Fault> {
        for table in [REMOVED, REMOVED_RECORDS] {
            self.txn.delete_table(table)?;
            self.txn.open_table(table)?;
        }
        Ok(())
    }

    pub(super) fn hash_at(&self, height: Height) -> Result<Hash32, Fault> {
        hash_at(&self.blocks, height)
    }

    /// The tip of a chain of `count` blocks.
    pub(super) fn tip_of(&self, count: u64) -> Result<Option<Tip>, Fault> {
        count.checked_sub(1).map(|height| Ok(Tip { height, hash: self.hash_at(height)? })).transpose()
    }
}

impl Snapshot {
    pub(super) fn new(db: &impl ReadableDatabase) -> Result<Self, Fault> {
        let txn = db.begin_read()?;
        Ok(Self {
            blocks: Quiet::new(txn.open_table(BLOCKS)?),
            index: Quiet::new(txn.open_table(INDEX)?),
            state: Quiet::new(txn.open_table(STATE)?),
        })
    }

    pub(super) fn hash_at(&self, height: Height) -> Result<Hash32, Fault> {
        hash_at(&*self.blocks, height)
    }
}

/// Reads [`Meta`], and checks that the chain ends where it says.
pub(super) fn load_meta(db: &impl ReadableDatabase) -> Result<Meta, Fault> {
    let txn = db.begin_read()?;
    let sealed = txn.open_table(META)?.get(META_KEY)?;
    let sealed = sealed.ok_or_else(|| Fault::Damage("the store's own record is missing".into()))?;
    let meta = values::read_meta(sealed.value())?;
    let blocks = txn.open_table(BLOCKS)?;
    let last = blocks.last()?.map(|(height, _)| height.value());
    if last != meta.tip.map(|tip| tip.height) {
        return Err(Fault::Damage(format!("the last block is {last:?}, the tip on record {:?}", meta.tip)));
    }
    match meta.tip {
        Some(tip) if hash_at(&blocks, tip.height)? != tip.hash => {
            Err(Fault::Damage(format!("block {} is not the tip on record, {}", tip.height, tip.hash)))
        }
        _ => Ok(meta),
    }
}

/// A genesis, the hash of block 0, and a tip.
type Summary = (Option<Hash32>, Option<Hash32>, Option<Tip>);

/// The genesis, and the hash of block 0 and the tip that a store has once an interrupted reorganisation is put back.
pub(super) fn summary(db: &impl ReadableDatabase) -> Result<Summary, Fault> {
    let meta = load_meta(db)?;
    Ok((meta.genesis, settled_first(db, &meta)?, settled_tip(db, &meta)?))
}

fn settled_first(db: &impl ReadableDatabase, meta: &Meta) -> Result<Option<Hash32>, Fault> {
    let txn = db.begin_read()?;
    if meta.fork == Some(0)
        && let Some(sealed) = txn.open_table(REMOVED)?.get(0)?
    {
        return values::read_hash(0, sealed.value()).map(Some);
    }
    let blocks = txn.open_table(BLOCKS)?;
    blocks.first()?.map(|_| hash_at(&blocks, 0)).transpose()
}

fn settled_tip(db: &impl ReadableDatabase, meta: &Meta) -> Result<Option<Tip>, Fault> {
    let Some(fork) = meta.fork else { return Ok(meta.tip) };
    let txn = db.begin_read()?;
    if let Some((height, block)) = txn.open_table(REMOVED)?.last()? {
        let height = height.value();
        return Ok(Some(Tip { height, hash: values::read_hash(height, block.value())? }));
    }
    let blocks = txn.open_table(BLOCKS)?;
    fork.checked_sub(1).map(|height| Ok(Tip { height, hash: hash_at(&blocks, height)? })).transpose()
}

/// The first heights of all records, and what the blocks from `from` on changed.
pub(super) fn load_records(db: &impl ReadableDatabase, from: Height) -> Result<(Vec<Height>, Vec<Entry>), Fault> {
    let table = db.begin_read()?.open_table(RECORDS)?;
    let firsts = table.iter()?.map(|row| Ok(row?.0.value())).collect::<Result<Vec<_>, Fault>>()?;
    let entries = entries_from(&table, &firsts, from)?;
    Ok((firsts, entries))
}

/// What the blocks from `from` on changed, given the first heights of all records.
pub(super) fn entries_from(
    records: &impl ReadableTable<u64, &'static [u8]>,
    firsts: impl IntoIterator<Item = impl std::borrow::Borrow<Height>>,
    from: Height,
) -> Result<Vec<Entry>, Fault> {
    let firsts: Vec<Height> = firsts.into_iter().map(|first| *first.borrow()).collect();
    let begin = firsts.partition_point(|first| *first <= from).saturating_sub(1);
    let mut entries = Vec::new();
    for first in &firsts[begin.min(firsts.len())..] {
        let sealed = records.get(first)?.ok_or_else(|| Fault::Damage(format!("no undo record of block {first}")))?;
        let skip = usize::try_from(from.saturating_sub(*first)).unwrap_or(usize::MAX);
        entries.extend(values::read_record(*first, sealed.value())?.into_iter().skip(skip));
    }
    Ok(entries)
}

fn hash_at(blocks: &impl ReadableTable<u64, &'static [u8]>, height: Height) -> Result<Hash32, Fault> {
    let sealed = blocks.get(height)?.ok_or_else(|| missing_block(height))?;
    values::read_hash(height, sealed.value())
}

/// A block that ought to be there.
pub(super) fn missing_block(height: Height) -> Fault {
    Fault::Damage(format!("block {height} is missing"))
}

/// Opens a snapshot for whoever has just written.
pub(super) fn snapshot(db: &Database) -> Result<Snapshot, Fault> {
    Snapshot::new(db)
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}
