use std::sync::Arc;

use super::core::Core;
use super::verify::{VerifiedBatch, VerifiedBlock};
use super::{Chain, ChainError, Stop, decode_stored};
use crate::executor::Executor;
use crate::store::memory::MemoryStore;
use crate::store::{ByteBudget, ChainStore, StateChange, UNDO_DEPTH};
use crate::types::Height;

/// How much is read from the store at a time, in bytes.
const READ_AHEAD: ByteBudget = ByteBudget(4 << 20);

impl Chain {
    /// Recomputes the state from the stored blocks, checking every root on the way, and puts it in place of the stored state
    /// at once. `progress` hears the height reached. Needs memory for the whole state.
    ///
    /// # Errors
    /// [`ChainError::StoredBlock`]: a stored block does not give the state that it commits to; nothing was changed.
    pub async fn rebuild(
        &mut self,
        executor: Arc<dyn Executor>,
        mut progress: impl FnMut(Height) + Send,
    ) -> Result<(), ChainError> {
        let genesis = Arc::clone(self.verifier.genesis());
        let scratch = MemoryStore::default();
        scratch.bind(genesis.id(), executor.genesis_state(&genesis)?).await?;
        let base = scratch.state()?;
        let mut core = Box::new(Core::open(self.verifier.clone(), self.keys.clone(), executor, base, None)?);
        let mut undo: std::collections::VecDeque<Vec<StateChange>> = std::collections::VecDeque::new();
        // Whether a block came too early was judged when it came in.
        let now = u64::MAX;
        let mut commit = 0;
        let mut next = 0;
        if let Some(tip) = self.tip() {
            while next <= tip.height {
                let stored = self.store.blocks(next..=tip.height, READ_AHEAD).await?;
                let mut blocks = Vec::with_capacity(stored.len());
                for block in &stored {
                    let hashed = self.verifier.hasher().hash_block(Arc::new(decode_stored(block)?));
                    // Signatures were verified when the block came in; the roots show whether the state is right.
                    blocks.push(VerifiedBlock { hashed, bytes: block.bytes.clone(), signed: true });
                }
                let Some(last) = stored.last() else {
                    return Err(super::damaged(next, "is missing").into());
                };
                next = last.link.height + 1;
                commit += 1;
                let (back, executed) = self
                    .env
                    .pool
                    .blocking(move || {
                        let executed = core.execute_batch(commit, VerifiedBatch { blocks, rejection: None }, now);
                        (core, executed)
                    })
                    .await;
                core = back;
                match executed.stop {
                    Some(Stop::Rejected(rejection)) => return Err(ChainError::StoredBlock(rejection)),
                    Some(Stop::Local(error)) => return Err(error),
                    None => {}
                }
                for made in &executed.commits {
                    undo.push_front(made.changes.clone());
                }
                undo.truncate(usize::try_from(UNDO_DEPTH).unwrap_or(usize::MAX));
                scratch.commit(without_bodies(executed.commits)).await?;
                core.rebase(commit, scratch.state()?);
                progress(last.link.height);
            }
        }
        let mut state = Vec::new();
        scratch.state()?.scan(b"", &mut |key, value| {
            state.push((key.to_vec().into(), value.to_vec().into()));
            true
        })?;
        self.store.replace_state(state, undo.into()).await?;
        self.reset().await
    }
}

/// The scratch store is there for the state; the bodies are stored already.
fn without_bodies(mut commits: Vec<crate::store::Commit>) -> Vec<crate::store::Commit> {
    for commit in &mut commits {
        commit.block.bytes = bytes::Bytes::new();
    }
    commits
}
