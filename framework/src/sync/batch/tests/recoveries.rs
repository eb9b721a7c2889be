//! Refused proposers, and STAKEs that are not what they were.

use super::*;

/// The block with the STAKE, and the first one of the validator that it made.
const STAKED: Height = 42;
const FIRST: Height = 51;
const TRUE_KEY: u8 = 1;
const SWAPPED: u8 = 66;

/// A peer with the true chain.
fn honest(chain: &Chain) -> Scripted {
    Scripted {
        stakes: BTreeMap::from([(STAKED, TRUE_KEY)]),
        staked: BTreeMap::from([(FIRST, (STAKED, TRUE_KEY))]),
        ..Scripted::honest(chain)
    }
}

/// A peer that hands out the same blocks with another key in the STAKE.
fn swapping(chain: &Chain, key: u8) -> Scripted {
    Scripted { stakes: BTreeMap::from([(STAKED, key)]), ..honest(chain) }
}

/// A node that has got the swapped key, and stands in front of the first block that shows it.
fn misled(chain: &Chain) -> (World, ConnId) {
    let mut world = world(&Chain::default());
    let hostile = world.connect(swapping(chain, SWAPPED));
    assert!(world.run_until_synced(secs(60)));
    assert_eq!((world.height(), world.staked_at(STAKED)), (Some(FIRST - 1), Some(SWAPPED)));
    assert_eq!(world.rollbacks(), [], "the one that we have the key from has nothing else to show");
    (world, hostile)
}

fn assert_recovered(world: &World, chain: &Chain) {
    assert_eq!((world.tip(), world.mode()), (chain.tip(), Mode::Synced));
    assert_eq!(world.staked_at(STAKED), Some(TRUE_KEY));
    assert_eq!(world.penalised(), [], "neither can be proved wrong");
    assert_eq!(world.held(), 0);
    world.assert_all_kept();
}

#[test]
fn a_swapped_key_is_replaced_by_that_of_another_peer_and_nobody_is_blamed() {
    let chain = Chain::to(300);
    let (mut world, _) = misled(&chain);
    world.connect(honest(&chain));
    world.run_until(world.now() + secs(90));
    assert_recovered(&world, &chain);
    assert_eq!(world.rollbacks(), [Some(STAKED - 1)]);
    let recovered = SyncReport::Recovered { height: STAKED, removed: FIRST - STAKED };
    assert!(world.reports().contains(&&recovered), "{:?}", world.reports());
}

#[test]
fn while_syncing_a_node_recovers_at_once() {
    let chain = Chain::to(300);
    let mut world = world(&Chain::default());
    world.connect(swapping(&chain, SWAPPED));
    world.connect(Scripted { latency: Duration::from_millis(400), ..honest(&chain) });
    assert!(world.run_until_synced(secs(20)));
    assert_recovered(&world, &chain);
}

#[test]
fn a_legacy_network_is_recovered_from_too() {
    let chain = Chain::to(300);
    let mut world = world(&Chain::default());
    let legacy = |peer| Scripted { legacy: true, latency: secs(1), ..peer };
    world.connect(legacy(swapping(&chain, SWAPPED)));
    world.run_until(secs(8));
    world.connect(legacy(honest(&chain)));
    world.run_until(secs(200));
    assert_recovered(&world, &chain);
}

#[test]
fn a_key_that_does_not_help_either_is_put_back_and_the_next_peer_is_asked() {
    let chain = Chain::to(300);
    let (mut world, _) = misled(&chain);
    world.connect(swapping(&chain, SWAPPED + 1));
    world.run_until(world.now() + secs(70));
    assert_eq!((world.rollbacks().len(), world.staked_at(STAKED)), (1, Some(SWAPPED)));
    assert_eq!(world.height(), Some(FIRST - 1));
    world.connect(honest(&chain));
    world.run_until(world.now() + secs(200));
    assert_recovered(&world, &chain);
    assert_eq!(world.rollbacks().len(), 2);
}

