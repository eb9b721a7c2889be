//! Blocks that are refused.

use super::*;

fn one_bad_one_good(why: RejectKind) -> (World, Chain) {
    let chain = Chain::to(400);
    let mut world = world(&Chain::default());
    world.connect(Scripted { faults: BTreeMap::from([(150, why)]), ..Scripted::honest(&chain) });
    world.run_until(secs(3));
    world.connect(Scripted::honest(&chain));
    world.run_until(secs(200));
    (world, chain)
}

#[test]
fn whatever_one_peer_delivers_another_one_can_deliver_right() {
    for why in [
        RejectKind::NotLinked,
        RejectKind::Invalid,
        RejectKind::WrongProposer,
        RejectKind::FromTheFuture,
        RejectKind::Stricter,
        RejectKind::BodyMismatch,
        RejectKind::Checkpoint,
    ] {
        let (world, chain) = one_bad_one_good(why);
        assert_eq!((world.tip(), world.mode()), (chain.tip(), Mode::Synced), "{why:?}");
        world.assert_all_kept();
        let penalised = usize::from(why == RejectKind::Invalid);
        assert_eq!(world.penalised().len(), penalised, "{why:?}");
    }
}

#[test]
fn a_block_that_only_we_refuse_is_reported_and_nobody_is_blamed() {
    let chain = Chain::to(400);
    let faults = BTreeMap::from([(150, RejectKind::Stricter)]);
    let mut world = world(&Chain::default());
    for _ in 0..3 {
        world.connect(Scripted { faults: faults.clone(), ..Scripted::honest(&chain) });
    }
    assert!(world.run_until_synced(secs(40)));
    world.run_until(secs(600));
    assert_eq!(world.height(), Some(149));
    assert_eq!(world.reports(), [&SyncReport::StoppedAt { height: 150, why: RejectKind::Stricter }]);
    assert_eq!(world.penalised(), []);
}

#[test]
fn a_block_from_the_future_is_asked_for_again_after_a_while() {
    let chain = Chain::to(20);
    let mut world = world(&Chain::to(19));
    let faults = BTreeMap::from([(20, RejectKind::FromTheFuture)]);
    let peer = world.connect(Scripted { faults, ..Scripted::honest(&chain) });
    world.run_until(secs(12));
    assert_eq!(world.requests_to(peer).len(), 3);
    assert_eq!(world.penalised(), []);
}

#[test]
fn a_failing_store_is_left_alone_for_ten_seconds() {
    let chain = Chain::to(20);
    let mut world = world(&Chain::to(10));
    let faults = BTreeMap::from([(20, RejectKind::Local)]);
    let peer = world.connect(Scripted { faults, ..Scripted::honest(&chain) });
    world.run_until(secs(25));
    assert_eq!(world.requests_to(peer).len(), 3);
    assert_eq!((world.mode(), world.penalised()), (Mode::Syncing, vec![]));
    world.assert_kept(Rule::BatchOnce);
}
