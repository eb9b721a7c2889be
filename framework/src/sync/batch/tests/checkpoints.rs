//! Checkpoints that are reached by linkage.

use super::*;
use crate::sync::{ConnId, Contradiction};

/// The report of a peer that has another block at this height.
pub(super) fn contradicted(peer: ConnId, height: Height, chain: &Chain, other: &Chain) -> SyncReport {
    let expected = chain.at(height).unwrap().hash;
    let found = Contradiction { height, expected, offered: other.at(height).map(|link| link.hash) };
    SyncReport::CheckpointContradicted { peer, found }
}

fn below_a_checkpoint(chain: &Chain, heights: &[Height]) -> World {
    world(&Chain::to(0)).with_checkpoints(heights.iter().filter_map(|&height| chain.at(height)))
}

#[test]
fn nearly_all_blocks_below_a_checkpoint_are_vouched_for_once_the_headers_link() {
    let chain = Chain::to(60_000);
    let mut world = below_a_checkpoint(&chain, &[60_000]);
    world.connect(Scripted::able(&chain));
    assert!(world.run_until_synced(secs(120)));
    assert_eq!(world.tip(), chain.tip());
    assert!(world.reports().contains(&&SyncReport::LinkedToCheckpoint { checkpoint: 60_000 }), "{:?}", world.reports());
    assert!(world.vouched() > 40_000, "{} of 60000", world.vouched());
    world.assert_all_kept();
}

#[test]
fn several_checkpoints_cover_each_the_range_to_the_next() {
    let chain = Chain::to(30_000);
    let mut world = below_a_checkpoint(&chain, &[10_000, 30_000]);
    for _ in 0..3 {
        world.connect(Scripted::able(&chain));
    }
    assert!(world.run_until_synced(secs(120)));
    assert_eq!(world.tip(), chain.tip());
    for checkpoint in [10_000, 30_000] {
        assert!(world.reports().contains(&&SyncReport::LinkedToCheckpoint { checkpoint }), "{:?}", world.reports());
    }
    assert!(world.vouched() > 15_000, "{}", world.vouched());
    world.assert_all_kept();
}

#[test]
fn peers_without_headers_are_followed_with_every_signature_checked() {
    let chain = Chain::to(3_000);
    let mut world = below_a_checkpoint(&chain, &[2_990]);
    world.connect(Scripted::legacy(&chain, Duration::from_millis(50)));
    world.connect(Scripted::honest(&chain));
    assert!(world.run_until_synced(secs(60)));
    assert_eq!(world.tip(), chain.tip());
    // The checkpoint itself vouches for the answer that has it.
    assert!(world.vouched() < 500, "{}", world.vouched());
    world.assert_all_kept();
}

#[test]
fn a_chain_that_contradicts_a_checkpoint_is_refused_by_its_headers_at_once() {
    let (chain, other) = (Chain::to(5_000), Chain::to(100).fork(40, 1, 6_000));
    let mut world = below_a_checkpoint(&chain, &[5_000]);
    let liar = world.connect(Scripted::able(&other));
    world.run_until(secs(10));
    assert!(world.height().unwrap() < 5_000);
    assert!(world.reports().contains(&&contradicted(liar, 5_000, &chain, &other)));
    let asked = world.requests_to(liar).len();
    world.run_until(secs(600));
    assert_eq!(world.requests_to(liar).len(), asked, "its claim is closed for good");
    assert_eq!((world.mode(), world.penalised()), (Mode::Synced, vec![]));
    world.assert_all_kept();
}

#[test]
fn a_chain_that_contradicts_a_checkpoint_is_refused_without_headers_too() {
    let (chain, other) = (Chain::to(1_000), Chain::to(100).fork(40, 1, 1_200));
    let mut world = below_a_checkpoint(&chain, &[1_000]);
    let liar = world.connect(Scripted::legacy(&other, Duration::from_millis(50)));
    world.run_until(secs(60));
    assert!(world.height().unwrap() < 1_000, "{:?}", world.height());
    assert!(world.reports().contains(&&contradicted(liar, 1_000, &chain, &other)));
    assert_eq!((world.mode(), world.penalised()), (Mode::Synced, vec![]));
    world.assert_all_kept();
}

#[test]
fn the_checkpoints_chain_is_taken_though_most_peers_have_another() {
    let (chain, other) = (Chain::to(2_000), Chain::to(2_000).fork(1_500, 1, 4_000));
    let mut world = below_a_checkpoint(&chain, &[1_900]);
    for _ in 0..5 {
        world.connect(Scripted::able(&other));
    }
    world.connect(Scripted::able(&chain));
    world.run_until(secs(300));
    assert_eq!(world.tip(), chain.tip());
    world.assert_all_kept();
}

#[test]
fn an_own_chain_that_is_not_the_checkpoints_is_said_to_be_so_and_left_where_it_can_be() {
    let chain = Chain::to(2_000);
    let ours = chain.fork(950, 1, 1_000);
    let mut world = world(&ours).with_checkpoints(chain.at(1_900));
    world.connect(Scripted::able(&chain));
    world.run_until(secs(120));
    let found = Contradiction {
        height: 1_000,
        expected: chain.at(1_000).unwrap().hash,
        offered: ours.tip().map(|tip| tip.hash),
    };
    assert!(
        world.reports().contains(&&SyncReport::OffCheckpoint { checkpoint: 1_900, found }),
        "{:?}",
        world.reports()
    );
    assert_eq!(world.tip(), chain.tip());
    world.assert_all_kept();
}

#[test]
fn whoever_is_silent_about_headers_delays_no_more_than_the_patience_with_them() {
    let chain = Chain::to(2_000);
    let mut plain = world(&Chain::to(0));
    plain.connect(Scripted::honest(&chain));
    assert!(plain.run_until_synced(secs(60)));
    let mut world = below_a_checkpoint(&chain, &[2_000]);
    // It answers for blocks only.
    world.connect(Scripted { requests: 2, headers: true, silent_above: Some(1_990), ..Scripted::honest(&chain) });
    world.connect(Scripted::honest(&chain));
    assert!(world.run_until_synced(secs(60)));
    assert_eq!(world.tip(), chain.tip());
    assert!(world.now() <= plain.now() + secs(27), "{:?} and {:?}", world.now(), plain.now());
    world.assert_all_kept();
}

#[test]
fn where_nobody_can_give_headers_the_sync_waits_for_nobody_but_a_moment() {
    let chain = Chain::to(2_000);
    let mut world = below_a_checkpoint(&chain, &[2_000]);
    world.connect(Scripted::honest(&chain));
    assert!(world.run_until_synced(secs(60)));
    assert_eq!(world.tip(), chain.tip());
    assert!(world.now() <= secs(5), "{:?}", world.now());
}
