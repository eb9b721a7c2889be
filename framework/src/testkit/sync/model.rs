//! Chains and peers of a simulated network.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Abilities, IN_FLIGHT, RejectKind};
use crate::types::{BlockLink, Hash32, Height, Tip};

/// Numbers from a seed, by the algorithm `SplitMix64`, or out of given bytes.
#[derive(Debug, Clone)]
pub struct Dice(Source);

#[derive(Debug, Clone)]
enum Source {
    Seed(u64),
    Bytes(VecDeque<u8>),
}

impl Dice {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(Source::Seed(seed))
    }

    /// Numbers that bytes spell, so that a fuzzer that changes a byte changes a decision: a number below 256 takes one byte, others
    /// more. After the last byte all are 0.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Source::Bytes(bytes.iter().copied().collect()))
    }

    /// Whether it was made of bytes, and all of them are used.
    pub fn is_spent(&self) -> bool {
        matches!(&self.0, Source::Bytes(left) if left.is_empty())
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        match &mut self.0 {
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
            Source::Bytes(left) => number(left, size_of::<u64>()),
        }
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let end = end.max(1);
        let number = match &mut self.0 {
            Source::Seed(_) => self.roll(),
            Source::Bytes(left) => {
                let bits = u64::BITS - (end - 1).leading_zeros();
                number(left, bits.div_ceil(u8::BITS) as usize)
            }
        };
        number % end
    }
}

/// The next bytes as a number, the lowest first; 0 for each that is not there.
fn number(bytes: &mut VecDeque<u8>, width: usize) -> u64 {
    let taken = bytes.drain(..width.min(bytes.len()));
    taken.enumerate().fold(0, |number, (place, byte)| number | u64::from(byte) << (8 * place))
}

/// A chain of blocks without bodies.
#[derive(Debug, Clone, Default)]
#[expect(clippy::rc_buffer, reason = "many peers share a chain, and it grows in place")]
pub struct Chain(Arc<Vec<BlockLink>>);

impl Chain {
    /// Blocks 0 to `tip` of branch 0.
    pub fn to(tip: Height) -> Self {
        Self::default().grow(0, tip)
    }

    /// This chain up to block `common`, then blocks of another branch up to `tip`. Branches of different numbers differ from each other.
    pub fn fork(&self, common: Height, branch: u64, tip: Height) -> Self {
        let kept = self.0.iter().copied().take_while(|link| link.height <= common).collect();
        Self(Arc::new(kept)).grow(branch, tip)
    }

    /// This chain with further blocks up to `tip`.
    pub fn grow(&self, branch: u64, tip: Height) -> Self {
        let mut links = (*self.0).clone();
        for height in links.last().map_or(0, |last| last.height + 1)..=tip {
            let prev_hash = links.last().map_or(Hash32::ZERO, |last| last.hash);
            links.push(BlockLink { height, hash: hash_of(branch, height, prev_hash), prev_hash });
        }
        Self(Arc::new(links))
    }

    /// Its last block.
    pub fn tip(&self) -> Option<Tip> {
        self.0.last().map(BlockLink::tip)
    }

    /// Its height; `None` where it is empty.
    pub fn height(&self) -> Option<Height> {
        self.tip().map(|tip| tip.height)
    }

    /// The block at a height.
    pub fn at(&self, height: Height) -> Option<BlockLink> {
        self.0.get(usize::try_from(height).ok()?).copied()
    }

    /// The blocks of some heights, as far as there are any.
    pub fn range(&self, from: Height, to: Height) -> Vec<BlockLink> {
        (from..=to).map_while(|height| self.at(height)).collect()
    }

    pub(super) fn push(&mut self, link: BlockLink) {
        Arc::make_mut(&mut self.0).push(link);
    }

    pub(super) fn cut(&mut self, keep: Option<Height>) -> Vec<BlockLink> {
        let keep = keep.map_or(0, |keep| usize::try_from(keep).map_or(usize::MAX, |keep| keep.saturating_add(1)));
        let links = Arc::make_mut(&mut self.0);
        links.split_off(keep.min(links.len()))
    }
}

fn hash_of(branch: u64, height: Height, parent: Hash32) -> Hash32 {
    let parent = u64::from_be_bytes(std::array::from_fn(|i| parent.0[i]));
    let mut dice = Dice::new(branch.wrapping_mul(0x1000_0001) ^ height.rotate_left(32) ^ parent);
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&dice.roll().to_be_bytes());
    }
    Hash32(bytes)
}

