//! Any events in any order, by dice: nothing panics, overflows or runs in circles, and the books are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::model::Dice;
use crate::sync::{
    Abilities, BatchId, ConnId, Connectivity, IN_FLIGHT, RejectKind, RequestFailure, RequestId, StakeBlock, SyncAction,
    SyncEvent, SyncStrategy,
};
use crate::types::{BlockLink, Checkpoint, Hash32, Height, MAX_HEADERS, Tip};

/// Heights at which sums go wrong, among harmless ones.
const HEIGHTS: [Height; 10] = [0, 1, 5, 100, 101, 600, i64::MAX as u64, u64::MAX - 501, u64::MAX - 1, u64::MAX];
/// The most actions that one event may cause before the strategy counts as running in circles.
const MOST_ACTIONS: usize = 1000;
/// The most batches that may wait: more than a window of blocks, each in a batch of its own.
const MOST_HELD: usize = 2000;
/// The most that a strategy's state may be, printed, beside what it holds of delivered blocks: room for five peers with all that is
/// remembered of each.
const MOST_STATE: usize = 256 << 10;
/// What one held block is, printed, at most.
const PRINTED_BLOCK: usize = 1024;

/// A strategy that is told whatever the dice say, and the books of whoever drives it: which requests are outstanding with whom, which batches
/// are held, what was checked.
///
/// The events are not those of any real chain, so that every order and every number comes up; whether the strategy does what it
/// should in a network that makes sense is for a [`World`](super::World) to see.
#[derive(Debug)]
pub struct AnyEvents {
    strategy: Box<dyn SyncStrategy>,
    dice: Dice,
    now: Duration,
    outstanding: BTreeMap<RequestId, (ConnId, Height, Height)>,
    headers: BTreeMap<RequestId, (ConnId, Height, Height)>,
    used: BTreeSet<RequestId>,
    held: BTreeMap<BatchId, Held>,
    importing: Vec<BatchId>,
    /// The peers that are there, and how many requests each was ever said to keep apart.
    known: BTreeMap<ConnId, usize>,
    batches: u64,
    /// What was asked of our own STAKEs, and of a batch's.
    asked_below: Height,
    reading: Option<BatchId>,
}

/// A delivered batch that is neither imported nor discarded.
#[derive(Debug)]
struct Held {
    first: Option<Height>,
    blocks: usize,
    checked: bool,
}

