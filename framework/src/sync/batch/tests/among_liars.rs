//! One honest peer among others of every kind: its tip is reached.

use super::*;
use crate::testkit::sync::Dice;

const NETWORKS: u64 = 150;
/// By then it must be over, however many peers there are.
const LONG: Duration = Duration::from_secs(1200);

/// A peer that does everything wrong that can be done with a chain, but for blocks that our own store fails at.
fn liar(dice: &mut Dice, chain: &Chain) -> Scripted {
    let tip = chain.height().unwrap();
    let at = dice.below(tip + 1);
    let honest = Scripted::honest(chain);
    let kinds = [
        RejectKind::Invalid,
        RejectKind::WrongProposer,
        RejectKind::FromTheFuture,
        RejectKind::Stricter,
        RejectKind::BodyMismatch,
        RejectKind::Checkpoint,
        RejectKind::NotLinked,
    ];
    let mut peer = match dice.below(10) {
        0 => Scripted::silent(u64::MAX),
        1 => Scripted::empty(tip + 1),
        2 => Scripted::inventor(u64::MAX),
        3 => Scripted { silent_above: Some(at), ..honest },
        4 => Scripted { empty_above: Some(at), ..honest },
        5 => Scripted { leaves_at: Some(at), ..honest },
        6 => Scripted { malformed_at: Some(at), ..honest },
        7 => Scripted { claims: Some(u64::MAX), ..honest },
        _ => {
            let why = kinds[usize::try_from(dice.below(7)).unwrap()];
            Scripted { faults: BTreeMap::from([(at, why)]), ..honest }
        }
    };
    peer.legacy = dice.below(3) == 0;
    peer.longest_answer = 1 + dice.below(200);
    peer
}

fn network(seed: u64, ours: &Chain, honest: &Chain, others: &[Chain]) -> World {
    let mut dice = Dice::new(seed);
    let mut world = world(ours);
    world.name = format!("the network of seed {seed}");
    let liars = dice.below(12);
    let place = dice.below(liars + 1);
    for i in 0..=liars {
        if i == place {
            world.connect(Scripted::honest(honest));
        }
        let chain = &others[usize::try_from(dice.below(others.len() as u64)).unwrap()];
        world.connect(liar(&mut dice, chain));
        world.run_until(world.now() + Duration::from_millis(dice.below(3000)));
    }
    world.run_until(LONG);
    world
}

#[test]
fn a_node_behind_catches_up() {
    for seed in 0..NETWORKS {
        let chain = Chain::to(50 + seed * 5);
        let ours = chain.fork(seed % 60, 0, seed % 60);
        let world = network(seed, &ours, &chain, std::slice::from_ref(&chain));
        assert_eq!((world.tip(), world.mode()), (chain.tip(), Mode::Synced), "seed {seed}");
        world.assert_all_kept();
    }
}

#[test]
fn a_node_on_a_lower_branch_ends_on_the_higher_one() {
    for seed in 0..NETWORKS {
        let ours = Chain::to(150);
        let higher = ours.fork(150 - seed % 100, 1, 151 + seed);
        let world = network(seed, &ours, &higher, &[ours.clone(), higher.clone()]);
        assert_eq!((world.tip(), world.mode()), (higher.tip(), Mode::Synced), "seed {seed}");
        world.assert_all_kept();
    }
}
