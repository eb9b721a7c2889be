use std::collections::VecDeque;
use std::time::Duration;

use super::core::{Action, Core, ImportOrigin, Refused};
use super::peer::{Outstanding, Part, Peer};
use crate::chain::{ChainCommand, learn_staked, proposer_signed};
use crate::memory::MemoryShares;
use crate::mempool;
use crate::node::NodeEvent;
use crate::peers::{Host, Offence};
use crate::rules::Rejection;
use crate::sync::{BatchId, ConnId, Contradiction, Mode, RejectKind, SyncAction, SyncEvent, SyncOffence, SyncReport};
use crate::types::{BlockLink, Height};

impl Core {
    /// Feeds the strategy and carries out what it wants, until it wants nothing more.
    pub(super) fn sync_event(&mut self, now: Duration, event: SyncEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.sync.handle(now, event);
            while let Some(action) = self.sync.poll_action() {
                if let Some(answer) = self.sync_action(now, action) {
                    events.push_back(answer);
                }
            }
        }
        let mode = self.sync.status().mode;
        if mode != self.mode {
            self.mode = mode;
            self.push(Action::Publish(NodeEvent::ModeChanged(mode)));
            let height = self.tip.map_or(-1, |tip| i128::from(tip.height));
            match mode {
                Mode::Synced => tracing::info!(height, "SYNCED"),
                Mode::Syncing => tracing::info!(height, "SYNCING"),
            }
        }
    }

    /// Carries out one action; an event that answers it at once is given back.
    fn sync_action(&mut self, now: Duration, action: SyncAction) -> Option<SyncEvent> {
        match action {
            SyncAction::Request { peer, request, from, to, timeout } => {
                let asked = Outstanding { request, part: Part::Block, from, to, deadline: now + timeout };
                return self.send_request(now, peer, asked);
            }
            SyncAction::RequestHeaders { peer, request, from, to, timeout } => {
                let asked = Outstanding { request, part: Part::Header, from, to, deadline: now + timeout };
                return self.send_request(now, peer, asked);
            }
            SyncAction::Vouch { batch, up_to } => {
                // A strategy may vouch for nothing that no checkpoint covers.
                let highest = self.config.verifier.genesis().checkpoints.iter().map(|point| point.height).max();
                if highest.is_some_and(|highest| up_to <= highest) && self.delivered.contains_key(&batch) {
                    self.vouched.insert(batch, up_to);
                }
            }
            SyncAction::Cancel { request } => self.cancel_request(now, request),
            SyncAction::Import { batch } => {
                if let Some(blocks) = self.delivered.remove(&batch) {
                    self.imports.insert(batch, ImportOrigin::Sync);
                    let command = match self.vouched.remove(&batch) {
                        Some(up_to) => ChainCommand::ImportVouched { batch, blocks, up_to },
                        None => ChainCommand::Import { batch, blocks },
                    };
                    self.push(Action::Chain(command));
                }
            }
            SyncAction::Discard { batch } => {
                self.delivered.remove(&batch);
                self.senders.remove(&batch);
                self.vouched.remove(&batch);
            }
            SyncAction::Check { batch } => return Some(self.check_signatures(batch)),
            SyncAction::LookUp { from, to } => self.push(Action::LookUp { from, to }),
            SyncAction::FindStakes { below } => return self.find_stakes(below),
            SyncAction::ReadStakes { batch } => return Some(self.read_stakes(batch)),
            SyncAction::Rollback { keep } => {
                self.reorganising = true;
                let held: usize = self.removed.iter().map(|tx| mempool::tx_bytes(tx)).sum();
                let room = MemoryShares::of(self.config.limits.network_memory).gossip_blocks().saturating_sub(held);
                self.push(Action::Chain(ChainCommand::Rollback { keep, room }));
            }
            SyncAction::FinishReorg { keep } => self.push(Action::Chain(ChainCommand::FinishReorg { keep })),
            SyncAction::Penalise { peer, offence } => {
                let SyncOffence::InvalidBlock { height } = offence;
                self.sync_penalty(now, peer, height);
            }
            SyncAction::Report(report) => self.report(now, &report),
        }
        None
    }

    /// The strategy says that a peer's block was invalid: the proof is why that very peer's was refused.
    pub(super) fn sync_penalty(&mut self, now: Duration, peer: ConnId, height: Height) {
        match self.refused.remove(&peer).filter(|refused| refused.rejection.height == height) {
            Some(Refused { rejection: Rejection { rule, detail, .. }, hash }) => {
                let rule = format!("{rule}: {detail}");
                self.penalise(now, peer, &Offence::InvalidBlock { height, hash, rule });
            }
            // What cannot be proved costs nothing (attacks.md row 23).
            None => self.close(now, peer, &format!("its block {height} was refused in a sync")),
        }
    }

    /// Checks the signatures of a batch by the keys that are known, and those that its signed blocks stake.
    fn check_signatures(&mut self, batch: BatchId) -> SyncEvent {
        let (mut signed, mut wrong) = (0, None);
        for block in self.delivered.get(&batch).into_iter().flatten() {
            match proposer_signed(&self.config.verifier, &self.config.keys, block) {
                Some(Ok(())) => {
                    signed += 1;
                    learn_staked(&self.config.verifier, &self.config.keys, block);
                }
                Some(Err(rejection)) => {
                    wrong = Some((block.link, rejection));
                    break;
                }
                None => {}
            }
        }
        let height = wrong.as_ref().map(|(link, _)| link.height);
        if let (Some((link, rejection)), Some(&(conn, _))) = (wrong, self.senders.get(&batch)) {
            self.note_refused(conn, &[link], rejection);
        }
        SyncEvent::Checked { batch, signed, wrong: height }
    }

    /// Says in the log what the strategy reports. A peer could make it report again and again: so many lines of a kind a minute.
    fn report(&mut self, now: Duration, report: &SyncReport) {
        let from = |peer: &ConnId| self.peers.get(peer).map_or_else(|| "a peer".to_owned(), Peer::label);
        let (kind, error) = match report {
            SyncReport::ForkTooDeep { peer, below, bound } => {
                let peer = from(peer);
                let text = format!(
                    "fork too deep: the chain of {peer} leaves ours below height {below}, deeper than the {bound} blocks that may be rolled back"
                );
                ("fork too deep", Some(text))
            }
            SyncReport::OffCheckpoint { checkpoint, found } => {
                let found = contradiction(found);
                let text = format!(
                    "our own chain is not the one that leads to the checkpoint at height {checkpoint}: our {found}"
                );
                self.checkpoint_trouble = Some(text.clone());
                ("off checkpoint", Some(text))
            }
            SyncReport::CheckpointContradicted { peer, found } => {
                let (peer, found) = (from(peer), contradiction(found));
                let text = format!("the chain of {peer} contradicts a checkpoint: its {found}");
                // What is wrong with our own chain says more.
                self.checkpoint_trouble.get_or_insert_with(|| text.clone());
                ("checkpoint contradicted", Some(text))
            }
            SyncReport::LinkedToCheckpoint { .. } => ("linked to checkpoint", None),
            SyncReport::Reorganised { .. } => ("reorganised", None),
            SyncReport::Recovered { .. } => ("recovered", None),
            SyncReport::PutBack { .. } => ("put back", None),
            SyncReport::StoppedAt { .. } => ("stopped at", None),
        };
        if let Some(more) = self.may_tell(now, &Host::Name("the sync".to_owned()), kind) {
            tell(report, error.as_deref().unwrap_or_default(), more);
        }
        self.last_error = error.or(self.last_error.take());
    }

    /// The places of our own blocks, as far as they could be read.
    pub(crate) fn own_links(&mut self, now: Duration, links: Vec<BlockLink>) {
        self.sync_event(now, SyncEvent::OwnLinks { links });
    }
}

