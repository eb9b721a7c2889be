//! A store of one's own: one file that only grows, and all that it tells kept in memory.
//!
//! Each change is appended to the file and flushed to the disk before anybody sees it; a store is opened by making the
//! changes again, in their order. A record has its length and a checksum in front, so that one which was cut off by a
//! power failure is recognised and dropped: it was never acknowledged.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cpc_framework::store::{
    ByteBudget, ChainStore, Commit, Moved, ReorgOutcome, StateChange, StateKey, StateValue, StateView, StoreError,
    StoreErrorKind,
};
use cpc_framework::types::{EncodedBlock, Hash32, Height, Tip};

use self::chain::{Chain, Change};

mod chain;

/// A chain in an append-only log.
#[derive(Debug)]
pub struct LogStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    /// Where the last whole record ends.
    end: u64,
    chain: Chain,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Length and checksum.
const RECORD_HEADER: usize = 2 * size_of::<u32>();

impl LogStore {
    /// Opens the log at this path, or begins one.
    ///
    /// # Errors
    /// Another process has it open, it cannot be read, or holds a record that no store of this kind wrote.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let io = |why| io_error(&path, why);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(io)?;
        file.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => {
                StoreError::new(StoreErrorKind::Locked, format!("{} is open in another process", path.display()))
            }
            TryLockError::Error(why) => io(why),
        })?;
        let mut log = Vec::new();
        file.read_to_end(&mut log).map_err(io)?;
        let (chain, whole) = replay(&log)?;
        file.set_len(whole).map_err(io)?;
        file.seek(SeekFrom::Start(whole)).map_err(io)?;
        let mut inner = Inner { path, file, end: whole, chain };
        if inner.chain.in_reorg() {
            inner.make(Change::FinishReorg { put_back: true })?;
        }
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Makes a change where waiting for the disk holds nobody up. A dropped call goes on, so that it takes effect as a whole.
    async fn make(&self, change: Change) -> Result<Moved, StoreError> {
        let inner = Arc::clone(&self.inner);
        let made = tokio::task::spawn_blocking(move || lock(&inner).make(change)).await;
        made.map_err(|gone| StoreError::caused(StoreErrorKind::Io, "the runtime shuts down", gone))?
    }
}

impl Inner {
    /// First the checks, then the disk, then memory: what fails changes nothing.
    fn make(&mut self, change: Change) -> Result<Moved, StoreError> {
        if !self.chain.check(&change)? {
            return Ok(Moved { tip: self.chain.tip(), steps: Vec::new() });
        }
        self.append(&change)?;
        Ok(self.chain.make(change))
    }

    fn append(&mut self, change: &Change) -> Result<(), StoreError> {
        let invalid = |why: Cause| StoreError::caused(StoreErrorKind::Invalid, "a change cannot be recorded", why);
        let mut record = vec![0; RECORD_HEADER];
        rmp_serde::encode::write(&mut record, change).map_err(|why| invalid(why.into()))?;
        let body = &record[RECORD_HEADER..];
        let length = u32::try_from(body.len()).map_err(|_| invalid("it has more than 4 GiB".into()))?;
        let checksum = crc32fast::hash(body);
        record[..4].copy_from_slice(&length.to_le_bytes());
        record[4..RECORD_HEADER].copy_from_slice(&checksum.to_le_bytes());
        if let Err(why) = self.file.write_all(&record).and_then(|()| self.file.sync_data()) {
            // A half of a record must not stand before the next one.
            self.file.set_len(self.end).map_err(|why| io_error(&self.path, why))?;
            return Err(io_error(&self.path, why));
        }
        self.end += record.len() as u64;
        Ok(())
    }
}

/// The chain that a log tells of, and how many of its bytes are whole records.
fn replay(log: &[u8]) -> Result<(Chain, u64), StoreError> {
    let mut chain = Chain::default();
    let mut rest = log;
    while let Some((body, after)) = next_record(rest) {
        let corrupt = |why: Cause| {
            let at = log.len() - rest.len();
            StoreError::caused(StoreErrorKind::Corrupt, format!("the record at byte {at} cannot be read"), why)
        };
        let change: Change = rmp_serde::from_slice(body).map_err(|why| corrupt(why.into()))?;
        if !chain.check(&change).map_err(|why| corrupt(why.into()))? {
            return Err(corrupt("it changes nothing".into()));
        }
        chain.make(change);
        rest = after;
    }
    Ok((chain, (log.len() - rest.len()) as u64))
}

fn next_record(log: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = log.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (body, after) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (crc32fast::hash(body) == u32::from_le_bytes(*checksum)).then_some((body, after))
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    // A change is checked and written before memory follows, so a chain behind a poisoned lock is whole.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn io_error(path: &Path, why: io::Error) -> StoreError {
    let full = matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let kind = if full { StoreErrorKind::Full } else { StoreErrorKind::Io };
    StoreError::caused(kind, format!("{}: {why}", path.display()), why)
}

#[async_trait]
impl ChainStore for LogStore {
    async fn bind(&self, genesis: Hash32, state: Vec<(StateKey, StateValue)>) -> Result<(), StoreError> {
        self.make(Change::Bind { genesis, state }).await.map(drop)
    }

    async fn tip(&self) -> Result<Option<Tip>, StoreError> {
        Ok(self.lock().chain.tip())
    }

    async fn blocks(
        &self,
        heights: RangeInclusive<Height>,
        budget: ByteBudget,
    ) -> Result<Vec<EncodedBlock>, StoreError> {
        Ok(self.lock().chain.blocks(heights, budget))
    }

    async fn height_of(&self, hash: Hash32) -> Result<Option<Height>, StoreError> {
        Ok(self.lock().chain.height_of(hash))
    }

    async fn commit(&self, batch: Vec<Commit>) -> Result<Tip, StoreError> {
        let moved = self.make(Change::Commit { batch }).await?;
        moved.tip.ok_or_else(|| StoreError::new(StoreErrorKind::Invalid, "nothing was committed to an empty chain"))
    }

    async fn rollback(&self, keep: Option<Height>) -> Result<Moved, StoreError> {
        self.make(Change::Rollback { keep }).await
    }

    async fn finish_reorg(&self, outcome: ReorgOutcome) -> Result<Moved, StoreError> {
        self.make(Change::FinishReorg { put_back: outcome == ReorgOutcome::PutBack }).await
    }

    fn state(&self) -> Result<Arc<dyn StateView>, StoreError> {
        Ok(self.lock().chain.state())
    }

    async fn replace_state(
        &self,
        state: Vec<(StateKey, StateValue)>,
        undo: Vec<Vec<StateChange>>,
    ) -> Result<(), StoreError> {
        self.make(Change::ReplaceState { state, undo }).await.map(drop)
    }
}
