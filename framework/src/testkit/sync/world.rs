//! A node without IO, in virtual time, around a strategy under test: it carries out the strategy's actions and notes each breach of the contract.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::model::{Chain, Peer};
use crate::sync::{
    Abilities, BatchId, ConnId, Connectivity, Mode, RejectKind, RequestFailure, RequestId, StakeBlock, SyncAction,
    SyncEvent, SyncStrategy,
};
use crate::types::{BlockLink, Checkpoint, Hash32, Height, MAX_HEADERS, Tip};

/// The most actions that one event may cause before the strategy counts as running in circles.
const MOST_ACTIONS: usize = 10_000;

/// A rule of the contract that a world watches over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// At most one request is outstanding with a peer, or as many as it keeps apart.
    RequestsPerPeer,
    /// A batch is vouched for only up to a known ancestor of a checkpoint.
    Vouch,
    /// A request has a fresh number and asks for 1 to 500 heights.
    RequestSize,
    /// Imports are in order.
    ImportOrder,
    /// A batch is imported or discarded once.
    BatchOnce,
    /// Nothing is asked of a peer that is gone.
    GonePeer,
    /// Rollbacks go towards delivered blocks that link.
    RollbackLinks,
    /// A reorganisation is ended once, and put back where it led to nothing better.
    ReorgEnds,
    /// Nobody is penalised who is not at fault.
    Blame,
    /// An event causes a bounded number of actions.
    Circles,
}

/// A simulated node and its network.
#[derive(Debug)]
pub struct World {
    pub(super) strategy: Box<dyn SyncStrategy>,
    pub(super) now: Duration,
    agenda: BTreeMap<(Duration, u64), Happening>,
    serial: u64,
    pub(super) peers: BTreeMap<ConnId, Peer>,
    gone: BTreeSet<ConnId>,
    guilty: BTreeSet<ConnId>,
    pub(super) outstanding: BTreeMap<RequestId, (ConnId, Height, Height)>,
    pub(super) used: BTreeSet<RequestId>,
    pub(super) held: BTreeMap<BatchId, Batch>,
    pub(super) chain: Chain,
    pub(super) journal: Option<Journal>,
    /// The keys that the STAKEs of our blocks name.
    stakes: BTreeMap<Height, u8>,
    jobs: VecDeque<SyncAction>,
    import_per_block: Duration,
    durable_after: Duration,
    pub(super) block_bytes: usize,
    checkpoints: BTreeMap<Height, Hash32>,
    /// Hashes of checkpoints, and of what is known to be their ancestors.
    pub(super) proven: BTreeSet<Hash32>,
    /// How many blocks were imported with a word for them.
    pub(super) vouched: u64,
    vouched_for: BTreeMap<BatchId, Height>,
    pub(super) busy_until: BTreeMap<ConnId, Duration>,
    /// What messages call it.
    pub name: String,
    /// Every action, with its time.
    pub log: Vec<(Duration, SyncAction)>,
    /// Every change of mode, with its time.
    pub modes: Vec<(Duration, Mode)>,
    /// Every breach of the contract, in words.
    pub breaches: Vec<(Rule, String)>,
}

/// What a rollback removed.
#[derive(Debug)]
pub(super) struct Journal {
    tip: Option<Tip>,
    links: Vec<BlockLink>,
    stakes: BTreeMap<Height, u8>,
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) peer: ConnId,
    pub(super) links: Vec<BlockLink>,
    pub(super) bytes: usize,
    pub(super) faults: BTreeMap<Height, RejectKind>,
    pub(super) handed_over: bool,
    pub(super) checked: bool,
    pub(super) unsigned_above: Option<Height>,
    pub(super) forged_at: Option<Height>,
    pub(super) stakes: BTreeMap<Height, u8>,
    pub(super) staked: BTreeMap<Height, (Height, u8)>,
}

#[derive(Debug)]
pub(super) enum Happening {
    Event(SyncEvent),
    Answer { peer: ConnId, request: RequestId, from: Height, to: Height },
    Headers { peer: ConnId, request: RequestId, from: Height, to: Height },
    TimeOut { peer: ConnId, request: RequestId },
    Leave(ConnId),
    Work,
}

