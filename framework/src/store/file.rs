//! A store in one directory.
//!
//! Blocks, state and undo records lie in one file of the engine redb, and every commit is one durable transaction of it:
//! whatever kills the process, what was acknowledged is there and nothing half is. The engine was chosen by measuring its
//! rival fjall beside it, 1,000,000 blocks of 300 bytes in batches of 500: as many blocks for a second of processor time,
//! but 23 MiB of memory where fjall grows beyond 90, and 1 ms to open after a kill where fjall replays for 150.
//!
//! What costs time in a tree are keys in no order. So the state table and the hash index, whose keys are such, are written
//! only at checkpoints; between them their news is in memory and in the record that each commit appends anyway.
//!
//! In a data directory `lock` is held while a store is open, `chain/format` names the layout, `chain/chain.redb` is the
//! engine's file.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use redb::ReadableTable;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

pub use self::fault::panic_becomes_error;
use self::fault::{Fault, guarded};
use self::layout::{Layout, patiently};
use self::tables::Snapshot;
use self::view::FileView;
use self::writer::{Shelf, Writer};
use super::versions::View;
use super::{
    ByteBudget, ChainStore, Commit, Moved, ReorgOutcome, StateChange, StateKey, StateValue, StateView, StoreError,
    StoreErrorKind,
};
use crate::types::{EncodedBlock, Hash32, Height, Tip};

mod fault;
mod layout;
mod tables;
mod values;
mod view;
mod writer;

/// How many reads may be on the disk at a time; further ones wait without a thread.
const MAX_READS: usize = 8;

/// A [`ChainStore`] on disk. Its async methods need a tokio runtime, on whose threads for blocking work they run.
#[derive(Debug)]
pub struct FileStore {
    inner: Arc<Inner>,
    reads: Semaphore,
}

/// What a data directory holds, read without changing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSummary {
    /// The genesis that it belongs to, once there is one.
    pub genesis: Option<Hash32>,
    /// The hash of block 0; that of the old chain where a reorganisation was interrupted.
    pub first: Option<Hash32>,
    /// The last block; that of the old chain where a reorganisation was interrupted.
    pub tip: Option<Tip>,
    /// The length of the engine's file, in bytes.
    pub file_bytes: u64,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    file: Arc<Path>,
    shelf: Shelf,
    /// `None` after a failed write, until the file could be opened again.
    writer: Mutex<Option<Writer>>,
    /// Released last.
    _lock: File,
}

impl FileStore {
    /// Opens the store in a data directory; makes both where there is none. Puts back what an interrupted reorganisation removed.
    /// Blocks: at start-up, or on a thread where that is fine.
    ///
    /// # Errors
    /// [`Locked`](StoreErrorKind::Locked), [`FormatVersion`](StoreErrorKind::FormatVersion),
    /// [`Corrupt`](StoreErrorKind::Corrupt), [`Full`](StoreErrorKind::Full), [`Io`](StoreErrorKind::Io).
    pub fn open(datadir: &Path) -> Result<Self, StoreError> {
        Self::open_at(Layout::new(datadir))
    }

    /// Opens it with so many bytes of page cache (8 MiB by default): what it reads and writes fills them, and never more. Up to
    /// half as many are kept besides of the newest state (4 MiB at most).
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_caching(datadir: &Path, bytes: usize) -> Result<Self, StoreError> {
        let mut layout = Layout::new(datadir);
        layout.cache = bytes;
        Self::open_at(layout)
    }

    fn open_at(layout: Layout) -> Result<Self, StoreError> {
        let lock = patiently(|| layout.take_lock())?;
        let (writer, shown) = patiently(|| Writer::open(&layout))?;
        let file = Arc::from(layout.database.as_path());
        let inner = Inner { layout, file, shelf: RwLock::new(shown), writer: Mutex::new(Some(writer)), _lock: lock };
        inner.write(|writer, shelf| writer.finish_reorg(shelf, ReorgOutcome::PutBack))?;
        Ok(Self { inner: Arc::new(inner), reads: Semaphore::new(MAX_READS) })
    }

    /// What is in a data directory; `None` where it has no store. Changes no content, and works right after a kill. Blocks.
    ///
    /// # Errors
    /// [`Locked`](StoreErrorKind::Locked) while a store is open there; else as [`open`](Self::open).
    pub fn summary(datadir: &Path) -> Result<Option<StoreSummary>, StoreError> {
        let layout = Layout::new(datadir);
        let _lock = patiently(|| layout.take_lock_to_read())?;
        if !layout.exists()? {
            return Ok(None);
        }
        layout.check_format()?;
        let file_bytes = std::fs::metadata(&layout.database).map_or(0, |metadata| metadata.len());
        let read = || {
            let (genesis, first, tip) = match writer::builder(layout.cache).open_read_only(&layout.database) {
                Ok(db) => tables::summary(&db)?,
                // After a kill the engine insists on tidying up, which takes no time with commits like ours.
                Err(redb::DatabaseError::RepairAborted) => {
                    tables::summary(&writer::builder(layout.cache).open(&layout.database)?)?
                }
                Err(error) => return Err(error.into()),
            };
            Ok(Some(StoreSummary { genesis, first, tip, file_bytes }))
        };
        patiently(|| guarded(&layout.database, read))
    }

