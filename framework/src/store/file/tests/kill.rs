//! Killing a process that writes, at any instant.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use super::*;

/// How often the writer is killed in one test.
const KILLS: u64 = 12;

/// The longest that a writer lives. Long enough for several checkpoints.
const LONGEST_LIFE: Duration = Duration::from_millis(500);

/// A process that commits and reorganises until it is killed, and says in lines what was acknowledged.
pub(super) struct Committer {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Committer {
    pub(super) fn start(dir: &Path, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "store::file::tests::kill::the_committer_that_other_tests_start"])
            .env("CPC_STORE_TEST_COMMIT", dir)
            .env("CPC_STORE_TEST_SEED", seed.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::sync_channel(1 << 16);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok).filter(|line| line.starts_with('=')) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits until it has said so many lines.
    pub(super) fn wait_for_lines(&mut self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        (0..count).map(|_| self.lines.recv_timeout(deadline - Instant::now()).expect("the writer speaks")).collect()
    }

    /// Kills it with a signal that it cannot see, and gives all that it has said since.
    pub(super) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

#[tokio::test]
async fn a_killed_writer_leaves_all_that_it_acknowledged_and_nothing_half() {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    for round in 0..KILLS {
        let mut writer = Committer::start(dir.path(), random.next());
        let mut said = writer.wait_for_lines(1);
        let life = LONGEST_LIFE.mul_f64(f64::from(u32::try_from(random.next() >> 32).unwrap()) / f64::from(u32::MAX));
        std::thread::sleep(life);
        said.extend(writer.kill());

        let started = Instant::now();
        let summary = FileStore::summary(dir.path()).unwrap().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let took = started.elapsed();
        assert_eq!(summary.tip, store.tip().await.unwrap(), "round {round}, seed {seed}");
        let blocks = check_state(&store).await;
        let has = |wanted: &str| {
            let (height, hash) = wanted.split_once(' ').unwrap();
            let block = blocks.get(height.parse::<usize>().unwrap());
            block.is_some_and(|block| block.link.hash.to_string() == hash)
        };
        let last_tip = said.iter().rev().find_map(|line| line.strip_prefix("=tip "));
        let ending = said.last().and_then(|line| line.strip_prefix("=ending "));
        if let Some(wanted) = last_tip {
            let there = has(wanted) || ending.is_some_and(has);
            assert!(there, "round {round}, seed {seed}: {wanted} was acknowledged; {ending:?}, {:?}", summary.tip);
        }
        println!("round {round}: {} lines, {} blocks, opened in {took:?}", said.len(), blocks.len());
    }
}

/// Not a test by itself: the process that [`Committer`] starts. Without its variable it has nothing to do.
#[tokio::test]
async fn the_committer_that_other_tests_start() {
    let Some(dir) = std::env::var_os("CPC_STORE_TEST_COMMIT") else { return };
    let mut random = Random(std::env::var("CPC_STORE_TEST_SEED").unwrap().parse().unwrap());
    let store = FileStore::open(Path::new(&dir)).unwrap();
    let mut tip = store.tip().await.unwrap();
    let say = |what: &str, tip: Option<Tip>| {
        if let Some(tip) = tip {
            println!("\n={what} {} {}", tip.height, tip.hash);
        }
    };
    println!("\n=open");
    loop {
        let count = 1 + random.next() % 300;
        let branch = format!("{}", random.next());
        tip = Some(store.commit(chain(tip, &branch, count)).await.unwrap());
        say("tip", tip);
        let top = tip.map_or(0, |tip| tip.height);
        if random.next().is_multiple_of(4) && top > 20 {
            println!("\n=begin");
            let mut new = store.rollback(Some(top - 1 - random.next() % 9)).await.unwrap().tip;
            for _ in 0..random.next() % 4 {
                let grown = store.commit(chain(new, "other", 1 + random.next() % 9)).await.unwrap();
                new = Some(grown);
                if random.next().is_multiple_of(3) {
                    new = store.rollback(Some(grown.height.saturating_sub(3))).await.unwrap().tip;
                }
            }
            let outcome = if random.next().is_multiple_of(2) {
                say("ending", new);
                ReorgOutcome::KeepNew
            } else {
                ReorgOutcome::PutBack
            };
            tip = store.finish_reorg(outcome).await.unwrap().tip;
            say("tip", tip);
        }
    }
}

/// Numbers that are random enough for tests, from a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
