//! The second stage: executes in order, ahead of the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{ChainCommand, ChainEvent, Ended, ExecutedImport, Job, Progress, TOLD_EARLY, ToCommit};
use crate::chain::verify::VerifiedBatch;
use crate::chain::{Chain, ChainError};
use crate::store::ReorgOutcome;
use crate::sync::BatchId;

/// The second stage.
pub(super) struct ExecuteStage {
    pub(super) chain: Chain,
    pub(super) to_commit: mpsc::Sender<ToCommit>,
    pub(super) events: mpsc::Sender<ChainEvent>,
    pub(super) progress: Arc<Progress>,
    pub(super) generation: u64,
}

impl ExecuteStage {
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            let done = match job {
                Job::Imports { batches, verified } => self.imports(batches, verified).await,
                Job::Barrier(command) => self.barrier(command).await,
            };
            if let Err(Ended) = done {
                return;
            }
        }
    }

    async fn imports(&mut self, batches: Vec<BatchId>, verified: JoinHandle<Vec<VerifiedBatch>>) -> Result<(), Ended> {
        let verified = match verified.await {
            Ok(verified) => verified,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Ended),
        };
        for (batch, verified) in batches.into_iter().zip(verified) {
            self.import(batch, verified).await?;
        }
        Ok(())
    }

    async fn import(&mut self, batch: BatchId, verified: VerifiedBatch) -> Result<(), Ended> {
        let caught_up = self.catch_up().await;
        self.or_fail(caught_up).await?;
        let number = self.chain.next_commit();
        let now = self.chain.env.clock.unix_seconds();
        let executed = self.chain.with_core(move |core| core.execute_batch(number, verified, now)).await;
        self.chain.note_applied(&executed.applied);
        if (1..=TOLD_EARLY).contains(&executed.applied.len()) {
            let blocks = executed.applied.clone();
            self.events.send(ChainEvent::Executed { batch, blocks }).await.map_err(|_| Ended)?;
        }
        let import = ExecutedImport {
            number,
            generation: self.generation,
            batch,
            commits: executed.commits,
            applied: executed.applied,
            stop: executed.stop,
        };
        self.to_commit.send(ToCommit::Batch(import)).await.map_err(|_| Ended)
    }

    async fn barrier(&mut self, command: ChainCommand) -> Result<(), Ended> {
        self.flush().await?;
        let caught_up = self.catch_up().await;
        self.or_fail(caught_up).await?;
        let event = match command {
            ChainCommand::Rollback { keep, room } => match self.chain.rollback_within(keep, room).await {
                Ok(removed) => ChainEvent::RolledBack { tip: self.chain.tip(), removed },
                Err(why) => {
                    // Where the store has moved and the state machine could not follow, nothing can be built on either.
                    if self.chain.store.tip().await.ok() != Some(self.chain.tip()) {
                        return self.or_fail(Err(why)).await;
                    }
                    ChainEvent::RollbackFailed { tip: self.chain.tip(), why }
                }
            },
            ChainCommand::FinishReorg { keep } => {
                let outcome = if keep { ReorgOutcome::KeepNew } else { ReorgOutcome::PutBack };
                match self.chain.finish_reorg(outcome).await {
                    Ok(()) => ChainEvent::ReorgFinished { tip: self.chain.tip() },
                    Err(error) => return self.or_fail(Err(error)).await,
                }
            }
            ChainCommand::NextSlot => {
                let slot = self.chain.next_slot(self.chain.env.clock.unix_seconds());
                ChainEvent::NextSlot { tip: self.chain.tip(), slot }
            }
            ChainCommand::Produce { parent, slot, txs } => {
                let result = self.chain.produce(parent, slot, txs).await;
                ChainEvent::Produced { slot, result }
            }
            ChainCommand::Import { .. } | ChainCommand::ImportSigned { .. } | ChainCommand::ImportVouched { .. } => {
                return Ok(());
            }
        };
        self.to_commit.send(ToCommit::Tip(self.chain.tip())).await.map_err(|_| Ended)?;
        self.events.send(event).await.map_err(|_| Ended)
    }

    /// Takes note of what the committer has done meanwhile.
    async fn catch_up(&mut self) -> Result<(), ChainError> {
        if self.progress.failed_generation.load(Ordering::Acquire) >= self.generation {
            self.generation += 1;
            return self.chain.reset().await;
        }
        if self.chain.core().is_ahead() {
            // In this order: the snapshot may hold more than the number says, never less.
            let committed = self.progress.committed.load(Ordering::Acquire);
            let base = self.chain.store.state()?;
            self.chain.core_mut().rebase(committed, base);
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), Ended> {
        let (done, flushed) = oneshot::channel();
        self.to_commit.send(ToCommit::Flush(done)).await.map_err(|_| Ended)?;
        flushed.await.map_err(|_| Ended)
    }

    async fn or_fail<T>(&self, result: Result<T, ChainError>) -> Result<T, Ended> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                let _ = self.flush().await;
                let _ = self.events.send(ChainEvent::Failed(error)).await;
                Err(Ended)
            }
        }
    }
}
