//! Who watches over a simulation: sees every block that is signed and every change of every disk, and knows what may not be.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::producer::Signed;
use crate::rules::Verifier;
use crate::store::{Commit, Moved};
use crate::types::{Address, Block, BlockLink, EncodedBlock, Genesis, Hash32, HexText, Tip, encoding};

/// So many lines of the trace are kept for a report, unless all are asked for.
const KEPT_LINES: usize = 400;

/// Whether a branch that ends at the second tip is worth leaving one for that ends at the first.
pub type IsBetter = Arc<dyn Fn(Option<Tip>, Option<Tip>) -> bool + Send + Sync>;

/// Shared by all parts of one simulation.
#[derive(Clone)]
pub(super) struct Oracle(Arc<Mutex<Seen>>);

struct Seen {
    start: Instant,
    verifier: Verifier,
    keys: BTreeMap<Address, HexText>,
    is_better: IsBetter,
    /// What honest signers have on record, and what each signed.
    signed: BTreeMap<(usize, u64, u64), Hash32>,
    known: BTreeMap<Hash32, Known>,
    best: Option<Tip>,
    breaches: Vec<String>,
    trace: Sha256,
    lines: std::collections::VecDeque<String>,
    keep_all: bool,
    figures: Figures,
}

/// A block that an honest signer has made.
struct Known {
    /// Once some honest node has committed it.
    block: Option<EncodedBlock>,
}

/// What happened in a simulation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Blocks signed by honest validators.
    pub signed: u64,
    /// Blocks committed, those of all nodes together.
    pub committed: u64,
    /// Branches left for better ones, those of all nodes together.
    pub reorganised: u64,
    /// Branches that were tried, and given up.
    pub put_back: u64,
    /// Penalties given, all to Byzantine peers.
    pub penalties: u64,
    /// Bans among them.
    pub bans: u64,
    /// Transactions taken by a pool.
    pub txs: u64,
}

impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oracle").finish_non_exhaustive()
    }
}

impl Oracle {
    pub(super) fn new(genesis: &Arc<Genesis>, is_better: IsBetter, keep_all: bool) -> Self {
        let keys = genesis.validators.iter().map(|one| (one.address.clone(), one.pub_key.clone())).collect();
        Self(Arc::new(Mutex::new(Seen {
            start: Instant::now(),
            verifier: Verifier::new(Arc::clone(genesis)),
            keys,
            is_better,
            signed: BTreeMap::new(),
            known: BTreeMap::new(),
            best: None,
            breaches: Vec::new(),
            trace: Sha256::new(),
            lines: std::collections::VecDeque::new(),
            keep_all,
            figures: Figures::default(),
        })))
    }

    /// Notes something for the trace, whose hash tells one run from another.
    pub(super) fn note(&self, line: impl fmt::Display) {
        self.seen().note(&line);
    }

    /// Notes a line of a node's log: for the reader, no part of the trace's hash.
    pub(super) fn log(&self, line: impl fmt::Display) {
        self.seen().keep(&line);
    }

    /// Notes that something happened that may never happen.
    pub(super) fn breach(&self, what: impl fmt::Display) {
        let mut seen = self.seen();
        seen.note(&format_args!("BREACH: {what}"));
        seen.breaches.push(what.to_string());
    }

    pub(super) fn breaches(&self) -> Vec<String> {
        self.seen().breaches.clone()
    }

