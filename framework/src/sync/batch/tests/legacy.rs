//! Peers that are honest and slow.

use super::*;

#[test]
fn peers_that_are_busy_for_33_seconds_are_neither_dropped_nor_penalised() {
    let chain = Chain::to(1_000);
    let mut world = world(&Chain::default());
    let peer = world.connect(Scripted::legacy(&chain, secs(33)));
    world.run_until(secs(33 * 20));
    assert_eq!(world.tip(), chain.tip());
    assert_eq!(world.penalised(), []);
    assert!(!world.log.iter().any(|(_, action)| matches!(action, SyncAction::Cancel { .. })));
    assert!(world.requests_to(peer).iter().all(|(from, to)| to - from < 500));
    world.assert_all_kept();
}

#[test]
fn a_peer_that_missed_its_deadline_is_asked_again_later() {
    let chain = Chain::to(20);
    let mut world = world(&Chain::default());
    let peer = world.connect(Scripted { latency: secs(70), ..Scripted::legacy(&chain, secs(0)) });
    world.run_until(secs(300));
    assert!(world.requests_to(peer).len() >= 2, "{:?}", world.requests_to(peer));
    assert_eq!(world.penalised(), []);
}

#[test]
fn progress_that_nobody_tells_is_found_by_asking_now_and_then() {
    let chain = Chain::to(50);
    let mut world = world(&chain);
    let peers = [(); 3].map(|()| world.connect(Scripted::legacy(&chain, Duration::from_millis(80))));
    world.run_until(secs(60));
    let asked: Vec<_> = peers.iter().map(|&id| world.requests_to(id).len()).collect();
    assert!(asked.iter().all(|&times| (1..=2).contains(&times)), "one peer every 15 s in turn: {asked:?}");
    let longer = chain.grow(0, 400);
    world.set_chain(peers[1], &longer);
    world.run_until(secs(120));
    assert_eq!((world.tip(), world.mode()), (longer.tip(), Mode::Synced));
    world.assert_all_kept();
}

#[test]
fn ranges_start_small() {
    let chain = Chain::to(1_000);
    let mut world = world(&Chain::default());
    let peer = world.connect(Scripted::legacy(&chain, Duration::from_millis(10)));
    assert!(world.run_until_synced(secs(60)));
    let sizes: Vec<_> = world.requests_to(peer).iter().map(|(from, to)| to - from + 1).collect();
    assert_eq!(sizes, [64, 128, 256, 500, 53]);
}

#[test]
fn a_fork_is_followed_though_every_answer_takes_33_seconds() {
    let (ours, theirs) = fork_to(135);
    let mut world = world(&ours);
    world.connect(Scripted::legacy(&theirs, secs(33)));
    world.run_until(secs(3_000));
    assert_eq!(world.tip(), theirs.tip());
    world.assert_all_kept();
}
