//! Whether a node counts as SYNCED (attacks.md, "SYNCED").

use super::batch::BatchSync;
use super::claim::Peer;
use super::fork::ForkRule;
use super::{Connectivity, Mode};

impl<F: ForkRule> BatchSync<F> {
    /// Whether the node has looked around, so that claims alone may keep it from being SYNCED.
    fn is_ready(&self) -> bool {
        // `Connected` alone says nothing yet: the handshake's claim may be a moment behind it.
        !self.peers.is_empty()
            || match self.network {
                Connectivity::NoPeersKnown => true,
                Connectivity::AllDialsFailed => self.network_since.saturating_add(self.limits.alone) <= self.now,
                Connectivity::Dialling | Connectivity::Connected => false,
            }
    }

    /// The clock of `no_progress` stands still while nobody is connected, and goes on where it stood: to come and go does not reset it.
    pub(super) fn update_clock(&mut self) {
        match (self.is_ready(), self.progress) {
            (true, None) => self.progress = Some(self.now.saturating_sub(self.stalled)),
            (false, Some(last)) => (self.stalled, self.progress) = (self.now.saturating_sub(last), None),
            _ => {}
        }
    }

    pub(super) fn update_mode(&mut self) {
        let ready = self.is_ready();
        let behind = self.reorganising() || self.peers.values().any(Peer::counts);
        let mode = match self.mode {
            _ if behind => Mode::Syncing,
            Mode::Syncing if !ready || !self.importing.is_empty() => Mode::Syncing,
            Mode::Syncing | Mode::Synced => Mode::Synced,
        };
        if mode == Mode::Synced && self.mode == Mode::Syncing {
            self.next_probe = self.now.saturating_add(self.limits.probe_interval);
        }
        if mode == Mode::Syncing && self.mode == Mode::Synced {
            self.progress = Some(self.now);
        }
        self.mode = mode;
    }
}
