//! The conformance suite of [`ChainStore`]: one case for each sentence of its contract.
//!
//! ```
//! use cpc_framework::store::memory::MemoryStore;
//! use cpc_framework::testkit::store::StoreFactory;
//!
//! /// A store that is gone once it is closed.
//! #[derive(Debug)]
//! struct InMemory;
//!
//! impl StoreFactory for InMemory {
//!     type Store = MemoryStore;
//!     const LASTS: bool = false;
//!     fn new() -> Self {
//!         Self
//!     }
//!     fn open(&self) -> MemoryStore {
//!         MemoryStore::new()
//!     }
//! }
//!
//! cpc_framework::store_suite!(in_memory, InMemory);
//! # fn main() {}
//! ```

use std::fmt::Debug;

use self::model::{Model, all_of, at_lasts, change, hash, pairs, reopened, scan, seen, state, tip};
use crate::store::{
    ByteBudget, ChainStore, MAX_STATE_KEY, Moved, ReorgOutcome, StateBytes, StateChange, StoreErrorKind, UNDO_DEPTH,
};
use crate::types::{EncodedBlock, Height};

pub use self::hooked::{HookedStore, StoreCall, StoreHooks};

mod hooked;
mod model;

/// Makes the stores that the suite works on.
pub trait StoreFactory: Debug {
    /// What it makes.
    type Store: ChainStore;

    /// Whether what was committed is there when the store is opened again.
    const LASTS: bool;

    /// A place for one store, empty.
    fn new() -> Self;

    /// Opens the store at this place. Any store that was open there has been dropped.
    fn open(&self) -> Self::Store;
}

/// Expands to a module with one `#[tokio::test]` for each sentence of the contract of
/// [`ChainStore`](crate::store::ChainStore), over a [`StoreFactory`](crate::testkit::store::StoreFactory).
#[macro_export]
macro_rules! store_suite {
    ($module:ident, $factory:ty) => {
        $crate::store_suite!(
            @cases $module, $factory,
            a_new_store_is_empty,
            bind_keeps_the_first_genesis_and_its_state,
            commit_is_all_or_nothing,
            an_overlong_state_key_is_refused,
            what_was_committed_is_shown,
            what_was_committed_is_there_when_opened_again,
            blocks_are_consecutive_and_fit_the_budget,
            blocks_keep_their_bytes,
            height_of_finds_exactly_the_chain,
            rollback_restores_the_state_and_reports_each_step,
            rollback_to_the_empty_chain,
            rollback_too_far_changes_nothing,
            undo_records_reach_as_deep_as_promised,
            put_back_restores_chain_and_state,
            put_back_restores_after_a_longer_branch,
            put_back_restores_after_a_reorganisation_that_deepened,
            keep_new_forgets_the_removed_blocks,
            finish_without_a_reorganisation_does_nothing,
            opening_in_the_middle_of_a_reorganisation_puts_back,
            a_state_view_is_a_snapshot,
            scan_is_in_order_of_the_keys,
            replace_state_swaps_the_state_at_once,
            a_long_chain_behaves_like_a_short_one,
        );
    };
    (@cases $module:ident, $factory:ty, $($case:ident),* $(,)?) => {
        #[cfg(test)]
        mod $module {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    let factory = <$factory as $crate::testkit::store::StoreFactory>::new();
                    $crate::testkit::store::$case(&factory).await;
                }
            )*
        }
    };
}

const ENOUGH: ByteBudget = ByteBudget(usize::MAX);

/// A new store has no tip, no state and no genesis.
pub async fn a_new_store_is_empty(at: &impl StoreFactory) {
    let store = at.open();
    assert_eq!(tip(&store).await, None);
    assert_eq!(state(&store), []);
    assert_eq!(store.blocks(0..=9, ENOUGH).await.expect("reads"), []);
    assert_eq!(store.height_of(hash("any")).await.expect("reads"), None);
    store.bind(hash("some genesis"), Vec::new()).await.expect("takes any genesis");
}

