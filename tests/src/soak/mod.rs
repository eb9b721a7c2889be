//! A network of four validators under load, to which something happens every few seconds: a node is killed, restarted,
//! frozen, cut off, or slowed down. In the end all must be at one hash, no process may have grown, and nobody may have
//! warned of what nothing explains.

pub mod heap;
pub mod node;
pub mod schedule;
pub mod verdict;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cpc_framework::types::NetworkParams;
use cpc_node::devnet::client::{Client, Look};
use cpc_node::devnet::load::{Load, Target};
use tokio::time::{sleep, sleep_until};

use crate::network::{Wallet, genesis, params, validator_key};
use crate::process::free_port;
use crate::proxy::{Proxy, Weather};
use node::{Node, Warning, listen_address};
use schedule::{Kind, Step};
use verdict::{
    ALLOWED, GROWTH_KIB, HEAP_GROWTH, Happened, MOST_KIB, MUST_JUDGE_FROM, explains, growth, half, heap_growth,
    unjudged,
};

/// Validators; blocks go on while one of them is away.
const NODES: usize = 4;

/// Accounts that the load is sent from.
const ACCOUNTS: u16 = 32;

/// How late each piece is for a node that is slowed down.
const DELAY: Duration = Duration::from_millis(150);

/// How often memory is noted and the nodes are asked how they stand.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the nodes may take, once nothing happens any more, to come to one tip: thirty block times.
const CONVERGES_WITHIN: Duration = Duration::from_secs(30);

/// Of how many block times at least one gives a block.
const BLOCK_TIMES_PER_BLOCK: u64 = 3;

/// What is to be done.
#[derive(Debug)]
pub struct Soak {
    /// What happens follows from it.
    pub seed: u64,
    /// For how long things happen.
    pub time: Duration,
    /// Transactions a second.
    pub load: u32,
    /// Bytes that each node is to lose for each transaction of the load: to see that they are found.
    pub leak: u64,
    /// Where the nodes are kept; it must not exist.
    pub root: PathBuf,
}

/// How a soak went.
#[derive(Debug)]
pub struct Outcome {
    /// What is told of it.
    pub report: String,
    /// What was wrong.
    pub faults: Vec<String>,
    /// What could not be judged, since no process has lived long enough.
    pub unjudged: Option<&'static str>,
}

impl Outcome {
    /// The result in a line.
    pub fn result(&self) -> String {
        match (self.faults.len(), self.unjudged) {
            (0, None) => "ok".to_owned(),
            (0, Some(what)) => format!("ok, but for {what}: no process lived long enough for that to be judged"),
            (1, _) => "1 fault".to_owned(),
            (count, _) => format!("{count} faults"),
        }
    }
}

/// A running network.
struct Network {
    nodes: Vec<Node>,
    /// Whose dials to whom go through it.
    proxies: Vec<(usize, usize, Proxy)>,
    targets: Arc<[Target]>,
    warnings: Arc<Mutex<Vec<Warning>>>,
    peak_kib: u64,
}

impl Soak {
    /// Runs it.
    pub async fn run(self) -> Outcome {
        let steps = schedule::schedule(self.seed, NODES, self.time);
        let mut network = Network::start(&self.root, self.leak * u64::from(self.load)).await;
        let genesis = genesis(u16::try_from(NODES).unwrap(), ACCOUNTS, soak_params());
        let accounts = (0..ACCOUNTS).map(|number| Wallet::new(number).into_key()).collect();
        let load = Load::start(&genesis, accounts, &network.targets, self.load);
        let start = Instant::now();
        let mut happened = Vec::new();
        for step in &steps {
            network.watch_until(start + step.at).await;
            eprintln!("{step}");
            happened.push(network.perturb(step).await);
        }
        network.watch_until(start + self.time).await;
        let (converged, looks) = network.converge().await;
        let (told, included) = (load.told(), load.included());
        drop(load);
        for node in &mut network.nodes {
            node.stop().await;
            node.read_heap();
        }
        let mut faults: Vec<String> = network.nodes.iter_mut().flat_map(|node| node.faults.drain(..)).collect();
        match converged {
            Some(took) => eprintln!("one tip {:.1} s after the last of it", took.as_secs_f64()),
            None => faults.push(format!("no common tip within {} s: {looks:?}", CONVERGES_WITHIN.as_secs())),
        }
        let height = looks.iter().flatten().filter_map(|look| look.height).min().unwrap_or(0);
        let least = self.time.as_secs() / BLOCK_TIMES_PER_BLOCK;
        if height < least {
            faults.push(format!("only {height} blocks in {} s, expected at least {least}", self.time.as_secs()));
        }
        if included == 0 {
            faults.push("no transaction was included".to_owned());
        }
        let report = network.report(&steps, &happened, &looks, (&told, self.load), &mut faults);
        let unjudged = unjudged(&network.nodes.iter().flat_map(|node| &node.lives).collect::<Vec<_>>());
        if let Some(what) = unjudged.filter(|_| self.time >= MUST_JUDGE_FROM) {
            faults.push(format!("no process lived long enough for {what} to be judged"));
        }
        Outcome { report, faults, unjudged }
    }
}

