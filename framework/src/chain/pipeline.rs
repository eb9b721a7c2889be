//! A chain's single writer: three stages that overlap, with bounded queues between them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::commit::Committer;
use self::execute::ExecuteStage;
use self::intake::Intake;
use super::verify::VerifiedBatch;
use super::{Applied, Chain, ChainError, ProduceError, Stop};
use crate::producer::Slot;
use crate::rules::HashedBlock;
use crate::store::{Commit, StoreErrorKind};
use crate::sync::BatchId;
use crate::types::{Hash32, Height, Tip, Transaction};

mod commit;
mod execute;
mod intake;

/// Groups of batches that may be in verification at once: while parts of one and of the next run, a third is already there.
const VERIFYING: usize = 3;
/// Executed batches that may wait for the disk; it is asked once for all that wait.
const COMMITTING: usize = 16;
/// Commands that may wait for the pipeline. Their bytes are bounded by whoever sends them (the sync's window).
const COMMANDS: usize = 64;
/// Events that may wait for the engine; when full the pipeline stands still.
const EVENTS: usize = 64;

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
    /// Like [`Import`](Self::Import), of blocks whose proposers are known to have signed them: that is not checked again.
    ImportSigned {
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

/// The engine is gone, or the chain has failed and the engine knows.
struct Ended;

/// The hash of block 0, if these blocks bring it.
pub(crate) fn genesis_hash_in(applied: &[Applied]) -> Option<Hash32> {
    applied.first().filter(|first| first.link.height == 0).map(|first| first.link.hash)
}
