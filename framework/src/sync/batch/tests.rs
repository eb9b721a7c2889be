//! Scenarios of the default strategy in a simulated network.

mod among_liars;
mod any_events;
mod checkpoints;
mod following;
mod fork_sessions;
mod forks;
mod hedging;
mod legacy;
mod long_forks;
mod recoveries;
mod refusals;
mod synced;
mod turns;
mod wake_ups;
mod window;

use std::collections::BTreeMap;

use super::*;
use crate::sync::{SyncOffence, SyncReport};
use crate::testkit::sync::{Chain, Peer as Scripted, Rule, World};

crate::sync_suite!(conforms, BatchSync::default());

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn world(ours: &Chain) -> World {
    World::new(Box::new(BatchSync::default()), ours)
}

/// Ours ends at 120; theirs leaves it after 100.
fn fork_to(tip: Height) -> (Chain, Chain) {
    let ours = Chain::to(120);
    let theirs = ours.fork(100, 1, tip);
    (ours, theirs)
}
