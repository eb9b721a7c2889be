use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::fast_map::{FastMap, FastSet};
use crate::limits::Limits;
use crate::sync::ConnId;
use crate::types::Hash32;

/// What is announced and fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Item {
    Block(Hash32),
    Tx(Hash32),
}

/// How long a peer may take to deliver what it announced before another one is asked.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// So many fetches may be under way at each peer, whatever the others do: with all slots of the default taken they are half of all. Over a
/// link with a round trip of 50 ms they are two thousand a second.
const FAIR: usize = 112;
/// So many more may be under way in all, at whoever delivers.
const SHARED: usize = 8192;
/// So many may be under way at one peer that has not failed to deliver.
const MOST_PER_PEER: usize = 4096;
/// What a peer has not delivered costs it the room that so many deliveries earn.
const MISS_COSTS: usize = 4;
/// So many transactions are postponed besides [`FAIR`] of each peer, up to [`MOST_PER_PEER`] of one. What is announced beyond that comes with a
/// block; a block that there is no room to fetch comes with a sync.
const POSTPONED: usize = 16_384;
/// So many announcers are remembered of each, besides the one that was asked.
const OTHERS: usize = 4;

/// What we asked for after it was announced: from one announcer at a time. Pure.
///
/// Room is shared so that nobody can take it all with hashes that it invented: each peer has some of its own, and more for as long as it
/// delivers what it announces.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    wants: FastMap<Item, Want>,
    /// In order, so that a simulation always asks alike.
    peers: BTreeMap<ConnId, Announcer>,
    /// How many are under way beyond what each peer has to itself.
    shared: usize,
    /// In order of time, since all have the same patience. Entries of what has come meanwhile are skipped.
    deadlines: VecDeque<(Duration, Item)>,
    /// Transactions that were announced when there was no room, oldest first; none of these queues is empty.
    postponed: BTreeMap<ConnId, VecDeque<Hash32>>,
    /// How many they are.
    postponed_in_all: usize,
}

#[derive(Debug)]
struct Want {
    asked: ConnId,
    deadline: Duration,
    others: VecDeque<ConnId>,
}

#[derive(Debug)]
struct Announcer {
    /// What it was asked for and has not delivered yet.
    asked: usize,
    /// What it may be asked for, where there is room.
    most: usize,
}

impl Default for Announcer {
    fn default() -> Self {
        Self { asked: 0, most: MOST_PER_PEER }
    }
}

impl Fetches {
    /// A peer has announced something that we lack; says whether to ask it now.
    pub(super) fn announced(&mut self, now: Duration, peer: ConnId, item: Item) -> bool {
        if let Some(want) = self.wants.get_mut(&item) {
            if want.asked != peer && !want.others.contains(&peer) && want.others.len() < OTHERS {
                want.others.push_back(peer);
            }
            return false;
        }
        if self.has_room(peer) {
            self.ask(now, peer, item, VecDeque::new());
            return true;
        }
        self.postpone(peer, item);
        false
    }

    /// The next transaction that was postponed and may be fetched now, with who announced it: announce it again where it is still
    /// lacking.
    pub(super) fn next_postponed(&mut self) -> Option<(ConnId, Hash32)> {
        let peer = self.postponed.keys().copied().find(|peer| self.has_room(*peer))?;
        let queue = self.postponed.get_mut(&peer)?;
        let hash = queue.pop_front()?;
        if queue.is_empty() {
            self.postponed.remove(&peer);
        }
        self.postponed_in_all -= 1;
        Some((peer, hash))
    }

    /// Whether it is being fetched.
    pub(super) fn knows(&self, item: Item) -> bool {
        self.wants.contains_key(&item)
    }

    /// It has come, from whomever.
    pub(super) fn arrived(&mut self, item: Item) {
        if let Some(want) = self.take(item)
            && let Some(asked) = self.peers.get_mut(&want.asked)
        {
            asked.most = (asked.most + 1).min(MOST_PER_PEER);
        }
        self.skip_done();
    }

