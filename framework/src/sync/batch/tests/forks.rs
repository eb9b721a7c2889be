//! Peers on another branch.

use super::*;

#[test]
fn rolls_back_twenty_blocks_when_the_peer_is_on_another_branch() {
    let (ours, theirs) = fork_to(135);
    let mut world = world(&ours);
    world.connect(Scripted::honest(&theirs));
    assert!(world.run_until_synced(secs(30)));
    assert_eq!(world.tip(), theirs.tip());
    assert_eq!(world.rollbacks(), [Some(100)]);
    assert_eq!(world.strategy().status().rolled_back, 20);
    assert_eq!(world.reports(), [&SyncReport::Reorganised { removed: 20 }]);
    assert!(world.now() < secs(2), "{:?}", world.now());
    world.assert_all_kept();
}

#[test]
fn rolls_back_one_block_with_two_questions() {
    let ours = Chain::to(120);
    let theirs = ours.fork(119, 1, 121);
    let mut world = world(&ours);
    let peer = world.connect(Scripted::honest(&theirs));
    assert!(world.run_until_synced(secs(30)));
    assert_eq!(world.tip(), theirs.tip());
    assert_eq!(world.requests_to(peer), [(121, 121), (120, 121)]);
    world.assert_all_kept();
}

#[test]
fn answers_of_one_block_show_a_branch_as_well() {
    let (ours, theirs) = fork_to(135);
    let mut world = world(&ours);
    world.connect(Scripted { longest_answer: 1, ..Scripted::honest(&theirs) });
    assert!(world.run_until_synced(secs(30)));
    assert_eq!((world.tip(), world.rollbacks()), (theirs.tip(), vec![Some(100)]));
    world.assert_all_kept();
}

#[test]
fn a_shorter_branch_costs_nothing() {
    let (ours, theirs) = fork_to(115);
    for claims in [115, 120, 135, u64::MAX] {
        let mut world = world(&ours);
        world.connect(Scripted { claims: Some(claims), ..Scripted::honest(&theirs) });
        assert!(world.run_until_synced(secs(30)));
        assert_eq!((world.tip(), world.rollbacks()), (ours.tip(), vec![]));
        world.assert_all_kept();
    }
}

#[test]
fn nothing_is_rolled_back_towards_a_branch_that_no_known_proposer_signed() {
    let (ours, theirs) = fork_to(135);
    let mut world = world(&ours);
    world.connect(Scripted { unsigned: true, ..Scripted::honest(&theirs) });
    assert!(world.run_until_synced(secs(30)));
    assert_eq!((world.tip(), world.rollbacks(), world.penalised()), (ours.tip(), vec![], vec![]));
    world.assert_all_kept();
}

#[test]
fn a_few_signed_blocks_do_not_carry_a_branch_of_unknown_proposers() {
    let (ours, theirs) = fork_to(200);
    for signed_to in [101, 110, 119] {
        let mut world = world(&ours);
        world.connect(Scripted { unsigned_above: Some(signed_to), ..Scripted::honest(&theirs) });
        world.run_until(secs(300));
        assert_eq!((world.tip(), world.rollbacks(), world.penalised()), (ours.tip(), vec![], vec![]), "{signed_to}");
        assert_eq!(world.mode(), Mode::Synced);
        world.assert_all_kept();
    }
}

#[test]
fn a_branch_that_known_proposers_signed_beyond_our_tip_is_followed_whoever_comes_after_them() {
    let (ours, theirs) = fork_to(135);
    let mut world = world(&ours);
    world.connect(Scripted { unsigned_above: Some(121), ..Scripted::honest(&theirs) });
    assert!(world.run_until_synced(secs(30)));
    assert_eq!((world.tip(), world.rollbacks()), (theirs.tip(), vec![Some(100)]));
    world.assert_all_kept();
}

#[test]
fn a_branch_that_led_to_nothing_is_not_tried_again_because_its_peer_reconnects() {
    let (ours, theirs) = fork_to(135);
    let faults = BTreeMap::from([(110, RejectKind::WrongProposer)]);
    let mut world = world(&ours);
    for second in (0..600).step_by(5) {
        world.run_until(secs(second));
        let peer = world.connect(Scripted { faults: faults.clone(), ..Scripted::honest(&theirs) });
        world.run_until(secs(second + 4));
        world.disconnect(peer);
    }
    assert_eq!(world.tip(), ours.tip());
    let tried = world.rollbacks().len();
    assert!((2..=4).contains(&tried), "{tried} rollbacks within ten minutes: one, and after 60, 120 and 240 s again");
    world.assert_all_kept();
}

