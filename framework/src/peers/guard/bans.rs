use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::limits::Limits;
use crate::peers::{BanInfo, Host, Penalty};
use crate::transport::PeerId;

/// Who is banned, and until when. Each table is bounded; a full one drops the ban that ends first.
#[derive(Debug)]
pub(super) struct Bans {
    capacity: usize,
    hosts: HashMap<Host, Ban>,
    keys: HashMap<PeerId, Ban>,
}

#[derive(Debug)]
struct Ban {
    since: Duration,
    until: Duration,
    offence: &'static str,
    proof: String,
}

impl Bans {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { capacity: limits.addresses_tracked, hosts: HashMap::new(), keys: HashMap::new() }
    }

    pub(super) fn host(&mut self, host: Host, until: Duration, now: Duration, why: &Penalty) {
        insert(&mut self.hosts, host, Ban::new(now, until, why), self.capacity);
    }

    pub(super) fn key(&mut self, key: PeerId, until: Duration, now: Duration, why: &Penalty) {
        insert(&mut self.keys, key, Ban::new(now, until, why), self.capacity);
    }

    /// The bans that hold, the last to end first, at most `most`; and how many there are.
    pub(super) fn shown(&self, most: usize, now: Duration, unix_now: u64) -> (Vec<BanInfo>, usize) {
        let keys = self.keys.iter().map(|(key, ban)| (key.to_string(), ban));
        let hosts = self.hosts.iter().map(|(host, ban)| (host.to_string(), ban));
        let mut bans: Vec<(String, &Ban)> = keys.chain(hosts).filter(|(_, ban)| ban.until > now).collect();
        bans.sort_by(|(a, one), (b, other)| other.until.cmp(&one.until).then_with(|| a.cmp(b)));
        let shown = bans.iter().take(most).map(|(peer, ban)| BanInfo {
            peer: peer.clone(),
            offence: ban.offence,
            proof: ban.proof.clone(),
            since: unix_now.saturating_sub(now.saturating_sub(ban.since).as_secs()),
            expires: unix_now.saturating_add(whole_seconds(ban.until.saturating_sub(now))),
        });
        (shown.collect(), bans.len())
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

impl Ban {
    fn new(since: Duration, until: Duration, why: &Penalty) -> Self {
        Self { since, until, offence: why.offence, proof: why.proof.clone() }
    }
}

/// Rounded up: a ban that still holds has not expired.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn left(ban: Option<&Ban>, now: Duration) -> Option<Duration> {
    ban?.until.checked_sub(now).filter(|left| !left.is_zero())
}

fn insert<K: Eq + Hash + Clone>(bans: &mut HashMap<K, Ban>, who: K, ban: Ban, capacity: usize) {
    if bans.len() >= capacity && !bans.contains_key(&who) {
        bans.retain(|_, other| other.until > ban.since);
        if bans.len() >= capacity {
            let first = bans.iter().min_by_key(|(_, ban)| ban.until).map(|(who, _)| who.clone());
            first.and_then(|who| bans.remove(&who));
        }
    }
    if bans.get(&who).is_none_or(|held| held.until < ban.until) {
        bans.insert(who, ban);
    }
}
