//! Scenarios of the default strategy in a simulated network.

use std::collections::BTreeMap;

use super::*;
use crate::sync::SyncReport;
use crate::testkit::sync::{Chain, Peer as Scripted, Rule, World};

crate::sync_suite!(conforms, BatchSync::default());

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn world(ours: &Chain) -> World {
    World::new(Box::new(BatchSync::default()), ours)
}

/// Ours ends at 120; theirs leaves it after 100.
fn fork_to(tip: Height) -> (Chain, Chain) {
    let ours = Chain::to(120);
    let theirs = ours.fork(100, 1, tip);
    (ours, theirs)
}

mod following {
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
}

mod synced {
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
}

mod legacy {
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
}

mod forks {
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
}

mod refusals {
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
}
