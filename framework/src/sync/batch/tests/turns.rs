//! Whatever others do, the turn of the one peer with a better branch comes, within a stated time.

use super::*;
use crate::testkit::sync::Dice;

/// Who is there at most: 64 that dialled us and 8 that we dialled.
const PEERS: u64 = 72;
/// What holds a session back at first, and some seconds until blocks were seen not to link.
const FIRST: Duration = Duration::from_secs(20);
/// How long an honest peer's session takes here, at most, and no less than the first turn.
const TURN: Duration = Duration::from_secs(3);

/// What `turns` promises, with so many peers.
fn bound(peers: u64) -> Duration {
    FIRST + TURN * 4 * u32::try_from(peers).unwrap()
}

/// A node on the lower branch, and an honest peer on the better one among these, which were there before it.
fn among(ours: &Chain, liars: impl IntoIterator<Item = Scripted>) -> (World, Vec<ConnId>) {
    let mut world = world(ours);
    let ids = liars.into_iter().map(|liar| world.connect(liar)).collect();
    (world, ids)
}

/// Lets time pass, with all of these repeating their claims, until the node is on the branch; says how long it took.
fn joins(world: &mut World, chain: &Chain, repeating: &[ConnId], end: Duration, mut each: impl FnMut(&mut World, u64)) {
    let start = world.now();
    let mut second = 0;
    while world.tip() != chain.tip() {
        assert!(world.now() < start + end, "not on the better branch after {:?}", world.now().saturating_sub(start));
        each(world, second);
        if second % 5 == 4 {
            for &id in repeating {
                world.claim(id, Some(1_000_000));
            }
        }
        second += 1;
        world.run_until(start + secs(second));
    }
    println!("on the better branch after {:?}", world.now().saturating_sub(start));
    world.assert_all_kept();
}

/// Its blocks link to nothing, and it answers no question of a search.
fn silent_in_a_search() -> Scripted {
    Scripted { silent_up_to: Some(120), ..Scripted::inventor(1_000_000) }
}

/// Its blocks link to nothing, and it takes its time for each.
fn useless(latency: u64) -> Scripted {
    Scripted { latency: secs(latency), ..Scripted::inventor(1_000_000) }
}

#[test]
fn no_number_of_silent_peers_keeps_a_node_from_the_better_branch_of_another() {
    let (ours, theirs) = fork_to(135);
    for liars in [2, PEERS - 1] {
        let (mut world, ids) = among(&ours, (0..liars).map(|_| silent_in_a_search()));
        world.connect(Scripted::honest(&theirs));
        joins(&mut world, &theirs, &ids, bound(liars + 1), |_, _| {});
    }
}

#[test]
fn no_number_of_peers_that_answer_searches_slowly_and_uselessly_does_either() {
    let (ours, theirs) = fork_to(135);
    for latency in [0, 1, 9] {
        let (mut world, ids) = among(&ours, (1..PEERS).map(|_| useless(latency)));
        world.connect(Scripted::honest(&theirs));
        joins(&mut world, &theirs, &ids, bound(PEERS), |_, _| {});
    }
}

#[test]
fn nor_do_those_that_know_our_chain_and_give_out_a_branch_bit_by_bit() {
    let (ours, theirs) = fork_to(135);
    let false_branch = ours.fork(100, 7, 400);
    let dripping = Scripted {
        claims: Some(1_000_000),
        unsigned: true,
        longest_answer: 1,
        latency: secs(2),
        ..Scripted::honest(&false_branch)
    };
    let (mut world, ids) = among(&ours, (1..PEERS).map(|_| dripping.clone()));
    world.connect(Scripted::honest(&theirs));
    joins(&mut world, &theirs, &ids, bound(PEERS), |_, _| {});
}

/// Their turns are as long as turns get.
#[test]
fn those_that_have_been_there_for_hours_are_no_worse() {
    let (ours, theirs) = fork_to(135);
    let false_branch = ours.fork(30, 7, 400);
    let liars = (1..PEERS).map(|i| Scripted {
        claims: Some(1_000_000),
        unsigned: true,
        longest_answer: 1,
        legacy: i % 4 == 0,
        latency: secs(if i % 4 == 0 { 59 } else { 9 }),
        ..Scripted::honest(&false_branch)
    });
    let (mut world, ids) = among(&ours, liars);
    for minute in 0..240 {
        world.run_until(secs(60 * minute));
        for &id in &ids {
            world.claim(id, Some(1_000_000));
        }
    }
    assert_eq!(world.tip(), ours.tip());
    world.connect(Scripted::honest(&theirs));
    // What is under way is of somebody with a turn of up to ten minutes.
    joins(&mut world, &theirs, &ids, secs(600) + bound(PEERS), |_, _| {});
}

