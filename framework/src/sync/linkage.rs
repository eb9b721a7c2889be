//! What is known of the way to a checkpoint: hashes of blocks that are its ancestors, by linkage alone.
//!
//! The walk goes down from the checkpoint. A header whose hash is known names its parent's, so that each header proves the next
//! one below, whoever sends it; nothing has to be believed. Every so often a hash is kept as an *anchor*. A batch of blocks
//! that link to each other and reach an anchor is then an ancestor of the checkpoint up to there, and needs no signature.
//! One that has another block at an anchor's height is of a chain that contradicts the checkpoint.
//!
//! Where the walk has come down to our tip, anchors are never further apart than may be undone: of a gap that is larger (the checkpoint
//! is millions of blocks away, or our own blocks were rolled back) the lowest anchor above our tip is where another walk begins.
//!
//! Under v1 rules this holds too: the hashed text begins with the height, which is known, and goes on with the parent's 64 digits, so
//! that a hash has one parent although other fields run into each other (protocol.md section 4).

use std::collections::BTreeMap;

use super::Contradiction;
use crate::store::UNDO_DEPTH;
use crate::types::{BlockLink, Checkpoint, Hash32, Height, MAX_HEADERS, Tip};

/// How many blocks may follow the last one that is known to lead to the next checkpoint, where more can be known.
pub(super) const MOST_UNLINKED: u64 = 512;
// A chain that has left the checkpoint's by that much, and by as much again before that is found out, can still be left.
const _: () = assert!(2 * MOST_UNLINKED <= UNDO_DEPTH);
/// Anchors in all, of about 64 bytes each: 2 MiB.
const MOST_ANCHORS: usize = 32_768;
/// Anchors of one walk, so that the next checkpoint's can begin before the tip has reached the first. Twice as many leave room to fill
/// gaps.
const ANCHORS_PER_WALK: u64 = 14_000;
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
    /// The highest block of ours that is known to lead to a checkpoint, or is one.
    linked: Option<Height>,
    /// Where our own chain is known to be another one than a checkpoint's.
    off_chain: Option<Contradiction>,
}

/// The way down from a checkpoint, or from an anchor.
#[derive(Debug)]
struct Walk {
    /// Where it began.
    top: Height,
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
    Contradiction(Contradiction),
}

/// What the end of a walk says about our own chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Our tip, or the checkpoint below, is an ancestor of this checkpoint.
    Linked(Height),
    /// Our tip is not.
    OffChain(Height, Contradiction),
}

/// What is known of a batch of blocks that link to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It reaches no anchor.
    Unknown,
    /// Up to this height it is an ancestor of a checkpoint.
    Ancestor(Height),
    /// It has another block than a checkpoint's chain.
    Contradiction(Contradiction),
}

impl Linkage {
    pub(super) fn new(checkpoints: &[Checkpoint]) -> Self {
        let checkpoints: BTreeMap<_, _> = checkpoints.iter().map(|point| (point.height, point.hash)).collect();
        Self { anchors: checkpoints.clone(), checkpoints, ..Self::default() }
    }

    /// Follows our tip: forgets what is below, ends a walk that has come down to it, and begins the next.
    pub(super) fn follow(&mut self, tip: Option<Tip>) -> Option<Arrival> {
        if self.checkpoints.is_empty() {
            return None;
        }
        let next = tip.map_or(Some(0), |tip| tip.height.checked_add(1))?;
        // Our chain has no other block at a checkpoint's height.
        let passed = self.checkpoints.range(..next).next_back().map(|(&height, _)| height);
        self.linked = self.linked.min(next.checked_sub(1)).max(passed);
        if self.anchors.first_key_value().is_some_and(|(&lowest, _)| lowest < next) {
            self.anchors = self.anchors.split_off(&next);
        }
        // After a rollback the checkpoints above are anchors again.
        let above = self.checkpoints.range(next..).map(|(&height, &hash)| (height, hash));
        self.anchors.extend(above);
        let arrival = self.arrive(tip);
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

    /// Where our own chain is known to be another one than a checkpoint's, if it is.
    pub(super) fn off_chain(&self) -> Option<Contradiction> {
        self.off_chain
    }

    /// Notes what is known of blocks that were just added to our chain.
    pub(super) fn added(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Unknown => {}
            Verdict::Ancestor(height) => (self.linked, self.off_chain) = (self.linked.max(Some(height)), None),
            Verdict::Contradiction(found) => self.off_chain = Some(found),
        }
    }

    /// How many blocks up to this height are not known to lead to the next checkpoint. None, where there is no further one.
    pub(super) fn unlinked(&self, height: Option<Height>) -> u64 {
        let Some(height) = height.filter(|&height| self.demands_more(height)) else { return 0 };
        self.linked.map_or(height.saturating_add(1), |linked| height.saturating_sub(linked))
    }

