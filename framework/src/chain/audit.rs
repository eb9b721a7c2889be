use std::sync::Arc;

use super::replay::{Depth, Replay};
use super::{ChainError, damaged};
use crate::env::Env;
use crate::executor::Executor;
use crate::rules::Verifier;
use crate::store::{ByteBudget, ChainStore, StateView};
use crate::types::{Genesis, Height, Tip};

/// State keys shown of a difference; more would not help anybody.
const SHOWN_KEY_BYTES: usize = 48;

/// What [`audit`] found in a store without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditReport {
    /// The last block.
    pub tip: Option<Tip>,
    /// Blocks: decoded, hashed, linked, their roots and signatures verified.
    pub blocks: u64,
    /// Transactions in them.
    pub txs: u64,
    /// Entries of the state, all of them as the blocks give them.
    pub state_entries: u64,
}

/// Verifies a store from end to end, and writes nothing to it: every block as if it came from a peer (but for the clock), the index by
/// hash, and that the stored state is what the blocks give from the genesis on. `progress` hears the height reached. Needs memory for
/// the whole state, and as much time as a sync takes.
///
/// # Errors
/// The first fault found: [`ChainError::StoredBlock`], [`ChainError::StoredState`], or that of the store, which says what cannot be read.
pub async fn audit(
    genesis: Arc<Genesis>,
    store: &dyn ChainStore,
    executor: Arc<dyn Executor>,
    env: &Env,
    mut progress: impl FnMut(Height) + Send,
) -> Result<AuditReport, ChainError> {
    let verifier = Verifier::new(genesis);
    let replay = Replay::run(&verifier, store, executor, env, Depth::Everything, &mut progress).await?;
    let tip = store.tip().await?;
    check_index(store, tip).await?;
    let state_entries = compare(replay.state()?.as_ref(), store.state()?.as_ref(), tip)?;
    Ok(AuditReport { tip, blocks: replay.blocks, txs: replay.txs, state_entries })
}

/// Every block is found by its hash.
async fn check_index(store: &dyn ChainStore, tip: Option<Tip>) -> Result<(), ChainError> {
    /// Bytes of blocks read at a time.
    const READ_AHEAD: ByteBudget = ByteBudget(4 << 20);
    let mut next = 0;
    while let Some(tip) = tip.filter(|tip| next <= tip.height) {
        for block in store.blocks(next..=tip.height, READ_AHEAD).await? {
            let found = store.height_of(block.link.hash).await?;
            if found != Some(block.link.height) {
                let hash = block.link.hash;
                return Err(damaged(block.link.height, &format!("is not found by its hash {hash}")).into());
            }
            next = block.link.height + 1;
        }
    }
    Ok(())
}

/// Compares the whole states; gives the number of their entries.
fn compare(right: &dyn StateView, stored: &dyn StateView, tip: Option<Tip>) -> Result<u64, ChainError> {
    let height = tip.map(|tip| tip.height);
    let mut entries = 0;
    let mut fault = None;
    right.scan(b"", &mut |key, value| {
        entries += 1;
        match stored.get(key) {
            Ok(Some(found)) if *found == *value => true,
            Ok(found) => {
                let what = if found.is_some() { "has another value" } else { "is missing" };
                fault = Some(ChainError::StoredState { height, detail: format!("key {} {what}", shown(key)) });
                false
            }
            Err(error) => {
                fault = Some(error.into());
                false
            }
        }
    })?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    let mut more = None;
    stored.scan(b"", &mut |key, _| {
        let made = matches!(right.get(key), Ok(Some(_)));
        if !made {
            more = Some(ChainError::StoredState { height, detail: format!("no block made key {}", shown(key)) });
        }
        made
    })?;
    more.map_or(Ok(entries), Err)
}

/// A key as text where it is text.
fn shown(key: &[u8]) -> String {
    let cut = &key[..key.len().min(SHOWN_KEY_BYTES)];
    cut.escape_ascii().to_string()
}