#[test]
fn nor_do_legacy_peers_that_are_silent() {
    let (ours, theirs) = fork_to(135);
    let liar = Scripted { legacy: true, ..silent_in_a_search() };
    let (mut world, ids) = among(&ours, (1..PEERS).map(|_| liar.clone()));
    world.connect(Scripted::honest(&theirs));
    // A legacy peer has more time at first.
    joins(&mut world, &theirs, &ids, FIRST + secs(10) * 4 * u32::try_from(PEERS).unwrap(), |_, _| {});
}

#[test]
fn a_slow_peer_comes_to_the_end_of_its_session_among_others_that_wait() {
    let (ours, theirs) = fork_to(135);
    let (mut world, ids) = among(&ours, (0..4).map(|_| silent_in_a_search()));
    // Nine answers or ten.
    world.connect(Scripted { latency: secs(2), ..Scripted::honest(&theirs) });
    joins(&mut world, &theirs, &ids, FIRST + secs(20) * 4 * 5, |_, _| {});
}

#[test]
fn peers_that_come_and_go_keep_nobody_from_its_turn() {
    let (ours, theirs) = fork_to(135);
    // Silent from the beginning, so that they may have our next block; or on branches of their own.
    for liar in [Scripted::silent(1_000_000), silent_in_a_search(), useless(1)] {
        for (every, stay) in [(8, 16), (1, 10), (3, 60)] {
            let (mut world, _) = among(&ours, []);
            let honest = world.connect(Scripted::honest(&theirs));
            joins(&mut world, &theirs, &[honest], bound(stay / every + 1), |world, second| {
                if second % every == 0 {
                    let id = world.connect(liar.clone());
                    world.disconnect_at(world.now() + secs(stay), id);
                }
            });
        }
    }
}

/// The honest peer was away for a moment in its first session, so that its claim was closed, and its chain stands still.
#[test]
fn one_that_failed_once_is_looked_at_again_though_new_ones_never_cease() {
    let (ours, theirs) = fork_to(135);
    let (mut world, _) = among(&ours, []);
    let honest = world.connect(silent_in_a_search());
    world.run_until(secs(60));
    assert_eq!(world.tip(), ours.tip());
    world.set_peer(honest, Scripted::honest(&theirs));
    // By now it rests for a minute at most.
    joins(&mut world, &theirs, &[], secs(60) + bound(20), |world, second| {
        if second % 3 == 0 {
            let id = world.connect(if second % 2 == 0 { useless(1) } else { Scripted::silent(1_000_000) });
            world.disconnect_at(world.now() + secs(60), id);
        }
    });
}

#[test]
fn blocks_of_our_own_branch_now_and_then_end_no_search() {
    let (ours, theirs) = fork_to(400);
    let longer = ours.grow(0, 1000);
    for every in [1, 2, 7] {
        let (mut world, _) = among(&ours, (0..3).map(|_| silent_in_a_search()));
        let feeder = world.connect(Scripted::silent(1_000_000));
        world.connect(Scripted { latency: Duration::from_millis(900), ..Scripted::honest(&theirs) });
        joins(&mut world, &theirs, &[feeder], bound(5), |world, second| {
            let height = world.height().unwrap() + 1;
            if second % every == 0 && height < 190 {
                world.set_chain(feeder, &longer.fork(height, 0, height));
                world.announce_tip(feeder);
            }
        });
    }
}