fn soak_params() -> NetworkParams {
    NetworkParams { block_gas_limit: 30_000_000, max_txs_per_block: 1000, ..params() }
}

impl Network {
    async fn start(root: &std::path::Path, leak: u64) -> Self {
        let genesis = genesis(u16::try_from(NODES).unwrap(), ACCOUNTS, soak_params()).to_json();
        let ports: Vec<(u16, u16)> = (0..NODES).map(|_| (free_port(), free_port())).collect();
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let (mut nodes, mut proxies) = (Vec::new(), Vec::new());
        for number in 0..NODES {
            let datadir = root.join(format!("node-{}", number + 1));
            std::fs::create_dir_all(&datadir).unwrap();
            std::fs::write(datadir.join("genesis.json"), &genesis).unwrap();
            let key = validator_key(u16::try_from(number).unwrap());
            std::fs::write(datadir.join("validator_key.hex"), key.to_hex()).unwrap();
            make_private(&datadir.join("validator_key.hex"));
            let mut peers = Vec::new();
            for other in (0..NODES).filter(|other| *other != number) {
                let proxy = Proxy::start(listen_address(other, ports[other].0)).await;
                peers.push(proxy.port);
                proxies.push((number, other, proxy));
            }
            nodes.push(Node::new(number, ports[number], datadir, &peers, leak, Arc::clone(&warnings)));
        }
        for node in &mut nodes {
            node.start();
        }
        let targets = nodes.iter().map(|node| Target { port: node.rpc_port, is_up: AtomicBool::new(false) }).collect();
        Self { nodes, proxies, targets, warnings, peak_kib: 0 }
    }

    /// Looks after the nodes until then.
    async fn watch_until(&mut self, then: Instant) {
        loop {
            for node in &mut self.nodes {
                node.look_after();
                let last = node.lives.last().and_then(|life| life.samples.last());
                self.peak_kib = self.peak_kib.max(last.map_or(0, |(_, rss)| *rss));
            }
            for (target, look) in self.targets.iter().zip(self.looks().await) {
                target.is_up.store(look.is_some(), Ordering::Relaxed);
            }
            let next = Instant::now() + LOOK_EVERY;
            sleep_until(next.min(then).into()).await;
            if next >= then {
                return;
            }
        }
    }

    async fn perturb(&mut self, step: &Step) -> Happened {
        let Step { kind, node, lasts, .. } = *step;
        let from = Instant::now();
        let until = from + lasts;
        if kind.ends_process() {
            self.targets[node].is_up.store(false, Ordering::Relaxed);
        }
        match kind {
            Kind::Kill => self.nodes[node].kill().await,
            Kind::Restart => self.nodes[node].stop().await,
            Kind::Pause => self.nodes[node].signal("-STOP"),
            Kind::Disconnect => self.weather(node, Weather::Cut),
            Kind::Throttle => self.weather(node, Weather::Slow(DELAY)),
        }
        self.watch_until(until).await;
        match kind {
            Kind::Kill | Kind::Restart => self.nodes[node].start(),
            Kind::Pause => self.nodes[node].signal("-CONT"),
            Kind::Disconnect | Kind::Throttle => self.weather(node, Weather::Clear),
        }
        Happened { kind, node, from, to: Instant::now() }
    }

    fn weather(&self, node: usize, weather: Weather) {
        for (one, other, proxy) in &self.proxies {
            if [*one, *other].contains(&node) {
                proxy.set(weather);
            }
        }
    }

    async fn looks(&self) -> Vec<Option<Look>> {
        let asks: Vec<_> = self
            .nodes
            .iter()
            .map(|node| {
                let mut client = Client::new(node.rpc_port);
                tokio::spawn(async move { client.look().await })
            })
            .collect();
        let mut looks = Vec::new();
        for ask in asks {
            looks.push(ask.await.unwrap());
        }
        looks
    }

