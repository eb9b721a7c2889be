//! What is known of the way to a checkpoint: hashes of blocks that are its ancestors, by linkage alone.
//!
//! The walk goes down from the checkpoint. A header whose hash is known names its parent's, so that each header proves the next
//! one below, whoever sends it; nothing has to be believed. Every so often a hash is kept as an *anchor*. A batch of blocks
//! that link to each other and reach an anchor is then an ancestor of the checkpoint up to there, and needs no signature.
//! One that has another block at an anchor's height is of a chain that contradicts the checkpoint.
//!
//! Under v1 rules this holds too: the hashed text begins with the height, which is known, and goes on with the parent's 64 digits, so
//! that a hash has one parent although other fields run into each other (protocol.md section 4).

use std::collections::BTreeMap;

use crate::types::{BlockLink, Checkpoint, Hash32, Height, MAX_HEADERS, Tip};

/// Anchors in all, of about 64 bytes each: 2 MiB.
const MOST_ANCHORS: usize = 32_768;
/// Anchors of one walk, so that the next checkpoint's can begin before the tip has reached the first.
const ANCHORS_PER_WALK: u64 = 16_384;
/// The least distance of two anchors, in blocks: small answers should reach one too.
const LEAST_SPACING: u64 = 16;

/// Checkpoints, and what leads to them.
#[derive(Debug, Default)]
pub(super) struct Linkage {
    checkpoints: BTreeMap<Height, Hash32>,
    /// Known ancestors of checkpoints and the checkpoints themselves, above our tip.
    anchors: BTreeMap<Height, Hash32>,
    walk: Option<Walk>,
    /// The highest checkpoint whose walk has ended.
    walked_to: Option<Height>,
    /// Our own chain was found to be another one than a checkpoint's.
    off_chain: bool,
}

/// The way down from a checkpoint.
#[derive(Debug)]
struct Walk {
    checkpoint: Height,
    /// The lowest block whose hash is known.
    lowest: Tip,
    spacing: u64,
    /// It has come to block 0.
    ended: bool,
}

/// What headers were good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// They go on from where the walk stood.
    Down,
    /// They lead down from another block than the one known at this height: the peer's chain is not the checkpoint's.
    Contradiction(Height),
}

/// What the end of a walk says about our own chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Our tip, or the checkpoint below, is an ancestor of this checkpoint.
    Linked(Height),
    /// Our tip is not.
    OffChain(Height),
}

/// What is known of a batch of blocks that link to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It reaches no anchor.
    Unknown,
    /// Up to this height it is an ancestor of a checkpoint.
    Ancestor(Height),
    /// It has another block than a checkpoint's chain at this height.
    Contradiction(Height),
}

impl Linkage {
    pub(super) fn new(checkpoints: &[Checkpoint]) -> Self {
        let checkpoints: BTreeMap<_, _> = checkpoints.iter().map(|point| (point.height, point.hash)).collect();
        Self { anchors: checkpoints.clone(), checkpoints, ..Self::default() }
    }

    /// Follows our tip: forgets what is below, ends a walk that has come down to it, and begins the next.
    pub(super) fn follow(&mut self, tip: Option<Tip>) -> Option<Arrival> {
        let next = tip.map_or(Some(0), |tip| tip.height.checked_add(1))?;
        if self.anchors.first_key_value().is_some_and(|(&lowest, _)| lowest < next) {
            self.anchors = self.anchors.split_off(&next);
        }
        if self.checkpoints.is_empty() {
            return None;
        }
        // After a rollback the checkpoints above are anchors again.
        let above = self.checkpoints.range(next..).map(|(&height, &hash)| (height, hash));
        self.anchors.extend(above);
        let arrival = self.arrival(tip);
        if arrival.is_some() {
            self.walked_to = self.walk.take().map(|walk| walk.checkpoint).max(self.walked_to);
            self.off_chain |= matches!(arrival, Some(Arrival::OffChain(_)));
        }
        if self.walk.is_none() {
            self.begin(next);
        }
        arrival
    }

