//! An honest node of a simulation, over all its runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

use super::byzantine::place;
use super::clock::{EPOCH, SimClock};
use super::disk::Disk;
use super::load::{self, Wallet};
use super::network::Member;
use super::oracle::Oracle;
use super::rng::Rng;
use super::world::World;
use crate::chain::Chain;
use crate::env::{Clock, ComputePool, Env};
use crate::node::{NodeBuilder, NodeEvent, NodeHandle, NodeStatus};
use crate::store::ByteBudget;
use crate::store::memory::MemoryStore;
use crate::types::{Block, Tip, encoding};

/// A node, whether it runs or not.
#[derive(Debug)]
pub(super) struct SimNode {
    pub(super) name: String,
    pub(super) disk: Disk,
    pub(super) running: Option<Running>,
    rng: Rng,
}

/// One run of a node.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) handle: NodeHandle,
    pub(super) run: u64,
    /// Its user's account, once there is one.
    pub(super) wallet: Option<Wallet>,
    member: Member,
}

impl SimNode {
    pub(super) fn new(name: String, disk: Disk, rng: Rng) -> Self {
        Self { name, disk, running: None, rng }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn status(&self) -> Option<NodeStatus> {
        Some(self.running.as_ref()?.handle.status())
    }

    pub(super) fn tip(&self) -> Option<Tip> {
        self.status()?.tip
    }

    /// Ends this run at once: nothing that it still does has any effect on the network or the disk.
    pub(super) fn crash(&mut self) {
        self.disk.take();
        if let Some(running) = self.running.take() {
            running.member.kill();
        }
    }

    /// Ends this run as [`crash`](Self::crash) does, but as soon as it has signed a block.
    pub(super) fn crash_signing(&self) {
        if let Some(running) = &self.running {
            self.disk.end_signing(running.member.clone());
        }
    }

    /// Ends this run in order. Says whether it did so in time.
    pub(super) async fn stop(&mut self, patience: Duration) -> bool {
        let Some(running) = self.running.take() else { return true };
        let stopped = timeout(patience, running.handle.shutdown()).await.is_ok();
        running.member.kill();
        stopped
    }

    /// All blocks on the disk.
    pub(super) async fn chain(&self) -> Option<Vec<Block>> {
        let store = self.disk.store();
        let tip = store.tip().await.ok()??;
        let stored = store.blocks(0..=tip.height, ByteBudget(usize::MAX)).await.ok()?;
        stored.iter().map(|block| encoding::decode_block(&block.bytes).ok()).collect()
    }
}

impl World {
    /// Starts a node on its disk.
    pub(super) async fn run_node(&mut self, number: usize) {
        let plan = self.scenario.nodes[number].clone();
        let twins = self.scenario.nodes.iter().filter(|node| node.validator == plan.validator).count() > 1;
        let node = &mut self.nodes[number];
        let (store, run) = match node.disk.open().await {
            Ok(opened) => opened,
            Err(error) => return self.oracle.breach(format_args!("{}'s disk cannot be opened: {error}", node.name)),
        };
        let member = self.network.member(&node.name);
        let clock = SimClock::new(self.start, plan.skew);
        let env = Env { clock: Arc::new(clock), pool: ComputePool::Inline, seed: node.rng.bits() };
        let honest = plan.dials.iter().map(|other| place(&format!("n{other}")));
        let byzantine = plan.dials_byzantine.iter().map(|other| place(&format!("evil{other}")));
        let mut builder = NodeBuilder::new(self.genesis.as_ref().clone())
            .link(member.clone(), Arc::clone(&self.plugs.codec), place(&node.name).address)
            .store(store)
            .sync((self.plugs.sync)())
            .executor(Arc::clone(&self.plugs.executor))
            .peers(honest.chain(byzantine))
            .span(tracing::info_span!("node", name = %node.name))
            .env(env);
        if let Some(validator) = plan.validator {
            builder = builder
                .validator(load::validator_key(validator))
                .signing_journal(node.disk.journal(run, validator, twins));
        }
        let handle = match builder.start().await {
            Ok(handle) => handle,
            Err(error) => return self.oracle.breach(format_args!("{} cannot start: {error}", node.name)),
        };
        let at = handle.status().tip.map_or(-1, |tip| i128::from(tip.height));
        self.oracle.note(format_args!("{} starts at height {at}", node.name));
        tokio::spawn(watch(node.name.clone(), handle.events(), self.oracle.clone()));
        node.running = Some(Running { handle, run, wallet: None, member });
    }

    /// Executes the first node's chain from genesis on, with nothing but the rules, and compares all others.
    pub(super) async fn execute_again(&mut self) -> Option<Tip> {
        let blocks = self.nodes[0].chain().await?;
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(Instant::now(), 0));
        let env = Env { clock: Arc::new(Later(clock, self.start.elapsed())), pool: ComputePool::Inline, seed: 0 };
        let (store, executor) = (Arc::new(MemoryStore::new()), Arc::clone(&self.plugs.executor));
        let mut chain = match Chain::open(Arc::clone(&self.genesis), store, executor, env).await {
            Ok(chain) => chain,
            Err(error) => {
                self.oracle.breach(format_args!("the genesis cannot be opened: {error}"));
                return None;
            }
        };
        match chain.import(blocks.into_iter().map(Arc::new).collect()).await {
            Ok(report) => {
                if let Some(stop) = report.stop {
                    self.oracle.breach(format_args!("n0's chain is invalid: {stop}"));
                }
            }
            Err(error) => self.oracle.breach(format_args!("n0's chain cannot be executed: {error}")),
        }
        chain.tip()
    }
}

/// The clock of a simulation that has lasted so long.
#[derive(Debug)]
struct Later(Arc<dyn Clock>, Duration);

impl Clock for Later {
    fn unix_seconds(&self) -> u64 {
        (EPOCH + self.1).as_secs()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Tells the oracle what a node says of itself and of its peers.
async fn watch(name: String, mut events: broadcast::Receiver<NodeEvent>, oracle: Oracle) {
    loop {
        match events.recv().await {
            Ok(NodeEvent::Penalised { peer, penalty }) => {
                let what = format!("{name} penalises {peer} for {}: {}", penalty.offence, penalty.proof);
                if peer.starts_with("evil") {
                    oracle.note(what);
                    oracle.count(|figures| {
                        figures.penalties += 1;
                        figures.bans += u64::from(penalty.ban.is_some());
                    });
                } else {
                    oracle.breach(what);
                }
            }
            Ok(NodeEvent::ModeChanged(mode)) => oracle.note(format_args!("{name} is {mode:?}")),
            Ok(NodeEvent::BlockApplied { .. } | NodeEvent::RolledBack { .. }) => {}
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                oracle.breach(format_args!("{name} sent {missed} events more than could be watched"));
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
