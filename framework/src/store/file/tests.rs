//! The contract over files, and what only files can suffer.

use std::fs;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use sha2::Digest;

use super::*;
use crate::store::StateBytes;
use crate::testkit::store::StoreFactory;
use crate::types::BlockLink;

mod damage;
mod kill;
mod torn;

#[derive(Debug)]
struct InDirectory(tempfile::TempDir);

impl StoreFactory for InDirectory {
    type Store = FileStore;
    const LASTS: bool = true;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> FileStore {
        FileStore::open(self.0.path()).unwrap()
    }
}

crate::store_suite!(contract, InDirectory);

#[test]
fn a_second_opening_is_refused_while_the_first_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let first = FileStore::open(dir.path()).unwrap();
    for error in [FileStore::open(dir.path()).unwrap_err(), FileStore::summary(dir.path()).unwrap_err()] {
        assert_eq!(error.kind, StoreErrorKind::Locked);
        assert!(error.message.contains(dir.path().join("lock").to_str().unwrap()), "{error}");
    }
    drop(first);
    FileStore::open(dir.path()).unwrap();
}

#[test]
fn an_opening_is_refused_while_another_process_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = kill::Committer::start(dir.path(), 1);
    child.wait_for_lines(1);
    assert_eq!(FileStore::open(dir.path()).unwrap_err().kind, StoreErrorKind::Locked);
    assert_eq!(FileStore::summary(dir.path()).unwrap_err().kind, StoreErrorKind::Locked);
    child.kill();
    let summary = FileStore::summary(dir.path()).unwrap().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    assert_eq!(summary.tip, store.inner.shown().tip);
}

#[test]
fn a_summary_of_no_store_is_none_and_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(FileStore::summary(dir.path()).unwrap(), None);
    assert_eq!(FileStore::summary(&dir.path().join("nowhere")).unwrap(), None);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_summary_shows_genesis_and_tip_also_in_the_middle_of_a_reorganisation() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = hash("genesis");
    let store = FileStore::open(dir.path()).unwrap();
    store.bind(genesis, Vec::new()).await.unwrap();
    let tip = store.commit(chain(None, "main", 9)).await.unwrap();
    assert_eq!(store.genesis_id(), Some(genesis));
    drop(store);
    let summary = FileStore::summary(dir.path()).unwrap().unwrap();
    assert_eq!((summary.genesis, summary.tip), (Some(genesis), Some(tip)));
    assert_eq!(summary.file_bytes, fs::metadata(dir.path().join("chain/chain.redb")).unwrap().len());

    let store = FileStore::open(dir.path()).unwrap();
    let fork = store.rollback(Some(4)).await.unwrap().tip;
    store.commit(chain(fork, "other", 2)).await.unwrap();
    drop(store);
    assert_eq!(FileStore::summary(dir.path()).unwrap().unwrap().tip, Some(tip));
    assert_eq!(FileStore::open(dir.path()).unwrap().tip().await.unwrap(), Some(tip));
}

#[tokio::test]
async fn another_genesis_is_refused_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    store.bind(hash("ours"), Vec::new()).await.unwrap();
    drop(store);
    let store = FileStore::open(dir.path()).unwrap();
    let error = store.bind(hash("theirs"), Vec::new()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::GenesisMismatch);
    assert!(error.message.contains(&hash("ours").to_string()), "{error}");
}

#[test]
fn what_a_kill_during_the_first_opening_left_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("chain")).unwrap();
    fs::write(dir.path().join("chain/chain.redb.new"), b"half of it").unwrap();
    FileStore::open(dir.path()).unwrap();
    assert!(!dir.path().join("chain/chain.redb.new").exists());
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = FileStore::open(&dir.path().join("file")).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Io);
    assert!(error.message.contains("file/chain"), "{error}");
}

