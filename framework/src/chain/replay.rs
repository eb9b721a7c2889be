use std::collections::VecDeque;
use std::sync::Arc;

use super::core::Core;
use super::verify::{ANY_LENGTH, BatchVerifier, Known, VerifiedBatch, VerifiedBlock};
use super::{ChainError, KeyBook, Stop, VerifiedTxs, damaged, decode_stored};
use crate::env::Env;
use crate::executor::Executor;
use crate::rules::{HashedBlock, Rejection, Rule, Verifier};
use crate::store::memory::MemoryStore;
use crate::store::{ByteBudget, ChainStore, Commit, StateChange, StateView, StoreError, UNDO_DEPTH};
use crate::types::{EncodedBlock, Height};

/// How much is read from the store at a time, in bytes.
const READ_AHEAD: ByteBudget = ByteBudget(4 << 20);

/// How much of each block is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Signatures were verified when the block came in; the roots show whether the state is right.
    Execution,
    /// Everything that was checked when the block came in, but the clock.
    Everything,
}

/// The state that stored blocks give when they are executed again, from the genesis on.
#[derive(Debug)]
pub(super) struct Replay {
    scratch: MemoryStore,
    /// What the last blocks changed, the latest first.
    pub(super) undo: VecDeque<Vec<StateChange>>,
    pub(super) blocks: u64,
    pub(super) txs: u64,
}

impl Replay {
    /// Executes the whole chain of a store, checking every root on the way. Writes nothing to it.
    /// `progress` hears the height reached. Needs memory for the whole state.
    pub(super) async fn run(
        verifier: &Verifier,
        store: &dyn ChainStore,
        executor: Arc<dyn Executor>,
        env: &Env,
        depth: Depth,
        progress: &mut (dyn FnMut(Height) + Send),
    ) -> Result<Self, ChainError> {
        let genesis = Arc::clone(verifier.genesis());
        let mut replay = Self { scratch: MemoryStore::default(), undo: VecDeque::new(), blocks: 0, txs: 0 };
        replay.scratch.bind(genesis.id(), executor.genesis_state(&genesis)?).await?;
        let (base, keys) = (replay.scratch.state()?, KeyBook::default());
        let mut core = Box::new(Core::open(verifier.clone(), keys.clone(), executor, base, None)?);
        let Some(tip) = store.tip().await? else { return Ok(replay) };
        let mut next = 0;
        while next <= tip.height {
            let stored = store.blocks(next..=tip.height, READ_AHEAD).await?;
            let Some(last) = stored.last().map(|block| block.link) else {
                return Err(damaged(next, "is missing").into());
            };
            next = last.height + 1;
            let number = replay.blocks + 1;
            let (verifier, keys, pool) = (verifier.clone(), keys.clone(), env.pool.clone());
            let (back, executed) = env
                .pool
                .blocking(move || {
                    let batch = read(&verifier, &keys, &pool, &stored, depth);
                    // Whether a block came too early was judged when it came in.
                    let executed = batch.map(|batch| core.execute_batch(number, batch, u64::MAX));
                    (core, executed)
                })
                .await;
            core = back;
            let executed = executed?;
            match executed.stop {
                Some(Stop::Rejected(rejection)) => return Err(ChainError::StoredBlock(rejection)),
                Some(Stop::Local(error)) => return Err(error),
                None => {}
            }
            replay.blocks += executed.commits.len() as u64;
            replay.txs += executed.applied.iter().map(|block| block.tx_hashes.len() as u64).sum::<u64>();
            for made in &executed.commits {
                replay.undo.push_front(made.changes.clone());
            }
            replay.undo.truncate(usize::try_from(UNDO_DEPTH).unwrap_or(usize::MAX));
            replay.scratch.commit(without_bodies(executed.commits)).await?;
            core.rebase(number, replay.scratch.state()?);
            progress(last.height);
        }
        if replay.blocks != tip.height + 1 {
            return Err(damaged(replay.blocks, "is missing").into());
        }
        Ok(replay)
    }

    /// The state reached.
    pub(super) fn state(&self) -> Result<Arc<dyn StateView>, StoreError> {
        self.scratch.state()
    }
}

/// Decodes and checks stored blocks.
fn read(
    verifier: &Verifier,
    keys: &KeyBook,
    pool: &crate::env::ComputePool,
    stored: &[EncodedBlock],
    depth: Depth,
) -> Result<VerifiedBatch, ChainError> {
    let blocks = pool.map(stored, |block| hashed(verifier, block)).into_iter().collect::<Result<Vec<_>, _>>()?;
    if depth == Depth::Everything {
        let (verifier, keys, pool) = (verifier.clone(), keys.clone(), pool.clone());
        let verified = VerifiedTxs::default();
        let all = BatchVerifier { verifier, keys, verified, pool, longest: ANY_LENGTH };
        return Ok(all.verify(blocks, Known::Nothing));
    }
    let trusted = |(hashed, stored): (HashedBlock, &EncodedBlock)| VerifiedBlock {
        hashed,
        bytes: stored.bytes.clone(),
        signed: true,
    };
    Ok(VerifiedBatch { blocks: blocks.into_iter().zip(stored).map(trusted).collect(), rejection: None })
}

fn hashed(verifier: &Verifier, stored: &EncodedBlock) -> Result<HashedBlock, ChainError> {
    let hashed = verifier.hasher().hash_block(Arc::new(decode_stored(stored)?));
    if hashed.link == stored.link {
        return Ok(hashed);
    }
    let (is, was) = (hashed.link, stored.link);
    let (rule, detail) = if is.height != was.height {
        (Rule::Height, format!("expected {}, found {}", was.height, is.height))
    } else if is.prev_hash != was.prev_hash {
        (Rule::PrevHash, format!("expected {}, found {}", was.prev_hash, is.prev_hash))
    } else {
        (Rule::PrevHash, format!("it is stored under the hash {}, its own is {}", was.hash, is.hash))
    };
    Err(ChainError::StoredBlock(Rejection::new(was.height, rule, detail)))
}

/// The scratch store is there for the state; the bodies are stored already.
fn without_bodies(mut commits: Vec<Commit>) -> Vec<Commit> {
    for commit in &mut commits {
        commit.block.bytes = bytes::Bytes::new();
    }
    commits
}