impl World {
    /// A node with this chain, whose blocks take 100 µs to import, and which has dialled somebody.
    pub fn new(strategy: Box<dyn SyncStrategy>, chain: &Chain) -> Self {
        let mut world = Self {
            strategy,
            now: Duration::ZERO,
            agenda: BTreeMap::new(),
            serial: 0,
            peers: BTreeMap::new(),
            gone: BTreeSet::new(),
            guilty: BTreeSet::new(),
            outstanding: BTreeMap::new(),
            used: BTreeSet::new(),
            held: BTreeMap::new(),
            chain: chain.clone(),
            journal: None,
            stakes: BTreeMap::new(),
            jobs: VecDeque::new(),
            import_per_block: Duration::from_micros(100),
            durable_after: Duration::ZERO,
            block_bytes: 1500,
            checkpoints: BTreeMap::new(),
            proven: BTreeSet::new(),
            vouched: 0,
            vouched_for: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            name: "the simulated network".to_owned(),
            log: Vec::new(),
            modes: Vec::new(),
            breaches: Vec::new(),
        };
        world.tell(SyncEvent::LocalTip(chain.tip()));
        world.tell(SyncEvent::Connectivity(Connectivity::Dialling));
        world
    }

    /// Lets an import take this long per block.
    pub fn importing_at(mut self, per_block: Duration) -> Self {
        self.import_per_block = per_block;
        self
    }

    /// Lets the word of an import come so much later, with the next ones under way: as where several stages overlap.
    pub fn durable_after(mut self, pause: Duration) -> Self {
        self.durable_after = pause;
        self
    }

