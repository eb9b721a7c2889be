//! One function for each sentence of the contract. Each panics where the sentence does not hold, with the seed of the network in which it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Chain, Dice, Peer};
use super::world::{Rule, World};
use crate::sync::{Connectivity, Mode, RejectKind, SyncEvent, SyncStrategy};
use crate::types::{BlockLink, Hash32};

/// Makes a new strategy.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn SyncStrategy>;

/// How many random networks a case is tried in.
const NETWORKS: u64 = 24;
/// By then, everything has come to rest in every random network.
const LONG: Duration = Duration::from_secs(1800);
/// The longest for which liars may delay SYNCED.
const LIARS_DELAY: Duration = Duration::from_secs(30);

/// The same events at the same times give the same actions.
pub fn the_same_events_give_the_same_actions(make: Make<'_>) {
    for seed in 0..NETWORKS {
        let (one, two) = (random_network(make, seed), random_network(make, seed));
        assert!(one.log == two.log && one.modes == two.modes, "two runs differ, seed {seed}");
    }
}

/// At most one request is outstanding with a peer, or as many as it keeps apart.
pub fn as_many_requests_are_outstanding_with_a_peer_as_it_keeps_apart(make: Make<'_>) {
    in_random_networks(make, |world| world.assert_kept(Rule::RequestsPerPeer));
}

/// A batch is vouched for only up to a block that is known to be a checkpoint or an ancestor of one.
pub fn a_batch_is_vouched_for_only_up_to_an_ancestor_of_a_checkpoint(make: Make<'_>) {
    in_random_networks(make, |world| world.assert_kept(Rule::Vouch));
    let (chain, other) = (Chain::to(3000), Chain::to(500).fork(300, 1, 3500));
    for liars in 1..4 {
        let checkpoints = [1000, 2500].into_iter().filter_map(|height| chain.at(height));
        let mut world = World::new(make(), &Chain::to(0)).with_checkpoints(checkpoints);
        for _ in 0..liars {
            world.connect(Peer::able(&other));
            world.connect(Peer { headers: true, ..Peer::inventor(4000) });
        }
        world.connect(Peer::able(&chain));
        world.run_until(LONG);
        world.assert_kept(Rule::Vouch);
        assert!(world.penalised().is_empty(), "a checkpoint is ours; nobody is at fault for it");
    }
}

/// A request asks for 1 to 500 consecutive heights.
pub fn a_request_asks_for_1_to_500_consecutive_heights(make: Make<'_>) {
    in_random_networks(make, |world| world.assert_kept(Rule::RequestSize));
}

/// Blocks are imported in order.
pub fn blocks_are_imported_in_order(make: Make<'_>) {
    in_random_networks(make, |world| world.assert_kept(Rule::ImportOrder));
}

/// Every batch handed over is imported or discarded, once.
pub fn every_batch_is_imported_or_discarded_once(make: Make<'_>) {
    in_random_networks(make, |world| {
        world.assert_kept(Rule::BatchOnce);
        world.assert_kept(Rule::Circles);
    });
    let chain = Chain::to(700);
    let mut world = World::new(make(), &Chain::to(0));
    for _ in 0..3 {
        world.connect(Peer::honest(&chain));
    }
    assert!(world.run_until_synced(LONG));
    world.run_until(world.now() + Duration::from_secs(1));
    assert_eq!(world.held(), 0, "batches are left when all is done");
}

/// A peer that is gone is asked for nothing, and what was asked of it is asked of another.
pub fn what_was_asked_of_a_gone_peer_is_asked_of_another(make: Make<'_>) {
    in_random_networks(make, |world| world.assert_kept(Rule::GonePeer));
    let chain = Chain::to(1500);
    let mut world = World::new(make(), &Chain::to(0));
    let leaver = world.connect(Peer { leaves_at: Some(0), ..Peer::honest(&chain) });
    world.connect(Peer::honest(&chain));
    assert!(world.run_until_synced(Duration::from_secs(60)));
    assert!(!world.requests_to(leaver).is_empty(), "the leaver was not asked for anything");
    assert_eq!(world.tip(), chain.tip());
}

