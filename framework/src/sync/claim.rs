//! What is known of a peer: its claim, and how it has kept it.
//!
//! A claim is a hint. It opens when a peer says that its chain is higher than ours, and closes when that was delivered, or when the
//! peer lets the patience with it run out. An open claim that *counts* holds back SYNCED; a quiet one is only asked after.

use std::collections::BTreeSet;
use std::time::Duration;

use super::limits::SyncLimits;
use super::pace::Pace;
use super::sizing::Sizing;
use super::{Abilities, RequestId};
use crate::types::Height;

/// Whether a peer's claim is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Closed,
    Open {
        /// Whether it holds back SYNCED.
        counts: bool,
        /// Whether it is our own guess: the peer sent as much as it was asked for, so there may be more.
        guess: bool,
    },
}

/// A connection after its handshake. Of constant size.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) legacy: bool,
    /// The highest block it has, as far as we were told or shown.
    pub(super) best: Option<Height>,
    pub(super) claim: Claim,
    /// Whether it was asked for anything since its claim opened.
    pub(super) probed: bool,
    /// Since when we wait for it: from the first request on that nothing good has answered.
    pub(super) waiting: Option<Duration>,
    pub(super) abilities: Abilities,
    /// Outstanding, oldest first.
    pub(super) requests: Vec<RequestId>,
    /// When it was last asked for anything.
    pub(super) asked: Duration,
    pub(super) sizing: Sizing,
    pub(super) pace: Pace,
    pub(super) empties: u8,
    pub(super) failures: u8,
    /// It is asked nothing before.
    pub(super) not_before: Duration,
    /// It delivered blocks that were imported.
    pub(super) proven: bool,
    /// A claim of it was closed since it did not deliver: further ones do not count.
    pub(super) distrusted: bool,
    /// It delivered what breaks a rule, and is asked for nothing any more.
    pub(super) guilty: bool,
    /// Its chain contradicts a checkpoint, so that it is asked for nothing any more.
    pub(super) contradicts: bool,
    /// It is not asked for headers before.
    pub(super) headers_not_before: Duration,
    /// How many headers its last answer had; the most there are while it has given all that it was asked for.
    pub(super) headers_given: u32,
    /// A block of it that was refused, and until when it is not asked for it again.
    pub(super) refused: Option<(Height, Duration)>,
    /// Its blocks did not link to our tip.
    pub(super) off_branch: bool,
    /// When it came, or was last asked for what nobody claims.
    pub(super) probed_at: Duration,
    pub(super) forks: ForkMemory,
}

/// What forks were tried with a peer.
#[derive(Debug, Default)]
pub(super) struct ForkMemory {
    /// The common blocks below branches of it that led to nothing better.
    pub(super) tried: BTreeSet<Option<Height>>,
    /// Its branch leaves ours deeper than the bound.
    pub(super) too_deep: bool,
    /// No search before.
    pub(super) not_before: Duration,
    /// Since when its blocks are known not to link.
    pub(super) off_since: Duration,
    /// Since when it has had no session: since it came, or since the last one.
    pub(super) waits_since: Duration,
    /// How many sessions with it were cut short for the sake of others.
    pub(super) cut: u32,
    /// How many sessions with it led to nothing.
    pub(super) failed: u32,
}

impl Peer {
    pub(super) fn new(legacy: bool, now: Duration) -> Self {
        Self {
            legacy,
            best: None,
            claim: Claim::Closed,
            probed: false,
            waiting: None,
            abilities: Abilities::default(),
            requests: Vec::new(),
            asked: Duration::ZERO,
            sizing: Sizing::default(),
            pace: Pace::default(),
            empties: 0,
            failures: 0,
            not_before: Duration::ZERO,
            proven: false,
            distrusted: false,
            guilty: false,
            contradicts: false,
            headers_not_before: Duration::ZERO,
            headers_given: u32::MAX,
            refused: None,
            off_branch: false,
            probed_at: now,
            forks: ForkMemory { waits_since: now, ..ForkMemory::default() },
        }
    }

    /// Opens a claim, or leaves the open one as it is: to repeat it does not renew our patience.
    pub(super) fn open(&mut self, counts: bool, guess: bool) {
        if self.is_ruled_out() || self.is_open() {
            return;
        }
        self.claim = Claim::Open { counts: counts && !self.distrusted, guess };
        (self.probed, self.waiting) = (false, None);
        (self.empties, self.failures) = (0, 0);
    }

    pub(super) fn close(&mut self) {
        self.claim = Claim::Closed;
        self.waiting = None;
    }

    /// Lets the open claim hold back SYNCED, or not.
    pub(super) fn set_counts(&mut self, to: bool) {
        if let Claim::Open { counts, .. } = &mut self.claim {
            *counts = to;
        }
    }

    /// Takes the open claim for what the peer itself said.
    pub(super) fn confirm(&mut self) {
        if let Claim::Open { guess, .. } = &mut self.claim {
            *guess = false;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.claim, Claim::Open { .. })
    }

    pub(super) fn counts(&self) -> bool {
        matches!(self.claim, Claim::Open { counts: true, .. })
    }

    pub(super) fn is_guess(&self) -> bool {
        matches!(self.claim, Claim::Open { guess: true, .. })
    }

    /// Whether it is asked for nothing any more.
    pub(super) fn is_ruled_out(&self) -> bool {
        self.guilty || self.contradicts
    }

    /// Whether nothing is asked of it.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether it can be asked for more. Several at a time come once it has shown how fast it is.
    pub(super) fn has_room(&self) -> bool {
        self.requests.len() < self.slots()
    }

    /// How many requests it may have.
    pub(super) fn slots(&self) -> usize {
        if self.pace.is_known() { self.abilities.requests.max(1) } else { 1 }
    }

    /// Whether it is said to have the block at this height.
    pub(super) fn has(&self, height: Height) -> bool {
        self.best.is_some_and(|best| best >= height)
    }

    /// The last height that it may be asked for now, whatever it claims.
    pub(super) fn allowed(&self, now: Duration) -> Option<Height> {
        match self.refused {
            Some((height, until)) if until > now => height.checked_sub(1),
            _ => Some(Height::MAX),
        }
    }

    /// How long it may take for an answer.
    pub(super) fn timeout(&self, limits: &SyncLimits) -> Duration {
        if self.legacy { limits.timeout_legacy } else { limits.timeout }
    }

    /// When the patience with its open claim ends.
    pub(super) fn patience_ends(&self, limits: &SyncLimits) -> Option<Duration> {
        let patience = if self.legacy && self.proven { limits.claim_patience_legacy } else { limits.claim_patience };
        self.is_open().then_some(self.waiting?.saturating_add(patience))
    }

    /// Whether a search for a branching point may still lead to anything.
    pub(super) fn may_fork(&self, limits: &SyncLimits) -> bool {
        !self.is_ruled_out() && !self.forks.too_deep && self.forks.tried.len() < limits.fork_tries
    }
}