/// What a peer of a simulated network does.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What it serves.
    pub chain: Chain,
    /// What its handshake claims.
    pub claims: Option<Height>,
    /// Whether it is a legacy peer.
    pub legacy: bool,
    /// How long it takes to answer.
    pub latency: Duration,
    /// The most blocks that it puts in an answer.
    pub longest_answer: u64,
    /// It does not answer requests that begin above this height.
    pub silent_above: Option<Height>,
    /// It does not answer requests that begin at this height or below it.
    pub silent_up_to: Option<Height>,
    /// It answers that it has nothing above this height.
    pub empty_above: Option<Height>,
    /// It sends blocks that link to nothing but each other.
    pub makes_up: bool,
    /// The blocks that it sends are signed by nobody that a node knows.
    pub unsigned: bool,
    /// The blocks that it sends above this height are signed by nobody that a node knows.
    pub unsigned_above: Option<Height>,
    /// The block at this height is signed with another key than its proposer's.
    pub forged_at: Option<Height>,
    /// It disconnects when it is asked for this height or a higher one.
    pub leaves_at: Option<Height>,
    /// What a node finds about blocks that come from this peer.
    pub faults: BTreeMap<Height, RejectKind>,
    /// The block at this height and those after it cannot be read.
    pub malformed_at: Option<Height>,
    /// How many requests it keeps apart; it answers them one after the other.
    pub requests: usize,
    /// Whether it gives out headers.
    pub headers: bool,
    /// How fast it sends, besides its latency.
    pub bytes_per_second: Option<u64>,
    /// What one of its blocks weighs, where that is not what others' do.
    pub block_bytes: Option<usize>,
    /// The first request for blocks above this height it does not answer; others it does.
    pub withholds_above: Option<Height>,
    /// From this time on it sends nothing more.
    pub freezes_at: Option<Duration>,
    /// Its blocks at these heights have STAKEs that name these keys: under v1 rules, what no hash covers.
    pub stakes: BTreeMap<Height, u8>,
    /// The proposers of its blocks at these heights were staked, lower down: by the block at that height, if with that key. Where a node
    /// has another key there, it refuses the proposer.
    pub staked: BTreeMap<Height, (Height, u8)>,
}

impl Peer {
    /// A peer that does all as documented, within 50 ms.
    pub fn honest(chain: &Chain) -> Self {
        Self {
            chain: chain.clone(),
            claims: chain.height(),
            legacy: false,
            latency: Duration::from_millis(50),
            longest_answer: 500,
            silent_above: None,
            silent_up_to: None,
            empty_above: None,
            makes_up: false,
            unsigned: false,
            unsigned_above: None,
            forged_at: None,
            leaves_at: None,
            faults: BTreeMap::new(),
            malformed_at: None,
            requests: 1,
            headers: false,
            bytes_per_second: None,
            block_bytes: None,
            withholds_above: None,
            freezes_at: None,
            stakes: BTreeMap::new(),
            staked: BTreeMap::new(),
        }
    }

    /// An honest peer with all that [`Abilities`] names.
    pub fn able(chain: &Chain) -> Self {
        Self { requests: IN_FLIGHT, headers: true, ..Self::honest(chain) }
    }

    /// What it can do beyond the documented protocol.
    pub fn abilities(&self) -> Abilities {
        Abilities { requests: self.requests, headers: self.headers }
    }

    /// An honest legacy peer, which takes this long for an answer.
    pub fn legacy(chain: &Chain, latency: Duration) -> Self {
        Self { legacy: true, latency, ..Self::honest(chain) }
    }

    /// A peer that claims a height and never answers.
    pub fn silent(claims: Height) -> Self {
        let chain = Chain::default();
        Self { claims: Some(claims), silent_above: Some(0), ..Self::honest(&chain) }.mute()
    }

    /// A peer that claims a height and has nothing to show.
    pub fn empty(claims: Height) -> Self {
        Self { claims: Some(claims), ..Self::honest(&Chain::default()) }
    }

    /// A peer that claims a height and makes up blocks that link to nothing.
    pub fn inventor(claims: Height) -> Self {
        Self { claims: Some(claims), makes_up: true, ..Self::honest(&Chain::default()) }
    }

    fn mute(mut self) -> Self {
        self.latency = Duration::MAX;
        self
    }

    /// The headers that it gives out: as many as there are of the asked, the last one among them.
    pub(super) fn header_answer(&self, from: Height, to: Height) -> Option<Vec<BlockLink>> {
        if !self.headers || self.chain.at(to).is_none() {
            return Some(Vec::new());
        }
        let from = from.max(to.saturating_sub(self.longest_answer.max(1) * 8 - 1));
        self.answers_above(from).then(|| self.chain.range(from, to))
    }

    fn answers_above(&self, from: Height) -> bool {
        let silent = self.silent_above.is_some_and(|height| from > height);
        self.latency < Duration::MAX && !silent && self.silent_up_to.is_none_or(|height| from > height)
    }

    /// Whether a node may penalise it.
    pub fn is_at_fault(&self) -> bool {
        self.forged_at.is_some() || self.faults.values().any(|why| *why == RejectKind::Invalid)
    }

    /// Its answer: the blocks, and whether another one could not be read; `None` for silence.
    pub(super) fn answer(&self, from: Height, to: Height) -> Option<(Vec<BlockLink>, bool)> {
        if !self.answers_above(from) {
            return None;
        }
        let mut to = to.min(from.saturating_add(self.longest_answer.max(1) - 1));
        if self.makes_up {
            let made_up = |height: Height| hash_of(from, height, Hash32::ZERO);
            let link = |height| BlockLink {
                height,
                hash: made_up(height),
                prev_hash: if height == from { Hash32([0xee; 32]) } else { made_up(height - 1) },
            };
            return Some(((from..=to).map(link).collect(), false));
        }
        if let Some(last) = self.empty_above {
            to = to.min(last);
        }
        let malformed = self.malformed_at.filter(|&at| from <= at && at <= to);
        let blocks = match malformed {
            Some(0) => vec![],
            Some(at) => self.chain.range(from, at - 1),
            None => self.chain.range(from, to),
        };
        Some((blocks, malformed.is_some()))
    }
}
