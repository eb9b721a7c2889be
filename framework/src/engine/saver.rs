//! Writing `peers.json` and the saved pool: one write at a time, of the newest only. What a disk does not take is tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::mempool::saved;
use crate::peers::peers_file;
use crate::transport::Endpoint;
use crate::types::Transaction;

/// The pause after a write that failed: the least there is between two writes of a pool that changes all the time.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Writes the newest of what it is given. Without a file's path, what belongs there is dropped.
#[derive(Debug)]
pub(super) struct Saver {
    files: Files,
    unsaved: Unsaved,
    state: State,
}

/// Where it all goes.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) peers: Option<PathBuf>,
    pub(super) pool: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Unsaved {
    peers: Option<Vec<Endpoint>>,
    pool: Option<Vec<Arc<Transaction>>>,
}

#[derive(Debug)]
enum State {
    Idle,
    /// A write is under way, which gives back what could not be written.
    Writing(JoinHandle<Unsaved>),
    /// A write has failed.
    Pausing(Instant),
}

impl Saver {
    pub(super) fn new(files: Files) -> Self {
        Self { files, unsaved: Unsaved::default(), state: State::Idle }
    }

    /// These are the addresses to keep.
    pub(super) fn save_peers(&mut self, peers: Vec<Endpoint>) {
        self.unsaved.peers = self.files.peers.is_some().then_some(peers);
        self.start();
    }

    /// These are the transactions to keep.
    pub(super) fn save_pool(&mut self, txs: Vec<Arc<Transaction>>) {
        self.unsaved.pool = self.files.pool.is_some().then_some(txs);
        self.start();
    }

    /// Waits until a write or a pause is over, and goes on with what is left; for ever where there is neither. Cancel-safe.
    pub(super) async fn turn(&mut self) {
        match &mut self.state {
            State::Idle => return std::future::pending().await,
            State::Writing(write) => {
                let left = write.await.unwrap_or_default();
                self.state = if left.is_empty() { State::Idle } else { State::Pausing(Instant::now() + AGAIN_AFTER) };
                self.unsaved.put_back(left);
            }
            State::Pausing(until) => {
                sleep_until(*until).await;
                self.state = State::Idle;
            }
        }
        self.start();
    }

    /// Writes what is left, once.
    pub(super) async fn finish(mut self) {
        if let State::Writing(write) = self.state {
            self.unsaved.put_back(write.await.unwrap_or_default());
        }
        if !self.unsaved.is_empty() {
            let _ = spawn_blocking(move || self.unsaved.write(&self.files)).await;
        }
    }

    fn start(&mut self) {
        if matches!(self.state, State::Idle) && !self.unsaved.is_empty() {
            let (unsaved, files) = (std::mem::take(&mut self.unsaved), self.files.clone());
            self.state = State::Writing(spawn_blocking(move || unsaved.write(&files)));
        }
    }
}

impl Unsaved {
    fn is_empty(&self) -> bool {
        self.peers.is_none() && self.pool.is_none()
    }

    /// Takes back what could not be written, unless there is something newer.
    fn put_back(&mut self, left: Self) {
        self.peers = self.peers.take().or(left.peers);
        self.pool = self.pool.take().or(left.pool);
    }

    /// Gives back what could not be written, with a word about it in the log.
    fn write(mut self, files: &Files) -> Self {
        if let (Some(path), Some(peers)) = (&files.peers, &self.peers) {
            match peers_file::write(path, peers) {
                Ok(()) => self.peers = None,
                Err(error) => tracing::warn!("{error}"),
            }
        }
        if let (Some(path), Some(txs)) = (&files.pool, &self.pool) {
            match saved::write(path, txs) {
                Ok(()) => self.pool = None,
                Err(error) => tracing::warn!("the pool cannot be saved in {}: {error}", path.display()),
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::limits::Limits;

    fn peers(port: u16) -> Vec<Endpoint> {
        vec![format!("127.0.0.1:{port}").parse().unwrap()]
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_written_is_tried_again_until_it_is_and_the_newest_wins() {
        let dir = tempfile::tempdir().unwrap();
        let (path, pool) = (dir.path().join("peers.json"), dir.path().join("mempool.bin"));
        // Directories where the temporary files would go stand for a disk without room.
        let in_the_way = ["peers.json.tmp", "mempool.bin.tmp"].map(|name| dir.path().join(name));
        for path in &in_the_way {
            fs::create_dir(path).unwrap();
        }
        let mut saver = Saver::new(Files { peers: Some(path.clone()), pool: Some(pool.clone()) });
        saver.save_peers(peers(1));
        saver.turn().await;
        saver.save_pool(Vec::new());
        saver.save_peers(peers(2));
        saver.turn().await;
        saver.turn().await;
        assert!(!path.exists() && !pool.exists());
        for path in &in_the_way {
            fs::remove_dir(path).unwrap();
        }
        saver.turn().await;
        saver.turn().await;
        assert!(matches!(saver.state, State::Idle));
        assert_eq!(peers_file::read(&path, &Limits::default()).unwrap().peers, peers(2));
        assert!(pool.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_waits_for_no_pause_and_tries_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        fs::create_dir(dir.path().join("peers.json.tmp")).unwrap();
        let mut saver = Saver::new(Files { peers: Some(path.clone()), pool: None });
        saver.save_peers(peers(1));
        saver.save_pool(Vec::new());
        saver.turn().await;
        fs::remove_dir(dir.path().join("peers.json.tmp")).unwrap();
        let before = Instant::now();
        saver.finish().await;
        assert!(path.exists() && before.elapsed() < AGAIN_AFTER);
    }
}