#[tokio::test]
async fn a_store_without_room_says_so_and_goes_on_once_there_is_some() {
    // The limit of a file's size is the one shortage that a test can make; the shell sets it for the child.
    if let Some(dir) = std::env::var_os("CPC_STORE_TEST_FULL") {
        let store = FileStore::open(Path::new(&dir)).unwrap();
        let mut tip = None;
        let error = loop {
            match store.commit(chain(tip, "main", 100)).await {
                Ok(reached) => tip = Some(reached),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
        assert!(error.is_transient());
        assert_eq!(store.tip().await.unwrap(), tip);
        assert_eq!(store.blocks(0..=0, ByteBudget(0)).await.unwrap().len(), 1);
        assert_eq!(store.commit(chain(tip, "main", 100)).await.unwrap_err().kind, StoreErrorKind::Full);
        println!("full at {}", tip.unwrap().height);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 20000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::file::tests::a_store_without_room_says_so_and_goes_on_once_there_is_some")
        .env("CPC_STORE_TEST_FULL", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let full_at: u64 = said.split("full at ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let tip = store.tip().await.unwrap();
    assert_eq!(tip.unwrap().height, full_at);
    store.commit(chain(tip, "main", 100)).await.unwrap();
}

/// Blocks of about 2 kB on top of `tip`. The state after them follows from their hashes alone: [`check_state`].
fn chain(tip: Option<Tip>, branch: &str, count: u64) -> Vec<Commit> {
    let mut tip = tip;
    (0..count)
        .map(|_| {
            let height = tip.map_or(0, |tip| tip.height + 1);
            let prev_hash = tip.map_or(Hash32::ZERO, |tip| tip.hash);
            let link = BlockLink { height, hash: hash(&format!("{branch}{height}{prev_hash}")), prev_hash };
            let text = |hash: Hash32| Some(StateBytes::from(hash.to_string()));
            // Each block leaves its hash under one of fifty keys, and takes the one before it away.
            let slot = |height: u64| StateBytes::from(format!("slot/{:02}", height % SLOTS));
            let mut changes = vec![
                StateChange { key: "last".into(), old: tip.and_then(|tip| text(tip.hash)), new: text(link.hash) },
                StateChange { key: slot(height), old: None, new: text(link.hash) },
            ];
            if let Some(tip) = tip {
                changes.push(StateChange { key: slot(tip.height), old: text(tip.hash), new: None });
            }
            changes.sort_by(|one, other| one.key.cmp(&other.key));
            let bytes = Bytes::from(link.hash.to_string().repeat(32));
            tip = Some(link.tip());
            Commit { block: EncodedBlock { link, bytes }, changes }
        })
        .collect()
}

const SLOTS: u64 = 50;

/// Checks that chain, index and state of a store made of [`chain`]s fit each other. Gives the blocks.
async fn check_state(store: &FileStore) -> Vec<EncodedBlock> {
    let tip = store.tip().await.unwrap();
    let blocks = store.blocks(0..=Height::MAX, ByteBudget(usize::MAX)).await.unwrap();
    assert_eq!(blocks.last().map(|block| block.link.tip()), tip);
    let mut before: Option<Tip> = None;
    for block in &blocks {
        assert!(block.link.extends(before.as_ref()), "{:?} on {before:?}", block.link);
        assert_eq!(block.bytes, block.link.hash.to_string().repeat(32));
        before = Some(block.link.tip());
    }
    for block in blocks.iter().step_by(97).chain(blocks.last()) {
        assert_eq!(store.height_of(block.link.hash).await.unwrap(), Some(block.link.height));
    }
    let mut state = Vec::new();
    store
        .state()
        .unwrap()
        .scan(b"", &mut |key, value| {
            state.push((String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(value).into_owned()));
            true
        })
        .unwrap();
    let wanted = tip.into_iter().flat_map(|tip| {
        [("last".to_owned(), tip.hash.to_string()), (format!("slot/{:02}", tip.height % SLOTS), tip.hash.to_string())]
    });
    assert_eq!(state, wanted.collect::<Vec<_>>());
    blocks
}

fn hash(label: &str) -> Hash32 {
    Hash32(sha2::Sha256::digest(label.as_bytes()).into())
}
