//! The run of a scenario: starts and ends nodes, lets things go wrong, repairs them, and asks in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::byzantine::Byzantine;
use super::disk::Disk;
use super::ending::TAIL;
use super::load::{self, BLOCK_TIME, Wallet};
use super::log::SimLog;
use super::network::SimNetwork;
use super::nodes::SimNode;
use super::oracle::Oracle;
use super::rng::Rng;
use super::scenario::{Fault, Scenario};
use super::{Plugs, Report, Simulation};
use crate::rules::Hasher;
use crate::types::{Genesis, Hash32, Tip};

/// How long a node may take for anything that it is asked.
const ANSWER: Duration = Duration::from_secs(60);

/// Runs a simulation in a runtime of its own, whose time jumps to the next event whenever nothing is left to be done.
pub(super) fn run(simulation: Simulation) -> Report {
    let Simulation { scenario, plugs, log } = simulation;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO needs nothing that the system could refuse");
    let genesis = Arc::new(load::genesis(scenario.validators));
    let oracle = {
        let _inside = runtime.enter();
        Oracle::new(&genesis, Arc::clone(&plugs.is_better), log)
    };
    let (seed, replay) = (scenario.seed, plugs.replay.clone());
    let world = async { Box::new(World::new(scenario, plugs, genesis, oracle.clone())).live().await };
    let (converged, tip) = if log {
        tracing::subscriber::with_default(SimLog::new(&oracle), || runtime.block_on(world))
    } else {
        runtime.block_on(world)
    };
    let (breaches, figures) = (oracle.breaches(), oracle.figures());
    Report { seed, breaches, converged, tip, figures, trace: oracle.trace_hash(), lines: oracle.lines(), replay }
}

/// What happens at some time.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Start(usize),
    Fault(Fault),
    Join(Vec<usize>),
    /// If its node has crashed over a signature, it is started again.
    Signed(usize),
    UsualDisk(usize),
    Submit,
}

/// A transaction that some node has taken.
pub(super) struct Taken {
    pub(super) node: usize,
    pub(super) run: u64,
    pub(super) hash: Hash32,
}

pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) plugs: Plugs,
    pub(super) genesis: Arc<Genesis>,
    pub(super) oracle: Oracle,
    pub(super) network: SimNetwork,
    pub(super) start: Instant,
    pub(super) nodes: Vec<SimNode>,
    pub(super) agenda: BTreeMap<(Duration, u64), Step>,
    serial: u64,
    rng: Rng,
    pub(super) hasher: Hasher,
    pub(super) wallets: usize,
    pub(super) taken: Vec<Taken>,
}

impl World {
    fn new(scenario: Scenario, plugs: Plugs, genesis: Arc<Genesis>, oracle: Oracle) -> Self {
        // Other numbers than those that the scenario was made of.
        let mut rng = Rng::new(scenario.seed ^ 0x5eed_0000_0000_0000);
        let network = SimNetwork::new(rng.fork(), scenario.latency);
        let nodes = (0..scenario.nodes.len())
            .map(|number| {
                let name = format!("n{number}");
                let disk = Disk::new(&name, (plugs.store)(), &oracle, rng.fork());
                disk.set_latency(scenario.nodes[number].disk.clone());
                SimNode::new(name, disk, rng.fork())
            })
            .collect();
        let hasher = Hasher::new(&genesis);
        let mut world = Self {
            start: Instant::now(),
            agenda: BTreeMap::new(),
            serial: 0,
            hasher,
            wallets: 0,
            taken: Vec::new(),
            scenario,
            plugs,
            genesis,
            oracle,
            network,
            nodes,
            rng,
        };
        let starts: Vec<Duration> = world.scenario.nodes.iter().map(|node| node.starts).collect();
        for (node, at) in starts.into_iter().enumerate() {
            world.plan(at, Step::Start(node));
        }
        for (at, fault) in world.scenario.faults.clone() {
            world.plan(at, Step::Fault(fault));
        }
        world.plan(world.scenario.tx_every, Step::Submit);
        world
    }

    /// To the end, or the first breach.
    async fn live(mut self) -> (Option<Duration>, Option<Tip>) {
        let byzantine = self.let_loose();
        let healed = self.scenario.healed;
        self.until(healed).await;
        self.repair().await;
        let converged = self.converge(healed).await;
        if let Some(tip) = converged.map(|(_, tip)| tip) {
            let end = self.now() + TAIL * block_time();
            self.until(end).await;
            self.settle(tip).await;
        }
        for node in 0..self.nodes.len() {
            self.stop(node).await;
        }
        drop(byzantine);
        let end = if self.is_well() { self.execute_again().await } else { None };
        (converged.map(|(after, _)| after), end)
    }

    fn let_loose(&mut self) -> Vec<JoinSet<()>> {
        let victims: Vec<_> = self.nodes.iter().map(|node| super::byzantine::place(&node.name)).collect();
        let plans = self.scenario.byzantine.clone().into_iter().enumerate();
        plans
            .map(|(number, plan)| {
                let byzantine = Byzantine {
                    name: format!("evil{number}"),
                    plan,
                    network: self.network.clone(),
                    codec: Arc::clone(&self.plugs.codec),
                    oracle: self.oracle.clone(),
                    genesis: Arc::clone(&self.genesis),
                    victims: victims.clone(),
                    rng: self.rng.fork(),
                };
                byzantine.start()
            })
            .collect()
    }

