//! Power cuts: of what was written since the last sync a disk may keep everything, nothing, or any part, torn at any sector.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::kill::Random;
use super::*;
use crate::store::StoreErrorKind;

/// How many power cuts one test makes.
const CUTS: u64 = 100;
/// The most changes to a disk before its power is cut: enough for a dozen commits.
const LONGEST_LIFE: u64 = 400;
/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Operation {
    Write { at: usize, data: Vec<u8> },
    SetLen(usize),
}

/// A disk in memory that knows what of it would survive a power cut.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What is there once it was synced.
    durable: Vec<u8>,
    /// What reads see.
    shown: Vec<u8>,
    unsynced: Vec<Operation>,
    /// So many changes more, and then the power is cut.
    life: u64,
}

impl Disk {
    fn holding(content: Vec<u8>, life: u64) -> Self {
        let platter = Platter { shown: content.clone(), durable: content, unsynced: Vec::new(), life };
        Self(Arc::new(Mutex::new(platter)))
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.platter();
        if platter.life == 0 { Err(io::Error::other("the power is cut")) } else { Ok(platter) }
    }

    /// The same for what changes something.
    fn spending_life(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.powered()?;
        platter.life -= 1;
        Ok(platter)
    }

    /// What is on it after the power cut: each unsynced operation whole, not at all, or with some of its sectors.
    fn after_the_cut(&self, random: &mut Random) -> Vec<u8> {
        let platter = self.platter();
        let mut content = platter.durable.clone();
        // A disk may also have kept everything, or nothing.
        let habit = random.next() % 4;
        for operation in &platter.unsynced {
            let kept = match habit {
                0 => false,
                1 => true,
                _ => random.next().is_multiple_of(2),
            };
            match operation {
                Operation::SetLen(len) if kept => content.resize(*len, 0),
                Operation::SetLen(_) => {}
                Operation::Write { at, data } => {
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        if if habit == 3 { random.next().is_multiple_of(2) } else { kept } {
                            write_at(&mut content, at + number * SECTOR, sector);
                        }
                    }
                }
            }
        }
        content
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.powered()?.shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.powered()?;
        let at = usize::try_from(offset).unwrap();
        let found = platter.shown.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.spending_life()?;
        let len = usize::try_from(len).unwrap();
        platter.shown.resize(len, 0);
        platter.unsynced.push(Operation::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.spending_life()?;
        let unsynced = std::mem::take(&mut platter.unsynced);
        for operation in unsynced {
            match operation {
                Operation::SetLen(len) => platter.durable.resize(len, 0),
                Operation::Write { at, data } => write_at(&mut platter.durable, at, &data),
            }
        }
        assert!(platter.durable == platter.shown);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.spending_life()?;
        let at = usize::try_from(offset).unwrap();
        write_at(&mut platter.shown, at, data);
        platter.unsynced.push(Operation::Write { at, data: data.to_vec() });
        Ok(())
    }
}

fn write_at(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(data);
}

/// A store whose engine works on `disk`; the directory has its lock only.
fn open(dir: &Path, disk: &Disk) -> Result<FileStore, StoreError> {
    let layout = Layout::new(dir);
    let lock = patiently(|| layout.take_lock())?;
    let file = Arc::from(layout.database.as_path());
    let (writer, shown) =
        guarded(&file, || Writer::load(writer::builder(layout.cache).create_with_backend(disk.clone())?))?;
    let inner = Inner { layout, file, shelf: RwLock::new(shown), writer: Mutex::new(Some(writer)), _lock: lock };
    inner.write(|writer, shelf| writer.finish_reorg(shelf, ReorgOutcome::PutBack))?;
    Ok(FileStore { inner: Arc::new(inner), reads: Semaphore::new(MAX_READS) })
}

/// What was acknowledged, and what may be there besides.
#[derive(Debug, Default)]
struct Promise {
    acknowledged: Option<Tip>,
    /// What a write under way when the power was cut may have left.
    perhaps: Option<Tip>,
}

/// Commits and reorganises until the power is cut.
async fn live(store: &FileStore, random: &mut Random, promise: &mut Promise) -> Result<(), StoreError> {
    let mut tip = store.tip().await?;
    promise.acknowledged = tip;
    loop {
        let count = 1 + random.next() % 40;
        let batch = chain(tip, &random.next().to_string(), count);
        promise.perhaps = batch.last().map(|last| last.block.link.tip());
        tip = Some(store.commit(batch).await?);
        promise.acknowledged = tip;
        let top = tip.map_or(0, |tip| tip.height);
        if random.next().is_multiple_of(4) && top > 20 {
            promise.perhaps = None;
            let mut new = store.rollback(Some(top - 1 - random.next() % 9)).await?.tip;
            for _ in 0..random.next() % 4 {
                new = Some(store.commit(chain(new, "other", 1 + random.next() % 9)).await?);
            }
            if random.next().is_multiple_of(2) {
                promise.perhaps = new;
                tip = store.finish_reorg(ReorgOutcome::KeepNew).await?.tip;
            } else {
                tip = store.finish_reorg(ReorgOutcome::PutBack).await?.tip;
            }
            promise.acknowledged = tip;
        }
    }
}

#[tokio::test]
async fn a_power_cut_at_any_write_leaves_all_that_was_acknowledged_and_nothing_half() {
    let seed = std::env::var("CPC_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| std::process::id().into());
    println!("to repeat this run: CPC_TEST_SEED={seed}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    drop(FileStore::open(dir.path()).unwrap());
    let empty = fs::read(dir.path().join("chain/chain.redb")).unwrap();
    let (mut content, mut in_opening, mut kept) = (empty.clone(), 0, 0);
    for cut in 0..CUTS {
        let disk = Disk::holding(content.clone(), random.next() % LONGEST_LIFE);
        let mut promise = Promise::default();
        let before = FileStore::tip_of(dir.path(), &content).await;
        match open(dir.path(), &disk) {
            Ok(store) => {
                let error = live(&store, &mut random, &mut promise).await.unwrap_err();
                assert!(error.kind == StoreErrorKind::Io || error.kind == StoreErrorKind::Corrupt, "{error}");
            }
            // The power was cut while it was opened: what was there is promised still.
            Err(_) => in_opening += 1,
        }
        promise.acknowledged = promise.acknowledged.or(before);
        content = disk.after_the_cut(&mut random);
        drop(disk);

        let disk = Disk::holding(content.clone(), u64::MAX);
        let store = open(dir.path(), &disk).unwrap_or_else(|error| panic!("cut {cut}, seed {seed}: {error}"));
        let blocks = check_state(&store).await;
        let has = |wanted: Tip| {
            blocks.last().is_some_and(|last| last.link.height >= wanted.height)
                && blocks[usize::try_from(wanted.height).unwrap()].link.hash == wanted.hash
        };
        let there = promise.acknowledged.is_none_or(has) || promise.perhaps.is_some_and(has);
        assert!(there, "cut {cut}, seed {seed}: {promise:?}, but there is {:?}", blocks.last().map(|last| last.link));
        kept += u64::from(promise.perhaps.is_some_and(has));
        if blocks.len() > 400 {
            content.clone_from(&empty);
        }
    }
    println!("{CUTS} cuts, {in_opening} of them while it was opened; {kept} times the write under way was there");
    assert!(in_opening < CUTS / 2, "most cuts are to come at commits");
}

impl FileStore {
    /// The tip in an image of a disk.
    async fn tip_of(dir: &Path, content: &[u8]) -> Option<Tip> {
        open(dir, &Disk::holding(content.to_vec(), u64::MAX)).unwrap().tip().await.unwrap()
    }
}
