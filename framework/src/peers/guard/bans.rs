use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::limits::Limits;
use crate::peers::Host;
use crate::transport::PeerId;

/// Who is banned, and until when. Each table is bounded; a full one drops the ban that ends first.
#[derive(Debug)]
pub(super) struct Bans {
    capacity: usize,
    hosts: HashMap<Host, Duration>,
    keys: HashMap<PeerId, Duration>,
}

impl Bans {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { capacity: limits.addresses_tracked, hosts: HashMap::new(), keys: HashMap::new() }
    }

    pub(super) fn host(&mut self, host: Host, until: Duration, now: Duration) {
        insert(&mut self.hosts, host, until, now, self.capacity);
    }

    pub(super) fn key(&mut self, key: PeerId, until: Duration, now: Duration) {
        insert(&mut self.keys, key, until, now, self.capacity);
    }

    /// How much longer an address is banned.
    pub(super) fn of_host(&self, host: &Host, now: Duration) -> Option<Duration> {
        left(self.hosts.get(host), now)
    }

    /// How much longer a key is banned.
    pub(super) fn of_key(&self, key: &PeerId, now: Duration) -> Option<Duration> {
        left(self.keys.get(key), now)
    }
}

fn left(until: Option<&Duration>, now: Duration) -> Option<Duration> {
    until?.checked_sub(now).filter(|left| !left.is_zero())
}

fn insert<K: Eq + Hash + Clone>(
    bans: &mut HashMap<K, Duration>,
    who: K,
    until: Duration,
    now: Duration,
    capacity: usize,
) {
    if bans.len() >= capacity && !bans.contains_key(&who) {
        bans.retain(|_, until| *until > now);
        if bans.len() >= capacity {
            let first = bans.iter().min_by_key(|(_, until)| **until).map(|(who, _)| who.clone());
            first.and_then(|who| bans.remove(&who));
        }
    }
    let end = bans.entry(who).or_insert(until);
    *end = until.max(*end);
}
