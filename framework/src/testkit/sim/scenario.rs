//! What happens in a simulation: all of it follows from a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::byzantine::Attack;
use super::load::BLOCK_TIME;
use super::network::Separation;
use super::rng::Rng;
use super::wire::Latency;

/// The smallest and the largest number of honest nodes.
const NODES: RangeInclusive<u64> = 3..=7;
/// The most validators.
const VALIDATORS: u64 = 5;
/// How long things go wrong, in block times: two to six epochs.
const CHAOS: RangeInclusive<u64> = 20..=60;
/// How far a wall clock may be off, in milliseconds either way: two nodes then differ by 10 s at most, and a block may
/// be 15 s ahead (attacks.md row 25).
const SKEW: u64 = 5_000;
/// How many things go wrong at most, besides the Byzantine peers.
const FAULTS: u64 = 12;

/// Tells the numbers of what was added later from those of what was there.
const LATER: u64 = 0x1a7e_0000_0000_0000;
/// And those of what was added later still: so that the seeds that have found faults before (`tests/tests/simulation.rs`) draw none of it.
const LATEST: u64 = 0x1a7e_0000_0035_0000;
/// The same for [`Attack::Decoy`].
const DECOYS: u64 = 0xdec0_0000_0003_0000;

/// A simulation's plan. [`Scenario::from_seed`] makes one up; every field may be changed before it is run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Where all randomness of the run comes from.
    pub seed: u64,
    /// The honest nodes, called `n0`, `n1` and so on.
    pub nodes: Vec<NodePlan>,
    /// How many validators the genesis names. Those that no node and no Byzantine peer is are silent.
    pub validators: usize,
    /// The Byzantine peers, called `evil0`, `evil1` and so on.
    pub byzantine: Vec<ByzantinePlan>,
    /// The distances in the network.
    pub latency: Latency,
    /// What goes wrong, in order of time.
    pub faults: Vec<(Duration, Fault)>,
    /// When everything is repaired; the Byzantine peers go on.
    pub healed: Duration,
    /// The time between two transactions, on average.
    pub tx_every: Duration,
}

/// An honest node.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Which validator it is, if it is one. Two nodes may be the same one ("twins"): both are correct, and do not know of each
    /// other, so that this validator may sign twice, and is left out where that is looked for.
    pub validator: Option<usize>,
    /// The nodes that its operator has it dial.
    pub dials: Vec<usize>,
    /// The Byzantine peers that its operator has it dial.
    pub dials_byzantine: Vec<usize>,
    /// Milliseconds by which its wall clock is ahead.
    pub skew: i64,
    /// When it is started first.
    pub starts: Duration,
    /// Milliseconds that its disk takes for a write, where nothing else is wrong with it.
    pub disk: RangeInclusive<u64>,
}

/// A Byzantine peer.
#[derive(Debug, Clone)]
pub struct ByzantinePlan {
    /// What it does, one after the other and again.
    pub attacks: Vec<Attack>,
    /// A validator whose key it has.
    pub validator: Option<usize>,
}

/// Something that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// These nodes are kept from all other honest nodes for a time.
    Partition {
        /// Who.
        group: Vec<usize>,
        /// How.
        how: Separation,
        /// For how long.
        lasts: Duration,
    },
    /// The connections between two nodes break.
    Lose {
        /// One.
        a: usize,
        /// The other.
        b: usize,
    },
    /// A node stops and is started again.
    Restart {
        /// Which.
        node: usize,
        /// Whether it gets no time to end in order.
        crash: bool,
        /// How long it is away.
        down: Duration,
    },
    /// A validator's node crashes as soon as its next block is on record in its signing journal, before anybody has the block,
    /// and is started again at the end.
    CrashSigning {
        /// Which.
        node: usize,
        /// How long it has for it, and is away.
        lasts: Duration,
    },
    /// Each write to a node's disk takes long for a time.
    SlowDisk {
        /// Which node.
        node: usize,
        /// Milliseconds of a write.
        write: RangeInclusive<u64>,
        /// For how long.
        lasts: Duration,
    },
    /// A node's disk is full for a time.
    FullDisk {
        /// Which node.
        node: usize,
        /// For how long.
        lasts: Duration,
    },
}

