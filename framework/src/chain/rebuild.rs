use std::sync::Arc;

use super::replay::{Depth, Replay};
use super::{Chain, ChainError};
use crate::executor::Executor;
use crate::types::Height;

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
        let (verifier, store) = (&self.verifier, self.store.as_ref());
        let replay = Replay::run(verifier, store, executor, &self.env, Depth::Execution, &mut progress).await?;
        let mut state = Vec::new();
        replay.state()?.scan(b"", &mut |key, value| {
            state.push((key.to_vec().into(), value.to_vec().into()));
            true
        })?;
        self.store.replace_state(state, replay.undo.into()).await?;
        self.reset().await
    }
}