/// An announced tip alone changes neither mode to SYNCING nor memory by more than a constant per peer.
pub fn an_announced_tip_alone_changes_neither_mode_nor_memory(make: Make<'_>) {
    let chain = Chain::to(10);
    let mut world = World::new(make(), &chain);
    let peer = world.connect(Peer { claims: Some(10), ..Peer::silent(10) });
    assert!(world.run_until_synced(LIARS_DELAY));
    let mut dice = Dice::new(1);
    for _ in 0..200 {
        let height = [11, 12, u64::MAX, u64::MAX - 1, i64::MAX as u64, 5][usize::try_from(dice.below(6)).unwrap_or(0)];
        world.claim(peer, Some(height));
        let link = BlockLink { height, hash: Hash32([9; 32]), prev_hash: Hash32([8; 32]) };
        world.tell(SyncEvent::Announced { peer, link });
        world.run_until(world.now() + Duration::from_secs(1));
        assert_eq!(world.mode(), Mode::Synced, "a claim of {height} made the node SYNCING");
    }
    assert!(world.strategy().status().outstanding <= 1);
    let size = format!("{:?}", world.strategy()).len();
    assert!(size < 64 << 10, "a state of {size} characters after one peer's claims");
    world.assert_all_kept();
}

/// With one honest peer among any number of silent or lying ones, the tip of the honest one is reached.
pub fn one_honest_peer_among_silent_and_lying_ones_is_enough(make: Make<'_>) {
    let chain = Chain::to(1200);
    for liars in [1, 7, 64] {
        for honest_at in [0, liars / 2, liars] {
            let mut world = World::new(make(), &Chain::to(0));
            for place in 0..=liars {
                if place == honest_at {
                    world.connect(Peer::honest(&chain));
                }
                match place % 4 {
                    0 => world.connect(Peer::silent(u64::MAX)),
                    1 => world.connect(Peer::empty(i64::MAX as u64)),
                    2 => world.connect(Peer { legacy: true, ..Peer::silent(5000) }),
                    _ => world.connect(Peer::inventor(u64::MAX - 1)),
                };
            }
            world.run_until(LONG);
            assert_eq!(world.tip(), chain.tip(), "{liars} liars, the honest peer at place {honest_at}");
            assert_eq!(world.mode(), Mode::Synced, "{liars} liars, the honest peer at place {honest_at}");
            world.assert_all_kept();
        }
    }
}

/// A strategy that is SYNCED with all claims closed has no outstanding request and asks for a deadline no earlier than its next probe.
pub fn a_synced_strategy_with_all_claims_closed_rests(make: Make<'_>) {
    let chain = Chain::to(300);
    let mut world = World::new(make(), &Chain::to(0));
    world.connect(Peer::honest(&chain));
    assert!(world.run_until_synced(Duration::from_secs(60)));
    world.run_until(world.now() + Duration::from_secs(60));
    assert_eq!((world.outstanding(), world.strategy().status().outstanding), (0, 0));
    let asked = world.log.len();
    world.run_until(world.now() + Duration::from_secs(600));
    assert_eq!(world.log.len(), asked, "nobody is ahead, and yet: {:?}", world.log.last());
    if let Some(deadline) = world.strategy().next_deadline() {
        assert!(deadline > world.now(), "a deadline in the past");
    }
}

/// Blocks are rolled back only towards blocks that were delivered and link to ours.
pub fn blocks_are_rolled_back_only_towards_delivered_blocks_that_link(make: Make<'_>) {
    in_random_networks(make, |world| world.assert_kept(Rule::RollbackLinks));
    let ours = Chain::to(120);
    let mut world = World::new(make(), &ours);
    for claims in [121, 500, u64::MAX] {
        world.connect(Peer::inventor(claims));
        world.connect(Peer::silent(claims));
        world.connect(Peer::empty(claims));
    }
    world.run_until(LONG);
    assert_eq!(world.rollbacks(), []);
    assert_eq!(world.tip(), ours.tip());
}

/// After a rollback that leads to nothing better, `FinishReorg { keep: false }` follows.
pub fn a_rollback_that_leads_to_nothing_better_is_put_back(make: Make<'_>) {
    in_random_networks(make, |world| {
        world.assert_kept(Rule::ReorgEnds);
        assert!(!world.is_reorganising(), "a reorganisation without an end in {}", world.name);
    });
    let ours = Chain::to(120);
    let theirs = ours.fork(100, 1, 135);
    for why in [RejectKind::Invalid, RejectKind::WrongProposer, RejectKind::Stricter, RejectKind::FromTheFuture] {
        let mut world = World::new(make(), &ours);
        world.connect(Peer { faults: BTreeMap::from([(110, why)]), ..Peer::honest(&theirs) });
        world.run_until(Duration::from_secs(120));
        assert_eq!(world.tip(), ours.tip(), "the branch breaks at 110 for {why:?}");
        world.assert_all_kept();
    }
}

/// An honest peer is never penalised, whatever the others do.
pub fn an_honest_peer_is_never_penalised(make: Make<'_>) {
    in_random_networks(make, |world| world.assert_kept(Rule::Blame));
}

fn in_random_networks(make: Make<'_>, check: impl Fn(&World)) {
    for seed in 0..NETWORKS {
        check(&random_network(make, seed));
    }
}

