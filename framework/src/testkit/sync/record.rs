//! What can be asked of a world: its state, its record and the rules it kept.

use std::time::Duration;

use super::world::{Rule, World};
use crate::sync::{ConnId, Mode, SyncAction, SyncOffence, SyncReport, SyncStrategy};
use crate::types::{Height, Tip};

impl World {
    /// The time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The node's tip.
    pub fn tip(&self) -> Option<Tip> {
        self.chain.tip()
    }

    /// The node's height.
    pub fn height(&self) -> Option<Height> {
        self.chain.height()
    }

    /// The strategy's mode.
    pub fn mode(&self) -> Mode {
        self.strategy.status().mode
    }

    /// The strategy.
    pub fn strategy(&self) -> &dyn SyncStrategy {
        &*self.strategy
    }

    /// How many batches were delivered and neither imported nor discarded.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Outstanding requests.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// How many blocks were delivered and are neither applied nor discarded.
    pub fn held_blocks(&self) -> usize {
        self.held.values().map(|batch| batch.links.len()).sum()
    }

    /// How many bytes they have.
    pub fn held_bytes(&self) -> usize {
        self.held.values().map(|batch| batch.bytes).sum()
    }

    /// How many blocks were imported that the strategy vouched for.
    pub fn vouched(&self) -> u64 {
        self.vouched
    }

    /// What operators were told.
    pub fn reports(&self) -> Vec<&SyncReport> {
        self.log
            .iter()
            .filter_map(|(_, action)| if let SyncAction::Report(report) = action { Some(report) } else { None })
            .collect()
    }

    /// Who was penalised.
    pub fn penalised(&self) -> Vec<(ConnId, SyncOffence)> {
        let penalty = |action: &SyncAction| match action {
            SyncAction::Penalise { peer, offence } => Some((*peer, *offence)),
            _ => None,
        };
        self.log.iter().filter_map(|(_, action)| penalty(action)).collect()
    }

    /// The requests to a peer: from, to.
    pub fn requests_to(&self, id: ConnId) -> Vec<(Height, Height)> {
        let request = |action: &SyncAction| match action {
            SyncAction::Request { peer, from, to, .. } if *peer == id => Some((*from, *to)),
            _ => None,
        };
        self.log.iter().filter_map(|(_, action)| request(action)).collect()
    }

    /// The heights that rollbacks kept.
    pub fn rollbacks(&self) -> Vec<Option<Height>> {
        let rollback =
            |action: &SyncAction| if let SyncAction::Rollback { keep } = action { Some(*keep) } else { None };
        self.log.iter().filter_map(|(_, action)| rollback(action)).collect()
    }

    /// Panics with the breaches of a rule, if there are any.
    pub fn assert_kept(&self, rule: Rule) {
        let breaches: Vec<_> = self.breaches.iter().filter(|(broken, _)| *broken == rule).collect();
        assert!(breaches.is_empty(), "in {}: {breaches:#?}", self.name);
    }

    /// Panics with all breaches, if there are any.
    pub fn assert_all_kept(&self) {
        assert!(self.breaches.is_empty(), "in {}: {:#?}", self.name, self.breaches);
    }

    /// Whether a reorganisation is under way.
    pub fn is_reorganising(&self) -> bool {
        self.journal.is_some()
    }
}
