//! The third stage: makes it durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::{ChainEvent, ChainOutcome, Ended, ExecutedImport, Progress, ToCommit};
use crate::chain::Stop;
use crate::store::{ChainStore, Commit, StoreError, StoreErrorKind};
use crate::types::Tip;

/// Batches that are ready together are committed together, as long as they have fewer blocks than this: what waits for a disk of
/// 10 ms is then still less than what waits for the cores.
const BLOCKS_PER_COMMIT: usize = 4096;

/// The third stage.
pub(super) struct Committer {
    pub(super) store: Arc<dyn ChainStore>,
    pub(super) tip: Option<Tip>,
    pub(super) events: mpsc::Sender<ChainEvent>,
    pub(super) progress: Arc<Progress>,
    /// Why the last commit that failed did: what was executed on top of it fails for the same reason.
    pub(super) failure: (StoreErrorKind, String),
}

impl Committer {
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<ToCommit>) {
        let mut waiting = None;
        loop {
            let next = match waiting.take() {
                Some(next) => next,
                None => match queue.recv().await {
                    Some(next) => next,
                    None => return,
                },
            };
            let done = match next {
                ToCommit::Batch(first) => {
                    let mut group = vec![first];
                    waiting = gather(&mut group, &mut queue);
                    self.commit(group).await
                }
                ToCommit::Flush(done) => {
                    let _ = done.send(());
                    Ok(())
                }
                ToCommit::Tip(tip) => {
                    self.tip = tip;
                    Ok(())
                }
            };
            if let Err(Ended) = done {
                return;
            }
        }
    }

    async fn commit(&mut self, mut group: Vec<ExecutedImport>) -> Result<(), Ended> {
        let failed = self.progress.failed_generation.load(Ordering::Acquire);
        let commits: Vec<Commit> = group
            .iter_mut()
            .filter(|import| import.generation > failed)
            .flat_map(|import| std::mem::take(&mut import.commits))
            .collect();
        let mut failure: Option<StoreError> = None;
        if !commits.is_empty() {
            match self.store.commit(commits).await {
                Ok(tip) => self.tip = Some(tip),
                Err(error) => failure = Some(error),
            }
        }
        let number = group.iter().map(|import| import.number).max().unwrap_or_default();
        match &failure {
            None => self.progress.committed.store(number, Ordering::Release),
            Some(error) => {
                tracing::error!(%error, "blocks could not be stored");
                self.failure = (error.kind, error.message.clone());
                // A commit may have taken effect although it failed: the store itself knows.
                self.tip = self.store.tip().await.unwrap_or(self.tip);
                let generation = group.iter().map(|import| import.generation).max().unwrap_or_default();
                self.progress.failed_generation.store(generation, Ordering::Release);
            }
        }
        let all_failed = failure.is_some();
        for import in group {
            let outcome = if import.generation <= failed || all_failed {
                let error = failure.take().unwrap_or_else(|| {
                    let (kind, why) = &self.failure;
                    StoreError::new(*kind, format!("blocks below these could not be stored: {why}"))
                });
                ChainOutcome { applied: Vec::new(), stop: Some(Stop::Local(error.into())), tip: self.tip }
            } else {
                let tip = import.applied.last().map(|last| last.link.tip()).or(self.tip);
                ChainOutcome { applied: import.applied, stop: import.stop, tip }
            };
            let event = ChainEvent::Imported { batch: import.batch, outcome };
            self.events.send(event).await.map_err(|_| Ended)?;
        }
        Ok(())
    }
}

/// Adds the batches that are ready to a group; gives back what ends it.
fn gather(group: &mut Vec<ExecutedImport>, queue: &mut mpsc::Receiver<ToCommit>) -> Option<ToCommit> {
    let mut blocks = group.iter().map(|import| import.commits.len()).sum::<usize>();
    while blocks < BLOCKS_PER_COMMIT {
        match queue.try_recv() {
            Ok(ToCommit::Batch(import)) => {
                blocks += import.commits.len();
                group.push(import);
            }
            Ok(other) => return Some(other),
            Err(_) => return None,
        }
    }
    None
}
