//! A run: sorted entries in a file that never changes.
//!
//! A page has a CRC-32 over the run's number, its own and what follows; then the number of entries; then the entries. All
//! pages but the last are full. Hashes are spread evenly, so that a page is found by where it must lie, in two or three
//! reads; where somebody made hashes that are not, by halves.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::entry::{ENTRY_BYTES, Entry};
use super::files::Fault;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes before the entries of a page: checksum and count.
const HEAD: usize = 8;
/// Entries in a page.
const PAGE_ENTRIES: usize = (PAGE - HEAD) / ENTRY_BYTES;
/// Guesses by where a page must lie, before it is looked for by halves.
const GUESSES: usize = 4;
/// Bytes that are written at a time.
const WRITE_BYTES: usize = 64 << 10;

/// A run, open for reading.
#[derive(Debug)]
pub(super) struct Run {
    /// Its number: no other run of the index has or had it.
    pub(super) id: u64,
    /// How often its entries were merged.
    pub(super) level: u8,
    /// How many entries it has.
    pub(super) entries: u64,
    file: Mutex<File>,
    path: PathBuf,
}

/// The file of a run.
pub(super) fn path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id}.run"))
}

impl Run {
    /// Opens a run of so many entries.
    pub(super) fn open(directory: &Path, id: u64, level: u8, entries: u64) -> Result<Self, Fault> {
        let path = path(directory, id);
        let open = || {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(|error| Fault::io("open", &path, error))?;
        if length != entries.div_ceil(PAGE_ENTRIES as u64) * PAGE as u64 {
            return Err(Fault::Damaged(format!("{} has {length} bytes for {entries} entries", path.display())));
        }
        Ok(Self { id, level, entries, file: Mutex::new(file), path })
    }

    /// Writes a run durably, from entries in their order; one that comes twice is written once.
    pub(super) fn write(
        directory: &Path,
        id: u64,
        level: u8,
        entries: impl Iterator<Item = Result<Entry, Fault>>,
    ) -> Result<Self, Fault> {
        let path = path(directory, id);
        let written = write_entries(&path, id, entries).inspect_err(|_| {
            // A half of a run is of no use, and the disk may be full.
            let _ = fs::remove_file(&path);
        })?;
        Self::open(directory, id, level, written)
    }

    /// Adds its entries with a prefix.
    pub(super) fn find(&self, prefix: u64, found: &mut Vec<Entry>) -> Result<(), Fault> {
        for number in self.first_page(prefix)?..self.pages() {
            let page = self.page(number)?;
            found.extend(page.iter().filter(|entry| entry.prefix == prefix));
            if page.last().prefix > prefix {
                break;
            }
        }
        Ok(())
    }

    /// The first page whose last entry is not below a prefix; one past the last page where there is none.
    fn first_page(&self, prefix: u64) -> Result<u64, Fault> {
        let (mut low, mut high) = (0, self.pages());
        let (mut floor, mut ceiling) = (u64::MIN, u64::MAX);
        let mut guesses = 0;
        while low < high {
            let at = if guesses < GUESSES {
                let share = u128::from(prefix.saturating_sub(floor)) * u128::from(high - low);
                let share = share / u128::from((ceiling - floor).max(1));
                low + u64::try_from(share).unwrap_or(u64::MAX).min(high - low - 1)
            } else {
                low + (high - low) / 2
            };
            guesses += 1;
            let page = self.page(at)?;
            if page.last().prefix < prefix {
                (low, floor) = (at + 1, page.last().prefix);
            } else if page.first().prefix < prefix {
                return Ok(at);
            } else {
                (high, ceiling) = (at, page.first().prefix);
            }
        }
        Ok(low)
    }

    fn pages(&self) -> u64 {
        self.entries.div_ceil(PAGE_ENTRIES as u64)
    }

    fn page(&self, number: u64) -> Result<Page, Fault> {
        let mut page = Page::empty();
        let read = |bytes: &mut [u8]| {
            // Each read says where it begins: what a panic left behind does not matter.
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(number * PAGE as u64))?;
            file.read_exact(bytes)
        };
        read(&mut page.0[..]).map_err(|error| Fault::io("read", &self.path, error))?;
        if page.is_sealed(self.id, number) {
            return Ok(page);
        }
        Err(Fault::Damaged(format!("page {number} of {} is not as it was written", self.path.display())))
    }
}

/// Writes entries, and gives their number.
fn write_entries(path: &Path, id: u64, entries: impl Iterator<Item = Result<Entry, Fault>>) -> Result<u64, Fault> {
    let failed = |error| Fault::io("write", path, error);
    let mut file = BufWriter::with_capacity(WRITE_BYTES, File::create(path).map_err(failed)?);
    let mut page = Page::empty();
    let (mut pages, mut written, mut last) = (0, 0, None);
    for entry in entries {
        let entry = entry?;
        if last.replace(entry) == Some(entry) {
            continue;
        }
        page.push(entry);
        written += 1;
        if page.count() == PAGE_ENTRIES {
            file.write_all(page.seal(id, pages)).map_err(failed)?;
            (page, pages) = (Page::empty(), pages + 1);
        }
    }
    if page.count() > 0 {
        file.write_all(page.seal(id, pages)).map_err(failed)?;
    }
    file.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
    Ok(written)
}