/// `bind` keeps the first genesis and its state; with another one it fails and changes nothing.
pub async fn bind_keeps_the_first_genesis_and_its_state(at: &impl StoreFactory) {
    let store = at.open();
    store.bind(hash("ours"), pairs(&[("a", "1")])).await.expect("takes the first genesis");
    store.bind(hash("ours"), pairs(&[("b", "2")])).await.expect("takes the same genesis again");
    let store = reopened(at, store);
    if at_lasts(at) {
        store.bind(hash("ours"), pairs(&[("b", "2")])).await.expect("takes the same genesis again");
    } else {
        store.bind(hash("ours"), pairs(&[("a", "1")])).await.expect("takes the first genesis");
    }
    let error = store.bind(hash("theirs"), pairs(&[("c", "3")])).await.expect_err("refuses another genesis");
    assert_eq!(error.kind, StoreErrorKind::GenesisMismatch);
    assert!(error.message.contains(&hash("theirs").to_string()), "{error}");
    assert_eq!(state(&store), pairs(&[("a", "1")]));
}

/// `commit` is all or nothing: a batch that does not link to the tip, or within itself, changes neither blocks nor state.
pub async fn commit_is_all_or_nothing(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 3)).await.expect("commits");
    let before = seen(&store).await;
    let good = model.grow("main", 3);
    let gap = good[1..].to_vec();
    let mut broken = good.clone();
    broken[2].block.link.prev_hash = hash("elsewhere");
    let twice = vec![good[0].clone(), good[0].clone()];
    for batch in [gap, broken, twice] {
        let error = store.commit(batch).await.expect_err("refuses what does not link");
        assert_eq!(error.kind, StoreErrorKind::NotLinked);
        assert_eq!(seen(&store).await, before);
    }
    assert_eq!(store.commit(Vec::new()).await.expect("an empty batch changes nothing").height, 2);
    store.commit(good).await.expect("commits what links");
    assert_eq!(seen(&store).await, model.seen());
}

/// A key longer than [`MAX_STATE_KEY`] is refused, and changes nothing.
pub async fn an_overlong_state_key_is_refused(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    let mut batch = model.grow("main", 1);
    let longest = StateBytes::from(vec![b'k'; MAX_STATE_KEY]);
    batch[0].changes = vec![StateChange { key: longest.clone(), old: None, new: Some(StateBytes::from_static(b"v")) }];
    let mut bad = batch.clone();
    bad[0].changes[0].key = StateBytes::from(vec![b'k'; MAX_STATE_KEY + 1]);
    let error = store.commit(bad).await.expect_err("refuses the key");
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    assert_eq!(tip(&store).await, None);
    store.commit(batch).await.expect("takes the longest key");
    assert_eq!(store.state().expect("reads").get(&longest).expect("reads").expect("is there"), "v");
}

/// After `commit` returned, tip, blocks and state are those of its last block.
pub async fn what_was_committed_is_shown(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    for count in [1, 5, 40] {
        let at = store.commit(model.grow("main", count)).await.expect("commits");
        assert_eq!(Some(at), model.tip());
        assert_eq!(seen(&store).await, model.seen());
    }
}

/// After `commit` returned, whoever opens the store again sees its last block's tip, blocks and state.
pub async fn what_was_committed_is_there_when_opened_again(at: &impl StoreFactory) {
    if !at_lasts(at) {
        return;
    }
    let mut model = Model::default();
    for count in [1, 5, 40] {
        let store = at.open();
        store.commit(model.grow("main", count)).await.expect("commits");
        let store = reopened(at, store);
        assert_eq!(seen(&store).await, model.seen());
    }
}