impl Scenario {
    /// The plan of a seed: the same on every machine.
    pub fn from_seed(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let count = usize::try_from(rng.within(NODES)).unwrap_or(3);
        let validators = usize::try_from(rng.within(1..=VALIDATORS.min(count as u64))).unwrap_or(1);
        let evil = usize::try_from(rng.within(0..=3)).unwrap_or(0);
        let mut nodes: Vec<NodePlan> = (0..count).map(|number| node(rng, number, count, validators, evil)).collect();
        let mut byzantine: Vec<ByzantinePlan> =
            (0..evil).map(|_| ByzantinePlan { attacks: attacks(rng), validator: None }).collect();
        // With four validators one may be bad: three are left to take turns.
        if validators >= 4 {
            if rng.percent(30) && count > validators {
                nodes[validators].validator = Some(0);
            } else if rng.percent(50)
                && let Some(first) = byzantine.first_mut()
            {
                nodes[0].validator = None;
                first.validator = Some(0);
                first.attacks.extend([Attack::BadProposals, Attack::SignedFork]);
            }
        }
        let healed = Duration::from_secs(BLOCK_TIME * rng.within(CHAOS));
        let mut faults: Vec<(Duration, Fault)> =
            (0..rng.within(0..=FAULTS)).map(|_| (rng.millis(0..=millis(healed)), fault(rng, count, healed))).collect();
        // Of numbers of its own, as all that came later: a seed that has found a fault goes on to be what it was.
        let later = &mut Rng::new(seed ^ LATER);
        for _ in 0..later.below(3) {
            let early = later.percent(40);
            let at = later.millis(0..=if early { 3000 } else { millis(healed) });
            let node = later.below(count);
            faults.push((at, Fault::CrashSigning { node, lasts: later.millis(5000..=60_000) }));
        }
        for plan in &mut byzantine {
            plan.attacks.extend(Attack::LATER.into_iter().filter(|_| later.percent(25)));
            if plan.validator.is_some() {
                plan.attacks.push(Attack::Ahead);
            }
        }
        let (latest, decoys) = (&mut Rng::new(seed ^ LATEST), &mut Rng::new(seed ^ DECOYS));
        for plan in &mut byzantine {
            plan.attacks.extend(Some(Attack::Decoy).filter(|_| decoys.percent(25)));
            plan.attacks.extend(Attack::LATEST.into_iter().filter(|_| latest.percent(15)));
        }
        faults.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            nodes,
            validators,
            byzantine,
            latency: Latency { least: rng.millis(1..=100), jitter: rng.millis(0..=100) },
            faults,
            healed,
            tx_every: rng.millis(500..=20_000),
        }
    }
}

fn node(rng: &mut Rng, number: usize, count: usize, validators: usize, evil: usize) -> NodePlan {
    // One before it, so that all are connected, and some others besides.
    let mut dials: Vec<usize> = (0..number).filter(|_| rng.percent(30)).collect();
    if number > 0 {
        dials.push(rng.below(number));
    }
    if rng.percent(30) {
        dials.push(rng.below(count));
    }
    dials.sort_unstable();
    dials.dedup();
    dials.retain(|other| *other != number);
    let late = rng.percent(20);
    let skew = i64::try_from(rng.within(0..=2 * SKEW)).unwrap_or(0) - i64::try_from(SKEW).unwrap_or(0);
    NodePlan {
        validator: (number < validators).then_some(number),
        dials,
        dials_byzantine: (0..evil).filter(|_| rng.percent(40)).collect(),
        skew: if rng.percent(50) { skew } else { 0 },
        starts: rng.millis(0..=if late { 120_000 } else { 3000 }),
        disk: if rng.percent(50) { 0..=0 } else { 1..=rng.within(5..=60) },
    }
}

fn attacks(rng: &mut Rng) -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Attack::ANYBODYS.into_iter().filter(|_| rng.percent(35)).collect();
    if attacks.is_empty() {
        attacks.extend(rng.pick(&Attack::ANYBODYS));
    }
    attacks
}

fn fault(rng: &mut Rng, count: usize, healed: Duration) -> Fault {
    let lasts = |rng: &mut Rng| rng.millis(1000..=millis(healed));
    let node = rng.below(count);
    match rng.below(10) {
        0..=2 => {
            let group: Vec<usize> = (0..count).filter(|_| rng.percent(40)).collect();
            let how = if rng.percent(50) { Separation::Cut } else { Separation::Stalled };
            Fault::Partition { group: if group.is_empty() { vec![node] } else { group }, how, lasts: lasts(rng) }
        }
        3 => Fault::Lose { a: node, b: rng.below(count) },
        4..=7 => Fault::Restart { node, crash: rng.percent(70), down: rng.millis(100..=60_000) },
        8 => {
            let slowest = rng.within(100..=5000);
            Fault::SlowDisk { node, write: slowest / 4..=slowest, lasts: lasts(rng) }
        }
        _ => Fault::FullDisk { node, lasts: rng.millis(1000..=60_000) },
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_one_another() {
        let shown = |seed| format!("{:?}", Scenario::from_seed(seed));
        assert_eq!(shown(7), shown(7));
        assert_ne!(shown(7), shown(8));
    }

    #[test]
    fn every_plan_connects_all_honest_nodes_and_leaves_a_majority_of_validators_honest() {
        for seed in 0..500 {
            let plan = Scenario::from_seed(seed);
            let mut reached = vec![false; plan.nodes.len()];
            reached[0] = true;
            for (number, node) in plan.nodes.iter().enumerate().skip(1) {
                reached[number] = node.dials.iter().any(|other| *other < number && reached[*other]);
            }
            assert!(reached.iter().all(|reached| *reached), "seed {seed}: {plan:?}");
            let honest = plan.nodes.iter().filter_map(|node| node.validator).collect::<std::collections::BTreeSet<_>>();
            assert!(2 * honest.len() > plan.validators, "seed {seed}");
            assert!(plan.faults.is_sorted_by_key(|(at, _)| *at));
        }
    }
}