    /// Waits until all are at one tip, twice, with another block in between; gives how long that took and how they stand.
    async fn converge(&mut self) -> (Option<Duration>, Vec<Option<Look>>) {
        let start = Instant::now();
        let mut before: Option<Look> = None;
        loop {
            let looks = self.looks().await;
            let first = looks.first().cloned().flatten();
            let same = |look: &Option<Look>| match (look, &first) {
                (Some(look), Some(first)) => {
                    (look.tip, look.height) == (first.tip, first.height) && look.mode == "SYNCED"
                }
                _ => false,
            };
            if let Some(first) = first.clone().filter(|_| looks.iter().all(same)) {
                match &before {
                    Some(before) if first.height > before.height => return (Some(start.elapsed()), looks),
                    _ => before = Some(first),
                }
            }
            if start.elapsed() > CONVERGES_WITHIN {
                return (None, looks);
            }
            self.watch_until(Instant::now()).await;
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn report(
        &self,
        steps: &[Step],
        happened: &[Happened],
        looks: &[Option<Look>],
        (load, rate): (&str, u32),
        faults: &mut Vec<String>,
    ) -> String {
        let mut text = String::new();
        let counts = Kind::ALL.map(|kind| {
            let count = steps.iter().filter(|step| step.kind == kind).count();
            format!("{count} {kind}")
        });
        let _ = writeln!(text, "happened    {} times: {}", steps.len(), counts.join(", "));
        let _ = writeln!(text, "load        {load}");
        let warnings = self.warnings.lock().unwrap();
        let unexplained: Vec<&Warning> =
            warnings.iter().filter(|warning| !explains(happened, ALLOWED, warning)).collect();
        let _ =
            writeln!(text, "warnings    {} explained, {} not", warnings.len() - unexplained.len(), unexplained.len());
        faults.extend(unexplained.iter().map(|w| format!("node-{} warns: {}", w.node + 1, w.text)));
        let _ = writeln!(text, "memory      at most {} MiB (bound {} MiB)", self.peak_kib / 1024, MOST_KIB / 1024);
        if self.peak_kib > MOST_KIB {
            faults.push(format!("a node used {} KiB, more than {MOST_KIB}", self.peak_kib));
        }
        let _ = writeln!(text, "  of node-1 {} MiB, from its start to its end in quarters", curve(&self.nodes[0]));
        let _ = writeln!(text, "  allocated by it {} KiB, likewise", heap_curve(&self.nodes[0]));
        if let Some(half) = self.nodes[0].lives.first().and_then(half) {
            let txs = half.as_secs().max(1) * u64::from(rate.max(1));
            let _ = writeln!(text, "  a leak is found from {} bytes a transaction on", HEAP_GROWTH / txs + 1);
        }
        let (most, most_kib) = (HEAP_GROWTH / 1024, GROWTH_KIB / 1024);
        let _ = writeln!(
            text,
            "node    starts  height  tip       growth: allocated (< {most} KiB), resident (< {most_kib} MiB)"
        );
        for (node, look) in self.nodes.iter().zip(looks) {
            let grown = node.lives.iter().filter_map(growth).max();
            let allocated = node.lives.iter().filter_map(heap_growth).max();
            let (height, tip) = look.as_ref().map_or((None, String::new()), |look| (look.height, look.tip.to_string()));
            let _ = writeln!(
                text,
                "node-{}  {:6}  {:6}  {:8.8}  {}, {}",
                node.number + 1,
                node.lives.len(),
                height.unwrap_or_default(),
                tip,
                shown(allocated.map(|bytes| bytes / 1024)),
                shown(grown),
            );
            if let Some(bytes) = allocated.filter(|bytes| *bytes > HEAP_GROWTH) {
                faults
                    .push(format!("node-{} has allocated {bytes} bytes more than after its warm-up", node.number + 1));
            }
            if let Some(kib) = grown.filter(|kib| *kib > GROWTH_KIB) {
                faults.push(format!("node-{} grew by {kib} KiB after its warm-up", node.number + 1));
            }
        }
        text
    }
}

fn shown(kib: Option<u64>) -> String {
    kib.map_or_else(|| "no life long enough".to_owned(), |kib| format!("{kib} KiB"))
}

/// What a node's first process had allocated, likewise: the least of each quarter.
fn heap_curve(node: &Node) -> String {
    let heap = node.lives.first().map(|life| &life.heap[..]).unwrap_or_default();
    let quarters = heap.chunks(heap.len().div_ceil(4).max(1));
    let least = quarters.filter_map(|quarter| quarter.iter().map(|(_, bytes)| bytes / 1024).min());
    least.map(|kib| kib.to_string()).collect::<Vec<_>>().join(", ")
}

/// The memory of a node's first process over its life: a leak goes on, a cache that fills comes to an end.
fn curve(node: &Node) -> String {
    let samples = node.lives.first().map(|life| &life.samples[..]).unwrap_or_default();
    let at = |quarter: usize| samples.get(quarter * samples.len().saturating_sub(1) / 4);
    let shown: Vec<String> = (0..=4).filter_map(at).map(|(_, rss)| (rss / 1024).to_string()).collect();
    shown.join(", ")
}

fn make_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