/// All entries of a run, in order.
#[derive(Debug)]
pub(super) struct Entries {
    run: Arc<Run>,
    next_page: u64,
    page: Page,
    at: usize,
}

impl Entries {
    pub(super) fn of(run: &Arc<Run>) -> Self {
        Self { run: Arc::clone(run), next_page: 0, page: Page::empty(), at: 0 }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.page.count() {
            if self.next_page == self.run.pages() {
                return None;
            }
            match self.run.page(self.next_page) {
                Ok(page) => (self.page, self.at) = (page, 0),
                Err(fault) => return Some(Err(fault)),
            }
            self.next_page += 1;
        }
        self.at += 1;
        Some(Ok(self.page.entry(self.at - 1)))
    }
}

#[derive(Debug)]
struct Page(Box<[u8; PAGE]>);

impl Page {
    fn empty() -> Self {
        Self(Box::new([0; PAGE]))
    }

    fn count(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[4], self.0[5]]))
    }

    fn push(&mut self, entry: Entry) {
        let count = self.count();
        entry.write(&mut self.0[HEAD + count * ENTRY_BYTES..]);
        // At most 255.
        let count = u16::try_from(count + 1).unwrap_or(u16::MAX);
        self.0[4..6].copy_from_slice(&count.to_le_bytes());
    }

    fn entry(&self, at: usize) -> Entry {
        Entry::read(&self.0[HEAD + at * ENTRY_BYTES..])
    }

    fn first(&self) -> Entry {
        self.entry(0)
    }

    fn last(&self) -> Entry {
        self.entry(self.count() - 1)
    }

    fn iter(&self) -> impl Iterator<Item = Entry> {
        (0..self.count()).map(|at| self.entry(at))
    }

    fn seal(&mut self, id: u64, number: u64) -> &[u8] {
        let sum = self.checksum(id, number);
        self.0[..4].copy_from_slice(&sum.to_le_bytes());
        &self.0[..]
    }

    /// Whether it is the page that was written in this place: with one entry or more.
    fn is_sealed(&self, id: u64, number: u64) -> bool {
        self.0[..4] == self.checksum(id, number).to_le_bytes() && (1..=PAGE_ENTRIES).contains(&self.count())
    }

    fn checksum(&self, id: u64, number: u64) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&id.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.update(&self.0[4..]);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Hash32;

    fn entry(prefix: u64, height: u64) -> Entry {
        let mut hash = Hash32::ZERO;
        hash.0[..8].copy_from_slice(&prefix.to_be_bytes());
        Entry::new(hash, height, 0).unwrap()
    }

    fn run(directory: &Path, prefixes: impl Iterator<Item = u64>) -> (Run, Vec<Entry>) {
        let mut entries: Vec<Entry> = prefixes.enumerate().map(|(at, prefix)| entry(prefix, at as u64)).collect();
        entries.sort_unstable();
        let run = Run::write(directory, 3, 0, entries.iter().map(|entry| Ok(*entry))).unwrap();
        (run, entries)
    }

    /// Everything is found, and nothing else, wherever the prefixes lie.
    #[test]
    fn finds_exactly_what_it_has_however_the_prefixes_lie() {
        let dir = tempfile::tempdir().unwrap();
        let spread = |at: u64| at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let shapes: [(&str, Vec<u64>); 6] = [
            ("none", vec![]),
            ("one", vec![5]),
            ("spread", (0..10_000).map(spread).collect()),
            ("low", (0..3000).collect()),
            ("high", (0..3000).map(|at| u64::MAX - at).collect()),
            ("one prefix over many pages", (0..3000).map(|at| if at % 4 == 0 { spread(at) } else { 77 }).collect()),
        ];
        for (name, prefixes) in shapes {
            let (run, entries) = run(dir.path(), prefixes.iter().copied());
            assert_eq!(
                Entries::of(&Arc::new(Run::open(dir.path(), 3, 0, run.entries).unwrap())).count(),
                entries.len()
            );
            let absent = [0, 1, 77, u64::MAX / 2, u64::MAX - 1, u64::MAX].into_iter();
            for prefix in prefixes.iter().copied().step_by(7).chain(absent) {
                let mut found = Vec::new();
                run.find(prefix, &mut found).unwrap();
                let expected: Vec<Entry> = entries.iter().copied().filter(|entry| entry.prefix == prefix).collect();
                assert_eq!(found, expected, "{name}: {prefix}");
            }
        }
    }

    #[test]
    fn a_page_that_was_tampered_with_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (run, entries) = run(dir.path(), 0..1000);
        let file = path(dir.path(), 3);
        let mut bytes = fs::read(&file).unwrap();
        bytes[PAGE + 100] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert!(matches!(run.find(entries[300].prefix, &mut Vec::new()), Err(Fault::Damaged(_))));
        fs::write(&file, &bytes[..PAGE]).unwrap();
        assert!(matches!(Run::open(dir.path(), 3, 0, 1000), Err(Fault::Damaged(_))));
    }
}
