//! Sync strategies, by decisions that bytes spell.

use crate::sync::SyncStrategy;
use crate::testkit::sync::{AnyEvents, Dice, network_of};

/// The most events of one run: what an input of some kilobytes can decide.
const MOST_EVENTS: usize = 1000;

/// Tells a strategy whatever events `decisions` spell.
///
/// # Panics
/// It breaks a rule of [`AnyEvents`].
pub fn sync_events(strategy: impl SyncStrategy, decisions: &[u8]) {
    AnyEvents::new(Box::new(strategy), Dice::of_bytes(decisions)).run(MOST_EVENTS);
}

/// Puts a strategy into the network that `decisions` spell, and lets it run until all has come to rest.
///
/// # Panics
/// It breaks a rule of its contract, among them: no rollback but towards checked blocks that link, no more requests than a peer keeps
/// apart, nobody penalised who is not at fault, every reorganisation ended.
pub fn sync_network(make: impl Fn() -> Box<dyn SyncStrategy>, decisions: &[u8]) {
    let world = network_of(&make, Dice::of_bytes(decisions));
    world.assert_all_kept();
    assert!(!world.is_reorganising(), "a reorganisation without an end");
}
