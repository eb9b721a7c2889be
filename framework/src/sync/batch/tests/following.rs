//! Following peers on our branch.

use super::*;

#[test]
fn follows_one_honest_peer_for_ten_thousand_blocks() {
    let chain = Chain::to(9_999);
    let mut world = world(&Chain::default());
    let peer = world.connect(Scripted::honest(&chain));
    assert!(world.run_until_synced(secs(60)));
    assert_eq!(world.tip(), chain.tip());
    assert!(world.requests_to(peer).len() <= 25, "{:?}", world.requests_to(peer));
    world.assert_all_kept();
}

#[test]
fn shares_the_work_between_eight_peers() {
    let chain = Chain::to(9_999);
    let mut world = world(&Chain::default());
    let ids: Vec<_> = (0..8).map(|_| world.connect(Scripted::honest(&chain))).collect();
    assert!(world.run_until_synced(secs(60)));
    assert_eq!(world.tip(), chain.tip());
    let shares: Vec<u64> =
        ids.iter().map(|&id| world.requests_to(id).iter().map(|(from, to)| to - from + 1).sum()).collect();
    assert!(shares.iter().all(|&share| share > 500), "{shares:?}");
    assert!(shares.iter().sum::<u64>() < 10_500, "asked for blocks twice: {shares:?}");
    world.assert_all_kept();
}

#[test]
fn downloads_while_it_imports() {
    let chain = Chain::to(4_000);
    let mut slow = world(&Chain::default()).importing_at(Duration::from_millis(1));
    slow.connect(Scripted { latency: Duration::from_millis(400), ..Scripted::honest(&chain) });
    assert!(slow.run_until_synced(secs(60)));
    assert_eq!(slow.tip(), chain.tip());
    assert!(slow.now() < Duration::from_millis(5_500), "took {:?}: 4 s of import, 8 answers of 0.4 s", slow.now());
}

#[test]
fn keeps_the_window() {
    let chain = Chain::to(20_000);
    let mut slow = world(&Chain::default()).importing_at(Duration::from_millis(20));
    for _ in 0..10 {
        slow.connect(Scripted::honest(&chain));
    }
    for second in 1..60 {
        slow.run_until(secs(second));
        let ahead = slow.log.iter().filter_map(|(_, action)| match action {
            SyncAction::Request { to, .. } => Some(*to),
            _ => None,
        });
        let window = slow.height().unwrap_or(0) + SyncLimits::default().window_blocks;
        assert!(ahead.max().unwrap_or(0) <= window, "beyond {window}");
    }
    slow.assert_all_kept();
}

#[test]
fn takes_short_answers() {
    let chain = Chain::to(500);
    let mut world = world(&Chain::default());
    for longest_answer in [1, 7, 33] {
        world.connect(Scripted { longest_answer, ..Scripted::honest(&chain) });
    }
    assert!(world.run_until_synced(secs(120)));
    assert_eq!(world.tip(), chain.tip());
    world.assert_all_kept();
}

#[test]
fn waits_for_a_slow_import_however_long() {
    let chain = Chain::to(300);
    let mut slow = world(&Chain::default()).importing_at(Duration::from_millis(500));
    slow.connect(Scripted::honest(&chain));
    assert!(slow.run_until_synced(secs(600)));
    assert_eq!(slow.tip(), chain.tip());
    assert_eq!(slow.modes.iter().filter(|(_, mode)| *mode == Mode::Synced).count(), 1, "{:?}", slow.modes);
}

#[test]
fn asks_another_peer_for_a_range_whose_peer_freezes() {
    let chain = Chain::to(1_000);
    let mut world = world(&Chain::default());
    world.connect(Scripted { silent_above: Some(200), ..Scripted::honest(&chain) });
    world.connect(Scripted { silent_above: Some(400), ..Scripted::honest(&chain) });
    world.connect(Scripted::honest(&chain));
    assert!(world.run_until_synced(secs(30)));
    assert_eq!(world.tip(), chain.tip());
    assert!(world.now() < secs(15), "{:?}", world.now());
    world.assert_all_kept();
}

#[test]
fn goes_on_when_the_only_peer_comes_back() {
    let chain = Chain::to(2_000);
    let mut world = world(&Chain::default());
    world.connect(Scripted { leaves_at: Some(700), ..Scripted::honest(&chain) });
    world.run_until(secs(2));
    world.tell(SyncEvent::Connectivity(Connectivity::Dialling));
    world.run_until(secs(4));
    assert_eq!(world.mode(), Mode::Syncing, "nobody is connected, and the dials go on");
    world.connect(Scripted::honest(&chain));
    assert!(world.run_until_synced(secs(60)));
    assert_eq!(world.tip(), chain.tip());
}

#[test]
fn an_outage_in_the_middle_is_not_taken_for_the_end() {
    let chain = Chain::to(2_000);
    let mut world = world(&Chain::default());
    world.connect(Scripted { leaves_at: Some(700), ..Scripted::honest(&chain) });
    world.run_until(secs(2));
    world.tell(SyncEvent::Connectivity(Connectivity::Dialling));
    world.run_until(secs(90));
    world.connect(Scripted { latency: secs(2), ..Scripted::honest(&chain) });
    assert_eq!(world.mode(), Mode::Syncing);
    assert!(world.run_until_synced(secs(200)));
    assert_eq!(world.tip(), chain.tip());
}

#[test]
fn an_answer_within_its_deadline_is_taken_after_the_claim_closed() {
    let chain = Chain::to(60);
    let mut world = world(&Chain::default());
    let peer = world.connect(Scripted { latency: secs(15), ..Scripted::honest(&chain) });
    assert!(world.run_until_synced(secs(11)));
    world.run_until(secs(16));
    assert_eq!((world.tip(), world.requests_to(peer).len()), (chain.tip(), 1));
}