/// Each shows the better branch with a body swapped in, so that it is put back and rests, and does so again with the next connection.
#[test]
fn those_that_spoil_the_branch_again_and_again_go_behind_the_one_that_has_it_right() {
    let (ours, theirs) = fork_to(135);
    let spoiler = Scripted { faults: BTreeMap::from([(110, RejectKind::BodyMismatch)]), ..Scripted::honest(&theirs) };
    let (mut world, _) = among(&ours, [spoiler.clone()]);
    world.run_until(secs(5));
    assert_eq!(world.rollbacks().len(), 1);
    world.connect(Scripted::honest(&theirs));
    let rests = SyncLimits::default().branch_pause;
    joins(&mut world, &theirs, &[], rests + bound(7), |world, second| {
        if second % 10 == 0 {
            let id = world.connect(spoiler.clone());
            world.disconnect_at(world.now() + secs(60), id);
        }
    });
}

#[test]
fn a_swapped_key_is_recovered_from_among_those_that_come_and_go() {
    let chain = Chain::to(300);
    let good = Scripted {
        stakes: BTreeMap::from([(42, 1)]),
        staked: BTreeMap::from([(51, (42, 1))]),
        ..Scripted::honest(&chain)
    };
    let swapping = Scripted { stakes: BTreeMap::from([(42, 66)]), ..good.clone() };
    for liar in [Scripted::silent(1_000_000), silent_in_a_search(), useless(1)] {
        let mut world = world(&Chain::default());
        world.connect(swapping.clone());
        assert!(world.run_until_synced(secs(60)));
        for _ in 0..20 {
            world.connect(liar.clone());
        }
        world.connect(good.clone());
        // A node that is SYNCED waits for a minute before it doubts its STAKEs.
        joins(&mut world, &chain, &[], secs(60) + bound(30), |world, second| {
            if second % 8 == 0 {
                let id = world.connect(liar.clone());
                world.disconnect_at(world.now() + secs(16), id);
            }
        });
        assert_eq!((world.staked_at(42), world.penalised()), (Some(1), vec![]));
    }
}

/// Somebody makes up a block of nobody's, so that the node doubts its STAKEs, and ever new ones are to be compared with.
#[test]
fn doubts_of_stakes_keep_no_fork_from_being_looked_at() {
    let (ours, theirs) = fork_to(135);
    let made_up = ours.grow(5, 121);
    let doubtful = Scripted {
        claims: Some(1_000_000),
        stakes: BTreeMap::from([(42, 1)]),
        staked: BTreeMap::from([(121, (42, 2))]),
        ..Scripted::honest(&made_up)
    };
    let (mut world, _) = among(&ours, [doubtful]);
    world.run_until(secs(70));
    world.connect(Scripted::honest(&theirs));
    joins(&mut world, &theirs, &[], bound(20), |world, second| {
        if second % 2 == 0 {
            let id = world.connect(Scripted::silent(1_000_000));
            world.disconnect_at(world.now() + secs(30), id);
        }
    });
}

/// A mixture of all of them, by dice.
#[test]
fn no_mixture_of_them_does() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut dice = Dice::new(seed);
        let ours = Chain::to(120);
        let theirs = ours.fork(119 - dice.below(95), 1, 121 + dice.below(200));
        let false_branch = ours.fork(100, 7, 400);
        let liar = |dice: &mut Dice| {
            let unsigned = Scripted { claims: Some(1_000_000), unsigned: true, ..Scripted::honest(&false_branch) };
            let spoiler =
                Scripted { faults: BTreeMap::from([(121, RejectKind::Invalid)]), ..Scripted::honest(&theirs) };
            let peer = match dice.below(6) {
                0 => Scripted::silent(u64::MAX),
                1 => silent_in_a_search(),
                2 => useless(dice.below(10)),
                3 => Scripted { longest_answer: 1 + dice.below(5), latency: secs(dice.below(4)), ..unsigned },
                4 => Scripted::empty(1_000_000),
                _ => spoiler,
            };
            Scripted { legacy: dice.below(4) == 0, ..peer }
        };
        let (mut world, ids) = among(&ours, (0..dice.below(20)).map(|_| liar(&mut dice)).collect::<Vec<_>>());
        world.connect(Scripted::honest(&theirs));
        let every = 1 + dice.below(10);
        // A third of a minute for a legacy peer's turns and for each spoiler.
        joins(&mut world, &theirs, &ids, bound(40) + secs(20 * 40), |world, second| {
            if second % every == 0 {
                let id = world.connect(liar(&mut dice));
                world.disconnect_at(world.now() + secs(dice.below(20)), id);
            }
        });
    }
}
