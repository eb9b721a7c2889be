//! Whom to dial, and when (`attacks.md` rows 17 to 19).

use std::collections::VecDeque;
use std::time::Duration;

use super::address_book::{AddressBook, DialState, Entry, Origin, place};
use super::host::Host;
use crate::limits::{Backoff, Limits};
use crate::sync::Connectivity;
use crate::transport::{Endpoint, PeerId};

/// How many of our own addresses are remembered: as many as a machine may have.
const OWN_ADDRESSES: usize = 64;

/// Feelers under way at a time: they only learn whether an address can be saved, and there is no hurry.
const FEELERS: usize = 1;

/// A dial to make now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Whom.
    pub endpoint: Endpoint,
    /// Whether the connection is only to show that the address is good: close it after the handshake.
    pub feeler: bool,
}

/// Chooses which address is dialled next. Each [`Dial`] given out must be answered by [`succeeded`](Self::succeeded),
/// [`failed`](Self::failed), [`refused`](Self::refused) or [`mark_self`](Self::mark_self).
#[derive(Debug)]
pub struct Dialer {
    book: AddressBook,
    interval: Duration,
    outbound: usize,
    configured: Backoff,
    others: Backoff,
    anew: Backoff,
    last_dial: Option<Duration>,
    own: VecDeque<Endpoint>,
    /// When `next` has something to give, unless all slots are taken. Kept, since it is asked for after every event.
    deadline: Option<Duration>,
}

impl Dialer {
    /// A dialler with no address.
    pub fn new(limits: &Limits) -> Self {
        Self {
            book: AddressBook::new(limits),
            interval: limits.dial_interval,
            outbound: limits.outbound,
            configured: limits.dial_backoff_configured,
            others: limits.dial_backoff,
            anew: limits.legacy_reconnect,
            last_dial: None,
            own: VecDeque::new(),
            deadline: None,
        }
    }

    /// The addresses known.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// Adds addresses that the operator named or `peers.json` held: to be dialled at once, in this order.
    pub fn add(&mut self, endpoint: &Endpoint, origin: Origin, now: Duration) {
        if !self.is_own(endpoint) {
            self.book.add(endpoint, origin, now);
            self.reckon();
        }
    }

    /// An inbound peer is there that says it listens on `port` of its host. Over the link that it came by, and expected
    /// to prove the key that `remote` has, it is dialled back in its turn, after a pause, to learn whether that is so. Gives the address under which it is known, for [`inbound_gone`](Self::inbound_gone).
    pub fn inbound(
        &mut self,
        remote: &Endpoint,
        port: u16,
        now: Duration,
        rng: &mut dyn FnMut() -> u64,
    ) -> Option<Endpoint> {
        let host = Host::of(remote);
        let endpoint = Endpoint { address: host.endpoint(port).address, ..remote.clone() };
        if port == 0 || self.is_own(&endpoint) {
            return None;
        }
        let ready_at = now + self.configured.pause(0, rng);
        if !self.book.add(&endpoint, Origin::Learnt { source: host }, ready_at) {
            return None;
        }
        let entry = self.book.entry(&endpoint)?;
        entry.inbound += 1;
        entry.anew = false;
        self.reckon();
        Some(endpoint)
    }

    /// The inbound connection of a peer known under this address has ended.
    pub fn inbound_gone(&mut self, endpoint: &Endpoint) {
        if let Some(entry) = self.book.entry(endpoint) {
            entry.inbound = entry.inbound.saturating_sub(1);
            self.reckon();
        }
    }

