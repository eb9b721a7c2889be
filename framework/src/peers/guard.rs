//! Whom to let in (`attacks.md` rows 2, 18, 21, 23): slots, rates and bans for connections that others dial.

use std::collections::HashMap;
use std::time::Duration;

use super::host::Host;
use super::penalties::BanInfo;
use super::score::Penalty;
use crate::limits::Limits;
use crate::sync::ConnId;
use crate::transport::{Endpoint, PeerId};

mod bans;
mod rate;

use bans::Bans;
use rate::AcceptRate;

/// How many of the most useful inbound peers are never evicted.
const MOST_USEFUL: usize = 8;

/// Counts inbound connections, and keeps the bans. Outbound ones ask it for bans only: their slots are the dialler's.
#[derive(Debug)]
pub struct InboundGuard {
    limits: Limits,
    connections: HashMap<ConnId, Inbound>,
    rate: AcceptRate,
    bans: Bans,
}

#[derive(Debug)]
struct Inbound {
    group: Host,
    exempt: bool,
    /// When it came.
    admitted: Duration,
    /// When the handshake was done; `None` while it is not.
    since: Option<Duration>,
    useful: u64,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The address or key is banned.
    #[error("{who} is banned for another {} s", left.as_secs())]
    Banned {
        /// Which address or key.
        who: String,
        /// How much longer.
        left: Duration,
    },
    /// The address connects too often.
    #[error("{host} connects too often: more than {burst} times at once and once in {} s", interval.as_secs_f32())]
    TooOften {
        /// Which address.
        host: Host,
        /// Connections that it may make at once.
        burst: u32,
        /// Time after which it may make one more.
        interval: Duration,
    },
    /// Too many connections wait for their handshake.
    #[error("{most} connections wait for their handshake already")]
    PendingFull {
        /// The bound.
        most: usize,
    },
    /// Too many connections of this address wait for their handshake.
    #[error("{most} connections of {host} wait for their handshake already")]
    PendingOfAddressFull {
        /// Which address.
        host: Host,
        /// The bound.
        most: usize,
    },
    /// The address has all the connections that one may have.
    #[error("{host} has {most} connections already")]
    AddressFull {
        /// Which address.
        host: Host,
        /// The bound.
        most: usize,
    },
    /// All slots are taken by peers that are worth more than a new one.
    #[error("all {most} inbound slots are taken")]
    Full {
        /// The bound.
        most: usize,
    },
}

impl Refusal {
    /// A short name, for [`LogLimiter`](super::LogLimiter) and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Banned { .. } => "banned",
            Self::TooOften { .. } => "connects too often",
            Self::PendingFull { .. } => "pending full",
            Self::PendingOfAddressFull { .. } => "pending of address full",
            Self::AddressFull { .. } => "address full",
            Self::Full { .. } => "inbound full",
        }
    }
}

impl InboundGuard {
    /// A guard with all slots free.
    pub fn new(limits: &Limits) -> Self {
        Self {
            rate: AcceptRate::new(limits),
            bans: Bans::new(limits),
            connections: HashMap::new(),
            limits: limits.clone(),
        }
    }

    /// Asks for a pending slot for a connection that was just accepted. On `Ok` the slot is held until
    /// [`gone`](Self::gone).
    ///
    /// # Errors
    /// The connection is to be closed at once; the reason can be logged.
    pub fn admit(&mut self, conn: ConnId, remote: &Endpoint, now: Duration) -> Result<(), Refusal> {
        let host = Host::of(remote);
        let group = host.group();
        let exempt = self.is_exempt(&host);
        let limits = &self.limits;
        if !exempt {
            if let Some(left) = self.bans.of_host(&host, now) {
                return Err(Refusal::Banned { who: host.to_string(), left });
            }
            if !self.rate.allow(&group, now) {
                return Err(Refusal::TooOften { host, burst: limits.accept_burst, interval: limits.accept_interval });
            }
        }
        let pending = || self.connections.values().filter(|inbound| inbound.since.is_none());
        if pending().count() >= limits.pending_inbound {
            return Err(Refusal::PendingFull { most: limits.pending_inbound });
        }
        if !exempt {
            if pending().filter(|inbound| inbound.group == group).count() >= limits.pending_per_address {
                return Err(Refusal::PendingOfAddressFull { host, most: limits.pending_per_address });
            }
            if self.established_of(&group) >= limits.inbound_per_address {
                return Err(Refusal::AddressFull { host, most: limits.inbound_per_address });
            }
        }
        self.connections.insert(conn, Inbound { group, exempt, admitted: now, since: None, useful: 0 });
        Ok(())
    }

    /// When a connection came, if it has a slot: its time for the handshake runs from then.
    pub fn admitted_at(&self, conn: ConnId) -> Option<Duration> {
        self.connections.get(&conn).map(|inbound| inbound.admitted)
    }