    pub(super) fn figures(&self) -> Figures {
        self.seen().figures
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.seen().figures);
    }

    pub(super) fn trace_hash(&self) -> Hash32 {
        Hash32(self.seen().trace.clone().finalize().into())
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().lines.iter().cloned().collect()
    }

    /// An honest signer is about to sign. `twins`: the key is used in two places, so that it may well sign twice.
    pub(super) fn signed(&self, validator: usize, signed: Signed, twins: bool) {
        let mut seen = self.seen();
        let Signed { height, round, hash } = signed;
        seen.note(&format_args!("v{validator} signs {height} round {round} {}", hash.short()));
        seen.figures.signed += 1;
        let before = seen.signed.insert((validator, height, round), hash);
        if let Some(before) = before.filter(|before| *before != hash && !twins) {
            let what = format!("v{validator} signed two blocks of height {height} and round {round}: {before}, {hash}");
            seen.breaches.push(what);
        }
        seen.known.entry(hash).or_insert(Known { block: None });
    }

    /// A disk took blocks.
    pub(super) fn committed(&self, node: &str, commits: &[Commit]) {
        let mut seen = self.seen();
        for commit in commits {
            let link = commit.block.link;
            seen.note(&format_args!("{node} commits {} {}", link.height, link.hash.short()));
            seen.figures.committed += 1;
            if let Err(why) = seen.check(&commit.block) {
                let what = format!("{node} committed an invalid block {} {}: {why}", link.height, link.hash);
                seen.breaches.push(what);
            }
            if seen.best.is_none_or(|best| best.height < link.height) {
                seen.best = Some(link.tip());
            }
        }
    }

    /// A disk went back.
    pub(super) fn rolled_back(&self, node: &str, moved: &Moved) {
        let tip = moved.tip.map_or(-1, |tip| i128::from(tip.height));
        self.seen().note(&format_args!("{node} rolls back {} to {tip}", moved.steps.len()));
    }

    /// A reorganisation ended with the new branch.
    pub(super) fn left_for(&self, node: &str, old: Option<Tip>, new: Option<Tip>) {
        let mut seen = self.seen();
        let show =
            |tip: Option<Tip>| tip.map_or_else(|| "nothing".to_owned(), |t| format!("{} {}", t.height, t.hash.short()));
        seen.note(&format_args!("{node} leaves {} for {}", show(old), show(new)));
        if !(seen.is_better)(old, new) {
            seen.breaches.push(format!("{node} left {} for {}, which is not better", show(old), show(new)));
        }
    }

    /// The highest block that any honest node committed.
    pub(super) fn best(&self) -> Option<Tip> {
        self.seen().best
    }

    /// The blocks below and including this one, ascending, at most so many.
    pub(super) fn branch(&self, mut hash: Hash32, most: usize) -> Vec<EncodedBlock> {
        let seen = self.seen();
        let mut branch = Vec::new();
        while branch.len() < most
            && let Some(Known { block: Some(block) }) = seen.known.get(&hash)
        {
            branch.push(block.clone());
            hash = block.link.prev_hash;
        }
        branch.reverse();
        branch
    }

    /// Committed blocks that are not below the best one: the ends of branches that were left, in no special order.
    pub(super) fn stale(&self, most: usize) -> Vec<BlockLink> {
        let Some(best) = self.best() else { return Vec::new() };
        let on_best: std::collections::BTreeSet<Hash32> =
            self.branch(best.hash, usize::MAX).iter().map(|block| block.link.hash).collect();
        let seen = self.seen();
        let blocks = seen.known.values().filter_map(|known| known.block.as_ref());
        blocks.map(|block| block.link).filter(|link| !on_best.contains(&link.hash)).take(most).collect()
    }

    pub(super) fn now(&self) -> Duration {
        self.seen().start.elapsed()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn note(&mut self, line: &dyn fmt::Display) {
        let line = self.keep(line);
        self.trace.update(line.as_bytes());
    }

    fn keep(&mut self, line: &dyn fmt::Display) -> String {
        let line = format!("{:>9.3} {line}", self.start.elapsed().as_secs_f64());
        if self.lines.len() == KEPT_LINES && !self.keep_all {
            self.lines.pop_front();
        }
        self.lines.push_back(line.clone());
        line
    }

    /// A block is valid if an honest signer made it, and nobody changed it since.
    fn check(&mut self, stored: &EncodedBlock) -> Result<(), String> {
        let Some(known) = self.known.get(&stored.link.hash) else {
            return Err("no honest validator signed it".into());
        };
        if known.block.as_ref().is_some_and(|block| block == stored) {
            return Ok(());
        }
        let block: Block = encoding::decode_block(&stored.bytes).map_err(|error| error.to_string())?;
        let hashed = self.verifier.hasher().hash_block(Arc::new(block));
        if hashed.link != stored.link {
            return Err(format!("it is stored under another link than its own, {:?}", hashed.link));
        }
        self.verifier.check_block(&hashed).map_err(|rejection| rejection.to_string())?;
        let address = &hashed.block.header.proposer_address;
        let key = self.keys.get(address).ok_or_else(|| format!("{address} is no validator"))?;
        let check = self.verifier.block_signature(&hashed, key).map_err(|rejection| rejection.to_string())?;
        check.verify().map_err(|_| "its signature is not its proposer's".to_owned())?;
        self.known.insert(stored.link.hash, Known { block: Some(stored.clone()) });
        Ok(())
    }
}
