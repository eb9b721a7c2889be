use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::verify::{BatchVerifier, VerifiedBatch};
use super::{Applied, Chain, ChainError, ProduceError, Stop};
use crate::producer::Slot;
use crate::rules::{HashedBlock, MAX_BATCH};
use crate::store::{ChainStore, Commit, ReorgOutcome, StoreError, StoreErrorKind};
use crate::sync::BatchId;
use crate::types::{Hash32, Height, Tip, Transaction};

/// Groups of batches that may be in verification at once: while parts of one and of the next run, a third is already there.
const VERIFYING: usize = 3;
/// Batches that wait are verified together, as long as they have no more signatures than this: two batches of them for
/// each of two cores.
const SIGNATURES_TOGETHER: usize = 4 * MAX_BATCH;
/// The most batches that are verified together: a bad one among them has each checked alone.
const BATCHES_TOGETHER: usize = 8;
/// Executed batches that may wait for the disk; it is asked once for all that wait.
const COMMITTING: usize = 16;
/// Commands that may wait for the pipeline. Their bytes are bounded by whoever sends them (the sync's window).
const COMMANDS: usize = 64;
/// Events that may wait for the engine; when full the pipeline stands still.
const EVENTS: usize = 64;
/// Batches that are ready together are committed together, as long as they have fewer blocks than this: what waits for a disk of
/// 10 ms is then still less than what waits for the cores.
const BLOCKS_PER_COMMIT: usize = 4096;

/// Who imports more blocks than this at a time is catching up, and passes none of them on.
pub(crate) const TOLD_EARLY: usize = 16;

/// What the writer of a chain can be asked for.
#[derive(Debug)]
pub enum ChainCommand {
    /// Apply blocks on top of what was imported before.
    Import {
        /// The asker's name for them.
        batch: BatchId,
        /// The blocks.
        blocks: Vec<HashedBlock>,
    },
    /// Like [`Import`](Self::Import), but the blocks up to a height are known to be ancestors of a checkpoint: their signatures are
    /// not checked, all else is.
    ImportVouched {
        /// The asker's name for them.
        batch: BatchId,
        /// The blocks.
        blocks: Vec<HashedBlock>,
        /// The last block whose signatures are not checked.
        up_to: Height,
    },
    /// Remove the blocks above `keep`, and keep them aside.
    Rollback {
        /// The height of the new tip; `None` for an empty chain.
        keep: Option<Height>,
        /// How many bytes of the removed transactions are to be given back, as they are in memory; what goes beyond is forgotten.
        room: usize,
    },
    /// End the reorganisation under way.
    FinishReorg {
        /// Whether the new branch stays.
        keep: bool,
    },
    /// Look up when our validator may propose next.
    NextSlot,
    /// Make and sign a block.
    Produce {
        /// What it must follow.
        parent: Option<Tip>,
        /// When.
        slot: Slot,
        /// Candidates in order of preference.
        txs: Vec<Arc<Transaction>>,
    },
}

/// What became of a command. Events come in the order of the commands.
#[derive(Debug)]
pub enum ChainEvent {
    /// Blocks of an import are valid and executed; they are not durable yet, and may never be: the disk may fail. Told of
    /// imports of at most 16 blocks; [`Imported`](Self::Imported) follows.
    Executed {
        /// The asker's name for the import.
        batch: BatchId,
        /// The blocks.
        blocks: Vec<Applied>,
    },
    /// An import ended.
    Imported {
        /// The asker's name for it.
        batch: BatchId,
        /// How it ended.
        outcome: ChainOutcome,
    },
    /// A rollback is done.
    RolledBack {
        /// The tip now.
        tip: Option<Tip>,
        /// The transactions of the removed blocks, oldest first, as far as there was room for them.
        removed: Vec<Arc<Transaction>>,
    },
    /// A rollback could not be done; nothing changed.
    RollbackFailed {
        /// The tip.
        tip: Option<Tip>,
        /// Why.
        why: ChainError,
    },
    /// A reorganisation has ended.
    ReorgFinished {
        /// The tip now.
        tip: Option<Tip>,
    },
    /// When our validator may propose next.
    NextSlot {
        /// The tip that it is on top of.
        tip: Option<Tip>,
        /// The slot, if the validator is active.
        slot: Option<Slot>,
    },
    /// A block was made and signed, or was not. It is not imported yet.
    Produced {
        /// The slot.
        slot: Slot,
        /// The block.
        result: Result<HashedBlock, ProduceError>,
    },
    /// The chain cannot go on at all; no further event comes.
    Failed(ChainError),
}

/// How an import ended.
#[derive(Debug)]
pub struct ChainOutcome {
    /// The blocks applied: durable.
    pub applied: Vec<Applied>,
    /// Why the block after them was not.
    pub stop: Option<Stop>,
    /// The tip now.
    pub tip: Option<Tip>,
}

/// The way to a chain that runs as a pipeline of tasks. Dropping it ends the pipeline after what was already sent.
#[derive(Debug)]
pub struct ChainHandle {
    /// Commands to the pipeline; bounded.
    pub commands: mpsc::Sender<ChainCommand>,
    /// What became of them.
    pub events: mpsc::Receiver<ChainEvent>,
    task: JoinHandle<()>,
}

