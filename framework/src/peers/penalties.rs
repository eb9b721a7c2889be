//! The last penalties with their proofs, as operators see them (`attacks.md` row 23).

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::score::{Penalty, Subject};
use crate::limits::Limits;

/// A penalty, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PenaltyInfo {
    /// Whose points these are: the key that the transport proved, or else the address without its port.
    pub peer: String,
    /// A short name of the offence.
    pub offence: &'static str,
    /// The proof, in words.
    pub proof: String,
    /// The points it cost.
    pub points: u32,
    /// Unix seconds at which it was given.
    pub time: u64,
}

/// A ban that holds, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BanInfo {
    /// Who is banned: a key, or an address without its port.
    pub peer: String,
    /// A short name of the offence that it is for.
    pub offence: &'static str,
    /// The proof, in words.
    pub proof: String,
    /// Unix seconds at which it was given.
    pub since: u64,
    /// Unix seconds at which it ends.
    pub expires: u64,
}

/// The penalties that are remembered and the bans that hold, those of peers that have gone included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The bans that hold, the last to end first: at most [`BANS_SHOWN`].
    pub bans: Vec<BanInfo>,
    /// How many bans hold in all.
    pub banned: usize,
    /// The last penalties, the newest first: at most [`Limits::penalties`].
    pub penalties: Vec<PenaltyInfo>,
}

/// Bans that a [`Standing`] lists, so that an answer which shows them stays below half a megabyte.
pub const BANS_SHOWN: usize = 1000;

/// The last penalties. Bounded in all and for each peer; where there is no room the oldest goes, of the same peer if it has
/// all that one may have. A ban keeps its own proof.
#[derive(Debug)]
pub struct PenaltyLog {
    most: usize,
    most_of_peer: usize,
    /// The oldest first.
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    subject: Subject,
    offence: &'static str,
    proof: String,
    points: u32,
    at: Duration,
}

impl PenaltyLog {
    /// An empty log.
    pub fn new(limits: &Limits) -> Self {
        Self { most: limits.penalties, most_of_peer: limits.penalties_per_peer, entries: VecDeque::new() }
    }

    /// Remembers a penalty.
    pub fn note(&mut self, subject: &Subject, penalty: &Penalty, now: Duration) {
        let of_subject = |entry: &&Entry| entry.subject == *subject;
        if self.entries.iter().filter(of_subject).count() >= self.most_of_peer
            && let Some(oldest) = self.entries.iter().position(|entry| entry.subject == *subject)
        {
            self.entries.remove(oldest);
        }
        while self.entries.len() >= self.most.max(1) {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            subject: subject.clone(),
            offence: penalty.offence,
            proof: penalty.proof.clone(),
            points: penalty.points,
            at: now,
        });
    }

    /// The penalties of a peer, or of all, the newest first. `unix_now` is the wall clock at `now`.
    pub fn shown(&self, subject: Option<&Subject>, now: Duration, unix_now: u64) -> Vec<PenaltyInfo> {
        let fits = |entry: &&Entry| subject.is_none_or(|subject| entry.subject == *subject);
        let shown = self.entries.iter().rev().filter(fits).map(|entry| PenaltyInfo {
            peer: entry.subject.to_string(),
            offence: entry.offence,
            proof: entry.proof.clone(),
            points: entry.points,
            time: unix_now.saturating_sub(now.saturating_sub(entry.at).as_secs()),
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Endpoint;

    fn subject(n: usize) -> Subject {
        Subject::of(&Endpoint::new(format!("192.0.2.{n}:9000")), None)
    }

    fn penalty(proof: usize) -> Penalty {
        Penalty {
            offence: "invalid block",
            proof: proof.to_string(),
            points: 100,
            score: 100,
            close: true,
            ban: None,
            backed_off: false,
        }
    }

    fn proofs(log: &PenaltyLog, of: Option<usize>) -> Vec<String> {
        let of = of.map(subject);
        log.shown(of.as_ref(), Duration::ZERO, 0).into_iter().map(|info| info.proof).collect()
    }

    #[test]
    fn one_peer_keeps_its_newest_and_takes_no_place_of_others() {
        let limits = Limits { penalties: 5, penalties_per_peer: 2, ..Limits::default() };
        let mut log = PenaltyLog::new(&limits);
        log.note(&subject(1), &penalty(0), Duration::ZERO);
        for proof in 1..100 {
            log.note(&subject(2), &penalty(proof), Duration::ZERO);
        }
        assert_eq!(proofs(&log, None), ["99", "98", "0"]);
        assert_eq!(proofs(&log, Some(1)), ["0"]);
    }

    #[test]
    fn of_a_crowd_the_newest_are_kept_up_to_the_bound() {
        let limits = Limits { penalties: 5, ..Limits::default() };
        let mut log = PenaltyLog::new(&limits);
        for n in 0..100 {
            log.note(&subject(n), &penalty(n), Duration::ZERO);
        }
        assert_eq!(proofs(&log, None), ["99", "98", "97", "96", "95"]);
    }

    #[test]
    fn times_are_those_of_the_wall_clock() {
        let mut log = PenaltyLog::new(&Limits::default());
        log.note(&subject(1), &penalty(0), Duration::from_secs(30));
        let shown = log.shown(None, Duration::from_secs(90), 1_700_000_090);
        assert_eq!((shown[0].time, shown[0].peer.as_str()), (1_700_000_030, "192.0.2.1"));
    }
}