/// A network of peers of all kinds, in which connections come and go and chains grow.
pub fn random_network(make: Make<'_>, seed: u64) -> World {
    let mut world = network_of(make, Dice::new(seed));
    world.name = format!("the random network of seed {seed}");
    world
}

/// The network that these dice say, once all has come to rest in it.
pub fn network_of(make: Make<'_>, mut dice: Dice) -> World {
    let common = dice.below(200);
    let trunk = Chain::to(common);
    let ours = trunk.grow(0, common + dice.below(130));
    let mut theirs = [ours.grow(0, common + 150 + dice.below(900)), trunk.grow(7, common + dice.below(400))];
    let mut world = World::new(make(), &ours).importing_at(Duration::from_micros(dice.below(3000)));
    if dice.below(3) == 0 {
        let height = theirs[0].height().unwrap_or(0);
        let checkpoints = [height / 2, height.saturating_sub(dice.below(300))];
        let above = checkpoints.into_iter().filter(|&height| Some(height) > ours.height());
        world = world.with_checkpoints(above.filter_map(|height| theirs[0].at(height)));
    }
    let mut ids = vec![];
    for _ in 0..60 {
        if dice.is_spent() {
            break;
        }
        match dice.below(12) {
            0..4 => ids.push(world.connect(random_peer(&mut dice, &theirs))),
            4 if !ids.is_empty() => {
                let id = ids.swap_remove(usize::try_from(dice.below(ids.len() as u64)).unwrap_or(0));
                world.disconnect(id);
            }
            5 if !ids.is_empty() => {
                let id = ids[usize::try_from(dice.below(ids.len() as u64)).unwrap_or(0)];
                world.claim(
                    id,
                    [Some(u64::MAX), None, Some(common), Some(common + 300)]
                        [usize::try_from(dice.below(4)).unwrap_or(0)],
                );
            }
            6 if !ids.is_empty() => {
                let id = ids[usize::try_from(dice.below(ids.len() as u64)).unwrap_or(0)];
                world.announce_tip(id);
            }
            7 => {
                let branch = usize::try_from(dice.below(2)).unwrap_or(0);
                theirs[branch] = theirs[branch].grow(9, theirs[branch].height().unwrap_or(0) + 1 + dice.below(5));
            }
            8 => world.tell(SyncEvent::Connectivity(match dice.below(3) {
                0 => Connectivity::Dialling,
                1 => Connectivity::AllDialsFailed,
                _ => Connectivity::Connected,
            })),
            _ => world.run_until(world.now() + Duration::from_millis(dice.below(4000))),
        }
    }
    world.run_until(world.now() + LONG);
    world
}

fn random_peer(dice: &mut Dice, chains: &[Chain; 2]) -> Peer {
    let chain = &chains[usize::try_from(dice.below(2)).unwrap_or(0)];
    let height = chain.height().unwrap_or(0);
    let some_height = height.saturating_sub(dice.below(200));
    let mut peer = match dice.below(12) {
        0 => Peer::silent(height + dice.below(1000)),
        1 => Peer::empty(u64::MAX),
        2 => Peer::inventor(height + dice.below(1000)),
        3 => Peer { silent_above: Some(some_height), ..Peer::honest(chain) },
        4 => Peer { empty_above: Some(some_height), ..Peer::honest(chain) },
        5 => Peer { leaves_at: Some(some_height), ..Peer::honest(chain) },
        6 => Peer { malformed_at: Some(some_height), ..Peer::honest(chain) },
        7 => {
            let kinds = [
                RejectKind::Invalid,
                RejectKind::WrongProposer,
                RejectKind::FromTheFuture,
                RejectKind::Stricter,
                RejectKind::BodyMismatch,
                RejectKind::Checkpoint,
                RejectKind::Local,
            ];
            let why = kinds[usize::try_from(dice.below(7)).unwrap_or(0)];
            let staked = BTreeMap::from([(some_height, (some_height / 2, 1))]);
            let stakes = BTreeMap::from([(some_height / 2, 1)]);
            Peer { faults: BTreeMap::from([(some_height, why)]), stakes, staked, ..Peer::honest(chain) }
        }
        8 => Peer::legacy(chain, Duration::from_secs(dice.below(40))),
        _ => Peer::honest(chain),
    };
    if peer.latency < Duration::MAX {
        peer.latency += Duration::from_millis(dice.below(300));
    }
    peer.longest_answer = 1 + dice.below(500);
    if !peer.legacy && dice.below(2) == 0 {
        (peer.requests, peer.headers) = (1 + usize::try_from(dice.below(4)).unwrap_or(0), dice.below(4) > 0);
    }
    if dice.below(6) == 0 {
        peer.bytes_per_second = Some(20_000 + dice.below(1_000_000));
    }
    peer
}
