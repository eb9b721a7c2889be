//! The first stage: hands batches to the cores as they come.

use tokio::sync::mpsc;

use super::{ChainCommand, Job};
use crate::chain::verify::{BatchVerifier, Known};
use crate::rules::{HashedBlock, MAX_BATCH};
use crate::sync::BatchId;

/// Batches that wait are verified together, as long as they have no more signatures than this: two batches of them for
/// each of two cores.
const SIGNATURES_TOGETHER: usize = 4 * MAX_BATCH;
/// The most batches that are verified together: a bad one among them has each checked alone.
const BATCHES_TOGETHER: usize = 8;

/// The first stage.
pub(super) struct Intake {
    pub(super) verifier: BatchVerifier,
    pub(super) to_execute: mpsc::Sender<Job>,
}

/// Batches that are verified together.
#[derive(Default)]
struct Group {
    batches: Vec<BatchId>,
    blocks: Vec<Vec<HashedBlock>>,
    signatures: usize,
    known: Known,
}

impl Intake {
    pub(super) async fn run(self, mut commands: mpsc::Receiver<ChainCommand>) {
        let mut next = None;
        loop {
            let Some(mut command) = (match next.take() {
                Some(command) => Some(command),
                None => commands.recv().await,
            }) else {
                return;
            };
            // A place first: at most VERIFYING groups are in the works, and what comes meanwhile goes along.
            let Ok(place) = self.to_execute.reserve().await else { return };
            let mut group = Group::default();
            loop {
                if let Err(other) = group.take(command) {
                    next = Some(other);
                    break;
                }
                match commands.try_recv() {
                    Ok(other) => command = other,
                    Err(_) => break,
                }
            }
            place.send(match next.take_if(|_| group.batches.is_empty()) {
                Some(barrier) => Job::Barrier(barrier),
                None => self.verify(group),
            });
        }
    }

    fn verify(&self, group: Group) -> Job {
        let Group { batches, blocks, known, .. } = group;
        let verifier = self.verifier.clone();
        let verified = tokio::spawn(async move {
            let pool = verifier.pool.clone();
            pool.blocking(move || verifier.verify_together(blocks, known)).await
        });
        Job::Imports { batches, verified }
    }
}

impl Group {
    /// Takes an import that goes with the others; gives anything else back.
    fn take(&mut self, command: ChainCommand) -> Result<(), ChainCommand> {
        let (blocks, known) = match &command {
            ChainCommand::Import { blocks, .. } => (blocks, Known::Nothing),
            ChainCommand::ImportSigned { blocks, .. } => (blocks, Known::Signed),
            ChainCommand::ImportVouched { blocks, up_to, .. } => (blocks, Known::Vouched(*up_to)),
            _ => return Err(command),
        };
        let signatures = blocks.iter().map(|block| block.tx_hashes.len() + 1).sum::<usize>();
        let full = self.signatures + signatures > SIGNATURES_TOGETHER || self.batches.len() >= BATCHES_TOGETHER;
        if !self.batches.is_empty() && (full || known != self.known) {
            return Err(command);
        }
        match command {
            ChainCommand::Import { batch, blocks }
            | ChainCommand::ImportSigned { batch, blocks }
            | ChainCommand::ImportVouched { batch, blocks, .. } => {
                self.batches.push(batch);
                self.blocks.push(blocks);
            }
            other => return Err(other),
        }
        (self.signatures, self.known) = (self.signatures + signatures, known);
        Ok(())
    }
}