/// `blocks` gives consecutive blocks from the first height asked for, as long as they exist and fit the budget, and at least one if it exists.
#[expect(clippy::reversed_empty_ranges, reason = "an answer to it is part of the contract")]
pub async fn blocks_are_consecutive_and_fit_the_budget(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 10)).await.expect("commits");
    let all: Vec<EncodedBlock> = model.blocks();
    let get = async |heights, budget| store.blocks(heights, ByteBudget(budget)).await.expect("reads");
    assert_eq!(get(0..=9, usize::MAX).await, all);
    assert_eq!(get(3..=5, usize::MAX).await, all[3..=5]);
    assert_eq!(get(7..=Height::MAX, usize::MAX).await, all[7..]);
    assert_eq!(get(0..=Height::MAX, usize::MAX).await, all);
    assert_eq!(get(10..=12, usize::MAX).await, []);
    assert_eq!(get(Height::MAX..=Height::MAX, usize::MAX).await, []);
    assert_eq!(get(5..=3, usize::MAX).await, []);
    assert_eq!(get(4..=9, 0).await, all[4..5], "the first block is exempt");
    let two = all[4].bytes.len() + all[5].bytes.len();
    assert_eq!(get(4..=9, two).await, all[4..6]);
    assert_eq!(get(4..=9, two + all[6].bytes.len() - 1).await, all[4..6]);
}

/// Blocks come back with the very bytes that were committed.
pub async fn blocks_keep_their_bytes(at: &impl StoreFactory) {
    let store = at.open();
    let sizes = [0_usize, 1, 4095, 4096, 30_000, 2 << 20];
    let mut model = Model::default();
    let mut batch = model.grow("main", sizes.len() as u64);
    for (commit, size) in batch.iter_mut().zip(sizes) {
        commit.block.bytes = (0..size).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
    }
    store.commit(batch.clone()).await.expect("commits");
    let store = if at_lasts(at) { reopened(at, store) } else { store };
    let wanted: Vec<EncodedBlock> = batch.into_iter().map(|commit| commit.block).collect();
    assert_eq!(store.blocks(0..=9, ENOUGH).await.expect("reads"), wanted);
}

/// `height_of` finds exactly the hashes of the blocks on the chain.
pub async fn height_of_finds_exactly_the_chain(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 6)).await.expect("commits");
    let old = model.blocks();
    let check = async |found: &[EncodedBlock], missing: &[EncodedBlock]| {
        for block in found {
            let height = store.height_of(block.link.hash).await.expect("reads");
            assert_eq!(height, Some(block.link.height), "{:?}", block.link);
        }
        for block in missing {
            assert_eq!(store.height_of(block.link.hash).await.expect("reads"), None, "{:?}", block.link);
        }
    };
    let mut close_by = old[2].clone();
    close_by.link.hash.0[31] ^= 1;
    check(&old, &[close_by]).await;
    store.rollback(Some(2)).await.expect("rolls back");
    check(&old[..3], &old[3..]).await;
    model.cut(3);
    store.commit(model.grow("other", 2)).await.expect("commits");
    check(&model.blocks(), &old[3..]).await;
    store.finish_reorg(ReorgOutcome::PutBack).await.expect("puts back");
    check(&old, &model.blocks()[3..]).await;
}

/// `rollback` puts the state back to what it was at that height, keeps the removed blocks, and reports each step.
pub async fn rollback_restores_the_state_and_reports_each_step(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 4)).await.expect("commits");
    let at_four = model.clone();
    store.commit(model.grow("main", 8)).await.expect("commits");
    let moved = store.rollback(Some(5)).await.expect("rolls back");
    assert_eq!(moved.steps, model.steps_off(6));
    model.cut(6);
    assert_eq!(moved.tip, model.tip());
    assert_eq!(seen(&store).await, model.seen());
    let moved = store.rollback(Some(3)).await.expect("rolls back further");
    assert_eq!(moved, Moved { tip: at_four.tip(), steps: model.steps_off(4) });
    assert_eq!(seen(&store).await, at_four.seen());
}

/// `rollback` to `None` removes all blocks and leaves the state of the genesis.
pub async fn rollback_to_the_empty_chain(at: &impl StoreFactory) {
    let store = at.open();
    store.bind(hash("ours"), pairs(&[("of genesis", "1")])).await.expect("binds");
    let mut model = Model::default();
    store.commit(model.grow("main", 4)).await.expect("commits");
    let moved = store.rollback(None).await.expect("rolls back");
    assert_eq!(moved, Moved { tip: None, steps: model.steps_off(0) });
    assert_eq!(state(&store), pairs(&[("of genesis", "1")]));
    let moved = store.finish_reorg(ReorgOutcome::PutBack).await.expect("puts back");
    assert_eq!(moved, Moved { tip: model.tip(), steps: model.steps_back(0) });
    assert_eq!(store.blocks(0..=9, ENOUGH).await.expect("reads"), model.blocks());
}