    /// Lets blocks have this size on the wire.
    pub fn with_blocks_of(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Demands these blocks of every chain.
    pub fn with_checkpoints(mut self, links: impl IntoIterator<Item = BlockLink>) -> Self {
        self.checkpoints = links.into_iter().map(|link| (link.height, link.hash)).collect();
        self.proven = self.checkpoints.values().copied().collect();
        let checkpoints = self.checkpoints.iter().map(|(&height, &hash)| Checkpoint { height, hash }).collect();
        self.tell(SyncEvent::Checkpoints(checkpoints));
        self
    }

    /// Connects a peer now.
    pub fn connect(&mut self, peer: Peer) -> ConnId {
        let id = ConnId(self.serial());
        let (height, legacy, abilities) = (peer.claims, peer.legacy, peer.abilities());
        self.peers.insert(id, peer);
        self.tell(SyncEvent::Connectivity(Connectivity::Connected));
        self.tell(SyncEvent::PeerTip { peer: id, height, legacy });
        if abilities != Abilities::default() {
            self.tell(SyncEvent::PeerAbilities { peer: id, abilities });
        }
        id
    }

    /// Ends a connection now.
    pub fn disconnect(&mut self, id: ConnId) {
        if self.peers.remove(&id).is_some() {
            self.gone.insert(id);
            self.outstanding.retain(|_, (peer, ..)| *peer != id);
            self.tell(SyncEvent::PeerGone { peer: id });
        }
    }

    /// Gives a peer another chain, without a word to the node.
    pub fn set_chain(&mut self, id: ConnId, chain: &Chain) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.chain = chain.clone();
        }
    }

    /// Lets a peer do something else from now on, without a word to the node.
    pub fn set_peer(&mut self, id: ConnId, peer: Peer) {
        self.peers.insert(id, peer);
    }

    /// Repeats a peer's handshake with another height.
    pub fn claim(&mut self, id: ConnId, height: Option<Height>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.claims = height;
        let legacy = peer.legacy;
        self.tell(SyncEvent::PeerTip { peer: id, height, legacy });
    }

    /// A peer's last block arrives, as after its production. It is applied if it extends our chain and no reorganisation is under way.
    pub fn announce_tip(&mut self, id: ConnId) {
        let Some(link) = self.peers.get(&id).and_then(|peer| peer.chain.at(peer.chain.height()?)) else { return };
        if link.extends(self.tip().as_ref()) && self.journal.is_none() && self.jobs.is_empty() {
            self.chain.push(link);
            self.tell(SyncEvent::LocalTip(self.tip()));
        } else {
            self.tell(SyncEvent::Announced { peer: id, link });
        }
    }

    /// The key that the STAKE of our block at this height names.
    pub fn staked_at(&self, height: Height) -> Option<u8> {
        self.stakes.get(&height).copied()
    }

    /// Tells the strategy anything at all.
    pub fn tell(&mut self, event: SyncEvent) {
        self.strategy.handle(self.now, event);
        let mut actions = 0;
        while let Some(action) = self.strategy.poll_action() {
            actions += 1;
            if actions > MOST_ACTIONS {
                self.breach(Rule::Circles, format!("{actions} actions at {:?}", self.now));
                break;
            }
            self.carry_out(action);
        }
        let mode = self.strategy.status().mode;
        if self.modes.last().is_none_or(|&(_, last)| last != mode) {
            self.modes.push((self.now, mode));
        }
    }

    /// Tells the strategy something later.
    pub fn tell_at(&mut self, at: Duration, event: SyncEvent) {
        self.schedule(at.saturating_sub(self.now), Happening::Event(event));
    }

    /// Ends a connection later.
    pub fn disconnect_at(&mut self, at: Duration, id: ConnId) {
        self.schedule(at.saturating_sub(self.now), Happening::Leave(id));
    }

    /// Lets time pass until `end`.
    pub fn run_until(&mut self, end: Duration) {
        self.run(end, |_| false);
    }

    /// Lets time pass until the strategy is SYNCED, at most until `end`. Whether it is.
    pub fn run_until_synced(&mut self, end: Duration) -> bool {
        self.run(end, |world| world.mode() == Mode::Synced);
        self.mode() == Mode::Synced
    }

    fn run(&mut self, end: Duration, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let agenda = self.agenda.keys().next().copied();
            let tick = self.strategy.next_deadline().map(|at| at.max(self.now + Duration::from_millis(1)));
            let next = agenda.map(|(at, _)| at).into_iter().chain(tick).min();
            let Some(at) = next.filter(|&at| at <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(at);
            match agenda.filter(|&(due, _)| due <= at).and_then(|key| self.agenda.remove(&key)) {
                Some(happening) => self.happen(happening),
                None => self.tell(SyncEvent::Tick),
            }
        }
    }

    pub(super) fn breach(&mut self, rule: Rule, what: String) {
        self.breaches.push((rule, what));
    }

    pub(super) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn schedule(&mut self, after: Duration, happening: Happening) {
        let serial = self.serial();
        self.agenda.insert((self.now.saturating_add(after), serial), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Event(event) => self.tell(event),
            Happening::Answer { peer, request, from, to } => self.answer(peer, request, from, to),
            Happening::Headers { peer, request, from, to } => self.give_headers(peer, request, from, to),
            Happening::TimeOut { peer, request } => {
                if self.outstanding.remove(&request).is_some() {
                    self.tell(SyncEvent::RequestFailed { peer, request, why: RequestFailure::TimedOut });
                }
            }
            Happening::Leave(peer) => self.disconnect(peer),
            Happening::Work => self.work(),
        }
    }

    fn carry_out(&mut self, action: SyncAction) {
        self.log.push((self.now, action.clone()));
        match action {
            SyncAction::Request { peer, request, from, to, timeout } => {
                if to < from || to - from >= 500 {
                    self.breach(Rule::RequestSize, format!("{request:?} for {from}..={to}"));
                }
                self.send(peer, request, from, to, timeout, false);
            }
            SyncAction::RequestHeaders { peer, request, from, to, timeout } => {
                if to < from || to - from >= MAX_HEADERS {
                    self.breach(Rule::RequestSize, format!("{request:?} for the headers {from}..={to}"));
                }
                self.send(peer, request, from, to, timeout, true);
            }
            SyncAction::Vouch { batch, up_to } => self.vouch(batch, up_to),
            SyncAction::Cancel { request } => drop(self.outstanding.remove(&request)),
            SyncAction::Discard { batch } => {
                if self.held.remove(&batch).is_none_or(|batch| batch.handed_over) {
                    self.breach(Rule::BatchOnce, format!("{batch:?} discarded, which is not there"));
                }
            }
            SyncAction::Import { batch } => {
                self.check_import(batch);
                self.enqueue(SyncAction::Import { batch });
            }
            SyncAction::Rollback { keep } => {
                self.check_rollback(keep);
                self.enqueue(SyncAction::Rollback { keep });
            }
            SyncAction::Check { batch } => self.check(batch),
            SyncAction::LookUp { .. } | SyncAction::FindStakes { .. } | SyncAction::FinishReorg { .. } => {
                self.enqueue(action);
            }
            SyncAction::ReadStakes { batch } => self.read_stakes(batch),
            SyncAction::Penalise { peer, .. } => {
                if !self.guilty.contains(&peer) {
                    self.breach(Rule::Blame, format!("{peer:?} penalised"));
                }
                self.schedule(Duration::ZERO, Happening::Leave(peer));
            }
            SyncAction::Report(_) => {}
        }
    }

    fn vouch(&mut self, id: BatchId, up_to: Height) {
        let link = self.held.get(&id).filter(|batch| !batch.handed_over);
        let link = link.and_then(|batch| batch.links.iter().find(|link| link.height == up_to));
        if !link.is_some_and(|link| self.proven.contains(&link.hash)) {
            self.breach(Rule::Vouch, format!("{id:?} vouched for up to {up_to}"));
        }
        self.vouched_for.insert(id, up_to);
    }

    fn check(&mut self, id: BatchId) {
        let Some(batch) = self.held.get_mut(&id) else {
            self.breach(Rule::BatchOnce, format!("{id:?} to be checked, which is not there"));
            return;
        };
        batch.checked = true;
        let wrong = batch.forged_at.filter(|&at| batch.links.iter().any(|link| link.height == at));
        if wrong.is_some() {
            self.guilty.insert(batch.peer);
        }
        let last_signed = batch.unsigned_above.unwrap_or(Height::MAX);
        let is_signed = |link: &&BlockLink| link.height <= last_signed && wrong.is_none_or(|at| link.height < at);
        let signed = batch.links.iter().filter(is_signed).count() as u64;
        self.schedule(Duration::ZERO, Happening::Event(SyncEvent::Checked { batch: id, signed, wrong }));
    }

    fn read_stakes(&mut self, id: BatchId) {
        let Some(batch) = self.held.get(&id).filter(|batch| !batch.handed_over) else {
            self.breach(Rule::BatchOnce, format!("{id:?} to be read for STAKEs, which is not there"));
            return;
        };
        let stakes =
            batch.links.iter().filter_map(|link| Some(stake(*link, *batch.stakes.get(&link.height)?))).collect();
        self.schedule(Duration::ZERO, Happening::Event(SyncEvent::Stakes { batch: id, stakes }));
    }

    fn check_import(&mut self, id: BatchId) {
        let queued = self.jobs.iter().rev().find_map(|job| match job {
            SyncAction::Import { batch } => {
                self.held.get(batch).and_then(|batch| batch.links.last()).map(BlockLink::tip)
            }
            _ => None,
        });
        let expected = queued.or(self.tip());
        let Some(batch) = self.held.get_mut(&id).filter(|batch| !batch.handed_over) else {
            self.breach(Rule::BatchOnce, format!("{id:?} imported, which is not there"));
            return;
        };
        batch.handed_over = true;
        let first = batch.links.first().copied();
        if first.is_none_or(|first| !first.extends(expected.as_ref())) {
            self.breach(Rule::ImportOrder, format!("{id:?} begins with {first:?}, on {expected:?}"));
        }
    }

    fn check_rollback(&mut self, keep: Option<Height>) {
        let base = keep.and_then(|keep| self.chain.at(keep)).map(|link| link.tip());
        let linked = self.held.values().filter(|batch| batch.checked && !batch.handed_over);
        let linked = linked.filter_map(|batch| batch.links.first()).any(|first| first.extends(base.as_ref()));
        if !linked || base.is_none() != keep.is_none() {
            self.breach(Rule::RollbackLinks, format!("rollback to {keep:?} without a checked block that links there"));
        }
        if self.journal.is_some() {
            self.breach(Rule::ReorgEnds, format!("rollback to {keep:?} within a reorganisation"));
        }
    }

    fn enqueue(&mut self, job: SyncAction) {
        let takes = match &job {
            SyncAction::Import { batch } => {
                let blocks = self.held.get(batch).map_or(0, |batch| batch.links.len());
                self.import_per_block * u32::try_from(blocks).unwrap_or(u32::MAX)
            }
            _ => self.import_per_block,
        };
        self.jobs.push_back(job);
        if self.jobs.len() == 1 {
            self.schedule(takes, Happening::Work);
        }
    }

    fn work(&mut self) {
        let Some(job) = self.jobs.pop_front() else { return };
        if let Some(next) = self.jobs.pop_front() {
            let rest = std::mem::take(&mut self.jobs);
            self.enqueue(next);
            self.jobs.extend(rest);
        }
        let event = match job {
            SyncAction::Import { batch } => self.import(batch),
            SyncAction::LookUp { from, to } => SyncEvent::OwnLinks { links: self.chain.range(from, to) },
            SyncAction::FindStakes { below } => {
                let stakes =
                    self.stakes.range(..below).filter_map(|(&height, &key)| Some(stake(self.chain.at(height)?, key)));
                SyncEvent::OwnStakes { below, stakes: stakes.collect() }
            }
            SyncAction::Rollback { keep } => {
                let tip = self.tip();
                let links = self.chain.cut(keep);
                let stakes = self.stakes.split_off(&keep.map_or(0, |keep| keep.saturating_add(1)));
                self.journal.get_or_insert(Journal { tip, links, stakes });
                SyncEvent::RolledBack { tip: self.tip() }
            }
            SyncAction::FinishReorg { keep } => self.finish_reorg(keep),
            _ => return,
        };
        if self.durable_after.is_zero() {
            self.tell(event);
        } else {
            self.schedule(self.durable_after, Happening::Event(event));
        }
    }

    fn import(&mut self, id: BatchId) -> SyncEvent {
        let Some(batch) = self.held.remove(&id) else {
            return SyncEvent::Tick;
        };
        for link in &batch.links {
            let other = self.checkpoints.get(&link.height).is_some_and(|hash| *hash != link.hash);
            let proposer = batch.staked.get(&link.height);
            let fault = if other {
                Some(RejectKind::Checkpoint)
            } else if !link.extends(self.tip().as_ref()) {
                Some(RejectKind::NotLinked)
            } else if proposer.is_some_and(|(at, key)| self.stakes.get(at) != Some(key)) {
                Some(RejectKind::WrongProposer)
            } else {
                batch.faults.get(&link.height).copied()
            };
            if let Some(why) = fault {
                if why == RejectKind::Invalid {
                    self.guilty.insert(batch.peer);
                }
                return SyncEvent::Rejected { batch: id, height: link.height, why, tip: self.tip() };
            }
            self.chain.push(*link);
            self.vouched += u64::from(self.vouched_for.get(&id).is_some_and(|&up_to| link.height <= up_to));
            self.stakes.extend(batch.stakes.get(&link.height).map(|&key| (link.height, key)));
        }
        match self.tip() {
            Some(tip) => SyncEvent::Imported { batch: id, tip },
            None => SyncEvent::Tick,
        }
    }

    fn finish_reorg(&mut self, keep: bool) -> SyncEvent {
        let Some(Journal { tip: old, links: removed, stakes }) = self.journal.take() else {
            self.breach(Rule::ReorgEnds, "FinishReorg without a rollback".to_owned());
            return SyncEvent::ReorgFinished { tip: self.tip() };
        };
        let better = self.height() > old.map(|tip| tip.height);
        if keep != better {
            self.breach(Rule::ReorgEnds, format!("FinishReorg {{ keep: {keep} }} at {:?}, was {old:?}", self.tip()));
        }
        if !keep && let Some(first) = removed.first() {
            self.chain.cut(first.height.checked_sub(1));
            self.stakes.split_off(&first.height);
            self.stakes.extend(stakes);
            for link in removed {
                self.chain.push(link);
            }
        }
        SyncEvent::ReorgFinished { tip: self.tip() }
    }
}

fn stake(link: BlockLink, key: u8) -> StakeBlock {
    StakeBlock { link, keys: Hash32([key; 32]) }
}
