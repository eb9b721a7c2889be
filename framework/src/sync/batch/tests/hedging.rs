//! Whom else to ask for blocks that their peer is late with, and how often that is in vain.

use super::*;

/// A block of a hundred transactions or so, in bytes.
const BLOCK: usize = 20_000;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Answers after so long, one request at a time.
fn answering_in(chain: &Chain, latency: Duration) -> Scripted {
    Scripted { latency, ..Scripted::honest(chain) }
}

/// The requests for blocks, with their times and peers, in order.
fn requests(world: &World) -> Vec<(Duration, ConnId, Height, Height)> {
    let asked = |(at, action): &(Duration, SyncAction)| match *action {
        SyncAction::Request { peer, from, to, .. } => Some((*at, peer, from, to)),
        _ => None,
    };
    world.log.iter().filter_map(asked).collect()
}

/// How many requests a peer had, and for how many of them somebody else was asked as well.
fn hedged(world: &World, of: ConnId) -> (usize, usize) {
    let all = requests(world);
    let own = || all.iter().filter(|&&(_, peer, ..)| peer == of);
    let again = own().filter(|&&(at, _, from, to)| {
        all.iter().any(|&(later, peer, low, high)| peer != of && later >= at && low <= to && from <= high)
    });
    (own().count(), again.count())
}

#[test]
fn a_peer_that_is_slow_by_nature_and_delivers_is_seldom_hedged() {
    let chain = Chain::to(60_000);
    let mut world = world(&Chain::default()).with_blocks_of(4_000);
    let fast = || Scripted { bytes_per_second: Some(2_000_000), ..answering_in(&chain, ms(100)) };
    world.connect(fast());
    world.connect(fast());
    // Just more than three times as long: whoever is asked as well comes a moment later than it.
    let slow = world.connect(answering_in(&chain, ms(1_500)));
    assert!(world.run_until_synced(secs(600)));
    assert_eq!(world.tip(), chain.tip());
    let (asked, hedged) = hedged(&world, slow);
    assert!(asked >= 20 && hedged * 5 <= asked, "{hedged} of {asked} requests were hedged");
    world.assert_all_kept();
}

#[test]
fn a_peer_that_others_overtake_is_asked_less_and_less_and_holds_nothing_up() {
    let chain = Chain::to(30_000);
    let sync = |slow: Option<Scripted>| {
        let mut world = world(&Chain::default()).with_blocks_of(4_000);
        for _ in 0..2 {
            world.connect(Scripted { bytes_per_second: Some(1_000_000), ..answering_in(&chain, ms(50)) });
        }
        let slow = slow.map(|slow| world.connect(slow));
        assert!(world.run_until_synced(secs(600)));
        assert_eq!(world.tip(), chain.tip());
        world.assert_all_kept();
        (world.now().as_secs_f64(), slow.map_or((0, 0), |slow| hedged(&world, slow)))
    };
    let (base, _) = sync(None);
    let (took, (asked, hedged)) = sync(Some(answering_in(&chain, secs(5))));
    assert!(took <= 1.05 * base, "{took} s with the slow one, {base} s without");
    assert!((2..=5).contains(&asked), "asked {asked} times, {hedged} of them others as well, in {took} s");
}

#[test]
fn answers_of_fifteen_seconds_are_waited_for_where_all_take_as_long() {
    let chain = Chain::to(9_999);
    let mut world = world(&Chain::default());
    let peers = [(); 3].map(|()| world.connect(answering_in(&chain, secs(15))));
    world.run_until(secs(600));
    assert_eq!(world.tip(), chain.tip(), "at {:?}", world.height());
    for peer in peers {
        let (asked, hedged) = hedged(&world, peer);
        assert!(hedged <= 2, "{hedged} of {asked} requests were hedged");
    }
    let last = requests(&world).last().map(|&(at, ..)| at);
    assert!(last < Some(secs(15 * 10)), "the last one was asked for at {last:?}");
    assert_eq!(world.penalised(), []);
}

#[test]
fn who_withholds_the_next_blocks_gains_no_time_by_other_answers() {
    let chain = Chain::to(4_000);
    let mut world = world(&Chain::default()).with_blocks_of(BLOCK);
    let server = || Scripted { bytes_per_second: Some(400_000), latency: ms(5), ..Scripted::able(&chain) };
    for _ in 0..3 {
        world.connect(server());
    }
    let peer = world.connect(Scripted { withholds_above: Some(1_000), ..server() });
    assert!(world.run_until_synced(secs(600)));
    let all = requests(&world);
    let (at, _, from, _) = *all.iter().find(|&&(_, id, from, _)| id == peer && from > 1_000).unwrap();
    let others = |&&(later, id, low, high): &&(_, _, _, _)| id != peer && later >= at && low <= from && from <= high;
    let (asked, ..) = *all.iter().find(others).unwrap();
    // An answer takes half a second.
    let waited = asked.saturating_sub(at);
    assert!(waited <= secs(3), "another peer was asked after {waited:?}");
}

#[test]
fn answers_that_are_worth_nothing_are_no_measure_of_how_long_one_takes() {
    let chain = Chain::to(20_000);
    let mut world = world(&Chain::default());
    let honest = [(); 3].map(|()| world.connect(answering_in(&chain, ms(300))));
    for _ in 0..16 {
        world.connect(Scripted { latency: ms(1), ..Scripted::empty(30_000) });
    }
    assert!(world.run_until_synced(secs(600)));
    assert_eq!(world.tip(), chain.tip());
    let (asked, hedged) =
        honest.map(|peer| hedged(&world, peer)).into_iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(hedged * 10 <= asked, "{hedged} of {asked} requests were hedged");
}