    /// Whom to ask now for what was not delivered in time.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<(ConnId, Item)> {
        let mut again = Vec::new();
        while let Some((deadline, item)) = self.deadlines.front().copied()
            && deadline <= now
        {
            self.deadlines.pop_front();
            if let Some(want) = self.wants.get(&item).filter(|want| want.deadline == deadline) {
                if let Some(failed) = self.peers.get_mut(&want.asked) {
                    failed.most = failed.most.saturating_sub(MISS_COSTS).max(FAIR);
                }
                again.extend(self.ask_another(now, item));
            }
        }
        self.skip_done();
        again
    }

    /// A peer has gone; whom to ask now for what it was asked for.
    pub(super) fn gone(&mut self, now: Duration, peer: ConnId) -> Vec<(ConnId, Item)> {
        self.postponed_in_all -= self.postponed.remove(&peer).map_or(0, |queue| queue.len());
        for want in self.wants.values_mut() {
            want.others.retain(|other| *other != peer);
        }
        if self.peers.get(&peer).is_none_or(|gone| gone.asked == 0) {
            self.peers.remove(&peer);
            return Vec::new();
        }
        let mut asked: Vec<Item> =
            self.wants.iter().filter(|(_, want)| want.asked == peer).map(|(item, _)| *item).collect();
        // The map's own order differs from run to run.
        asked.sort_unstable();
        let again = asked.into_iter().filter_map(|item| self.ask_another(now, item)).collect();
        self.peers.remove(&peer);
        again
    }

    /// When to call [`expired`](Self::expired).
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    fn has_room(&self, peer: ConnId) -> bool {
        let Some(peer) = self.peers.get(&peer) else { return true };
        peer.asked < FAIR || (peer.asked < peer.most && self.shared < SHARED)
    }

    /// Of a block the strategy is told instead.
    fn postpone(&mut self, peer: ConnId, item: Item) {
        let Item::Tx(hash) = item else { return };
        let of_peer = self.postponed.get(&peer).map_or(0, VecDeque::len);
        if of_peer < FAIR || (of_peer < MOST_PER_PEER && self.postponed_in_all < POSTPONED) {
            self.postponed.entry(peer).or_default().push_back(hash);
            self.postponed_in_all += 1;
        }
    }

    fn ask_another(&mut self, now: Duration, item: Item) -> Option<(ConnId, Item)> {
        let mut others = self.take(item)?.others;
        while let Some(next) = others.pop_front() {
            // Blocks are few: they follow our tip.
            if matches!(item, Item::Block(_)) || self.has_room(next) {
                self.ask(now, next, item, others);
                return Some((next, item));
            }
            self.postpone(next, item);
        }
        None
    }

    fn ask(&mut self, now: Duration, peer: ConnId, item: Item, others: VecDeque<ConnId>) {
        let deadline = now + PATIENCE;
        self.wants.insert(item, Want { asked: peer, deadline, others });
        let peer = self.peers.entry(peer).or_default();
        peer.asked += 1;
        self.shared += usize::from(peer.asked > FAIR);
        self.deadlines.push_back((deadline, item));
    }

    fn take(&mut self, item: Item) -> Option<Want> {
        let want = self.wants.remove(&item)?;
        if let Some(peer) = self.peers.get_mut(&want.asked) {
            self.shared -= usize::from(peer.asked > FAIR);
            peer.asked -= 1;
        }
        Some(want)
    }

    fn skip_done(&mut self) {
        let wants = &self.wants;
        let is_done = |(deadline, item): &(Duration, Item)| wants.get(item).is_none_or(|w| w.deadline != *deadline);
        if self.deadlines.len() > 4 * SHARED {
            self.deadlines.retain(|entry| !is_done(entry));
        }
        while self.deadlines.front().is_some_and(is_done) {
            self.deadlines.pop_front();
        }
    }
}

/// What we announced to one peer and it may ask for, once each: no question can cost us more than its answer was worth.
#[derive(Debug)]
pub(super) struct Offered {
    /// So many at most.
    most: usize,
    items: FastSet<Item>,
    /// May hold what was taken already.
    order: VecDeque<Item>,
}

impl Offered {
    /// Nothing yet; of more than it is remembered to know, a peer need not be able to ask for.
    pub(super) fn new(limits: &Limits) -> Self {
        Self { most: limits.known_txs_per_peer, items: FastSet::default(), order: VecDeque::new() }
    }

