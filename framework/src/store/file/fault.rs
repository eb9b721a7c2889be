//! What goes wrong below a file store, and what that means to its caller.

use std::cell::Cell;
use std::io::ErrorKind;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::store::{StoreError, StoreErrorKind};

/// An error of the engine, which does not know its file yet, or one of ours.
#[derive(Debug)]
pub(super) enum Fault {
    Engine(redb::Error),
    /// What is stored contradicts itself: says what.
    Damage(String),
    Store(StoreError),
}

macro_rules! from_engine {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Engine(error.into())
            }
        })*
    };
}
from_engine!(redb::CommitError, redb::DatabaseError, redb::StorageError, redb::TableError, redb::TransactionError);

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

thread_local! {
    /// Whether this thread works on the engine now.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread now would come back as a [`StoreError`]: the engine gives up so over files that are damaged.
/// A program's panic hook need say nothing of it then.
pub fn panic_becomes_error() -> bool {
    GUARDED.get()
}

/// Catches what the engine may throw.
fn caught<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    outcome
}

/// Runs work on the engine. Whatever it does, also a panic over a file that was tampered with, comes back as an error
/// that names `file`.
pub(super) fn guarded<T>(file: &Path, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, StoreError> {
    match caught(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fault)) => Err(fault.in_file(file)),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(damaged(file, &format!("the engine gave up: {said}")))
        }
    }
}

/// Something of the engine's, which may give up over a damaged file even while it is dropped.
#[derive(Debug)]
pub(super) struct Quiet<T>(Option<T>);

impl<T> Quiet<T> {
    pub(super) fn new(inner: T) -> Self {
        Self(Some(inner))
    }
}

impl<T> Deref for Quiet<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only drop takes it")
    }
}

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        let inner = self.0.take();
        if caught(|| drop(inner)).is_err() {
            tracing::warn!("the engine gave up while a store was closed; opening it again will show what is damaged");
        }
    }
}

/// An error of the file system at a path.
pub(super) fn io_error(path: &Path, doing: &str, error: std::io::Error) -> StoreError {
    let shown = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::caused(
            StoreErrorKind::Full,
            format!("cannot {doing} {shown}: {error}; make room, then it goes on"),
            error,
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::caused(
            StoreErrorKind::Io,
            format!("cannot {doing} {shown}: {error}; the data directory must be writable for this user"),
            error,
        ),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => damaged(path, &error.to_string()),
        _ => StoreError::caused(StoreErrorKind::Io, format!("cannot {doing} {shown}: {error}"), error),
    }
}

/// A file that cannot have been written by a store like this, or not as it is now.
pub(super) fn damaged(file: &Path, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!(
            "{} is damaged: {what}; restore it from a copy, or remove the directory it is in and sync again",
            file.display()
        ),
    )
}

impl Fault {
    fn in_file(self, file: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Damage(what) => damaged(file, &what),
            Self::Engine(redb::Error::Io(error)) => io_error(file, "use", error),
            Self::Engine(redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch) => locked(file),
            Self::Engine(redb::Error::UpgradeRequired(version)) => StoreError::new(
                StoreErrorKind::FormatVersion,
                format!("{} has engine format {version}, which this release cannot read", file.display()),
            ),
            Self::Engine(
                error @ (redb::Error::Corrupted(_)
                | redb::Error::RepairAborted
                | redb::Error::LockPoisoned(_)
                | redb::Error::TableDoesNotExist(_)
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TypeDefinitionChanged { .. }
                | redb::Error::TableIsMultimap(_)),
            ) => damaged(file, &error.to_string()),
            Self::Engine(error) => {
                StoreError::caused(StoreErrorKind::Io, format!("cannot use {}: {error}", file.display()), error)
            }
        }
    }
}

/// Another process holds `file`.
pub(super) fn locked(file: &Path) -> StoreError {
    StoreError::new(
        StoreErrorKind::Locked,
        format!(
            "{} is held by another running process; stop that one first, or use another data directory",
            file.display()
        ),
    )
}