    /// The genesis that the store is bound to.
    pub fn genesis_id(&self) -> Option<Hash32> {
        self.inner.shown().genesis
    }

    /// The engine's file.
    pub fn path(&self) -> PathBuf {
        self.inner.layout.database.clone()
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot) -> Result<T, Fault> + Send + 'static,
    {
        let _permit = self.reads.acquire().await.map_err(|error| stopped(&self.inner.file, error))?;
        let (file, snapshot) = (Arc::clone(&self.inner.file), Arc::clone(&self.inner.shown().snapshot));
        let read = spawn_blocking(move || guarded(&file, || work(&snapshot)));
        read.await.map_err(|error| stopped(&self.inner.file, error))?
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writer, &Shelf) -> Result<T, Fault> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let write = spawn_blocking(move || inner.write(work));
        write.await.map_err(|error| stopped(&self.inner.file, error))?
    }
}

#[async_trait]
impl ChainStore for FileStore {
    async fn bind(&self, genesis: Hash32, state: Vec<(StateKey, StateValue)>) -> Result<(), StoreError> {
        self.write(move |writer, shelf| writer.bind(shelf, genesis, state)).await
    }

    async fn tip(&self) -> Result<Option<Tip>, StoreError> {
        Ok(self.inner.shown().tip)
    }

    async fn blocks(
        &self,
        heights: RangeInclusive<Height>,
        budget: ByteBudget,
    ) -> Result<Vec<EncodedBlock>, StoreError> {
        if heights.is_empty() {
            return Ok(Vec::new());
        }
        self.read(move |snapshot| {
            let mut room = budget.0;
            let mut found = Vec::new();
            for (height, row) in heights.clone().zip(ReadableTable::range(&*snapshot.blocks, heights)?) {
                let (key, sealed) = row?;
                if key.value() != height {
                    // Either there is no such block, or one is missing below others.
                    return if found.is_empty() && height == 0 {
                        Ok(found)
                    } else {
                        Err(tables::missing_block(height))
                    };
                }
                let block = values::read_block(height, sealed.value())?;
                match room.checked_sub(block.bytes.len()) {
                    Some(left) => room = left,
                    None if found.is_empty() => room = 0,
                    None => break,
                }
                found.push(block);
            }
            Ok(found)
        })
        .await
    }

    async fn height_of(&self, hash: Hash32) -> Result<Option<Height>, StoreError> {
        {
            let shown = self.inner.shown();
            if let Some(height) = shown.tail.get(&hash) {
                return Ok(Some(*height));
            }
        }
        self.read(move |snapshot| {
            let (low, high) = (values::index_key(hash, Height::MIN), values::index_key(hash, Height::MAX));
            for row in ReadableTable::range::<&[u8; 16]>(&*snapshot.index, &low..=&high)? {
                let height = values::index_height(*row?.0.value());
                if snapshot.hash_at(height)? == hash {
                    return Ok(Some(height));
                }
            }
            Ok(None)
        })
        .await
    }

    async fn commit(&self, batch: Vec<Commit>) -> Result<Tip, StoreError> {
        self.write(move |writer, shelf| writer.commit(shelf, &batch)).await
    }

    async fn rollback(&self, keep: Option<Height>) -> Result<Moved, StoreError> {
        self.write(move |writer, shelf| writer.rollback(shelf, keep)).await
    }

    async fn finish_reorg(&self, outcome: ReorgOutcome) -> Result<Moved, StoreError> {
        self.write(move |writer, shelf| writer.finish_reorg(shelf, outcome)).await
    }

    fn state(&self) -> Result<Arc<dyn StateView>, StoreError> {
        let shown = self.inner.shown();
        Ok(Arc::new(FileView {
            file: Arc::clone(&self.inner.file),
            snapshot: Arc::clone(&shown.snapshot),
            overlay: View::new(&shown.overlay),
        }))
    }

    async fn replace_state(
        &self,
        state: Vec<(StateKey, StateValue)>,
        undo: Vec<Vec<StateChange>>,
    ) -> Result<(), StoreError> {
        self.write(move |writer, shelf| writer.replace_state(shelf, state, undo)).await
    }
}

impl Inner {
    fn shown(&self) -> RwLockReadGuard<'_, writer::Shown> {
        // It is only ever replaced by values made before, so a poisoned lock still guards a whole one.
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one write. After one that failed below us the engine takes no more: it is opened again.
    fn write<T>(&self, work: impl FnOnce(&mut Writer, &Shelf) -> Result<T, Fault>) -> Result<T, StoreError> {
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(self.reopen()?);
        }
        let Some(writer) = slot.as_mut() else { return Err(stopped(&self.file, "it could not be opened again")) };
        let outcome = guarded(&self.file, || work(writer, &self.shelf));
        if let Err(StoreError { kind: StoreErrorKind::Full | StoreErrorKind::Io | StoreErrorKind::Corrupt, .. }) =
            outcome
        {
            *slot = None;
            *slot = self.reopen().ok();
        }
        outcome
    }

    fn reopen(&self) -> Result<Writer, StoreError> {
        let (writer, shown) = patiently(|| Writer::open(&self.layout))?;
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(writer)
    }
}

fn stopped(file: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::caused(StoreErrorKind::Io, format!("work on {} was stopped", file.display()), error)
}

#[cfg(test)]
mod tests;