    /// The dial to make now, if any. Call again after each dial and at [`next_deadline`](Self::next_deadline).
    ///
    /// Configured addresses come first, then those of `peers.json` in its order, then claims.
    pub fn next(&mut self, now: Duration) -> Option<Dial> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        let slots = self.slots();
        let chosen = self
            .book
            .entries()
            .filter(|entry| entry.ready_at <= now)
            .filter_map(|entry| Some((entry, feeler(entry, slots)?)))
            .min_by_key(|(entry, feeler)| (!entry.anew, *feeler, entry.origin.rank(), entry.pauses, entry.arrival))
            .map(|(entry, feeler)| Dial { endpoint: entry.endpoint.clone(), feeler });
        if let Some(dial) = &chosen
            && let Some(entry) = self.book.entry(&dial.endpoint)
        {
            entry.state = DialState::Dialling { feeler: dial.feeler };
            self.last_dial = Some(now);
        }
        self.reckon();
        chosen
    }

    /// When to call [`next`](Self::next) again, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The dial led to a finished handshake. Until [`disconnected`](Self::disconnected) the address counts as
    /// connected, unless the dial was a feeler.
    pub fn succeeded(&mut self, endpoint: &Endpoint, now: Duration) {
        if let Some(entry) = self.book.entry(endpoint) {
            entry.failing_since = None;
            (entry.refused, entry.ourselves) = (false, false);
            entry.anew = false;
            entry.last_success = Some(now);
            entry.state = match entry.state {
                DialState::Dialling { feeler: true } => DialState::Idle,
                DialState::Connected { since } => DialState::Connected { since },
                _ => DialState::Connected { since: now },
            };
            if entry.state == DialState::Idle {
                // A feeler has shown what it was to show: next time the address is dialled it is for good.
                entry.ready_at = now + self.others.first;
            }
            self.reckon();
        }
    }

    /// The dial led to nothing: nobody answered, or the handshake did not end well.
    pub fn failed(&mut self, endpoint: &Endpoint, now: Duration, rng: &mut dyn FnMut() -> u64) {
        if let Some(entry) = self.book.entry(endpoint) {
            entry.failing_since.get_or_insert(now);
            (entry.refused, entry.ourselves) = (false, false);
            self.pause(endpoint, now, rng);
        }
    }

    /// Whoever answers there is of another network, speaks another codec, has another key, or is banned. A configured address is tried again after the longest
    /// pause; any other is forgotten.
    pub fn refused(&mut self, endpoint: &Endpoint, now: Duration, rng: &mut dyn FnMut() -> u64) {
        match self.book.entry(endpoint) {
            Some(entry) if entry.origin == Origin::Configured => {
                entry.pauses = u32::MAX;
                self.failed(endpoint, now, rng);
                if let Some(entry) = self.book.entry(endpoint) {
                    entry.refused = true;
                }
            }
            _ => self.book.remove(endpoint),
        }
        self.reckon();
    }

    /// Whoever answers there did what others are banned for. It is configured, and so only dialled again after the longest pause, until a
    /// connection holds.
    pub fn back_off(&mut self, endpoint: &Endpoint, now: Duration, rng: &mut dyn FnMut() -> u64) {
        if let Some(entry) = self.book.entry(endpoint) {
            entry.pauses = u32::MAX;
            self.pause(endpoint, now, rng);
        }
    }

    /// Whether the operator named this address.
    pub fn is_configured(&self, endpoint: &Endpoint) -> bool {
        self.book.get(endpoint).is_some_and(|entry| entry.origin == Origin::Configured)
    }

    /// Whether the operator named an address with this key.
    pub fn is_configured_key(&self, key: &PeerId) -> bool {
        self.book
            .entries()
            .any(|entry| entry.origin == Origin::Configured && entry.endpoint.identity.as_ref() == Some(key))
    }

    /// The connection that we had dialled has ended. The address is dialled again after a pause, which starts anew
    /// only if the connection held for longer than the longest one of a configured address.
    pub fn disconnected(&mut self, endpoint: &Endpoint, now: Duration, rng: &mut dyn FnMut() -> u64) {
        if let Some(entry) = self.book.entry(endpoint) {
            if let DialState::Connected { since } = entry.state {
                entry.last_success = Some(now);
                if now.saturating_sub(since) >= self.configured.longest {
                    entry.pauses = 0;
                }
            }
            self.pause(endpoint, now, rng);
        }
    }

    /// When the connection with this address may be closed to be made anew: not before its pause is over. `None` where no dial would follow: the address was
    /// never dialled with success, no slot is free for it, or another address is being connected to anew.
    pub fn connects_anew_at(&self, endpoint: &Endpoint) -> Option<Duration> {
        let entry = self.book.get(endpoint).filter(|entry| entry.is_proven())?;
        let has_slot = match entry.state {
            DialState::Connected { .. } => true,
            DialState::Idle => self.slots().outbound > 0,
            DialState::Dialling { .. } => false,
        };
        (has_slot && !self.book.entries().any(|entry| entry.anew)).then_some(entry.renew_at)
    }

    /// The connection with this address was closed to be made anew: it is dialled next. The pause before the next time doubles.
    pub fn connect_anew(&mut self, endpoint: &Endpoint, now: Duration, rng: &mut dyn FnMut() -> u64) {
        let anew = self.anew;
        if let Some(entry) = self.book.entry(endpoint) {
            entry.state = DialState::Idle;
            entry.anew = true;
            entry.ready_at = now;
            entry.last_success = Some(now);
            entry.renewals = entry.renewals.saturating_add(1);
            entry.renew_at = now + anew.pause(entry.renewals, rng);
            self.reckon();
        }
    }

    /// Whoever is at this address is where we are: the pause before it is connected to anew starts anew.
    pub fn caught_up(&mut self, endpoint: &Endpoint) {
        if let Some(entry) = self.book.entry(endpoint) {
            (entry.renewals, entry.renew_at) = (0, Duration::ZERO);
        }
    }

    /// Whoever answers there is ourselves, or says so: the address is forgotten, and not learnt again. A configured one is tried again after
    /// the longest pause, and does not count meanwhile: tomorrow another node may be there.
    pub fn mark_self(&mut self, endpoint: &Endpoint, now: Duration, rng: &mut dyn FnMut() -> u64) {
        if let Some(entry) = self.book.entry(endpoint)
            && entry.origin == Origin::Configured
        {
            (entry.pauses, entry.ourselves) = (u32::MAX, true);
            self.pause(endpoint, now, rng);
            return;
        }
        self.book.remove(endpoint);
        if !self.is_own(endpoint) {
            if self.own.len() == OWN_ADDRESSES {
                self.own.pop_front();
            }
            self.own.push_back(place(endpoint));
        }
        self.reckon();
    }

    /// Drops addresses that have failed for too long. Call it now and then.
    pub fn clean_up(&mut self, now: Duration) {
        self.book.clean_up(now);
        self.reckon();
    }

    /// How the node stands to the network; `connected` says whether a handshake is done with anybody. Claims that no
    /// dial has proven do not count: nobody can hold up a node by naming addresses.
    pub fn connectivity(&self, connected: bool) -> Connectivity {
        if connected {
            return Connectivity::Connected;
        }
        let mut counted =
            self.book.entries().filter(|entry| entry.counts()).map(|entry| entry.failing_since.is_some()).peekable();
        if counted.peek().is_none() {
            Connectivity::NoPeersKnown
        } else if counted.all(|failing| failing) {
            Connectivity::AllDialsFailed
        } else {
            Connectivity::Dialling
        }
    }

    /// Whether every address that counts was reached, and each time one side refused the other: waiting will not help.
    pub fn refused_everywhere(&self) -> bool {
        let mut counted = self.book.entries().filter(|entry| entry.counts()).peekable();
        counted.peek().is_some() && counted.all(|entry| entry.refused)
    }

    /// How many connections that we dialled are open, and how many dials are under way.
    pub fn outbound(&self) -> (usize, usize) {
        self.book.entries().fold((0, 0), |(connected, dialling), entry| match entry.state {
            DialState::Connected { .. } => (connected + 1, dialling),
            DialState::Dialling { .. } => (connected, dialling + 1),
            DialState::Idle => (connected, dialling),
        })
    }

    fn is_own(&self, endpoint: &Endpoint) -> bool {
        self.own.contains(&place(endpoint))
    }

    fn slots(&self) -> Slots {
        self.book.entries().fold(Slots { outbound: self.outbound, feelers: FEELERS }, |free, entry| match entry.state {
            DialState::Idle => free,
            DialState::Dialling { feeler: true } => Slots { feelers: free.feelers.saturating_sub(1), ..free },
            _ => Slots { outbound: free.outbound.saturating_sub(1), ..free },
        })
    }

    /// Ends what is going on with an address and lets it rest.
    fn pause(&mut self, endpoint: &Endpoint, now: Duration, rng: &mut dyn FnMut() -> u64) {
        let (configured, others) = (self.configured, self.others);
        if let Some(entry) = self.book.entry(endpoint) {
            let backoff = if entry.origin == Origin::Configured { configured } else { others };
            entry.state = DialState::Idle;
            entry.anew = false;
            entry.ready_at = now + backoff.pause(entry.pauses, rng);
            entry.pauses = entry.pauses.saturating_add(1);
        }
        self.reckon();
    }

    /// Works out the deadline anew.
    fn reckon(&mut self) {
        let slots = self.slots();
        let ready =
            self.book.entries().filter(|entry| feeler(entry, slots).is_some()).map(|entry| entry.ready_at).min();
        let paced = self.last_dial.map_or(Duration::ZERO, |last| last + self.interval);
        self.deadline = ready.map(|ready| ready.max(paced));
    }
}

/// Room for dials.
#[derive(Debug, Clone, Copy)]
struct Slots {
    outbound: usize,
    feelers: usize,
}

/// Whether an address may be dialled as far as slots go, and if so, whether as a feeler: whoever dialled us needs no
/// second connection, and where the slots are taken a claim can still be checked. Configured addresses are dialled
/// all the same, since a neighbour on the same host could pretend to be one.
fn feeler(entry: &Entry, free: Slots) -> Option<bool> {
    let idle = entry.state == DialState::Idle;
    let configured = entry.origin == Origin::Configured;
    if free.outbound > 0 && (configured || entry.inbound == 0) {
        return idle.then_some(false);
    }
    (idle && !configured && !entry.is_proven() && free.feelers > 0).then_some(true)
}

#[cfg(test)]
#[path = "dialer_tests.rs"]
mod tests;