    /// How many blocks up to this height may be rolled back without leaving the next checkpoint's chain for certain.
    pub(super) fn may_leave(&self, height: Height) -> u64 {
        match self.linked.filter(|_| self.demands_more(height)) {
            Some(linked) => height.saturating_sub(linked),
            None => u64::MAX,
        }
    }

    /// What a checkpoint demands at this height.
    pub(super) fn demanded(&self, height: Height) -> Option<Hash32> {
        self.checkpoints.get(&height).copied()
    }

    fn demands_more(&self, height: Height) -> bool {
        self.checkpoints.last_key_value().is_some_and(|(&last, _)| last > height)
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
                Some(&expected) => {
                    let (height, offered) = (sample.height, Some(sample.hash));
                    return Verdict::Contradiction(Contradiction { height, expected, offered });
                }
                None => {}
            }
        }
        verdict
    }

    /// We left our chain for another one.
    pub(super) fn reorganised(&mut self) {
        self.off_chain = None;
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
                let (expected, offered) = (walk.lowest.hash, Some(link.hash));
                return Some(Step::Contradiction(Contradiction { height: link.height, expected, offered }));
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
                other => {
                    let (expected, offered) = (*hash, other.map(|link| link.hash));
                    return Verdict::Contradiction(Contradiction { height, expected, offered });
                }
            }
        }
        verdict
    }

    /// The best end for a range that may end at `to`: the last anchor in it.
    pub(super) fn align(&self, from: Height, to: Height) -> Height {
        self.anchors.range(from..=to.max(from)).next_back().map_or(to, |(&anchor, _)| anchor)
    }

    /// Ends the walk where it has come down to our tip, or to the checkpoint below.
    fn arrive(&mut self, tip: Option<Tip>) -> Option<Arrival> {
        let walk = self.walk.as_ref()?;
        let (top, lowest) = (walk.top, walk.lowest);
        let below = self.checkpoints.range(..top).next_back();
        let below = below.map(|(&height, &hash)| Tip { height, hash });
        let ends = || [tip, below].into_iter().flatten();
        if !walk.ended && ends().all(|end| end.height < lowest.height) {
            return None;
        }
        self.walk = None;
        self.walked_to = self.walked_to.max(Some(top));
        if let Some(end) = ends().find(|end| end.height == lowest.height && end.hash != lowest.hash) {
            let known = self.off_chain.is_some();
            let found = Contradiction { height: end.height, expected: lowest.hash, offered: Some(end.hash) };
            self.off_chain = Some(found);
            let checkpoint = self.checkpoints.range(top..).next().map_or(top, |(&height, _)| height);
            return (!known).then_some(Arrival::OffChain(checkpoint, found));
        }
        if tip == Some(lowest) {
            self.added(Verdict::Ancestor(lowest.height));
        }
        self.checkpoints.contains_key(&top).then_some(Arrival::Linked(top))
    }

    /// The lowest header that is of use.
    fn floor(&self, walk: &Walk, tip: Option<Tip>) -> Height {
        let above_tip = tip.map_or(0, |tip| tip.height.saturating_add(1));
        let below = self.checkpoints.range(..walk.top).next_back();
        below.map_or(0, |(&height, _)| height.saturating_add(1)).max(above_tip)
    }

    /// Begins the walk that is needed first: to fill a gap right above our tip, or down from the next checkpoint.
    fn begin(&mut self, next: Height) {
        let done = |height: Height| self.walked_to.is_some_and(|walked| height <= walked);
        let gap = self.anchors.range(next..).next().filter(|&(&height, _)| height - next >= MOST_UNLINKED);
        let Some((&top, &hash)) = gap.or_else(|| self.checkpoints.range(next..).find(|&(&height, _)| !done(height)))
        else {
            return;
        };
        let lowest = Tip { height: top, hash };
        let walk = Walk { top, lowest, spacing: LEAST_SPACING, ended: false };
        let distance = top - self.floor(&walk, next.checked_sub(1).map(|height| Tip { height, hash }));
        let room = u64::try_from(MOST_ANCHORS.saturating_sub(self.anchors.len())).unwrap_or(0);
        let bound = room.min(ANCHORS_PER_WALK);
        let least = if done(top) { distance / MOST_UNLINKED + 1 } else { ANCHORS_PER_WALK / 2 };
        if bound < least {
            return;
        }
        let mut spacing = LEAST_SPACING;
        while distance / spacing > bound {
            spacing = spacing.saturating_mul(2);
        }
        self.walk = Some(Walk { spacing, ..walk });
    }
}

#[cfg(test)]
mod tests;