impl AnyEvents {
    /// Drives this strategy by these dice.
    pub fn new(strategy: Box<dyn SyncStrategy>, dice: Dice) -> Self {
        Self {
            strategy,
            dice,
            now: Duration::ZERO,
            outstanding: BTreeMap::new(),
            headers: BTreeMap::new(),
            used: BTreeSet::new(),
            held: BTreeMap::new(),
            importing: vec![],
            known: BTreeMap::new(),
            batches: 0,
            asked_below: 0,
            reading: None,
        }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.dice.below(from.len() as u64)).unwrap_or(0)]
    }

    fn height(&mut self) -> Height {
        if self.dice.below(3) == 0 { self.pick(&HEIGHTS) } else { self.dice.below(40) }
    }

    fn hash(&mut self) -> Hash32 {
        let byte = u8::try_from(self.dice.below(4)).unwrap_or(0);
        Hash32([byte; 32])
    }

    fn tip(&mut self) -> Option<Tip> {
        (self.dice.below(6) > 0).then(|| Tip { height: self.height(), hash: self.hash() })
    }

    fn link(&mut self, height: Height) -> BlockLink {
        BlockLink { height, hash: self.hash(), prev_hash: self.hash() }
    }

    /// Blocks that may link, to each other and to anything, or not.
    fn links(&mut self, from: Height, to: Height) -> Vec<BlockLink> {
        let most = self.dice.below(12).min(to - from + 1);
        let same = self.hash();
        let linked = self.dice.below(4) > 0;
        (0..most)
            .map(|i| {
                let link = self.link(from.wrapping_add(i));
                if linked { BlockLink { hash: same, prev_hash: same, ..link } } else { link }
            })
            .collect()
    }

    fn stakes(&mut self) -> Vec<StakeBlock> {
        let from = self.dice.below(40);
        self.links(from, from + 10).into_iter().map(|link| StakeBlock { link, keys: self.hash() }).collect()
    }

    fn event(&mut self) -> SyncEvent {
        let peer = ConnId(self.dice.below(5));
        match self.dice.below(25) {
            0 => SyncEvent::LocalTip(self.tip()),
            1 => SyncEvent::Connectivity(self.pick(&[
                Connectivity::NoPeersKnown,
                Connectivity::Dialling,
                Connectivity::AllDialsFailed,
                Connectivity::Connected,
            ])),
            2..5 => {
                self.known.entry(peer).or_insert(1);
                let height = (self.dice.below(5) > 0).then(|| self.height());
                SyncEvent::PeerTip { peer, height, legacy: self.dice.below(2) == 0 }
            }
            5 => {
                let height = self.height();
                SyncEvent::Announced { peer, link: self.link(height) }
            }
            6 if self.dice.below(3) == 0 => {
                self.known.remove(&peer);
                self.outstanding.retain(|_, (of, ..)| *of != peer);
                self.headers.retain(|_, (of, ..)| *of != peer);
                SyncEvent::PeerGone { peer }
            }
            7..13 => self.blocks(peer),
            13 => {
                let why = self.pick(&[RequestFailure::TimedOut, RequestFailure::BadAnswer, RequestFailure::NotSent]);
                match self.outstanding.pop_first().or_else(|| self.headers.pop_first()) {
                    Some((request, (peer, ..))) => SyncEvent::RequestFailed { peer, request, why },
                    None => SyncEvent::RequestFailed { peer, request: RequestId(u64::MAX), why },
                }
            }
            14 if !self.importing.is_empty() => {
                let batch = self.importing.remove(0);
                SyncEvent::Imported { batch, tip: Tip { height: self.height(), hash: self.hash() } }
            }
            15 if !self.importing.is_empty() => {
                let batch = self.importing.remove(0);
                let why = self.pick(&[
                    RejectKind::NotLinked,
                    RejectKind::Invalid,
                    RejectKind::WrongProposer,
                    RejectKind::FromTheFuture,
                    RejectKind::Stricter,
                    RejectKind::BodyMismatch,
                    RejectKind::Checkpoint,
                    RejectKind::Local,
                ]);
                SyncEvent::Rejected { batch, height: self.height(), why, tip: self.tip() }
            }
            16 => {
                let from = self.dice.below(40);
                SyncEvent::OwnLinks { links: self.links(from, from + 10) }
            }
            17 if self.dice.below(2) == 0 && !self.held.is_empty() => {
                let held: Vec<BatchId> = self.held.keys().copied().collect();
                let wrong = (self.dice.below(4) == 0).then(|| self.height());
                let (batch, signed) = (self.pick(&held), self.dice.below(12));
                if let Some(held) = self.held.get_mut(&batch) {
                    held.checked = true;
                }
                SyncEvent::Checked { batch, signed, wrong }
            }
            17 => SyncEvent::RolledBack { tip: self.tip() },
            20 => SyncEvent::OwnStakes { below: self.asked_below, stakes: self.stakes() },
            21 => match self.reading.take() {
                Some(batch) => SyncEvent::Stakes { batch, stakes: self.stakes() },
                None => SyncEvent::Tick,
            },
            18 if self.dice.below(2) == 0 => SyncEvent::RollbackFailed { tip: self.tip() },
            18 => SyncEvent::ReorgFinished { tip: self.tip() },
            22 => {
                let Some((request, (peer, from, to))) = self.headers.pop_first() else { return SyncEvent::Tick };
                let mut links = self.links(from.max(to.saturating_sub(20)), to);
                if self.dice.below(4) == 0 {
                    links.clear();
                }
                SyncEvent::Headers { peer, request, links, bytes: 1 }
            }
            23 if self.known.contains_key(&peer) => {
                let requests = usize::try_from(self.dice.below(5)).unwrap_or(0);
                self.known.entry(peer).and_modify(|most| *most = requests.clamp(*most, IN_FLIGHT));
                let abilities = Abilities { requests, headers: self.dice.below(2) == 0 };
                SyncEvent::PeerAbilities { peer, abilities }
            }
            24 if self.dice.below(20) == 0 => {
                let heights = [self.height(), self.height()];
                SyncEvent::Checkpoints(heights.map(|height| Checkpoint { height, hash: self.hash() }).into())
            }
            _ => SyncEvent::Tick,
        }
    }

    fn blocks(&mut self, stranger: ConnId) -> SyncEvent {
        self.batches += 1;
        let batch = BatchId(self.batches);
        let malformed = self.dice.below(8) == 0;
        let bytes = self.pick(&[0, 17, 4096, 1 << 20, usize::MAX]);
        let ids: Vec<RequestId> = self.outstanding.keys().copied().collect();
        let asked = if ids.is_empty() || self.dice.below(10) == 0 {
            None
        } else {
            let request = self.pick(&ids);
            self.outstanding.remove(&request).map(|asked| (request, asked))
        };
        let (request, (peer, from, to)) = asked.unwrap_or_else(|| {
            let from = self.height();
            (RequestId(u64::MAX), (stranger, from, from))
        });
        let links = self.links(from, to);
        let first = links.first().map(|link| link.height);
        self.held.insert(batch, Held { first, blocks: links.len(), checked: false });
        SyncEvent::Blocks { peer, request, batch, links, bytes, weight: bytes, malformed }
    }

    /// Tells the next event that the dice say, and carries out what the strategy answers.
    ///
    /// # Panics
    /// The strategy breaks a rule of its contract.
    pub fn step(&mut self) {
        self.now += Duration::from_millis(self.dice.below(4) * self.dice.below(5000));
        self.rests();
        let event = self.event();
        self.strategy.handle(self.now, event);
        for count in 0.. {
            assert!(count < MOST_ACTIONS, "runs in circles");
            let Some(action) = self.strategy.poll_action() else { break };
            self.note(&action);
        }
        let deadline = self.strategy.next_deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "the deadline {deadline:?} is not after {:?}", self.now);
        assert_eq!(self.strategy.status().outstanding, self.outstanding.len() + self.headers.len());
        self.rests();
        assert!(self.held.len() <= MOST_HELD, "{} batches held", self.held.len());
    }

    /// Takes steps until the dice are spent, at most so many, and looks at the size of the state in the end.
    ///
    /// # Panics
    /// As [`step`](Self::step); and where the state is larger than what five peers and the blocks held are worth.
    pub fn run(&mut self, most: usize) {
        for _ in 0..most {
            if self.dice.is_spent() {
                break;
            }
            self.step();
        }
        let blocks: usize = self.held.values().map(|held| held.blocks).sum();
        let (size, bound) = (format!("{:?}", self.strategy).len(), MOST_STATE + blocks * PRINTED_BLOCK);
        assert!(size <= bound, "a state of {size} characters with {blocks} blocks held, {bound} are enough");
    }

    /// Before its deadline there is nothing for it to do: otherwise a wake-up would be lost.
    fn rests(&mut self) {
        if self.strategy.next_deadline().is_some_and(|at| at <= self.now) {
            return;
        }
        let before = self.strategy.status();
        self.strategy.handle(self.now, SyncEvent::Tick);
        assert_eq!(self.strategy.poll_action(), None, "at {:?}: {:?}", self.now, &self.strategy);
        assert_eq!(self.strategy.status(), before);
    }

    /// Notes a request, which must be new and to a peer that is there and keeps it apart from the others.
    fn asked(&mut self, peer: ConnId, request: RequestId) {
        assert!(self.used.insert(request), "{request:?} twice");
        let most = self.known.get(&peer).copied();
        let all = self.outstanding.values().chain(self.headers.values());
        let under_way = all.filter(|&&(of, ..)| of == peer).count();
        assert!(most.is_some_and(|most| under_way < most), "{peer:?} of {most:?} requests has {under_way} already");
    }

    fn note(&mut self, action: &SyncAction) {
        match *action {
            SyncAction::Request { peer, request, from, to, .. } => {
                assert!(from <= to && to - from < 500, "{from}..={to}");
                self.asked(peer, request);
                self.outstanding.insert(request, (peer, from, to));
            }
            SyncAction::RequestHeaders { peer, request, from, to, .. } => {
                assert!(from <= to && to - from < MAX_HEADERS, "{from}..={to}");
                self.asked(peer, request);
                self.headers.insert(request, (peer, from, to));
            }
            SyncAction::Cancel { request } => {
                let known = self.outstanding.remove(&request).or_else(|| self.headers.remove(&request));
                assert!(known.is_some(), "{request:?} is not outstanding");
            }
            SyncAction::Import { batch } => {
                assert!(self.held.remove(&batch).is_some(), "{batch:?} is not held");
                self.importing.push(batch);
            }
            SyncAction::Rollback { keep } => {
                let first = keep.map_or(Some(0), |keep| keep.checked_add(1));
                let shown = self.held.values().any(|held| held.checked && held.first == first && first.is_some());
                assert!(shown, "a rollback to {keep:?}, and no block after it is held and was checked");
            }
            SyncAction::FindStakes { below } => self.asked_below = below,
            SyncAction::ReadStakes { batch } => {
                assert!(self.held.contains_key(&batch), "{batch:?} is not held");
                self.reading = Some(batch);
            }
            SyncAction::Discard { batch } => assert!(self.held.remove(&batch).is_some(), "{batch:?} is not held"),
            _ => {}
        }
    }
}