    /// Lets what is planned happen until some time.
    pub(super) async fn until(&mut self, end: Duration) {
        while self.is_well()
            && let Some(((at, _), _)) = self.agenda.first_key_value().filter(|((at, _), _)| *at <= end)
        {
            sleep_until(self.start + *at).await;
            if let Some((_, step)) = self.agenda.pop_first() {
                self.take(step).await;
            }
        }
        if self.is_well() {
            sleep_until(self.start + end).await;
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Start(node) => self.run_node(node).await,
            Step::Signed(node) => {
                // If it was stopped or crashed otherwise meanwhile, it is started again for that.
                if self.nodes[node].disk.ended_signing() && self.nodes[node].is_running() {
                    self.nodes[node].crash();
                    self.run_node(node).await;
                }
            }
            Step::Join(group) => {
                let (group, others) = self.divided(&group);
                self.oracle.note(format_args!("{group:?} and {others:?} are together again"));
                self.network.join(&group, &others);
            }
            Step::UsualDisk(node) => self.usual_disk(node),
            Step::Submit => {
                self.submit().await;
                let most = u64::try_from(2 * self.scenario.tx_every.as_millis()).unwrap_or(u64::MAX);
                let next = self.now() + self.rng.millis(1..=most.max(1));
                self.plan(next, Step::Submit);
            }
            Step::Fault(fault) => self.go_wrong(fault).await,
        }
    }

    async fn go_wrong(&mut self, fault: Fault) {
        self.oracle.note(format_args!("{fault:?}"));
        let now = self.now();
        match fault {
            Fault::Partition { group, how, lasts } => {
                self.plan(now + lasts, Step::Join(group.clone()));
                let (group, others) = self.divided(&group);
                self.network.separate(&group, &others, how);
            }
            Fault::Lose { a, b } => {
                let [a, b] = [a, b].map(|number| self.nodes[number].name.clone());
                self.network.lose(&a, &b);
            }
            Fault::Restart { node, crash, down } => {
                if !self.nodes[node].is_running() {
                    return;
                }
                if crash {
                    self.nodes[node].crash();
                } else {
                    self.stop(node).await;
                }
                let back = self.now() + down;
                self.plan(back, Step::Start(node));
            }
            Fault::CrashSigning { node, lasts } => {
                self.nodes[node].crash_signing();
                self.plan(now + lasts, Step::Signed(node));
            }
            Fault::SlowDisk { node, write, lasts } => {
                self.nodes[node].disk.set_latency(write);
                self.plan(now + lasts, Step::UsualDisk(node));
            }
            Fault::FullDisk { node, lasts } => {
                self.nodes[node].disk.set_full(true);
                self.plan(now + lasts, Step::UsualDisk(node));
            }
        }
    }

    /// Mends the network and the disks, and starts who is away. What was still to go wrong does not.
    async fn repair(&mut self) {
        self.oracle.note("all is repaired");
        self.agenda.retain(|_, step| matches!(step, Step::Submit));
        let all: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        self.network.join(&all, &all);
        for node in 0..self.nodes.len() {
            self.usual_disk(node);
            if self.nodes[node].disk.ended_signing() {
                self.nodes[node].crash();
            }
            if !self.nodes[node].is_running() && self.is_well() {
                self.run_node(node).await;
            }
        }
    }

    /// A user hands a transaction to some node.
    async fn submit(&mut self) {
        let at = self.rng.below(self.nodes.len());
        let to = Wallet::new(self.rng.below(load::ACCOUNTS)).address;
        let node = &mut self.nodes[at];
        let Some(running) = &mut node.running else { return };
        if running.wallet.as_ref().is_none_or(|wallet| wallet.nonce >= load::TXS_PER_ACCOUNT) {
            running.wallet = (self.wallets < load::USERS).then(|| Wallet::new(self.wallets));
            self.wallets += 1;
        }
        let Some(wallet) = &mut running.wallet else { return };
        let (tx, hash) = wallet.transfer(&self.hasher, &to, 1 + u128::from(self.rng.bits() >> 32));
        match timeout(ANSWER, running.handle.submit(tx)).await {
            Ok(Ok(_)) => {
                wallet.nonce += 1;
                self.taken.push(Taken { node: at, run: running.run, hash });
                self.oracle.count(|figures| figures.txs += 1);
            }
            Ok(Err(refusal)) => self.oracle.note(format_args!("{} refuses a transaction: {refusal}", node.name)),
            Err(_) => self.oracle.breach(format_args!("{} does not answer", node.name)),
        }
    }

    fn usual_disk(&mut self, node: usize) {
        self.nodes[node].disk.set_full(false);
        self.nodes[node].disk.set_latency(self.scenario.nodes[node].disk.clone());
    }

    /// The names of these nodes, and of all others.
    fn divided(&self, group: &[usize]) -> (Vec<String>, Vec<String>) {
        let name = |number: usize| self.nodes[number].name.clone();
        let others = (0..self.nodes.len()).filter(|number| !group.contains(number));
        (group.iter().copied().map(name).collect(), others.map(name).collect())
    }

    async fn stop(&mut self, node: usize) {
        if !self.nodes[node].stop(ANSWER).await {
            self.oracle.breach(format_args!("n{node} does not stop"));
        }
    }

    fn plan(&mut self, at: Duration, step: Step) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), step);
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn is_well(&self) -> bool {
        self.oracle.breaches().is_empty()
    }
}

pub(super) fn block_time() -> Duration {
    Duration::from_secs(BLOCK_TIME)
}
