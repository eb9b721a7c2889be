use std::collections::HashMap;
use std::time::Duration;

use crate::limits::Limits;
use crate::peers::Host;

/// How often each address may connect: a token bucket, kept as the instant at which it will be full again (the
/// generic cell rate algorithm of ITU-T I.371).
#[derive(Debug)]
pub(super) struct AcceptRate {
    interval: Duration,
    burst: Duration,
    capacity: usize,
    full_at: HashMap<Host, Duration>,
}

impl AcceptRate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            interval: limits.accept_interval,
            burst: limits.accept_interval * limits.accept_burst,
            capacity: limits.addresses_tracked,
            full_at: HashMap::new(),
        }
    }

    /// Takes a token of this address, if it has one.
    pub(super) fn allow(&mut self, host: &Host, now: Duration) -> bool {
        let full_at = self.full_at.get(host).copied().unwrap_or_default().max(now) + self.interval;
        if full_at > now + self.burst {
            return false;
        }
        if self.full_at.len() >= self.capacity && !self.full_at.contains_key(host) {
            self.make_room(now);
        }
        self.full_at.insert(host.clone(), full_at);
        true
    }

    /// A full bucket needs no entry. Where none is full, the fullest goes: its owner gains the least by it.
    fn make_room(&mut self, now: Duration) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= self.capacity {
            let fullest = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(host, _)| host.clone());
            fullest.and_then(|host| self.full_at.remove(&host));
        }
    }
}
