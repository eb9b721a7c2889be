//! The addresses that a node knows, bounded, and where each came from (`attacks.md` row 16).

use std::collections::BTreeMap;
use std::time::Duration;

use super::host::{Host, canonical};
use crate::limits::Limits;
use crate::transport::Endpoint;

/// Where an address came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The operator named it: dialled for ever, never dropped.
    Configured,
    /// `peers.json`: a dial to it succeeded in an earlier run.
    Saved,
    /// A handshake named it. A claim, until a dial succeeds.
    Learnt {
        /// Whose handshake.
        source: Host,
    },
}

impl Origin {
    /// The order in which addresses are dialled; where one comes from several places the first counts.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Configured => 0,
            Self::Saved => 1,
            Self::Learnt { .. } => 2,
        }
    }
}

/// The addresses that a node knows. The [`Dialer`](super::Dialer) owns one and keeps it up to date.
#[derive(Debug)]
pub struct AddressBook {
    capacity: usize,
    per_source: usize,
    anchors: usize,
    forgotten_after: Duration,
    /// By place: link and address.
    entries: BTreeMap<Endpoint, Entry>,
    /// Numbers the entries in order of arrival.
    arrivals: u64,
}

/// An address, and how dialling it has gone.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) endpoint: Endpoint,
    pub(super) origin: Origin,
    pub(super) arrival: u64,
    pub(super) state: DialState,
    /// When it may be dialled.
    pub(super) ready_at: Duration,
    /// Pauses since a connection last held.
    pub(super) pauses: u32,
    /// Whether the last dial failed, and since when all have.
    pub(super) failing_since: Option<Duration>,
    /// When a connection was last made or last held, in this run.
    pub(super) last_success: Option<Duration>,
    /// Whether whoever answered there last wanted nothing of us, or we of them.
    pub(super) refused: bool,
    /// Whether who answered there last was ourselves.
    pub(super) ourselves: bool,
    /// How many connections this peer has dialled to us.
    pub(super) inbound: usize,
    /// Its connection was closed to be made anew: it is dialled before all others.
    pub(super) anew: bool,
    /// How often in a row it was connected to anew, and when it may be again.
    pub(super) renewals: u32,
    pub(super) renew_at: Duration,
}

/// What is going on with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialState {
    Idle,
    Dialling { feeler: bool },
    Connected { since: Duration },
}

impl Entry {
    /// Whether a dial to it has succeeded, in this run or an earlier one.
    pub(super) fn is_proven(&self) -> bool {
        self.last_success.is_some() || self.origin == Origin::Saved
    }

    /// Whether it says anything of how the node stands to the network.
    pub(super) fn counts(&self) -> bool {
        !self.ourselves && (self.is_proven() || self.origin == Origin::Configured)
    }

    /// Whether it may be dropped to make room.
    fn is_expendable(&self) -> bool {
        self.origin != Origin::Configured && self.state == DialState::Idle
    }
}