/// `rollback` deeper than the undo records reach, or above the tip, fails and changes nothing.
pub async fn rollback_too_far_changes_nothing(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    assert_eq!(store.rollback(Some(0)).await.expect_err("is empty").kind, StoreErrorKind::NoUndo);
    for _ in 0..3 {
        store.commit(model.grow("main", UNDO_DEPTH / 2)).await.expect("commits");
    }
    let top = model.tip().expect("has blocks").height;
    for keep in [Some(top + 1), Some(Height::MAX), Some(top - UNDO_DEPTH - 1), None] {
        let error = store.rollback(keep).await.expect_err("reaches too far");
        assert_eq!(error.kind, StoreErrorKind::NoUndo, "{keep:?}");
    }
    assert_eq!(seen(&store).await, model.seen());
    store.finish_reorg(ReorgOutcome::PutBack).await.expect("has nothing to put back");
    assert_eq!(seen(&store).await, model.seen());
}

/// The last [`UNDO_DEPTH`] blocks can be rolled back, across openings too.
pub async fn undo_records_reach_as_deep_as_promised(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 77)).await.expect("commits");
    let wanted = model.clone();
    for part in [500, UNDO_DEPTH - 501, 1] {
        store.commit(model.grow("main", part)).await.expect("commits");
    }
    let store = if at_lasts(at) { reopened(at, store) } else { store };
    store.rollback(Some(76)).await.expect("rolls back");
    assert_eq!(seen(&store).await, wanted.seen());
}

/// `finish_reorg(PutBack)` restores chain and state to what they were before the first rollback, and reports each step.
pub async fn put_back_restores_chain_and_state(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 9)).await.expect("commits");
    let old = model.clone();
    store.rollback(Some(5)).await.expect("rolls back");
    model.cut(6);
    store.commit(model.grow("other", 2)).await.expect("commits");
    assert_eq!(seen(&store).await, model.seen());
    let moved = store.finish_reorg(ReorgOutcome::PutBack).await.expect("puts back");
    let mut steps = model.steps_off(6);
    steps.extend(old.steps_back(6));
    assert_eq!(moved, Moved { tip: old.tip(), steps });
    assert_eq!(seen(&store).await, old.seen());
    let store = if at_lasts(at) { reopened(at, store) } else { store };
    assert_eq!(seen(&store).await, old.seen());
    let mut model = old;
    let moved = store.rollback(None).await.expect("the undo records are there again");
    assert_eq!(moved.steps, model.steps_off(0));
    model.cut(0);
    assert_eq!(seen(&store).await, model.seen());
}

/// `finish_reorg(PutBack)` works also where the new branch became longer than undo records reach.
pub async fn put_back_restores_after_a_longer_branch(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 9)).await.expect("commits");
    let old = model.clone();
    store.rollback(Some(5)).await.expect("rolls back");
    model.cut(6);
    for _ in 0..3 {
        store.commit(model.grow("other", UNDO_DEPTH / 2)).await.expect("commits");
    }
    assert_eq!(seen(&store).await, model.seen());
    store.finish_reorg(ReorgOutcome::PutBack).await.expect("puts back");
    assert_eq!(seen(&store).await, old.seen());
    store.rollback(None).await.expect("rolls the old chain back as deep as before");
}

