//! When SYNCED holds, and when it ends.

use super::*;

#[test]
fn holds_at_once_where_no_peers_are_known() {
    let mut world = world(&Chain::to(5));
    assert_eq!(world.mode(), Mode::Syncing);
    world.tell(SyncEvent::Connectivity(Connectivity::NoPeersKnown));
    assert_eq!(world.mode(), Mode::Synced);
}

#[test]
fn holds_once_all_dials_have_failed_for_ten_seconds() {
    let mut world = world(&Chain::to(5));
    world.tell(SyncEvent::Connectivity(Connectivity::AllDialsFailed));
    world.run_until(Duration::from_millis(9_999));
    assert_eq!(world.mode(), Mode::Syncing);
    world.run_until(Duration::from_millis(10_001));
    assert_eq!(world.mode(), Mode::Synced);
}

#[test]
fn does_not_hold_while_dials_are_under_way() {
    let mut world = world(&Chain::to(5));
    world.run_until(secs(600));
    assert_eq!(world.mode(), Mode::Syncing);
}

#[test]
fn holds_after_a_handshake_with_nobody_ahead() {
    let mut world = world(&Chain::to(5));
    world.connect(Scripted::honest(&Chain::to(3)));
    assert_eq!(world.mode(), Mode::Synced);
}

#[test]
fn is_delayed_by_silent_liars_for_ten_seconds() {
    let mut world = world(&Chain::to(5));
    for _ in 0..64 {
        world.connect(Scripted::silent(u64::MAX));
    }
    assert!(world.run_until_synced(Duration::from_millis(10_100)));
    world.assert_all_kept();
}

#[test]
fn is_delayed_by_liars_who_come_one_after_another_for_thirty_seconds_in_all() {
    let mut world = world(&Chain::to(5));
    for second in 0..40 {
        world.run_until(secs(second));
        world.connect(Scripted::silent(u64::MAX));
    }
    let synced = world.modes.iter().find(|(_, mode)| *mode == Mode::Synced).map(|(at, _)| *at);
    assert!(synced.is_some_and(|at| at <= Duration::from_millis(30_100)), "{:?}", world.modes);
    world.run_until(secs(100));
    assert_eq!(world.mode(), Mode::Synced);
    assert_eq!(world.modes.len(), 2, "{:?}", world.modes);
}

#[test]
fn is_delayed_by_inventors_for_thirty_seconds_at_most() {
    let mut world = world(&Chain::to(5));
    for _ in 0..64 {
        world.connect(Scripted { latency: secs(9), ..Scripted::inventor(u64::MAX) });
    }
    assert!(world.run_until_synced(Duration::from_millis(30_100)));
    world.assert_all_kept();
}

#[test]
fn three_empty_answers_close_a_claim() {
    let mut world = world(&Chain::to(5));
    let liar = world.connect(Scripted::empty(9));
    assert!(world.run_until_synced(secs(5)));
    assert_eq!(world.requests_to(liar).len(), 3);
    assert_eq!(world.penalised(), []);
}

#[test]
fn empty_answers_to_what_was_asked_together_count_as_one() {
    let ours = Chain::to(40);
    let chain = ours.grow(0, 50);
    let mut world = world(&ours);
    let peer = world.connect(Scripted::able(&chain));
    world.run_until(secs(1));
    let before = world.requests_to(peer).len();
    // It tells of blocks, one after the other, that it can give out a moment later only.
    for height in 51..=54 {
        world.claim(peer, Some(height));
    }
    assert!(world.requests_to(peer).len() >= before + 3, "{:?}", world.requests_to(peer));
    world.run_until(world.now() + Duration::from_millis(100));
    let longer = chain.grow(0, 54);
    world.set_chain(peer, &longer);
    world.run_until(world.now() + secs(2));
    assert_eq!((world.tip(), world.mode()), (longer.tip(), Mode::Synced));
}

#[test]
fn catches_up_after_a_gap() {
    let chain = Chain::to(50);
    let mut world = world(&chain);
    let peer = world.connect(Scripted::honest(&chain));
    assert_eq!(world.mode(), Mode::Synced);
    let longer = chain.grow(0, 55);
    world.set_chain(peer, &longer);
    world.announce_tip(peer);
    world.run_until(secs(1));
    assert_eq!((world.tip(), world.mode()), (longer.tip(), Mode::Synced));
}

#[test]
fn ends_where_a_valid_block_further_up_is_delivered_and_more_is_to_come() {
    let chain = Chain::to(50);
    let mut world = world(&chain);
    let peer = world.connect(Scripted::honest(&chain));
    let longer = chain.grow(0, 2_000);
    world.set_chain(peer, &longer);
    world.announce_tip(peer);
    assert_eq!(world.mode(), Mode::Synced, "an announcement is a claim");
    world.run_until(secs(10));
    let modes: Vec<_> = world.modes.iter().map(|&(_, mode)| mode).collect();
    assert_eq!(modes, [Mode::Syncing, Mode::Synced, Mode::Syncing, Mode::Synced]);
    assert_eq!(world.tip(), longer.tip());
}

#[test]
fn is_not_ended_by_higher_claims_of_a_peer_that_did_not_deliver() {
    let mut world = world(&Chain::to(50));
    let liar = world.connect(Scripted::empty(60));
    assert!(world.run_until_synced(secs(10)));
    for round in 0..100 {
        world.claim(liar, Some(70 + round));
        world.run_until(world.now() + secs(1));
        assert_eq!(world.mode(), Mode::Synced);
    }
    assert!(world.requests_to(liar).len() < 40, "{}", world.requests_to(liar).len());
}

#[test]
fn a_liar_that_relays_real_blocks_does_not_keep_the_node_syncing() {
    let mut chain = Chain::to(50);
    let mut world = world(&chain);
    let liar = world.connect(Scripted { claims: Some(u64::MAX), ..Scripted::honest(&chain) });
    assert!(world.run_until_synced(secs(10)));
    let mut syncing = 0;
    for round in 0..30 {
        chain = chain.grow(0, 51 + round);
        world.set_chain(liar, &chain);
        world.claim(liar, Some(u64::MAX));
        for _ in 0..20 {
            world.run_until(world.now() + Duration::from_millis(500));
            syncing += u64::from(world.mode() == Mode::Syncing);
        }
    }
    assert!(syncing < 20, "SYNCING for {} ms of 300 s", syncing * 500);
}

#[test]
fn is_delayed_by_liars_who_come_and_go_for_thirty_seconds_in_all() {
    let mut world = world(&Chain::to(5));
    let mut waited = Duration::ZERO;
    for _ in 0..200 {
        let liar = world.connect(Scripted::silent(u64::MAX));
        if world.run_until_synced(world.now() + secs(1)) {
            break;
        }
        waited += secs(1);
        world.disconnect(liar);
        world.tell(SyncEvent::Connectivity(Connectivity::Dialling));
        world.run_until(world.now() + secs(1));
    }
    assert!(waited <= secs(30), "{waited:?} with a liar");
}
