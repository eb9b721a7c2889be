use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::journal::{JournalError, Signed, SigningJournal};
use crate::durable;
use crate::types::{Block, Hash32, Height};

/// The most that is written and read: several times a block that fits a frame (4 MiB). A larger block is not kept, only that it
/// was signed.
const MAX_FILE_BYTES: usize = 32 << 20;

/// A [`SigningJournal`] in a file of one JSON object, `{"height": 7, "round": 0, "hash": "...", "block": {...}}`. Without `block`
/// it is read too.
///
/// A file of the same name with `.lock` is held for as long as the journal is open, so that no second process signs.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    last: Option<Last>,
    _lock: File,
}

/// What was signed last, and its block where it was kept.
type Last = (Signed, Option<Arc<Block>>);

impl FileJournal {
    /// Opens the journal at this path; without a file nothing was signed yet. Blocks on the disk.
    ///
    /// # Errors
    /// Another process has it open, or it cannot be read. A damaged file is an error too: who does not know what was
    /// signed must not sign.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let path = path.into();
        let lock = take_lock(&path)?;
        let last = read(&path)?;
        Ok(Self { path, last, _lock: lock })
    }
}

impl SigningJournal for FileJournal {
    fn last(&self) -> Option<Signed> {
        self.last.as_ref().map(|(signed, _)| *signed)
    }

    fn last_block(&self) -> Option<Arc<Block>> {
        self.last.as_ref()?.1.clone()
    }

    fn record(&mut self, signed: Signed, block: &Arc<Block>) -> Result<(), JournalError> {
        let failed = |source| failed("cannot record what was signed in", &self.path, source);
        let mut kept = Some(Arc::clone(block));
        let mut text = text(signed, Some(&**block)).map_err(failed)?;
        if text.len() > MAX_FILE_BYTES {
            kept = None;
            text = self::text(signed, None).map_err(failed)?;
        }
        durable::write(&self.path, &text).map_err(failed)?;
        self.last = Some((signed, kept));
        Ok(())
    }
}

/// What the file says. `B`: a block, borrowed where it is written.
#[derive(Serialize, Deserialize)]
struct Record<B> {
    height: Height,
    round: u64,
    hash: Hash32,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    block: Option<B>,
}

fn text(Signed { height, round, hash }: Signed, block: Option<&Block>) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Record { height, round, hash, block })?;
    text.push(b'\n');
    Ok(text)
}

fn read(path: &Path) -> Result<Option<Last>, JournalError> {
    let mut text = Vec::new();
    let read = match File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES as u64).read_to_end(&mut text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    };
    read.map_err(|source| failed("cannot read what was signed from", path, source))?;
    let record: Record<Block> = serde_json::from_slice(&text).map_err(|error| JournalError {
        message: format!(
            "{} is damaged ({error}), so it is not known what this validator has signed: restore it, or, once the \
             chain is certainly above every block of this validator, remove it",
            path.display()
        ),
        source: None,
    })?;
    let Record { height, round, hash, block } = record;
    Ok(Some((Signed { height, round, hash }, block.map(Arc::new))))
}

fn take_lock(path: &Path) -> Result<File, JournalError> {
    let lock_path = durable::with_suffix(path, ".lock");
    let lock = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|source| failed("cannot make", &lock_path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(JournalError {
            message: format!(
                "another process signs with {}: a validator's key must be used by one node at a time",
                path.display()
            ),
            source: None,
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed("cannot lock", &lock_path, source)),
    }
}

fn failed(doing: &str, path: &Path, source: io::Error) -> JournalError {
    JournalError { message: format!("{doing} {}: {source}", path.display()), source: Some(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::any_block;

    const FIRST: Signed = Signed { height: 7, round: 2, hash: Hash32([1; 32]) };
    const SECOND: Signed = Signed { height: 8, round: 0, hash: Hash32([2; 32]) };

    #[test]
    fn what_was_recorded_is_there_when_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed.json");
        let mut journal = FileJournal::open(&path).unwrap();
        assert_eq!(journal.last(), None);
        for signed in [FIRST, SECOND] {
            journal.record(signed, &any_block()).unwrap();
        }
        drop(journal);
        let journal = FileJournal::open(&path).unwrap();
        assert_eq!((journal.last(), journal.last_block()), (Some(SECOND), Some(any_block())));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("{\"height\":8,\"round\":0,\"hash\":\"0202"));
    }

    #[test]
    fn a_block_that_is_too_large_to_keep_is_still_on_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed.json");
        let mut block = Block::clone(&any_block());
        block.header.chain_id = "x".repeat(MAX_FILE_BYTES);
        FileJournal::open(&path).unwrap().record(FIRST, &Arc::new(block)).unwrap();
        let journal = FileJournal::open(&path).unwrap();
        assert_eq!((journal.last(), journal.last_block()), (Some(FIRST), None));
    }

    #[test]
    fn a_record_without_a_block_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed.json");
        std::fs::write(&path, serde_json::to_string(&FIRST).unwrap()).unwrap();
        let journal = FileJournal::open(&path).unwrap();
        assert_eq!((journal.last(), journal.last_block()), (Some(FIRST), None));
    }

    #[test]
    fn a_failed_record_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed.json");
        let mut journal = FileJournal::open(&path).unwrap();
        journal.record(FIRST, &any_block()).unwrap();
        // A directory where the temporary file would go stands for a disk that cannot be written to.
        std::fs::create_dir(dir.path().join("signed.json.tmp")).unwrap();
        let error = journal.record(SECOND, &any_block()).unwrap_err().to_string();
        assert!(error.contains("signed.json"), "{error}");
        assert_eq!(journal.last(), Some(FIRST));
        drop(journal);
        assert_eq!(FileJournal::open(&path).unwrap().last(), Some(FIRST));
    }

    #[test]
    fn a_damaged_journal_is_never_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed.json");
        for text in ["", "{", "{\"height\":7}", "null", "\0\0\0"] {
            std::fs::write(&path, text).unwrap();
            let error = FileJournal::open(&path).unwrap_err().to_string();
            assert!(error.contains("signed.json is damaged"), "{text:?}: {error}");
        }
    }

    #[test]
    fn only_one_at_a_time_signs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed.json");
        let journal = FileJournal::open(&path).unwrap();
        let error = FileJournal::open(&path).unwrap_err().to_string();
        assert!(error.contains("one node at a time"), "{error}");
        drop(journal);
        FileJournal::open(&path).unwrap();
    }
}