/// A second `rollback` deepens the reorganisation: what was committed since it began is dropped, all older blocks come back.
pub async fn put_back_restores_after_a_reorganisation_that_deepened(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 9)).await.expect("commits");
    let old = model.clone();
    for (round, keep) in [7_u64, 9, 4, 5, 2].into_iter().enumerate() {
        let kept = keep + 1;
        if kept < model.commits.len() as u64 {
            let moved = store.rollback(Some(keep)).await.expect("rolls back");
            assert_eq!(moved.steps, model.steps_off(kept));
            model.cut(kept);
        }
        store.commit(model.grow(&format!("branch {round}"), 3)).await.expect("commits");
        assert_eq!(seen(&store).await, model.seen());
    }
    store.finish_reorg(ReorgOutcome::PutBack).await.expect("puts back");
    assert_eq!(seen(&store).await, old.seen());
}

/// `finish_reorg(KeepNew)` forgets the removed blocks.
pub async fn keep_new_forgets_the_removed_blocks(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 9)).await.expect("commits");
    store.rollback(Some(5)).await.expect("rolls back");
    model.cut(6);
    store.commit(model.grow("other", 5)).await.expect("commits");
    let moved = store.finish_reorg(ReorgOutcome::KeepNew).await.expect("keeps");
    assert_eq!(moved, Moved { tip: model.tip(), steps: Vec::new() });
    store.finish_reorg(ReorgOutcome::PutBack).await.expect("has nothing to put back");
    assert_eq!(seen(&store).await, model.seen());
    let store = if at_lasts(at) { reopened(at, store) } else { store };
    assert_eq!(seen(&store).await, model.seen());
}

/// `finish_reorg` does nothing where no reorganisation is under way.
pub async fn finish_without_a_reorganisation_does_nothing(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    for outcome in [ReorgOutcome::KeepNew, ReorgOutcome::PutBack] {
        store.commit(model.grow("main", 2)).await.expect("commits");
        let moved = store.finish_reorg(outcome).await.expect("does nothing");
        assert_eq!(moved, Moved { tip: model.tip(), steps: Vec::new() });
        assert_eq!(seen(&store).await, model.seen());
    }
}

/// A store that is opened in the middle of a reorganisation puts the removed blocks back.
pub async fn opening_in_the_middle_of_a_reorganisation_puts_back(at: &impl StoreFactory) {
    if !at_lasts(at) {
        return;
    }
    let mut store = at.open();
    let mut old = Model::default();
    store.commit(old.grow("main", 9)).await.expect("commits");
    for branch in [0, 2, 5] {
        store.rollback(Some(5)).await.expect("rolls back");
        let mut model = old.clone();
        model.cut(6);
        if branch > 0 {
            store.commit(model.grow("other", branch)).await.expect("commits");
        }
        assert_eq!(seen(&store).await, model.seen());
        store = reopened(at, store);
        assert_eq!(seen(&store).await, old.seen());
        let moved = store.finish_reorg(ReorgOutcome::PutBack).await.expect("has nothing to put back");
        assert_eq!(moved.steps, Vec::<Vec<StateChange>>::new());
    }
}

/// A state view is a snapshot: it never shows a half of a commit, and does not change under its reader.
pub async fn a_state_view_is_a_snapshot(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    let mut views = Vec::new();
    for _ in 0..4 {
        store.commit(model.grow("main", 5)).await.expect("commits");
        views.push((store.state().expect("reads"), model.state()));
    }
    store.rollback(Some(7)).await.expect("rolls back");
    store
        .commit({
            model.cut(8);
            model.grow("other", 3)
        })
        .await
        .expect("commits");
    views.push((store.state().expect("reads"), model.state()));
    store.finish_reorg(ReorgOutcome::KeepNew).await.expect("keeps");
    store.replace_state(pairs(&[("all", "new")]), Vec::new()).await.expect("replaces");
    for (view, wanted) in views {
        assert_eq!(all_of(view.as_ref()), wanted);
        for (key, value) in &wanted {
            assert_eq!(view.get(key).expect("reads").as_ref(), Some(value));
        }
        assert_eq!(view.get(b"all").expect("reads"), None);
    }
}

