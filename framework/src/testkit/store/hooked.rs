use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;

use crate::store::{
    ByteBudget, ChainStore, Commit, Moved, ReorgOutcome, StateChange, StateKey, StateValue, StateView, StoreError,
};
use crate::types::{EncodedBlock, Hash32, Height, Tip};

/// A method of [`ChainStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the methods' names")]
pub enum StoreCall {
    Bind,
    Tip,
    Blocks,
    HeightOf,
    Commit,
    Rollback,
    FinishReorg,
    State,
    ReplaceState,
}

/// What a [`HookedStore`] does to the calls that pass through it: nothing, unless a hook is implemented.
#[async_trait]
pub trait StoreHooks: Debug + Send + Sync + 'static {
    /// Comes first. The call waits for it, but for [`StoreCall::State`], which cannot.
    async fn wait(&self, _call: StoreCall) {}

    /// Comes next. With an error the store never hears of the call.
    ///
    /// # Errors
    /// The call's answer.
    fn before(&self, _call: StoreCall) -> Result<(), StoreError> {
        Ok(())
    }

    /// Comes after a call that took effect: it has done so even where this says that it failed.
    ///
    /// # Errors
    /// The call's answer.
    fn after(&self, _call: StoreCall) -> Result<(), StoreError> {
        Ok(())
    }

    /// What to give out for blocks that were read.
    fn read(&self, blocks: Vec<EncodedBlock>) -> Vec<EncodedBlock> {
        blocks
    }
}

impl StoreHooks for () {}

/// A store with hooks before it, to see what a node does over one that fails, waits or lies.
///
/// ```
/// use cpc_framework::store::memory::MemoryStore;
/// use cpc_framework::store::{ChainStore, StoreError, StoreErrorKind};
/// use cpc_framework::testkit::store::{HookedStore, StoreCall, StoreHooks};
///
/// #[derive(Debug)]
/// struct Full;
///
/// impl StoreHooks for Full {
///     fn before(&self, call: StoreCall) -> Result<(), StoreError> {
///         if call == StoreCall::Commit { Err(StoreError::new(StoreErrorKind::Full, "no room")) } else { Ok(()) }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = HookedStore { inner: MemoryStore::new(), hooks: Full };
/// assert_eq!(store.commit(vec![]).await.unwrap_err().kind, StoreErrorKind::Full);
/// assert_eq!(store.tip().await.unwrap(), None);
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct HookedStore<S, H> {
    /// Where the calls go.
    pub inner: S,
    /// What comes before and after.
    pub hooks: H,
}

impl<S: ChainStore, H: StoreHooks> HookedStore<S, H> {
    async fn call<T>(
        &self,
        call: StoreCall,
        inner: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.hooks.wait(call).await;
        self.hooks.before(call)?;
        let answer = inner.await?;
        self.hooks.after(call).map(|()| answer)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ChainStore, H: StoreHooks> ChainStore for HookedStore<S, H> {
    async fn bind(&self, genesis: Hash32, state: Vec<(StateKey, StateValue)>) -> Result<(), StoreError> {
        self.call(StoreCall::Bind, self.inner.bind(genesis, state)).await
    }
    async fn tip(&self) -> Result<Option<Tip>, StoreError> {
        self.call(StoreCall::Tip, self.inner.tip()).await
    }
    async fn blocks(
        &self,
        heights: RangeInclusive<Height>,
        budget: ByteBudget,
    ) -> Result<Vec<EncodedBlock>, StoreError> {
        let blocks = self.call(StoreCall::Blocks, self.inner.blocks(heights, budget)).await?;
        Ok(self.hooks.read(blocks))
    }
    async fn height_of(&self, hash: Hash32) -> Result<Option<Height>, StoreError> {
        self.call(StoreCall::HeightOf, self.inner.height_of(hash)).await
    }
    async fn commit(&self, batch: Vec<Commit>) -> Result<Tip, StoreError> {
        self.call(StoreCall::Commit, self.inner.commit(batch)).await
    }
    async fn rollback(&self, keep: Option<Height>) -> Result<Moved, StoreError> {
        self.call(StoreCall::Rollback, self.inner.rollback(keep)).await
    }
    async fn finish_reorg(&self, outcome: ReorgOutcome) -> Result<Moved, StoreError> {
        self.call(StoreCall::FinishReorg, self.inner.finish_reorg(outcome)).await
    }
    fn state(&self) -> Result<Arc<dyn StateView>, StoreError> {
        self.hooks.before(StoreCall::State)?;
        let state = self.inner.state()?;
        self.hooks.after(StoreCall::State).map(|()| state)
    }
    async fn replace_state(
        &self,
        state: Vec<(StateKey, StateValue)>,
        undo: Vec<Vec<StateChange>>,
    ) -> Result<(), StoreError> {
        self.call(StoreCall::ReplaceState, self.inner.replace_state(state, undo)).await
    }
}