impl ChainHandle {
    /// Starts the pipeline.
    pub fn spawn(chain: Chain) -> Self {
        let (commands, intake) = mpsc::channel(COMMANDS);
        let (to_execute, jobs) = mpsc::channel(VERIFYING);
        let (to_commit, commits) = mpsc::channel(COMMITTING);
        let (events_in, events) = mpsc::channel(EVENTS);
        let progress = Arc::new(Progress::default());
        let committer = Committer {
            store: Arc::clone(&chain.store),
            tip: chain.tip(),
            events: events_in.clone(),
            progress: Arc::clone(&progress),
            failure: (StoreErrorKind::Io, String::new()),
        };
        let intake = Intake { verifier: chain.batch_verifier(), to_execute }.run(intake);
        let executor = ExecuteStage { chain, to_commit, events: events_in, progress, generation: 1 }.run(jobs);
        let task = tokio::spawn(async move {
            tokio::join!(intake, executor, committer.run(commits));
        });
        Self { commands, events, task }
    }

    /// Lets the pipeline finish what was sent, and waits for it.
    pub async fn shutdown(mut self) {
        drop(self.commands);
        while self.events.recv().await.is_some() {}
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// What the committer tells the executor without a message.
#[derive(Debug, Default)]
struct Progress {
    /// The number of the last commit that is durable.
    committed: AtomicU64,
    /// The last generation of which a commit failed: what was executed on top of it is void.
    failed_generation: AtomicU64,
}

enum Job {
    /// Batches, in order, and what verifying them together gives.
    Imports {
        batches: Vec<BatchId>,
        verified: JoinHandle<Vec<VerifiedBatch>>,
    },
    Barrier(ChainCommand),
}

enum ToCommit {
    Batch(ExecutedImport),
    /// Answers once all before it is done.
    Flush(oneshot::Sender<()>),
    /// The chain moved by other means.
    Tip(Option<Tip>),
}

struct ExecutedImport {
    number: u64,
    generation: u64,
    batch: BatchId,
    commits: Vec<Commit>,
    applied: Vec<Applied>,
    stop: Option<Stop>,
}

/// The first stage: hands batches to the cores as they come.
struct Intake {
    verifier: BatchVerifier,
    to_execute: mpsc::Sender<Job>,
}

/// Batches that are verified together.
#[derive(Default)]
struct Group {
    batches: Vec<BatchId>,
    blocks: Vec<Vec<HashedBlock>>,
    signatures: usize,
    vouched: Option<Height>,
}

impl Intake {
    async fn run(self, mut commands: mpsc::Receiver<ChainCommand>) {
        let mut next = None;
        loop {
            let Some(mut command) = (match next.take() {
                Some(command) => Some(command),
                None => commands.recv().await,
            }) else {
                return;
            };
            // A place first: at most VERIFYING groups are in the works, and what comes meanwhile goes along.
            let Ok(place) = self.to_execute.reserve().await else { return };
            let mut group = Group::default();
            loop {
                if let Err(other) = group.take(command) {
                    next = Some(other);
                    break;
                }
                match commands.try_recv() {
                    Ok(other) => command = other,
                    Err(_) => break,
                }
            }
            place.send(match next.take_if(|_| group.batches.is_empty()) {
                Some(barrier) => Job::Barrier(barrier),
                None => self.verify(group),
            });
        }
    }

    fn verify(&self, group: Group) -> Job {
        let Group { batches, blocks, vouched, .. } = group;
        let verifier = self.verifier.clone();
        let verified = tokio::spawn(async move {
            let pool = verifier.pool.clone();
            pool.blocking(move || verifier.verify_together(blocks, vouched)).await
        });
        Job::Imports { batches, verified }
    }
}

impl Group {
    /// Takes an import that goes with the others; gives anything else back.
    fn take(&mut self, command: ChainCommand) -> Result<(), ChainCommand> {
        let (blocks, vouched) = match &command {
            ChainCommand::Import { blocks, .. } => (blocks, None),
            ChainCommand::ImportVouched { blocks, up_to, .. } => (blocks, Some(*up_to)),
            _ => return Err(command),
        };
        let signatures = blocks.iter().map(|block| block.tx_hashes.len() + 1).sum::<usize>();
        let full = self.signatures + signatures > SIGNATURES_TOGETHER || self.batches.len() >= BATCHES_TOGETHER;
        if !self.batches.is_empty() && (full || vouched != self.vouched) {
            return Err(command);
        }
        match command {
            ChainCommand::Import { batch, blocks } | ChainCommand::ImportVouched { batch, blocks, .. } => {
                self.batches.push(batch);
                self.blocks.push(blocks);
            }
            other => return Err(other),
        }
        (self.signatures, self.vouched) = (self.signatures + signatures, vouched);
        Ok(())
    }
}

/// The second stage: executes in order, ahead of the disk.
struct ExecuteStage {
    chain: Chain,
    to_commit: mpsc::Sender<ToCommit>,
    events: mpsc::Sender<ChainEvent>,
    progress: Arc<Progress>,
    generation: u64,
}

/// The engine is gone, or the chain has failed and the engine knows.
struct Ended;

impl ExecuteStage {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
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
            ChainCommand::Import { .. } | ChainCommand::ImportVouched { .. } => return Ok(()),
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

/// The third stage: makes it durable.
struct Committer {
    store: Arc<dyn ChainStore>,
    tip: Option<Tip>,
    events: mpsc::Sender<ChainEvent>,
    progress: Arc<Progress>,
    /// Why the last commit that failed did: what was executed on top of it fails for the same reason.
    failure: (StoreErrorKind, String),
}

impl Committer {
    async fn run(mut self, mut queue: mpsc::Receiver<ToCommit>) {
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

/// The hash of block 0, if these blocks bring it.
pub(crate) fn genesis_hash_in(applied: &[Applied]) -> Option<Hash32> {
    applied.first().filter(|first| first.link.height == 0).map(|first| first.link.hash)
}
