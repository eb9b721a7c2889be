//! The directory of an index: its runs, and one file that says which they are and how far they reach.
//!
//! That file is replaced as a whole after the runs that it names are on the disk; what it does not name is removed. So a
//! crash at any instant leaves the index as of one of its writes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::run::{self, Entries, Run};
use crate::durable;
use crate::types::Tip;

/// What the first file begins with. Another number: another layout.
const MAGIC: &[u8] = b"cpc-tx-index 1\n";
/// Bytes of a CRC-32.
const SEAL: usize = 4;
/// So many runs of a level become one of the next.
const FAN_IN: usize = 8;
/// Runs of this level are left alone: they have some four million entries, and to merge more would take seconds at a time.
const TOP_LEVEL: u8 = 2;

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Fault {
    /// What could not be done to which file, and why.
    Io(String, io::Error),
    /// It is not as it was written.
    Damaged(String),
}

impl Fault {
    pub(super) fn io(doing: &str, path: &Path, error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::UnexpectedEof if doing != "create" => {
                Self::Damaged(format!("{} is not whole", path.display()))
            }
            _ => Self::Io(format!("cannot {doing} {}, a file of the index of transactions", path.display()), error),
        }
    }
}

/// What the first file says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    next_id: u64,
    /// Number, level and entries of each run.
    runs: Vec<(u64, u8, u64)>,
    trail: Vec<Tip>,
}

/// The runs of an index, and their directory.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    next_id: u64,
    runs: Vec<Arc<Run>>,
    /// The trail that is on record.
    trail: Vec<Tip>,
}

impl Files {
    /// Opens the directory, or makes it. Gives blocks of the chain that all entries of their ancestors and their own are in
    /// the runs of. What is damaged is given up, with a warning.
    pub(super) fn open(directory: &Path) -> Result<(Self, Vec<Tip>), Fault> {
        fs::create_dir_all(directory).map_err(|error| Fault::io("create", directory, error))?;
        let mut files = Self { directory: directory.to_owned(), next_id: 0, runs: Vec::new(), trail: Vec::new() };
        match files.load() {
            Err(Fault::Damaged(what)) => {
                tracing::warn!("{what}: the index of transactions is made again");
                files.clear()?;
            }
            outcome => outcome?,
        }
        files.sweep();
        let trail = files.trail.clone();
        Ok((files, trail))
    }

    pub(super) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// Adds entries, in their order, as a run, and says that everything up to the end of `trail` is now in runs.
    pub(super) fn append(&mut self, entries: impl Iterator<Item = Entry>, trail: &[Tip]) -> Result<(), Fault> {
        let mut entries = entries.peekable();
        let mut runs = self.runs.clone();
        if entries.peek().is_some() {
            let id = self.take_id();
            runs.push(Arc::new(Run::write(&self.directory, id, 0, entries.map(Ok))?));
        }
        self.save(runs, trail.to_vec())
    }

    /// Merges the runs of one level, if there are enough. Says whether it did.
    pub(super) fn merge(&mut self) -> Result<bool, Fault> {
        let of_level = |level| self.runs.iter().filter(move |run| run.level == level);
        let Some(level) = (0..TOP_LEVEL).find(|level| of_level(*level).count() >= FAN_IN) else { return Ok(false) };
        let old: Vec<Arc<Run>> = of_level(level).cloned().collect();
        let id = self.take_id();
        let merged = Run::write(&self.directory, id, level + 1, Merge::of(&old)?)?;
        let mut runs: Vec<Arc<Run>> = self.runs.iter().filter(|run| run.level != level).cloned().collect();
        runs.push(Arc::new(merged));
        self.save(runs, self.trail.clone())?;
        for run in old {
            // Whoever reads it goes on doing so; where that keeps it from being removed, the next opening does it.
            let _ = fs::remove_file(run::path(&self.directory, run.id));
        }
        Ok(true)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) -> Result<(), Fault> {
        fs::create_dir_all(&self.directory).map_err(|error| Fault::io("create", &self.directory, error))?;
        self.save(Vec::new(), Vec::new())?;
        self.sweep();
        Ok(())
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn first_file(&self) -> PathBuf {
        self.directory.join("index")
    }

    fn load(&mut self) -> Result<(), Fault> {
        let path = self.first_file();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Fault::io("read", &path, error)),
        };
        let damaged = || Fault::Damaged(format!("{} is not as it was written", path.display()));
        let sealed = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk::<SEAL>);
        let (sum, body) = sealed.ok_or_else(damaged)?;
        if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
            return Err(damaged());
        }
        let contents: Contents = postcard::from_bytes(body).map_err(|_| damaged())?;
        self.next_id = contents.next_id;
        let open = |(id, level, entries)| Run::open(&self.directory, id, level, entries).map(Arc::new);
        self.runs = contents.runs.into_iter().map(open).collect::<Result<_, _>>()?;
        self.trail = contents.trail;
        Ok(())
    }

    /// Puts these on record, durably.
    fn save(&mut self, runs: Vec<Arc<Run>>, trail: Vec<Tip>) -> Result<(), Fault> {
        let path = self.first_file();
        let named = runs.iter().map(|run| (run.id, run.level, run.entries)).collect();
        let contents = Contents { next_id: self.next_id, runs: named, trail };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[0; SEAL]);
        let mut bytes = postcard::to_extend(&contents, bytes)
            .map_err(|error| Fault::Damaged(format!("{} cannot be encoded: {error}", path.display())))?;
        let (head, body) = bytes.split_at_mut(MAGIC.len() + SEAL);
        head[MAGIC.len()..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        // Makes the names of new runs durable too: they are in the same directory.
        durable::write(&path, &bytes).map_err(|error| Fault::io("write", &path, error))?;
        (self.runs, self.trail) = (runs, contents.trail);
        Ok(())
    }

    /// Removes the runs that are not on record: what a kill or a merge left.
    fn sweep(&self) {
        let Ok(listed) = fs::read_dir(&self.directory) else { return };
        for path in listed.flatten().map(|file| file.path()) {
            let known = self.runs.iter().any(|run| run::path(&self.directory, run.id) == path);
            if !known && path.extension().is_some_and(|extension| extension == "run") {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The entries of several runs, in order.
struct Merge {
    runs: Vec<Entries>,
    next: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Merge {
    fn of(runs: &[Arc<Run>]) -> Result<Self, Fault> {
        let mut merge = Self { runs: runs.iter().map(Entries::of).collect(), next: BinaryHeap::new() };
        (0..runs.len()).try_for_each(|from| merge.refill(from))?;
        Ok(merge)
    }

    fn refill(&mut self, from: usize) -> Result<(), Fault> {
        if let Some(entry) = self.runs[from].next() {
            self.next.push(Reverse((entry?, from)));
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = Result<Entry, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((entry, from)) = self.next.pop()?;
        Some(self.refill(from).map(|()| entry))
    }
}
