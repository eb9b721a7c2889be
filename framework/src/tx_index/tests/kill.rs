//! Killing a process that writes a store and its index, at any instant.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::store::file::FileStore;

/// How often the writer is killed.
const KILLS: usize = 8;
/// The longest that a writer lives after it has opened its files, in milliseconds: time for dozens of runs and merges.
const LONGEST_LIFE: usize = 400;
const DIRECTORY: &str = "CPC_TX_INDEX_TEST_WRITE";

#[tokio::test]
async fn after_a_kill_at_any_instant_every_committed_transaction_is_found() {
    let mut random = Messages::from_printed_seed();
    let dir = tempfile::tempdir().unwrap();
    for round in 0..KILLS {
        let mut writer = start(dir.path());
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "=open"));
        // Not to wait for anything: so that the kill comes at any instant.
        std::thread::sleep(Duration::from_millis(random.below(LONGEST_LIFE) as u64));
        writer.kill().unwrap();
        writer.wait().unwrap();

        let store: Arc<dyn ChainStore> = Arc::new(FileStore::open(dir.path()).unwrap());
        let index = TxIndex::open_with(&dir.path().join("tx_index"), Arc::clone(&store), &genesis(), SMALL).unwrap();
        let (mark, tip) = (blocks_to(index.mark()), blocks_to(store.tip().await.unwrap()));
        index.catch_up().await.unwrap();
        let mut next = 0;
        while next < tip {
            let read = store.blocks(next..=tip, ByteBudget(1 << 20)).await.unwrap();
            next += read.len() as u64;
            // Of what is old already, one block in twenty.
            let mut looked_at = |block: &EncodedBlock| block.link.height + 100 > tip || random.below(20) == 0;
            for block in read.into_iter().filter(|block| looked_at(block)) {
                let txs = encoding::decode_block(&block.bytes).unwrap().txs;
                assert_all_found(&index, &[(block.link.tip(), txs)]).await;
            }
        }
        println!("round {round}: {tip} blocks, {mark} of them in runs");
    }
}

fn start(datadir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "tx_index::tests::kill::the_writer_that_another_test_starts"])
        .env(DIRECTORY, datadir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test by itself: the process that the other one starts. Without its variable it has nothing to do.
#[tokio::test]
async fn the_writer_that_another_test_starts() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let mut random = Messages::from_printed_seed();
    let datadir = Path::new(&dir);
    let store: Arc<dyn ChainStore> = Arc::new(FileStore::open(datadir).unwrap());
    let index = TxIndex::open_with(&datadir.join("tx_index"), Arc::clone(&store), &genesis(), SMALL).unwrap();
    println!("\n=open");
    let mut tip = store.tip().await.unwrap();
    loop {
        let count = 1 + random.below(5);
        let more = blocks(&mut random, tip, count, 8);
        tip = extend(store.as_ref(), more).await.last().map(|(tip, _)| *tip);
        if blocks_to(tip) > 10 && random.below(5) == 0 {
            let keep = blocks_to(tip) - 2 - random.below(5) as u64;
            tip = store.rollback(Some(keep)).await.unwrap().tip;
            store.finish_reorg(ReorgOutcome::KeepNew).await.unwrap();
        }
        if random.below(3) > 0 {
            index.catch_up().await.unwrap();
        }
    }
}