#[test]
fn a_branch_that_one_peer_spoilt_is_followed_when_another_delivers_it_right() {
    let (ours, theirs) = fork_to(135);
    let faults = BTreeMap::from([(110, RejectKind::BodyMismatch)]);
    let mut world = world(&ours);
    let spoiler = world.connect(Scripted { faults, ..Scripted::honest(&theirs) });
    world.run_until(secs(5));
    assert_eq!((world.tip(), world.rollbacks().len()), (ours.tip(), 1));
    world.disconnect(spoiler);
    world.connect(Scripted::honest(&theirs));
    world.run_until(secs(120));
    assert_eq!(world.tip(), theirs.tip());
    world.assert_all_kept();
}

#[test]
fn a_forged_signature_on_the_branch_is_penalised_before_anything_is_rolled_back() {
    let (ours, theirs) = fork_to(135);
    let mut world = world(&ours);
    let peer = world.connect(Scripted { forged_at: Some(104), ..Scripted::honest(&theirs) });
    world.run_until(secs(30));
    assert_eq!((world.tip(), world.rollbacks()), (ours.tip(), vec![]));
    assert_eq!(world.penalised(), [(peer, SyncOffence::InvalidBlock { height: 104 })]);
    world.assert_all_kept();
}

#[test]
fn a_branch_of_equal_height_is_not_better() {
    let (ours, theirs) = fork_to(120);
    let mut world = world(&ours);
    let peer = world.connect(Scripted { claims: Some(121), ..Scripted::honest(&theirs) });
    world.announce_tip(peer);
    world.run_until(secs(60));
    assert_eq!((world.tip(), world.rollbacks()), (ours.tip(), vec![]));
}

#[test]
fn an_invalid_block_on_the_branch_puts_ours_back_and_is_penalised() {
    let (ours, theirs) = fork_to(135);
    let mut world = world(&ours);
    let faults = BTreeMap::from([(110, RejectKind::Invalid)]);
    let peer = world.connect(Scripted { faults, ..Scripted::honest(&theirs) });
    world.run_until(secs(60));
    assert_eq!(world.tip(), ours.tip());
    assert_eq!(world.penalised(), [(peer, SyncOffence::InvalidBlock { height: 110 })]);
    assert_eq!(world.reports(), [&SyncReport::PutBack { restored: 20 }]);
    assert_eq!(world.strategy().status().rolled_back, 20);
    world.assert_all_kept();
}

#[test]
fn an_invalid_block_above_our_old_tip_keeps_what_is_below_it() {
    let (ours, theirs) = fork_to(135);
    let mut world = world(&ours);
    let faults = BTreeMap::from([(130, RejectKind::Invalid)]);
    world.connect(Scripted { faults, ..Scripted::honest(&theirs) });
    world.run_until(secs(60));
    assert_eq!(world.tip(), theirs.fork(129, 0, 129).tip());
    assert_eq!(world.penalised().len(), 1);
    world.assert_all_kept();
}

#[test]
fn a_branch_that_is_only_refused_is_put_back_once_without_blame() {
    let (ours, theirs) = fork_to(135);
    for why in [RejectKind::WrongProposer, RejectKind::Stricter, RejectKind::Checkpoint, RejectKind::BodyMismatch] {
        let mut world = world(&ours);
        let faults = BTreeMap::from([(110, why)]);
        let peer = world.connect(Scripted { faults, ..Scripted::honest(&theirs) });
        for minute in 1..20 {
            world.run_until(secs(60 * minute));
            world.claim(peer, Some(135 + minute));
        }
        assert_eq!((world.tip(), world.rollbacks()), (ours.tip(), vec![Some(100)]), "{why:?}");
        world.assert_all_kept();
    }
}

#[test]
fn a_peer_that_stops_delivering_below_our_tip_costs_nothing() {
    let (ours, theirs) = fork_to(135);
    let honest = Scripted { longest_answer: 6, ..Scripted::honest(&theirs) };
    for peer in [
        Scripted { silent_above: Some(118), ..honest.clone() },
        Scripted { empty_above: Some(118), ..honest.clone() },
        Scripted { malformed_at: Some(118), ..honest.clone() },
    ] {
        let mut world = world(&ours);
        world.connect(peer);
        assert!(world.run_until_synced(secs(40)));
        world.run_until(secs(100));
        assert_eq!((world.tip(), world.mode()), (ours.tip(), Mode::Synced));
        assert!(!world.is_reorganising());
        world.assert_all_kept();
    }
}

