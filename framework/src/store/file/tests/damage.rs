//! Files that are not as they were left.

use std::io::{Read, Seek, SeekFrom, Write};

use super::kill::Random;
use super::*;

/// How many damaged copies one test tries.
const COPIES: u64 = 60;

#[test]
fn an_unknown_format_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileStore::open(dir.path()).unwrap());
    let file = dir.path().join("chain/format");
    fs::write(&file, "cpc-store 7\n").unwrap();
    for error in [FileStore::open(dir.path()).unwrap_err(), FileStore::summary(dir.path()).unwrap_err()] {
        assert_eq!(error.kind, StoreErrorKind::FormatVersion);
        assert!(error.message.contains(file.to_str().unwrap()), "{error}");
        assert!(error.message.contains("cpc-store 7"), "{error}");
    }
}

#[test]
fn a_format_file_that_is_missing_or_garbage_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileStore::open(dir.path()).unwrap());
    let file = dir.path().join("chain/format");
    for content in [Some(&b"\xff\xfe\x00"[..]), Some(b""), None] {
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let error = FileStore::open(dir.path()).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Corrupt);
        assert!(error.message.contains(file.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_file_that_is_none_of_the_engines_is_damage() {
    for content in [b"garbage, and quite a lot of it".to_vec(), vec![0; 8192], vec![0xff; 100_000]] {
        let dir = tempfile::tempdir().unwrap();
        drop(FileStore::open(dir.path()).unwrap());
        let file = dir.path().join("chain/chain.redb");
        fs::write(&file, content).unwrap();
        for error in [FileStore::open(dir.path()).unwrap_err(), FileStore::summary(dir.path()).unwrap_err()] {
            assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
            assert!(error.message.contains(file.to_str().unwrap()), "{error}");
        }
    }
}

#[tokio::test]
async fn an_empty_file_is_damage_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileStore::open(dir.path()).unwrap());
    let file = dir.path().join("chain/chain.redb");
    fs::write(&file, b"").unwrap();
    assert_eq!(FileStore::open(dir.path()).unwrap_err().kind, StoreErrorKind::Corrupt);
    assert_eq!(fs::metadata(&file).unwrap().len(), 0);
}

#[tokio::test]
async fn a_flipped_bit_in_a_block_is_found_with_its_height() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let batch = chain(None, "main", 20);
    store.commit(batch.clone()).await.unwrap();
    drop(store);
    let file = dir.path().join("chain/chain.redb");
    let mut content = fs::read(&file).unwrap();
    let bytes = &batch[7].block.bytes;
    let places: Vec<usize> = (0..content.len() - bytes.len()).filter(|at| content[*at..].starts_with(bytes)).collect();
    assert!(!places.is_empty());
    for at in places {
        content[at + 100] ^= 0x10;
    }
    fs::write(&file, content).unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let error = store.blocks(5..=9, ByteBudget(usize::MAX)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.message.contains("block 7"), "{error}");
    assert_eq!(store.blocks(8..=9, ByteBudget(usize::MAX)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_truncated_file_is_damage_wherever_it_is_cut() {
    let (dir, whole) = filled().await;
    let mut random = Random(std::process::id().into());
    println!("seed {}", random.0);
    for _ in 0..COPIES {
        let length = random.next() % whole.len() as u64;
        fs::write(dir.path().join("chain/chain.redb"), &whole[..usize::try_from(length).unwrap()]).unwrap();
        if let Some(error) = first_error(dir.path()).await {
            assert_eq!(error.kind, StoreErrorKind::Corrupt, "cut at {length}: {error}");
            assert!(error.message.contains("chain.redb"), "{error}");
        }
    }
}

#[tokio::test]
async fn flipped_bits_never_show_as_something_else_and_never_panic() {
    let (dir, whole) = filled().await;
    let mut random = Random(std::process::id().into());
    println!("seed {}", random.0);
    let file = dir.path().join("chain/chain.redb");
    let mut found = 0;
    for _ in 0..COPIES {
        fs::write(&file, &whole).unwrap();
        let mut handle = fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
        let mut places = Vec::new();
        for _ in 0..4 {
            let at = random.next() % whole.len() as u64;
            let mut byte = [0];
            handle.seek(SeekFrom::Start(at)).unwrap();
            handle.read_exact(&mut byte).unwrap();
            byte[0] ^= 1 << (random.next() % 8);
            handle.seek(SeekFrom::Start(at)).unwrap();
            handle.write_all(&byte).unwrap();
            places.push(at);
        }
        drop(handle);
        if let Some(error) = first_error(dir.path()).await {
            let honest = matches!(error.kind, StoreErrorKind::Corrupt | StoreErrorKind::FormatVersion);
            assert!(honest, "flipped at {places:?}: {:?} {error}", error.kind);
            found += 1;
        }
    }
    println!("{found} of {COPIES} copies were refused");
}

/// A data directory with a chain in it, and the content of its file.
async fn filled() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let mut tip = None;
    for _ in 0..4 {
        tip = Some(store.commit(chain(tip, "main", 60)).await.unwrap());
    }
    drop(store);
    let whole = fs::read(dir.path().join("chain/chain.redb")).unwrap();
    (dir, whole)
}

/// Opens a store, reads all of it, and writes to it. What can be read must be right.
async fn first_error(dir: &Path) -> Option<StoreError> {
    FileStore::summary(dir).err();
    let store = match FileStore::open(dir) {
        Ok(store) => store,
        Err(error) => return Some(error),
    };
    let tip = store.tip().await.unwrap();
    let mut state = Vec::new();
    let read = store.state().unwrap().scan(b"", &mut |key, value| {
        state.push((key.to_vec(), value.to_vec()));
        true
    });
    if let Err(error) = read {
        return Some(error);
    }
    let blocks = match store.blocks(0..=Height::MAX, ByteBudget(usize::MAX)).await {
        Ok(blocks) => blocks,
        Err(error) => return Some(error),
    };
    let wanted: Vec<EncodedBlock> = chain(None, "main", 240).into_iter().map(|commit| commit.block).collect();
    let missing = blocks.len().min(wanted.len());
    assert_eq!(blocks, wanted[..missing]);
    for block in &blocks {
        match store.height_of(block.link.hash).await {
            Ok(height) => assert!(height.is_none() || height == Some(block.link.height)),
            Err(error) => return Some(error),
        }
    }
    if let Err(error) = store.commit(chain(tip, "more", 30)).await {
        return Some(error);
    }
    store.rollback(Some(200)).await.err()
}
