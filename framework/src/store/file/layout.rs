//! What lies where in a data directory: the lock, the format version, the engine's file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::fault::{damaged, io_error, locked};
use crate::store::{StoreError, StoreErrorKind};

/// What the `format` file of this release says. Another number: another layout of tables or records.
const FORMAT: &str = "cpc-store 1\n";

/// The longest `format` file that is read, in bytes: enough to quote an unknown one.
const FORMAT_MAX: usize = 64;

/// How long an opening waits for a lock: a process that is just ending, or one that it has just forked, soon lets go.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// The engine's page cache, in bytes: what a sync needs of its trees' upper levels, and small beside the process.
pub(super) const CACHE_BYTES: usize = 8 << 20;

/// How long it waits between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Tries again for a while where a lock is held.
pub(super) fn patiently<T>(mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.kind == StoreErrorKind::Locked && Instant::now() < deadline => sleep(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
}

/// The paths of one store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    chain: PathBuf,
    lock: PathBuf,
    format: PathBuf,
    /// The engine's file.
    pub(super) database: PathBuf,
    /// The engine's file while it is made: a kill leaves no half one under the real name.
    pub(super) unfinished: PathBuf,
    /// Bytes of the engine's page cache.
    pub(super) cache: usize,
}

impl Layout {
    pub(super) fn new(datadir: &Path) -> Self {
        let chain = datadir.join("chain");
        Self {
            lock: datadir.join("lock"),
            format: chain.join("format"),
            database: chain.join("chain.redb"),
            unfinished: chain.join("chain.redb.new"),
            chain,
            cache: CACHE_BYTES,
        }
    }

    /// Whether there is a store.
    pub(super) fn exists(&self) -> Result<bool, StoreError> {
        self.database.try_exists().map_err(|error| io_error(&self.database, "look for", error))
    }

    /// Makes the directories and takes the lock, which lasts as long as the file that this returns.
    pub(super) fn take_lock(&self) -> Result<File, StoreError> {
        fs::create_dir_all(&self.chain).map_err(|error| io_error(&self.chain, "create", error))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.lock);
        lock(&self.lock, file.map_err(|error| io_error(&self.lock, "create", error))?)
    }

    /// Takes the lock without creating or changing anything; `None` where there is none to take.
    pub(super) fn take_lock_to_read(&self) -> Result<Option<File>, StoreError> {
        match File::open(&self.lock) {
            Ok(file) => lock(&self.lock, file).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&self.lock, "open", error)),
        }
    }

    /// Checks the format version.
    pub(super) fn check_format(&self) -> Result<(), StoreError> {
        let found = match fs::read(&self.format) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(damaged(&self.format, "it is missing, though there is a chain beside it"));
            }
            Err(error) => return Err(io_error(&self.format, "read", error)),
        };
        if found == FORMAT.as_bytes() {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&found[..found.len().min(FORMAT_MAX)]).trim_end().to_owned();
        if !found.starts_with(b"cpc-store ") {
            return Err(damaged(&self.format, &format!("it reads {shown:?}")));
        }
        Err(StoreError::new(
            StoreErrorKind::FormatVersion,
            format!(
                "{} reads {shown:?}, this release knows {:?} only; use the release that wrote it, or remove {} and sync again",
                self.format.display(),
                FORMAT.trim_end(),
                self.chain.display()
            ),
        ))
    }

    /// Writes the format version, durably.
    pub(super) fn write_format(&self) -> Result<(), StoreError> {
        let write = || -> io::Result<()> {
            let mut file = File::create(&self.format)?;
            file.write_all(FORMAT.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| io_error(&self.format, "write", error))
    }

    /// Removes what a kill during [`finish_database`](Self::finish_database) may have left.
    pub(super) fn clear_unfinished(&self) -> Result<(), StoreError> {
        match fs::remove_file(&self.unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(&self.unfinished, "remove", error)),
            _ => Ok(()),
        }
    }

    /// Gives a newly made database its name, durably.
    pub(super) fn finish_database(&self) -> Result<(), StoreError> {
        let finish = || -> io::Result<()> {
            fs::rename(&self.unfinished, &self.database)?;
            File::open(&self.chain)?.sync_all()
        };
        finish().map_err(|error| io_error(&self.database, "create", error))
    }
}

fn lock(path: &Path, file: File) -> Result<File, StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(locked(path)),
        Err(TryLockError::Error(error)) => Err(io_error(path, "lock", error)),
    }
}
