//! Forks below a checkpoint that are deeper than what can be undone: signed with old keys, say, so that only the checkpoint tells them apart.

use super::*;
use crate::store::UNDO_DEPTH;

const CHECKPOINT: Height = 10_000;

/// The chain of the checkpoint, and another one that leaves it after block 40.
fn chains() -> (Chain, Chain) {
    let chain = Chain::to(12_000);
    let other = chain.fork(40, 1, 14_000);
    (chain, other)
}

fn below_the_checkpoint(chain: &Chain, ours: &Chain) -> World {
    // As fast as blocks are imported with every signature checked.
    let world = world(ours).importing_at(Duration::from_micros(20));
    world.with_checkpoints(chain.at(CHECKPOINT))
}

fn ends_on(world: &mut World, chain: &Chain) {
    world.run_until(secs(1200));
    assert_eq!(world.tip(), chain.tip(), "{:?}", world.reports());
    assert_eq!(world.penalised(), []);
    world.assert_all_kept();
}

fn slow(peer: Scripted) -> Scripted {
    Scripted { latency: Duration::from_millis(300), ..peer }
}

fn fast(peer: Scripted) -> Scripted {
    Scripted { latency: Duration::from_millis(5), ..peer }
}

#[test]
fn a_fork_without_headers_is_not_followed_beside_a_peer_that_gives_them() {
    let (chain, other) = chains();
    let mut world = below_the_checkpoint(&chain, &Chain::to(0));
    for _ in 0..3 {
        world.connect(fast(Scripted::honest(&other)));
    }
    world.connect(slow(Scripted::able(&chain)));
    ends_on(&mut world, &chain);
}

#[test]
fn a_fork_with_headers_of_its_own_is_not_followed_beside_an_honest_peer() {
    let (chain, other) = chains();
    let mut world = below_the_checkpoint(&chain, &Chain::to(0));
    for _ in 0..3 {
        world.connect(fast(Scripted::able(&other)));
    }
    world.connect(slow(Scripted::able(&chain)));
    ends_on(&mut world, &chain);
}

#[test]
fn a_fork_that_ends_below_the_checkpoint_is_not_followed_beside_an_honest_peer() {
    let (chain, _) = chains();
    let other = chain.fork(40, 1, CHECKPOINT - 1);
    let mut world = below_the_checkpoint(&chain, &Chain::to(0));
    world.connect(fast(Scripted::able(&other)));
    world.connect(fast(Scripted::honest(&other)));
    world.connect(slow(Scripted::able(&chain)));
    ends_on(&mut world, &chain);
}

#[test]
fn many_that_are_silent_about_headers_do_not_hide_the_one_that_gives_them() {
    let (chain, other) = chains();
    let mut world = below_the_checkpoint(&chain, &Chain::to(0));
    let silent = Scripted { silent_above: Some(CHECKPOINT - 5000), ..fast(Scripted::able(&other)) };
    for _ in 0..40 {
        world.connect(silent.clone());
    }
    world.connect(slow(Scripted::able(&chain)));
    ends_on(&mut world, &chain);
}

#[test]
fn the_one_that_gives_headers_may_be_a_moment_late() {
    let (chain, other) = chains();
    let mut world = below_the_checkpoint(&chain, &Chain::to(0));
    world.connect(fast(Scripted::honest(&other)));
    world.run_until(secs(2));
    world.connect(slow(Scripted::able(&chain)));
    ends_on(&mut world, &chain);
}

#[test]
fn nobody_holds_the_sync_up_with_one_header_at_a_time() {
    let (chain, _) = chains();
    let mut world = below_the_checkpoint(&chain, &Chain::to(0));
    let miser = Scripted { headers: true, requests: 4, longest_answer: 1, ..Scripted::honest(&chain) };
    world.connect(miser);
    world.connect(Scripted::honest(&chain));
    assert!(world.run_until_synced(secs(120)), "{:?}", world.height());
    assert_eq!(world.tip(), chain.tip());
    world.assert_all_kept();
}

#[test]
fn between_the_headers_that_are_kept_a_fork_leads_no_further_than_can_be_undone() {
    let chain = Chain::to(12_000);
    // It tells the truth in headers, and leaves the chain time and again just above what is known.
    let other = chain.fork(6_000, 1, 14_000);
    let mut world = below_the_checkpoint(&chain, &Chain::to(0));
    world.connect(Scripted { headers: false, longest_answer: 7, ..fast(Scripted::able(&other)) });
    world.connect(slow(Scripted::able(&chain)));
    ends_on(&mut world, &chain);
}

#[test]
fn a_chain_of_ours_that_was_off_for_a_long_time_is_said_to_be_so_and_not_extended() {
    let (chain, _) = chains();
    let ours = chain.fork(40, 1, 40 + 2 * UNDO_DEPTH);
    let mut world = below_the_checkpoint(&chain, &ours);
    let other = world.connect(fast(Scripted::honest(&ours.grow(1, 9_000))));
    world.connect(slow(Scripted::able(&chain)));
    world.run_until(secs(600));
    assert_eq!(world.tip(), ours.tip());
    let reports = world.reports();
    assert!(reports.iter().any(|report| matches!(report, SyncReport::OffCheckpoint { .. })), "{reports:?}");
    let contradicts =
        |report: &&SyncReport| matches!(report, SyncReport::CheckpointContradicted { peer, .. } if *peer == other);
    assert!(reports.iter().any(contradicts), "{reports:?}");
    world.assert_all_kept();
}

#[test]
fn where_nobody_can_give_headers_another_chain_is_refused_at_the_checkpoint() {
    let (chain, other) = chains();
    let mut world = below_the_checkpoint(&chain, &Chain::to(0));
    let liar = world.connect(Scripted::legacy(&other, Duration::from_millis(5)));
    world.run_until(secs(120));
    assert!(world.height() < Some(CHECKPOINT), "{:?}", world.height());
    let report = checkpoints::contradicted(liar, CHECKPOINT, &chain, &other);
    assert!(world.reports().contains(&&report), "{:?}", world.reports());
    world.assert_all_kept();
}

/// A batch under import seems to lead off the chain, and is then refused for another reason.
#[test]
fn blocks_of_another_chain_that_are_refused_leave_ours_as_it_is() {
    let chain = Chain::to(12_000);
    let other = chain.fork(40, 1, 14_000);
    let mut world = below_the_checkpoint(&chain, &Chain::to(0)).importing_at(Duration::from_millis(20));
    let mut liar = fast(Scripted::honest(&other));
    liar.faults.insert(100, RejectKind::BodyMismatch);
    world.connect(liar);
    world.connect(slow(Scripted::able(&chain)));
    ends_on(&mut world, &chain);
}