    /// The headers that the walk needs next.
    pub(super) fn wanted(&self, tip: Option<Tip>) -> Option<(Height, Height)> {
        let walk = self.walk.as_ref()?;
        let to = walk.lowest.height;
        Some((self.floor(walk, tip).max(to.saturating_sub(MAX_HEADERS - 1)), to))
    }

    /// Whether our own chain is known to be another one than a checkpoint's.
    pub(super) fn is_off_chain(&self) -> bool {
        self.off_chain
    }

    /// Blocks that are on their way onto our chain turned out to be another one's.
    pub(super) fn leaves_chain(&mut self) {
        self.off_chain = true;
    }

    /// Whether more is to be learnt about what lies above our tip.
    pub(super) fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// Some of these blocks' hashes, for [`judge_again`](Self::judge_again): at every height that an anchor may have.
    pub(super) fn samples(links: &[BlockLink]) -> Vec<Tip> {
        links.iter().filter(|link| link.height % LEAST_SPACING == 0).map(BlockLink::tip).collect()
    }

    /// What is known by now of blocks that link to each other, of which only samples are left.
    pub(super) fn judge_again(&self, samples: &[Tip]) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for sample in samples {
            match self.anchors.get(&sample.height) {
                Some(hash) if *hash == sample.hash => verdict = Verdict::Ancestor(sample.height),
                Some(_) => return Verdict::Contradiction(sample.height),
                None => {}
            }
        }
        verdict
    }

    /// We left our chain for another one.
    pub(super) fn reorganised(&mut self) {
        self.off_chain = false;
    }

    /// Takes headers that link to each other and end at the height [wanted](Self::wanted) last.
    pub(super) fn take(&mut self, links: &[BlockLink], tip: Option<Tip>) -> Option<Step> {
        let walk = self.walk.as_mut()?;
        for link in links.iter().rev() {
            if walk.ended || tip.is_some_and(|tip| walk.lowest.height <= tip.height) {
                break;
            }
            if link.height != walk.lowest.height {
                return None;
            }
            if link.hash != walk.lowest.hash {
                return Some(Step::Contradiction(link.height));
            }
            if link.height % walk.spacing == 0 {
                self.anchors.insert(link.height, link.hash);
            }
            match link.height.checked_sub(1) {
                Some(height) => walk.lowest = Tip { height, hash: link.prev_hash },
                // Block 0 has no parent.
                None => walk.ended = true,
            }
        }
        (!links.is_empty()).then_some(Step::Down)
    }

    /// What is known of blocks that link to each other.
    pub(super) fn judge(&self, links: &[BlockLink]) -> Verdict {
        let (Some(first), Some(last)) = (links.first(), links.last()) else { return Verdict::Unknown };
        let mut verdict = Verdict::Unknown;
        let range = first.height..=last.height.max(first.height);
        // Where the walk stands is known as well, and should our tip go past it, that was no other chain's.
        let lowest = self.walk.as_ref().map(|walk| (&walk.lowest.height, &walk.lowest.hash));
        let lowest = lowest.filter(|(height, _)| range.contains(height));
        for (&height, hash) in lowest.into_iter().chain(self.anchors.range(range)) {
            let at = usize::try_from(height - first.height).ok().and_then(|at| links.get(at));
            match at {
                Some(link) if link.hash == *hash => verdict = Verdict::Ancestor(height),
                _ => return Verdict::Contradiction(height),
            }
        }
        verdict
    }

    /// The best end for a range that may end at `to`: the last anchor in it.
    pub(super) fn align(&self, from: Height, to: Height) -> Height {
        self.anchors.range(from..=to.max(from)).next_back().map_or(to, |(&anchor, _)| anchor)
    }

    fn arrival(&self, tip: Option<Tip>) -> Option<Arrival> {
        let walk = self.walk.as_ref()?;
        let below = self.checkpoints.range(..walk.checkpoint).next_back();
        let below = below.map(|(&height, &hash)| Tip { height, hash });
        let ends = || [tip, below].into_iter().flatten();
        if ends().any(|end| end.height == walk.lowest.height && end.hash != walk.lowest.hash) {
            return Some(Arrival::OffChain(walk.checkpoint));
        }
        let arrived = walk.ended || ends().any(|end| end.height >= walk.lowest.height);
        arrived.then_some(Arrival::Linked(walk.checkpoint))
    }

    /// The lowest header that is of use.
    fn floor(&self, walk: &Walk, tip: Option<Tip>) -> Height {
        let above_tip = tip.map_or(0, |tip| tip.height.saturating_add(1));
        let below = self.checkpoints.range(..walk.checkpoint).next_back();
        below.map_or(0, |(&height, _)| height.saturating_add(1)).max(above_tip)
    }

    fn begin(&mut self, next: Height) {
        let done = |height: Height| self.walked_to.is_some_and(|walked| height <= walked);
        let Some((&checkpoint, &hash)) = self.checkpoints.range(next..).find(|&(&height, _)| !done(height)) else {
            return;
        };
        let room = u64::try_from(MOST_ANCHORS.saturating_sub(self.anchors.len())).unwrap_or(0);
        let bound = room.min(ANCHORS_PER_WALK);
        if bound < ANCHORS_PER_WALK / 2 {
            return;
        }
        let lowest = Tip { height: checkpoint, hash };
        let walk = Walk { checkpoint, lowest, spacing: LEAST_SPACING, ended: false };
        let distance = checkpoint - self.floor(&walk, next.checked_sub(1).map(|height| Tip { height, hash }));
        let mut spacing = LEAST_SPACING;
        while distance / spacing > bound {
            spacing = spacing.saturating_mul(2);
        }
        self.walk = Some(Walk { spacing, ..walk });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(height: Height, branch: u8) -> Hash32 {
        let mut bytes = [branch; 32];
        bytes[..8].copy_from_slice(&height.to_be_bytes());
        Hash32(bytes)
    }

    /// Blocks of branch 1, which leaves branch 0 after `common`.
    fn links(from: Height, to: Height, common: Height) -> Vec<BlockLink> {
        let hash_at = |height| hash(height, u8::from(height > common));
        let parent = |height: Height| height.checked_sub(1).map_or(Hash32::ZERO, hash_at);
        (from..=to).map(|height| BlockLink { height, hash: hash_at(height), prev_hash: parent(height) }).collect()
    }

    fn chain(from: Height, to: Height) -> Vec<BlockLink> {
        links(from, to, Height::MAX)
    }

    fn point(height: Height) -> Checkpoint {
        Checkpoint { height, hash: hash(height, 0) }
    }

    fn at(height: Height) -> Tip {
        Tip { height, hash: hash(height, 0) }
    }

    /// Walks down with a peer that has the chain.
    fn walk(linkage: &mut Linkage, ours: Option<Tip>) -> (Option<Arrival>, usize) {
        let mut answers = 0;
        loop {
            if let Some(arrival) = linkage.follow(ours) {
                return (Some(arrival), answers);
            }
            let Some((from, to)) = linkage.wanted(ours) else { return (None, answers) };
            assert!(to - from < MAX_HEADERS);
            assert_eq!(linkage.take(&chain(from, to), ours), Some(Step::Down));
            answers += 1;
        }
    }

    #[test]
    fn headers_lead_from_the_checkpoint_down_to_our_tip() {
        let mut linkage = Linkage::new(&[point(10_000)]);
        assert_eq!(walk(&mut linkage, Some(at(20))), (Some(Arrival::Linked(10_000)), 3));
        assert_eq!(linkage.judge(&chain(21, 520)), Verdict::Ancestor(512));
        assert_eq!(linkage.judge(&chain(9_999, 10_001)), Verdict::Ancestor(10_000));
        assert_eq!(linkage.judge(&chain(513, 520)), Verdict::Unknown);
        assert_eq!(linkage.align(21, 520), 512);
        assert_eq!(linkage.align(513, 520), 520);
    }

    #[test]
    fn an_empty_chain_is_walked_down_to_block_0() {
        let mut linkage = Linkage::new(&[point(100)]);
        assert_eq!(walk(&mut linkage, None), (Some(Arrival::Linked(100)), 1));
        assert_eq!(linkage.judge(&chain(0, 50)), Verdict::Ancestor(48));
        assert_eq!(linkage.follow(None), None);
        assert_eq!(linkage.wanted(None), None, "the walk is over");
    }

    #[test]
    fn nothing_is_known_before_the_headers_came_but_the_checkpoint_itself() {
        let mut linkage = Linkage::new(&[point(1000)]);
        linkage.follow(Some(at(0)));
        assert_eq!(linkage.judge(&chain(1, 500)), Verdict::Unknown);
        assert_eq!(linkage.judge(&chain(900, 1100)), Verdict::Ancestor(1000));
    }

    #[test]
    fn another_chain_is_found_out_by_its_headers_and_by_its_blocks() {
        let mut linkage = Linkage::new(&[point(10_000)]);
        linkage.follow(Some(at(0)));
        let (from, to) = linkage.wanted(Some(at(0))).unwrap();
        assert_eq!(linkage.take(&links(from, to, 9_000), Some(at(0))), Some(Step::Contradiction(10_000)));
        assert_eq!(linkage.wanted(Some(at(0))), Some((from, to)), "the walk stands where it stood");
        walk(&mut linkage, Some(at(0)));
        assert_eq!(linkage.judge(&links(101, 600, 300)), Verdict::Contradiction(304));
        assert_eq!(linkage.judge(&links(101, 303, 300)), Verdict::Ancestor(288));
    }

    #[test]
    fn our_own_chain_may_be_another_one() {
        let mut linkage = Linkage::new(&[point(100)]);
        let ours = Some(Tip { height: 50, hash: hash(50, 7) });
        assert_eq!(walk(&mut linkage, ours), (Some(Arrival::OffChain(100)), 1));
    }

    #[test]
    fn several_checkpoints_are_walked_to_one_after_the_other() {
        let mut linkage = Linkage::new(&[point(5_000), point(1_000)]);
        assert_eq!(walk(&mut linkage, Some(at(0))), (Some(Arrival::Linked(1_000)), 1));
        assert_eq!(walk(&mut linkage, Some(at(0))), (Some(Arrival::Linked(5_000)), 1));
        assert_eq!(walk(&mut linkage, Some(at(0))), (None, 0));
        assert_eq!(linkage.judge(&chain(4_000, 4_499)), Verdict::Ancestor(4_496));
    }

    #[test]
    fn anchors_are_bounded_however_far_the_checkpoint_is() {
        let far = 3_000_000;
        let mut linkage = Linkage::new(&[1, 2, 3, 4].map(|times| point(times * far)));
        while walk(&mut linkage, Some(at(0))).0.is_some() {}
        assert!(linkage.anchors.len() <= MOST_ANCHORS + 4, "{}", linkage.anchors.len());
        assert!(linkage.anchors.len() > 20_000, "{}", linkage.anchors.len());
        assert_eq!(linkage.follow(Some(at(far))), None);
        assert!(walk(&mut linkage, Some(at(far))).0.is_some(), "there is room again");
    }

    #[test]
    fn a_walk_that_the_tip_overtakes_is_over() {
        let mut linkage = Linkage::new(&[point(10_000), point(20_000)]);
        linkage.follow(Some(at(0)));
        assert_eq!(linkage.judge(&links(9_900, 10_100, 9_950)), Verdict::Contradiction(10_000));
        assert_eq!(linkage.follow(Some(at(10_500))), Some(Arrival::Linked(10_000)));
        assert_eq!(linkage.wanted(Some(at(10_500))), Some((15_905, 20_000)));
    }
}
