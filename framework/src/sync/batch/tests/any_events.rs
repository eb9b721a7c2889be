//! Any events in any order: nothing panics, overflows or runs in circles, and the books are kept.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::sync::{Abilities, IN_FLIGHT};
use crate::testkit::sync::Dice;
use crate::types::{Checkpoint, Hash32, MAX_HEADERS};

/// Heights at which sums go wrong, among harmless ones.
const HEIGHTS: [Height; 10] = [0, 1, 5, 100, 101, 600, i64::MAX as u64, u64::MAX - 501, u64::MAX - 1, u64::MAX];

/// The books of whoever drives a strategy.
struct Driver {
    strategy: BatchSync,
    dice: Dice,
    now: Duration,
    outstanding: BTreeMap<RequestId, (ConnId, Height, Height)>,
    headers: BTreeMap<RequestId, (ConnId, Height, Height)>,
    used: BTreeSet<RequestId>,
    held: BTreeSet<BatchId>,
    importing: Vec<BatchId>,
    known: BTreeSet<ConnId>,
    batches: u64,
    /// What was asked of our own STAKEs, and of a batch's.
    asked_below: Height,
    reading: Option<BatchId>,
}

impl Driver {
    fn new(seed: u64) -> Self {
        Self {
            strategy: BatchSync::default(),
            dice: Dice::new(seed),
            now: Duration::ZERO,
            outstanding: BTreeMap::new(),
            headers: BTreeMap::new(),
            used: BTreeSet::new(),
            held: BTreeSet::new(),
            importing: vec![],
            known: BTreeSet::new(),
            batches: 0,
            asked_below: 0,
            reading: None,
        }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.dice.below(from.len() as u64)).unwrap()]
    }

    fn height(&mut self) -> Height {
        if self.dice.below(3) == 0 { self.pick(&HEIGHTS) } else { self.dice.below(40) }
    }

    fn hash(&mut self) -> Hash32 {
        let byte = u8::try_from(self.dice.below(4)).unwrap();
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
                self.known.insert(peer);
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
                let held: Vec<BatchId> = self.held.iter().copied().collect();
                let wrong = (self.dice.below(4) == 0).then(|| self.height());
                SyncEvent::Checked { batch: self.pick(&held), signed: self.dice.below(12), wrong }
            }
            17 => SyncEvent::RolledBack { tip: self.tip() },
            20 => SyncEvent::OwnStakes { below: self.asked_below, stakes: self.stakes() },
            21 if self.reading.is_some() => {
                let batch = self.reading.take().unwrap();
                SyncEvent::Stakes { batch, stakes: self.stakes() }
            }
            18 if self.dice.below(2) == 0 => SyncEvent::RollbackFailed { tip: self.tip() },
            18 => SyncEvent::ReorgFinished { tip: self.tip() },
            22 if !self.headers.is_empty() => {
                let (request, (peer, from, to)) = self.headers.pop_first().unwrap();
                let mut links = self.links(from.max(to.saturating_sub(20)), to);
                if self.dice.below(4) == 0 {
                    links.clear();
                }
                SyncEvent::Headers { peer, request, links, bytes: 1 }
            }
            23 if self.known.contains(&peer) => {
                let requests = usize::try_from(self.dice.below(5)).unwrap();
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
        self.held.insert(batch);
        let malformed = self.dice.below(8) == 0;
        let bytes = self.pick(&[0, 17, 4096, 1 << 20, usize::MAX]);
        let ids: Vec<RequestId> = self.outstanding.keys().copied().collect();
        if ids.is_empty() || self.dice.below(10) == 0 {
            let from = self.height();
            let links = self.links(from, from);
            return SyncEvent::Blocks { peer: stranger, request: RequestId(u64::MAX), batch, links, bytes, malformed };
        }
        let request = self.pick(&ids);
        let (peer, from, to) = self.outstanding.remove(&request).unwrap();
        SyncEvent::Blocks { peer, request, batch, links: self.links(from, to), bytes, malformed }
    }

    fn step(&mut self) -> Result<(), TestCaseError> {
        self.now += Duration::from_millis(self.dice.below(4) * self.dice.below(5000));
        self.rests()?;
        let event = self.event();
        self.strategy.handle(self.now, event);
        for count in 0.. {
            prop_assert!(count < 1000, "runs in circles");
            let Some(action) = self.strategy.poll_action() else { break };
            self.note(&action)?;
        }
        prop_assert!(self.strategy.next_deadline().is_none_or(|at| at > self.now));
        prop_assert_eq!(self.strategy.status().outstanding, self.outstanding.len() + self.headers.len());
        self.rests()?;
        let waiting: BTreeSet<BatchId> = self.held.iter().copied().collect();
        prop_assert!(waiting.len() <= 2_000, "{} batches held", waiting.len());
        Ok(())
    }

    /// Before its deadline there is nothing for it to do: otherwise a wake-up would be lost.
    fn rests(&mut self) -> Result<(), TestCaseError> {
        if self.strategy.next_deadline().is_some_and(|at| at <= self.now) {
            return Ok(());
        }
        let before = self.strategy.status();
        self.strategy.handle(self.now, SyncEvent::Tick);
        prop_assert_eq!(self.strategy.poll_action(), None, "at {:?}: {:?}", self.now, &self.strategy);
        prop_assert_eq!(self.strategy.status(), before);
        Ok(())
    }

    fn few_are_outstanding(&self, peer: ConnId) -> Result<(), TestCaseError> {
        let all = self.outstanding.values().chain(self.headers.values());
        prop_assert!(all.filter(|&&(of, ..)| of == peer).count() <= IN_FLIGHT, "{peer:?} is asked too much");
        Ok(())
    }

    fn note(&mut self, action: &SyncAction) -> Result<(), TestCaseError> {
        match *action {
            SyncAction::Request { peer, request, from, to, .. } => {
                prop_assert!(from <= to && to - from < 500, "{from}..={to}");
                prop_assert!(self.used.insert(request), "{request:?} twice");
                prop_assert!(self.known.contains(&peer), "{peer:?} is not there");
                self.outstanding.insert(request, (peer, from, to));
                self.few_are_outstanding(peer)?;
            }
            SyncAction::RequestHeaders { peer, request, from, to, .. } => {
                prop_assert!(from <= to && to - from < MAX_HEADERS, "{from}..={to}");
                prop_assert!(self.used.insert(request), "{request:?} twice");
                prop_assert!(self.known.contains(&peer), "{peer:?} is not there");
                self.headers.insert(request, (peer, from, to));
                self.few_are_outstanding(peer)?;
            }
            SyncAction::Cancel { request } => {
                let known = self.outstanding.remove(&request).or_else(|| self.headers.remove(&request));
                prop_assert!(known.is_some(), "{request:?} is not outstanding");
            }
            SyncAction::Import { batch } => {
                prop_assert!(self.held.remove(&batch), "{batch:?} is not held");
                self.importing.push(batch);
            }
            SyncAction::FindStakes { below } => self.asked_below = below,
            SyncAction::ReadStakes { batch } => {
                prop_assert!(self.held.contains(&batch), "{batch:?} is not held");
                self.reading = Some(batch);
            }
            SyncAction::Discard { batch } => prop_assert!(self.held.remove(&batch), "{batch:?} is not held"),
            _ => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keep_the_books(seed in any::<u64>()) {
        let mut driver = Driver::new(seed);
        for _ in 0..400 {
            driver.step()?;
        }
    }
}