    /// Turns a pending slot into an established one, once the handshake is done. Gives the connection that must make
    /// room: close it (its slot is free already).
    ///
    /// # Errors
    /// There is no room; the pending slot is free again.
    pub fn establish(
        &mut self,
        conn: ConnId,
        identity: Option<&PeerId>,
        now: Duration,
    ) -> Result<Option<ConnId>, Refusal> {
        let Some(inbound) = self.connections.remove(&conn) else { return Ok(None) };
        if let Some(left) = identity.and_then(|key| self.bans.of_key(key, now)) {
            let who = identity.map_or_else(String::new, ToString::to_string);
            return Err(Refusal::Banned { who, left });
        }
        let most = self.limits.inbound_per_address;
        if !inbound.exempt && self.established_of(&inbound.group) >= most {
            return Err(Refusal::AddressFull { host: inbound.group, most });
        }
        let evicted = if self.established() >= self.limits.inbound {
            let victim = self.worst().ok_or(Refusal::Full { most: self.limits.inbound })?;
            self.connections.remove(&victim);
            Some(victim)
        } else {
            None
        };
        self.connections.insert(conn, Inbound { since: Some(now), ..inbound });
        Ok(evicted)
    }

    /// Frees the slot of a connection, pending or established. Does nothing for one that has none.
    pub fn gone(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
    }

    /// A peer has done something of use: it delivered a block or transaction that was new and valid.
    pub fn useful(&mut self, conn: ConnId) {
        if let Some(inbound) = self.connections.get_mut(&conn) {
            inbound.useful = inbound.useful.saturating_add(1);
        }
    }

    /// Bans a key, or an address where there is no key. Loopback is never banned while it is exempt. Says whether
    /// anybody was banned. The proof of `why` is kept as long as the ban.
    pub fn ban(
        &mut self,
        remote: &Endpoint,
        identity: Option<&PeerId>,
        until: Duration,
        now: Duration,
        why: &Penalty,
    ) -> bool {
        let host = Host::of(remote);
        match identity {
            Some(key) => self.bans.key(*key, until, now, why),
            None if self.is_exempt(&host) => return false,
            None => self.bans.host(host, until, now, why),
        }
        true
    }

    /// The bans that hold, the last to end first, at most `most`; and how many there are. `unix_now` is the wall clock at `now`.
    pub fn bans(&self, most: usize, now: Duration, unix_now: u64) -> (Vec<BanInfo>, usize) {
        self.bans.shown(most, now, unix_now)
    }

    /// How much longer a key is banned, or an address where there is no key. Dials ask for it too.
    pub fn banned(&self, remote: &Endpoint, identity: Option<&PeerId>, now: Duration) -> Option<Duration> {
        let host = Host::of(remote);
        let by_key = identity.and_then(|key| self.bans.of_key(key, now));
        by_key.or_else(|| if self.is_exempt(&host) { None } else { self.bans.of_host(&host, now) })
    }

    /// Inbound connections whose handshake is done.
    pub fn established(&self) -> usize {
        self.connections.values().filter(|inbound| inbound.since.is_some()).count()
    }

    /// Inbound connections whose handshake is not done.
    pub fn pending(&self) -> usize {
        self.connections.len() - self.established()
    }

    fn established_of(&self, group: &Host) -> usize {
        self.connections.values().filter(|inbound| inbound.since.is_some() && inbound.group == *group).count()
    }

    fn is_exempt(&self, host: &Host) -> bool {
        self.limits.exempt_loopback && host.is_loopback()
    }

    /// Whom to evict: the youngest of the address with the most connections, but none of the most useful, nor of the
    /// longer-lived half of the others. So whoever fills our slots evicts themselves.
    fn worst(&self) -> Option<ConnId> {
        let mut candidates: Vec<(ConnId, &Inbound, Duration)> = self
            .connections
            .iter()
            .filter_map(|(conn, inbound)| inbound.since.map(|since| (*conn, inbound, since)))
            .collect();
        candidates.sort_by_key(|(conn, inbound, since)| (std::cmp::Reverse(inbound.useful), *since, *conn));
        let useful = candidates.iter().take(MOST_USEFUL).filter(|(_, inbound, _)| inbound.useful > 0).count();
        let mut others = candidates.split_off(useful);
        others.sort_by_key(|(conn, _, since)| (*since, *conn));
        let young = others.split_off(others.len() / 2);
        let of_group = |group: &Host| young.iter().filter(|(_, inbound, _)| inbound.group == *group).count();
        young
            .iter()
            .max_by_key(|(conn, inbound, since)| (of_group(&inbound.group), *since, *conn))
            .map(|(conn, ..)| *conn)
    }
}

#[cfg(test)]
#[path = "guard/tests.rs"]
mod tests;