/// Which block is another one than a checkpoint demands.
fn contradiction(found: &Contradiction) -> String {
    let Contradiction { height, expected, offered } = found;
    let offered = offered.map_or_else(|| "another one".to_owned(), |offered| offered.to_string());
    format!("block {height} is {offered}, where {expected} is demanded")
}

/// A report's line in the log; `error` is the text of one that is an error.
fn tell(report: &SyncReport, error: &str, more: u64) {
    match report {
        SyncReport::ForkTooDeep { .. } => tracing::warn!(more, "{error}; to follow it, sync into a new datadir"),
        SyncReport::OffCheckpoint { .. } => {
            tracing::warn!(more, "{error}: where peers of that chain cannot be followed, sync into a new datadir");
        }
        SyncReport::CheckpointContradicted { .. } => tracing::warn!(more, "{error}; it is not imported"),
        SyncReport::LinkedToCheckpoint { checkpoint } => {
            tracing::info!(checkpoint, "the headers up to this checkpoint link: below it signatures are not checked");
        }
        SyncReport::Reorganised { removed } => tracing::info!(removed, more, "took another branch"),
        SyncReport::Recovered { height, removed } => {
            tracing::warn!(height, removed, "a STAKE of this block carried a swapped key: the block was replaced");
        }
        SyncReport::PutBack { restored } => {
            tracing::info!(restored, more, "the other branch is not better: our own blocks are back");
        }
        SyncReport::StoppedAt { height, why } => {
            tracing::warn!(height, ?why, more, "the sync stopped at this block; nobody is banned for it");
            if *why == RejectKind::WrongProposer {
                // No v1 hash covers the key of a STAKE, so whoever passed one on may have put in another.
                tracing::warn!(
                    "a STAKE here may carry a swapped key: the STAKEs of other peers are looked at; if they do not help, sync into a new datadir"
                );
            }
        }
    }
}