#[test]
fn the_same_peer_is_looked_at_once_and_ever_new_ones_ever_more_seldom() {
    let chain = Chain::to(300);
    let (mut world, _) = misled(&chain);
    let liar = world.connect(swapping(&chain, SWAPPED + 1));
    world.run_until(world.now() + secs(3600));
    assert_eq!(world.rollbacks().len(), 1, "the same peer again and again");
    world.disconnect(liar);
    let start = world.now();
    let mut key = SWAPPED + 2;
    while world.now() < start + secs(3600) {
        let liar = world.connect(swapping(&chain, key));
        world.run_until(world.now() + secs(60));
        world.disconnect(liar);
        key = key.wrapping_add(1).max(2);
    }
    let rollbacks = world.rollbacks().len();
    assert!((4..=12).contains(&rollbacks), "{rollbacks} rollbacks in an hour");
    assert_eq!((world.height(), world.staked_at(STAKED)), (Some(FIRST - 1), Some(SWAPPED)));
    world.connect(honest(&chain));
    world.run_until(world.now() + secs(900));
    assert_recovered(&world, &chain);
}

#[test]
fn a_node_that_is_right_learns_nothing_and_stays_where_it_is() {
    let chain = Chain::to(300);
    let mut world = world(&Chain::default());
    world.connect(honest(&chain));
    assert!(world.run_until_synced(secs(60)));
    // Somebody makes up a block of nobody's on top, and has another key to explain it.
    let more = chain.grow(5, 301);
    let liar = Scripted { staked: BTreeMap::from([(301, (STAKED, SWAPPED + 1))]), ..swapping(&more, SWAPPED) };
    world.connect(liar);
    world.run_until(world.now() + secs(600));
    assert_eq!((world.tip(), world.staked_at(STAKED)), (chain.tip(), Some(TRUE_KEY)));
    world.assert_all_kept();
}

#[test]
fn in_a_network_that_goes_on_nobody_can_make_a_synced_node_doubt_its_stakes() {
    let mut chain = Chain::to(300);
    let mut world = world(&Chain::default());
    let good = world.connect(honest(&chain));
    assert!(world.run_until_synced(secs(60)));
    let attacker = |chain: &Chain, tip: Height| Scripted {
        staked: BTreeMap::from([(tip, (STAKED, SWAPPED))]),
        ..swapping(&chain.grow(5, tip), SWAPPED)
    };
    for tip in 301..340 {
        let liar = world.connect(attacker(&chain, tip));
        world.run_until(world.now() + secs(20));
        chain = chain.grow(0, tip);
        world.set_chain(good, &chain);
        world.announce_tip(good);
        world.run_until(world.now() + secs(10));
        world.disconnect(liar);
    }
    assert_eq!((world.rollbacks(), world.tip()), (vec![], chain.tip()));
    world.assert_all_kept();
}

#[test]
fn a_swapped_key_below_the_root_of_another_branch_is_found_too() {
    let chain = Chain::to(300);
    let (mut world, hostile) = misled(&chain);
    // Whoever owns the swapped key goes on for a while.
    let false_branch = chain.fork(FIRST - 1, 6, FIRST + 5);
    world.disconnect(hostile);
    let liar = Scripted { staked: BTreeMap::new(), ..swapping(&false_branch, SWAPPED) };
    world.connect(liar);
    world.run_until(world.now() + secs(60));
    assert_eq!(world.tip(), false_branch.tip());
    world.connect(honest(&chain));
    world.run_until(world.now() + secs(600));
    assert_recovered(&world, &chain);
    assert_eq!(world.rollbacks(), [Some(FIRST - 1), Some(STAKED - 1)]);
}

#[test]
fn several_stakes_are_compared_and_only_what_differs_is_taken() {
    let chain = Chain::to(300);
    let with = |key: u8| {
        let others = (30..FIRST - 1).map(|height| (height, 9)).chain([(STAKED, key)]);
        Scripted { stakes: others.collect(), longest_answer: 5, ..honest(&chain) }
    };
    let mut world = world(&Chain::default());
    world.connect(with(SWAPPED));
    assert!(world.run_until_synced(secs(60)));
    world.connect(with(TRUE_KEY));
    world.run_until(world.now() + secs(90));
    assert_recovered(&world, &chain);
    assert_eq!(world.rollbacks(), [Some(STAKED - 1)]);
}

#[test]
fn a_peer_that_goes_or_falls_silent_costs_no_more_than_its_turn() {
    let chain = Chain::to(300);
    let (mut world, _) = misled(&chain);
    world.connect(Scripted { leaves_at: Some(STAKED), empty_above: None, ..honest(&chain) });
    world.connect(Scripted { silent_above: Some(FIRST), ..Scripted::silent(300) });
    world.connect(honest(&chain));
    world.run_until(world.now() + secs(200));
    assert_recovered(&world, &chain);
}