#[test]
fn a_branch_too_large_to_be_shown_whole_is_put_back_when_its_peer_leaves() {
    let (ours, theirs) = fork_to(135);
    // A window of three blocks of the simulated size: the rollback comes before the branch is seen to be higher.
    let limits = SyncLimits { window_bytes: 4_500, answer_bytes: 1_500, ..SyncLimits::default() };
    let strategy = || Box::new(BatchSync::with_limits(RollbackOne::default(), limits.clone()));
    let mut world = World::new(strategy(), &ours);
    let peer = world.connect(Scripted { longest_answer: 1, ..Scripted::honest(&theirs) });
    let mut seen = false;
    for step in 0..2_000 {
        world.run_until(Duration::from_millis(10 * step));
        if world.is_reorganising() && world.height() >= Some(110) {
            seen = true;
            break;
        }
    }
    assert!(seen, "no reorganisation in parts");
    world.disconnect(peer);
    world.run_until(world.now() + secs(30));
    assert_eq!(world.tip(), ours.tip());
    assert_eq!(world.reports(), [&SyncReport::PutBack { restored: 20 }]);
    world.assert_all_kept();

    let mut world = World::new(strategy(), &ours);
    world.connect(Scripted { longest_answer: 1, ..Scripted::honest(&theirs) });
    assert!(world.run_until_synced(secs(60)));
    assert_eq!(world.tip(), theirs.tip());
    world.assert_all_kept();
}

#[test]
fn the_deepest_allowed_fork_is_followed() {
    let ours = Chain::to(300);
    let theirs = ours.fork(200, 1, 320);
    let mut world = world(&ours);
    world.connect(Scripted::honest(&theirs));
    assert!(world.run_until_synced(secs(30)));
    assert_eq!((world.tip(), world.rollbacks()), (theirs.tip(), vec![Some(200)]));
    world.assert_all_kept();
}

#[test]
fn a_deeper_fork_is_reported_once_per_peer_and_nothing_is_lost() {
    let ours = Chain::to(300);
    let theirs = ours.fork(199, 1, 500);
    let mut world = world(&ours);
    let peer = world.connect(Scripted::honest(&theirs));
    assert!(world.run_until_synced(secs(30)));
    for minute in 1..10 {
        world.run_until(secs(60 * minute));
        world.claim(peer, Some(500 + minute));
    }
    assert_eq!((world.tip(), world.rollbacks()), (ours.tip(), vec![]));
    assert_eq!(world.reports(), [&SyncReport::ForkTooDeep { peer, below: 200, bound: 100 }]);
    assert_eq!(world.mode(), Mode::Synced);
    world.assert_all_kept();
}

#[test]
fn a_short_chain_of_ours_is_left_altogether() {
    let ours = Chain::to(3);
    let theirs = Chain::default().grow(5, 40);
    let mut world = world(&ours);
    world.connect(Scripted::honest(&theirs));
    world.run_until(secs(30));
    assert_eq!((world.tip(), world.rollbacks()), (theirs.tip(), vec![None]));
    assert_eq!(world.strategy().status().rolled_back, 4);
    world.assert_all_kept();
}

#[test]
fn while_synced_a_block_above_our_tip_that_does_not_link_starts_one() {
    let ours = Chain::to(120);
    let mut world = world(&ours);
    let peer = world.connect(Scripted::honest(&ours));
    assert_eq!(world.mode(), Mode::Synced);
    let sibling = ours.fork(118, 1, 120);
    world.set_chain(peer, &sibling);
    world.announce_tip(peer);
    world.run_until(secs(10));
    assert_eq!((world.tip(), world.log.len()), (ours.tip(), 0), "a sibling of our tip is no better");
    let higher = sibling.grow(1, 121);
    world.set_chain(peer, &higher);
    world.announce_tip(peer);
    world.run_until(secs(20));
    assert_eq!((world.tip(), world.mode()), (higher.tip(), Mode::Synced));
    world.assert_all_kept();
}

#[test]
fn our_branch_is_followed_first_where_others_are_on_it() {
    let trunk = Chain::to(120);
    let (ours, theirs) = (trunk.grow(0, 600), trunk.fork(100, 1, 700));
    let mut world = world(&trunk);
    world.connect(Scripted::honest(&theirs));
    world.connect(Scripted::honest(&ours));
    world.run_until(secs(60));
    assert!([ours.tip(), theirs.tip()].contains(&world.tip()), "{:?}", world.tip());
    assert_eq!(world.mode(), Mode::Synced);
    world.assert_all_kept();
}