impl AddressBook {
    /// An empty book.
    pub fn new(limits: &Limits) -> Self {
        Self {
            capacity: limits.addresses,
            per_source: limits.addresses_per_source,
            anchors: limits.anchors,
            forgotten_after: limits.address_forgotten_after,
            entries: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Adds an address that may be dialled from `ready_at` on; says whether it is in the book now.
    ///
    /// In a full book a new address takes the place of the worst one that nobody configured: one that never answered
    /// before one that did, then the one that has failed longest. A claim takes the place of other claims only.
    pub fn add(&mut self, endpoint: &Endpoint, origin: Origin, ready_at: Duration) -> bool {
        let endpoint = canonical(endpoint);
        if let Some(entry) = self.entries.get_mut(&place(&endpoint)) {
            if origin.rank() < entry.origin.rank() {
                entry.origin = origin;
                entry.ready_at = entry.ready_at.min(ready_at);
                entry.endpoint.identity = endpoint.identity.or(entry.endpoint.identity);
            }
            return true;
        }
        if let Origin::Learnt { source } = &origin {
            let of_source =
                |entry: &&Entry| matches!(&entry.origin, Origin::Learnt { source: other } if other == source);
            if self.entries.values().filter(of_source).count() >= self.per_source {
                return false;
            }
        }
        if self.entries.len() >= self.capacity && !self.make_room(&origin) {
            return false;
        }
        self.arrivals += 1;
        let entry = Entry {
            endpoint,
            origin,
            arrival: self.arrivals,
            state: DialState::Idle,
            ready_at,
            pauses: 0,
            failing_since: None,
            last_success: None,
            refused: false,
            ourselves: false,
            inbound: 0,
            anew: false,
            renewals: 0,
            renew_at: Duration::ZERO,
        };
        self.entries.insert(place(&entry.endpoint), entry);
        true
    }

    /// Drops an address, whatever it is.
    pub fn remove(&mut self, endpoint: &Endpoint) {
        self.entries.remove(&place(endpoint));
    }

    /// Drops the addresses that nobody configured and that have failed for too long.
    pub fn clean_up(&mut self, now: Duration) {
        let forgotten_after = self.forgotten_after;
        self.entries.retain(|_, entry| {
            let failing = entry.failing_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            !entry.is_expendable() || failing < forgotten_after
        });
    }

    /// What goes into `peers.json`: the addresses to which a dial succeeded, in this run or an earlier one. First come the
    /// anchors of the next run, those that we have been connected to for longest; then the most recently seen.
    pub fn saved(&self) -> Vec<Endpoint> {
        let mut proven: Vec<&Entry> = self.entries.values().filter(|entry| entry.is_proven()).collect();
        proven.sort_by_key(|entry| match entry.state {
            DialState::Connected { since } => (0, since, entry.arrival),
            _ => (1, Duration::ZERO, entry.arrival),
        });
        let connected = proven.iter().take_while(|entry| matches!(entry.state, DialState::Connected { .. })).count();
        proven[self.anchors.min(connected)..]
            .sort_by_key(|entry| (std::cmp::Reverse(entry.last_success), entry.arrival));
        proven.into_iter().map(|entry| entry.endpoint.clone()).collect()
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether this address is known.
    pub fn contains(&self, endpoint: &Endpoint) -> bool {
        self.entries.contains_key(&place(endpoint))
    }

    pub(super) fn entry(&mut self, endpoint: &Endpoint) -> Option<&mut Entry> {
        self.entries.get_mut(&place(endpoint))
    }

    pub(super) fn get(&self, endpoint: &Endpoint) -> Option<&Entry> {
        self.entries.get(&place(endpoint))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Drops the worst entry, if there is one that is worse than a newcomer of this origin.
    fn make_room(&mut self, newcomer: &Origin) -> bool {
        let claim = matches!(newcomer, Origin::Learnt { .. });
        let worst = self
            .entries
            .values()
            .filter(|entry| entry.is_expendable() && entry.inbound == 0 && !(claim && entry.is_proven()))
            .min_by_key(|entry| (entry.is_proven(), entry.failing_since.unwrap_or(Duration::MAX), entry.arrival))
            .map(|entry| place(&entry.endpoint));
        worst.is_some_and(|place| self.entries.remove(&place).is_some())
    }
}

/// What an address is known by: its link and its one spelling. Who is expected there makes no other place of it.
pub(super) fn place(endpoint: &Endpoint) -> Endpoint {
    Endpoint { identity: None, ..canonical(endpoint) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn endpoint(n: usize) -> Endpoint {
        Endpoint::new(format!("192.0.{}.{}:9000", n / 256, n % 256))
    }

    fn learnt(source: &str) -> Origin {
        Origin::Learnt { source: Host::of(&Endpoint::new(source)) }
    }

    fn book(addresses: usize) -> AddressBook {
        AddressBook::new(&Limits { addresses, ..Limits::default() })
    }

    fn set_success(book: &mut AddressBook, n: usize, at: Duration) {
        book.entry(&endpoint(n)).unwrap().last_success = Some(at);
    }

    #[test]
    fn one_source_fills_no_more_than_its_share() {
        let mut book = book(1024);
        let taken = (0..1000).filter(|&n| book.add(&endpoint(n), learnt("203.0.113.1:1"), NOW)).count();
        assert_eq!((taken, book.len()), (32, 32));
        assert!(book.add(&endpoint(2000), learnt("203.0.113.2:1"), NOW), "another source has its own share");
    }

    #[test]
    fn claims_are_not_saved_before_a_dial_succeeded() {
        let mut book = book(10);
        book.add(&endpoint(1), learnt("203.0.113.1:1"), NOW);
        book.add(&endpoint(2), Origin::Configured, NOW);
        book.add(&endpoint(3), Origin::Saved, NOW);
        assert_eq!(book.saved(), [endpoint(3)]);
        set_success(&mut book, 1, NOW);
        set_success(&mut book, 2, NOW * 2);
        assert_eq!(book.saved(), [endpoint(2), endpoint(1), endpoint(3)]);
    }

    #[test]
    fn the_longest_connections_are_saved_first_as_anchors() {
        let mut book = book(10);
        for n in 1..=4 {
            book.add(&endpoint(n), Origin::Configured, NOW);
            set_success(&mut book, n, NOW * 9);
        }
        book.entry(&endpoint(3)).unwrap().state = DialState::Connected { since: NOW };
        book.entry(&endpoint(4)).unwrap().state = DialState::Connected { since: NOW * 2 };
        assert_eq!(book.saved(), [endpoint(3), endpoint(4), endpoint(1), endpoint(2)]);
    }

    #[test]
    fn a_full_book_drops_the_never_reached_that_failed_longest_and_keeps_the_configured() {
        let mut book = book(4);
        book.add(&endpoint(0), Origin::Configured, NOW);
        book.add(&endpoint(1), Origin::Saved, NOW);
        book.add(&endpoint(2), learnt("203.0.113.1:1"), NOW);
        book.add(&endpoint(3), learnt("203.0.113.1:1"), NOW);
        book.entry(&endpoint(0)).unwrap().failing_since = Some(Duration::ZERO);
        book.entry(&endpoint(2)).unwrap().failing_since = Some(NOW * 2);
        book.entry(&endpoint(3)).unwrap().failing_since = Some(NOW);
        assert!(book.add(&endpoint(4), learnt("203.0.113.1:1"), NOW));
        assert!(!book.contains(&endpoint(3)));
        assert!(book.add(&endpoint(5), learnt("203.0.113.1:1"), NOW));
        assert!(!book.contains(&endpoint(2)));
        assert!(book.contains(&endpoint(0)) && book.contains(&endpoint(1)));
    }

    #[test]
    fn claims_never_displace_addresses_that_answered() {
        let mut book = book(3);
        book.add(&endpoint(0), Origin::Configured, NOW);
        book.add(&endpoint(1), Origin::Saved, NOW);
        book.add(&endpoint(2), learnt("203.0.113.1:1"), NOW);
        set_success(&mut book, 2, NOW);
        assert!(!book.add(&endpoint(3), learnt("203.0.113.9:1"), NOW));
        assert!(book.add(&endpoint(4), Origin::Configured, NOW), "what the operator names has its place");
        assert_eq!(book.len(), 3);
    }

    #[test]
    fn an_address_that_is_learnt_and_then_configured_is_configured() {
        let mut book = book(3);
        book.add(&endpoint(1), learnt("203.0.113.1:1"), NOW * 9);
        book.add(&endpoint(1), Origin::Configured, NOW);
        book.add(&endpoint(1), learnt("203.0.113.1:1"), NOW * 9);
        let entry = book.entry(&endpoint(1)).unwrap();
        assert_eq!((entry.origin.clone(), entry.ready_at), (Origin::Configured, NOW));
    }

    #[test]
    fn forgets_what_failed_for_a_week_unless_it_is_configured() {
        let mut book = book(3);
        book.add(&endpoint(0), Origin::Configured, NOW);
        book.add(&endpoint(1), Origin::Saved, NOW);
        for n in 0..2 {
            book.entry(&endpoint(n)).unwrap().failing_since = Some(NOW);
        }
        let week = Limits::default().address_forgotten_after;
        book.clean_up(week);
        assert_eq!(book.len(), 2);
        book.clean_up(NOW + week);
        assert!(book.contains(&endpoint(0)) && !book.contains(&endpoint(1)));
    }

    proptest! {
        #[test]
        fn stays_bounded_and_keeps_the_configured(steps in prop::collection::vec((0usize..60, 0usize..6, any::<bool>()), 0..400)) {
            let limits = Limits { addresses: 20, addresses_per_source: 5, ..Limits::default() };
            let mut book = AddressBook::new(&limits);
            for n in 0..3 {
                book.add(&endpoint(n), Origin::Configured, NOW);
            }
            for (n, source, answers) in steps {
                let origin = if source == 0 { Origin::Saved } else { learnt(&format!("203.0.113.{source}:1")) };
                if book.add(&endpoint(n), origin, NOW) && answers {
                    set_success(&mut book, n, NOW);
                }
                prop_assert!(book.len() <= 20);
                prop_assert!((0..3).all(|n| book.contains(&endpoint(n))));
                for source in 1..6 {
                    let of = learnt(&format!("203.0.113.{source}:1"));
                    prop_assert!(book.entries().filter(|entry| entry.origin == of).count() <= 5);
                }
                prop_assert!(book.saved().len() <= book.len());
            }
        }
    }
}