/// `scan` yields the keys with a prefix in order of their bytes, until its visitor has had enough.
pub async fn scan_is_in_order_of_the_keys(at: &impl StoreFactory) {
    let store = at.open();
    let genesis = pairs(&[("a", "1"), ("b/1", "2"), ("b/2", "3"), ("b/4", "gone"), ("c", "5")]);
    store.bind(hash("ours"), genesis).await.expect("binds");
    let mut batch = Model::default().grow("main", 1);
    batch[0].changes = vec![
        change("b", None, Some("6")),
        change("b/10", None, Some("7")),
        change("b/2", Some("3"), Some("8")),
        change("b/4", Some("gone"), None),
        change("b/\u{7f}", None, Some("9")),
    ];
    store.commit(batch).await.expect("commits");
    let view = store.state().expect("reads");
    let found = scan(view.as_ref(), b"b/", usize::MAX);
    assert_eq!(found, pairs(&[("b/1", "2"), ("b/10", "7"), ("b/2", "8"), ("b/\u{7f}", "9")]));
    assert_eq!(scan(view.as_ref(), b"b/", 2), found[..2]);
    assert_eq!(scan(view.as_ref(), b"", usize::MAX).len(), 7);
    assert_eq!(scan(view.as_ref(), b"d", usize::MAX), []);
    assert_eq!(scan(view.as_ref(), b"\xff", usize::MAX), []);
    assert_eq!(view.get(b"b/4").expect("reads"), None);
}

/// `replace_state` swaps the whole state at once, and leaves the blocks alone.
pub async fn replace_state_swaps_the_state_at_once(at: &impl StoreFactory) {
    let store = at.open();
    let mut model = Model::default();
    store.commit(model.grow("main", 5)).await.expect("commits");
    let new = pairs(&[("x", "4"), ("y", "2")]);
    let undo = vec![vec![change("x", Some("3"), Some("4"))], vec![change("x", None, Some("3"))]];
    let too_many = vec![Vec::new(); 6];
    let error = store.replace_state(new.clone(), too_many).await.expect_err("has fewer blocks");
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    assert_eq!(seen(&store).await, model.seen());
    store.replace_state(new.clone(), undo.clone()).await.expect("replaces");
    let store = if at_lasts(at) { reopened(at, store) } else { store };
    assert_eq!(state(&store), new);
    assert_eq!(store.blocks(0..=9, ENOUGH).await.expect("reads"), model.blocks());
    assert_eq!(store.rollback(Some(1)).await.expect_err("no undo so deep").kind, StoreErrorKind::NoUndo);
    let moved = store.rollback(Some(2)).await.expect("rolls back");
    assert_eq!(moved.steps, undo);
    assert_eq!(state(&store), pairs(&[("y", "2")]));
    let error = store.replace_state(new.clone(), Vec::new()).await.expect_err("is in the middle of something");
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    store.finish_reorg(ReorgOutcome::PutBack).await.expect("puts back");
    assert_eq!(state(&store), new);
}

/// All of the above holds however many blocks, keys and values there are.
pub async fn a_long_chain_behaves_like_a_short_one(at: &impl StoreFactory) {
    let mut store = at.open();
    let mut model = Model::default();
    for _ in 0..45 {
        store.commit(model.grow_wide("main", 500)).await.expect("commits");
    }
    assert_eq!(state(&store), model.state());
    if at_lasts(at) {
        store = reopened(at, store);
    }
    assert_eq!(state(&store), model.state());
    let blocks = model.blocks();
    for block in blocks.iter().step_by(777) {
        let link = block.link;
        assert_eq!(store.height_of(link.hash).await.expect("reads"), Some(link.height));
        assert_eq!(store.blocks(link.height..=link.height, ENOUGH).await.expect("reads"), std::slice::from_ref(block));
    }
    let old = model.clone();
    let kept = model.commits.len() as u64 - UNDO_DEPTH;
    store.rollback(Some(kept - 1)).await.expect("rolls back");
    model.cut(kept);
    assert_eq!(state(&store), model.state());
    store.commit(model.grow_wide("other", 100)).await.expect("commits");
    assert_eq!(state(&store), model.state());
    store.finish_reorg(ReorgOutcome::PutBack).await.expect("puts back");
    assert_eq!(state(&store), old.state());
    assert_eq!(tip(&store).await, old.tip());
}