    /// Announced; where there are too many, the oldest can no longer be asked for.
    pub(super) fn add(&mut self, item: Item) {
        if self.items.insert(item) {
            self.order.push_back(item);
            if self.order.len() > self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.items.remove(&oldest);
            }
        }
    }

    /// How much it has not asked for.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The peer asks for it; says whether it may.
    pub(super) fn take(&mut self, item: Item) -> bool {
        self.items.remove(&item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);
    const C: ConnId = ConnId(3);

    fn tx(n: u8) -> Item {
        Item::Tx(Hash32([n; 32]))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn asks_the_first_announcer_and_the_next_one_when_it_does_not_deliver() {
        let mut fetches = Fetches::default();
        assert!(fetches.announced(at(0), A, tx(1)));
        assert!(!fetches.announced(at(1), B, tx(1)));
        assert!(!fetches.announced(at(1), A, tx(1)));
        assert_eq!(fetches.next_deadline(), Some(at(2)));
        assert_eq!(fetches.expired(at(1)), []);
        assert_eq!(fetches.expired(at(2)), [(B, tx(1))]);
        assert_eq!(fetches.expired(at(4)), []);
        assert_eq!(fetches.next_deadline(), None);
        assert!(fetches.announced(at(5), C, tx(1)), "nobody is left, so a new announcement counts");
    }

    #[test]
    fn what_has_come_is_not_asked_for_again() {
        let mut fetches = Fetches::default();
        fetches.announced(at(0), A, tx(1));
        fetches.announced(at(0), B, tx(1));
        fetches.arrived(tx(1));
        assert_eq!((fetches.next_deadline(), fetches.expired(at(9))), (None, vec![]));
    }

    #[test]
    fn a_peer_that_goes_is_replaced_at_once() {
        let mut fetches = Fetches::default();
        fetches.announced(at(0), A, tx(1));
        fetches.announced(at(0), B, tx(1));
        fetches.announced(at(0), C, tx(1));
        fetches.announced(at(0), A, tx(2));
        assert_eq!(fetches.gone(at(0), B), []);
        assert_eq!(fetches.gone(at(1), A), [(C, tx(1))]);
        assert_eq!(fetches.expired(at(3)), []);
        assert!(fetches.wants.is_empty() && fetches.deadlines.is_empty());
        assert!(fetches.peers.values().all(|peer| peer.asked == 0) && !fetches.peers.contains_key(&A));
    }

    fn numbered(n: usize) -> Item {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_le_bytes());
        Item::Tx(Hash32(hash))
    }

    /// How many of so many inventions of a peer we ask for.
    fn invents(fetches: &mut Fetches, seconds: u64, peer: ConnId, count: usize) -> usize {
        let from = 1_000_000 * usize::try_from(peer.0).unwrap() + 10_000 * usize::try_from(seconds).unwrap();
        (from..from + count).filter(|n| fetches.announced(at(seconds), peer, numbered(*n))).count()
    }

    #[test]
    fn one_peer_can_make_us_wait_for_so_many_only() {
        let mut fetches = Fetches::default();
        assert_eq!(invents(&mut fetches, 0, A, 3 * MOST_PER_PEER), MOST_PER_PEER);
        assert!(fetches.announced(at(0), B, tx(255)));
        assert_eq!(fetches.postponed_in_all, MOST_PER_PEER);
        fetches.gone(at(0), A);
        assert_eq!((fetches.postponed_in_all, fetches.next_postponed()), (0, None));
    }

    #[test]
    fn what_is_announced_when_there_is_no_room_is_fetched_later_in_its_order() {
        let mut fetches = Fetches::default();
        for n in 0..MOST_PER_PEER + 10 {
            fetches.announced(at(0), A, numbered(n));
        }
        assert_eq!(fetches.next_postponed(), None, "there is no room yet");
        fetches.announced(at(0), A, Item::Block(Hash32::ZERO));
        for n in 0..10 {
            fetches.arrived(numbered(n));
            let Some((A, next)) = fetches.next_postponed() else { panic!("nothing for the room of {n}") };
            assert_eq!(Item::Tx(next), numbered(MOST_PER_PEER + n));
            assert!(fetches.announced(at(0), A, Item::Tx(next)));
            assert_eq!(fetches.next_postponed(), None);
        }
        assert!(fetches.postponed.is_empty() && fetches.postponed_in_all == 0);
    }

    /// Room for all that may be fetched is taken off the list.
    fn forget_postponed(fetches: &mut Fetches) {
        while fetches.next_postponed().is_some() {}
    }

    #[test]
    fn however_many_invent_hashes_an_honest_announcement_is_fetched() {
        let mut fetches = Fetches::default();
        let liars: Vec<ConnId> = (10..81).map(ConnId).collect();
        for liar in &liars {
            invents(&mut fetches, 0, *liar, MOST_PER_PEER);
        }
        assert!(fetches.shared == SHARED && fetches.wants.len() <= SHARED + liars.len() * FAIR);
        assert_eq!((0..FAIR).filter(|n| fetches.announced(at(1), A, numbered(*n))).count(), FAIR);
        // What is beyond that has its turn as soon as there is room.
        assert!(!fetches.announced(at(1), A, numbered(FAIR)));
        fetches.arrived(numbered(0));
        assert_eq!(fetches.next_postponed().map(|(peer, hash)| (peer, Item::Tx(hash))), Some((A, numbered(FAIR))));
    }

    #[test]
    fn who_does_not_deliver_loses_the_room_that_others_can_use_and_earns_it_back() {
        let mut fetches = Fetches::default();
        assert_eq!(invents(&mut fetches, 0, A, 2 * MOST_PER_PEER), MOST_PER_PEER);
        assert_eq!(fetches.expired(at(2)), []);
        forget_postponed(&mut fetches);
        assert_eq!(invents(&mut fetches, 2, A, MOST_PER_PEER), FAIR, "it has delivered nothing");
        let honest = (0..MOST_PER_PEER).filter(|n| fetches.announced(at(2), B, numbered(*n))).count();
        assert_eq!(honest, MOST_PER_PEER);
        fetches.expired(at(4));
        for n in 0..50 {
            forget_postponed(&mut fetches);
            assert!(fetches.announced(at(4), A, numbered(50_000 + n)));
            fetches.arrived(numbered(50_000 + n));
        }
        assert_eq!(invents(&mut fetches, 5, A, MOST_PER_PEER), FAIR + 50);
    }

    #[test]
    fn what_was_offered_can_be_had_once() {
        let mut offered = Offered::new(&Limits::default());
        offered.add(tx(1));
        assert!(offered.take(tx(1)) && !offered.take(tx(1)) && !offered.take(tx(2)));
        for n in 0..=u16::try_from(offered.most).unwrap() {
            offered.add(Item::Block(Hash32([n.to_le_bytes(); 16].as_flattened().try_into().unwrap())));
        }
        assert_eq!(offered.items.len(), offered.most);
    }

    proptest! {
        #[test]
        fn its_books_agree_and_nothing_waits_for_ever(
            steps in prop::collection::vec((0u8..4, 1u64..5, 0u8..6, 0u64..3), 0..200)
        ) {
            let mut fetches = Fetches::default();
            let mut now = Duration::ZERO;
            for (act, peer, n, pause) in steps {
                now += at(pause);
                match act {
                    0 => { fetches.gone(now, ConnId(peer)); }
                    1 => fetches.arrived(tx(n)),
                    _ => { fetches.announced(now, ConnId(peer), tx(n)); }
                }
                fetches.expired(now);
                for (conn, peer) in &fetches.peers {
                    prop_assert_eq!(peer.asked, fetches.wants.values().filter(|want| want.asked == *conn).count());
                }
                let beyond = fetches.peers.values().map(|peer| peer.asked.saturating_sub(FAIR)).sum::<usize>();
                prop_assert_eq!(fetches.shared, beyond);
                prop_assert!(fetches.wants.values().all(|want| want.deadline > now && !want.others.contains(&want.asked)));
                prop_assert_eq!(fetches.next_deadline(), fetches.wants.values().map(|want| want.deadline).min());
            }
            for _ in 0..=OTHERS {
                now += PATIENCE;
                fetches.expired(now);
            }
            prop_assert!(fetches.wants.is_empty() && fetches.deadlines.is_empty());
        }
    }
}
