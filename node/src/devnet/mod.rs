//! A whole network on this machine: a process for each node, and a view of them.
//!
//! Below the datadir each node has one of its own, `node-1` and so on; the first one also has the faucet's key. The nodes
//! are this very program with `run`, so that one can be killed, frozen or asked like any other; they end with us, since
//! their standard input does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::interval;

use crate::args::DevnetArgs;
use crate::links::LinkSpec;
use crate::signals::Stop;
use crate::{CliError, console};

mod child;
pub mod client;
pub mod load;
mod member;
mod network;
mod ports;
mod stop;
mod view;

use load::{Load, Target};
use member::{Member, RESTART_AFTER, State};
use network::{Network, Shape};
use ports::Use;
use view::View;

/// The first port for peers where nobody says: where a single node listens.
const P2P_PORTS: u16 = 9000;

/// The first port of the RPC where nobody says: so the wallet's commands find the first node.
const RPC_PORTS: u16 = 8000;

/// How often the view is drawn, and the nodes looked after.
const REFRESH: Duration = Duration::from_millis(500);

/// How the nodes are to log.
#[derive(Debug)]
pub(crate) struct LogChoice {
    /// As in `--log-level`.
    pub(crate) level: String,
    /// As in `--log-format`.
    pub(crate) format: &'static str,
}

/// Runs a devnet below `root` until it is told to stop.
pub(crate) async fn run(root: &Path, args: &DevnetArgs, log: LogChoice) -> Result<(), CliError> {
    let mut stop = Stop::listen_or(std::future::pending(), stop::STOP_WITHIN)?;
    let link = link(args)?;
    let shape = Shape::of(root, args)?;
    // Before anything is made: a port that is taken must leave no trace.
    let p2p = Use::Peers(args.transport).reserve(args.p2p_port, P2P_PORTS, shape.nodes)?;
    let rpc = Use::Rpc.reserve(args.port, RPC_PORTS, shape.nodes)?;
    let network = Network::open_or_make(root, shape)?;
    console::print(&greeting(root, &network, &link, rpc.first().map_or(RPC_PORTS, |rpc| rpc.port)))?;

    let now = Instant::now();
    let last = network.datadirs.len() - 1;
    let mut members = Vec::new();
    for (at, ((datadir, p2p), rpc)) in network.datadirs.iter().zip(p2p).zip(rpc).enumerate() {
        let late = at == last && last > 0;
        let address = format!("{link}://127.0.0.1:{}", p2p.port);
        let logged = child::new_log(datadir.root())?;
        let starts = if late { now + args.join_after } else { now };
        members.push(Member::new(format!("node-{}", at + 1), datadir.clone(), address, logged, [p2p, rpc], starts));
    }
    let targets: Arc<[Target]> =
        members.iter().map(|m| Target { port: m.rpc_port, is_up: AtomicBool::new(false) }).collect();
    let load = match args.load {
        Some(_) if network.load_accounts.is_empty() => {
            let dir = network.datadirs[0].root().display();
            return Err(CliError::failed(format!("--load needs the faucet's key, which is not in {dir} any more")));
        }
        Some(rate) => Some(Load::start(&network.genesis, network.load_accounts, &targets, rate)),
        None => None,
    };
    let view = View::start();
    if last > 0 {
        view.event(&format!("node-{} joins in {} s", last + 1, args.join_after.as_secs()));
    }
    let mut devnet = Devnet { members, targets, load, view, log, restarts: !args.no_restart };
    let outcome = devnet.watch(&mut stop).await;
    let load = devnet.load.take();
    let more = load.as_ref().map(|load| format!("{}\n", load.told())).unwrap_or_default();
    drop(load);
    if outcome.is_ok() {
        devnet.gather();
    }
    let Devnet { mut members, view, .. } = devnet;
    stop::stop(&mut members).await;
    let seconds = view.seconds();
    view.finish();
    console::print(&format!("{more}{}\n", stop::told(&members, seconds)))?;
    outcome
}

/// The link between the nodes, `quic+postcard`.
fn link(args: &DevnetArgs) -> Result<String, CliError> {
    let codec = args.codec.unwrap_or_else(|| args.transport.usual_codec());
    let link = format!("{}+{}", args.transport.name(), codec.name());
    LinkSpec::parse(&format!("{link}://127.0.0.1:{P2P_PORTS}")).map_err(CliError::usage)?;
    Ok(link)
}

/// What is said first: what runs, and what to try with it.
fn greeting(root: &Path, network: &Network, link: &str, rpc_port: u16) -> String {
    let params = &network.genesis.params;
    let first = network.datadirs[0].root().display();
    format!(
        "{} network {} in {}: {} nodes, {} of them validators, a block every {} s, over {link}\n\
         \x20 logs        {}/node-*/{}\n\
         \x20 ask a node  cpc-node status --node http://127.0.0.1:{rpc_port}\n\
         \x20 send        cpc-node --datadir {first} tx send --from faucet --to ADDR --amount 1.5 --node http://127.0.0.1:{rpc_port}\n\
         \x20 try         kill -9 PID: the others go on, and the node comes back\n\
         \x20 stop        Ctrl-C; the next run goes on from there\n\n",
        if network.is_new { "made" } else { "going on with" },
        network.genesis.chain_id,
        root.display(),
        network.datadirs.len(),
        network.genesis.validators.len(),
        params.block_time,
        root.display(),
        child::LOG_FILE,
    )
}

struct Devnet {
    members: Vec<Member>,
    targets: Arc<[Target]>,
    load: Option<Load>,
    view: View,
    log: LogChoice,
    restarts: bool,
}

impl Devnet {
    /// Keeps the nodes running and shows them, until it is told to stop.
    async fn watch(&mut self, stop: &mut Stop) -> Result<(), CliError> {
        let mut ticks = interval(REFRESH);
        loop {
            tokio::select! {
                () = stop.wanted() => return Ok(()),
                _ = ticks.tick() => {}
            }
            self.look_after();
            if self.members.iter().all(|m| matches!(m.state, State::Down { again: None, .. })) {
                return Err(CliError::failed("no node is left: their logs say why they ended"));
            }
            let rows: Vec<_> = self.members.iter_mut().map(Member::row).collect();
            let more: Vec<_> = self.load.iter().map(Load::told).collect();
            self.view.show(&rows, &more);
        }
    }

    /// Notices who ended, and starts who is due.
    fn look_after(&mut self) {
        self.notice_ends();
        self.start_those(Member::is_due);
        for (member, target) in self.members.iter().zip(self.targets.iter()) {
            target.is_up.store(member.last_look().is_some(), Ordering::Relaxed);
        }
    }

    /// Begins the end: nobody proposes any more, and whoever would have run later runs now, so that it gets the last blocks.
    fn gather(&mut self) {
        self.view.event("no more blocks are proposed; the nodes come to one tip and stop");
        stop::hold(&mut self.members);
        self.notice_ends();
        self.start_those(Member::is_to_run);
    }

    fn notice_ends(&mut self) {
        for at in 0..self.members.len() {
            if let Some(told) = self.members[at].look_after(self.restarts) {
                let next = if self.restarts {
                    "it is started again soon".to_owned()
                } else {
                    format!("it stays down (without --no-restart it is back after {} s)", RESTART_AFTER.as_secs())
                };
                self.view.event(&format!("{told}; {next}"));
            }
        }
    }

    /// Starts all nodes of which this holds.
    fn start_those(&mut self, which: fn(&Member) -> bool) {
        // Of two that start together the later one dials: without keys, two dials are two connections.
        let due: Vec<usize> = (0..self.members.len()).filter(|at| which(&self.members[*at])).collect();
        for at in &due {
            let peers = self
                .members
                .iter()
                .enumerate()
                .filter(|(other, member)| if due.contains(other) { other < at } else { member.has_joined() });
            let peers: Vec<&str> = peers.map(|(_, member)| member.address.as_str()).collect();
            let args = self.args(&self.members[*at], &peers);
            let told = self.members[*at].start(&args);
            self.view.event(&told);
        }
    }

    /// The command line of a node.
    fn args(&self, member: &Member, peers: &[&str]) -> Vec<String> {
        let datadir = member.datadir.root().to_string_lossy();
        let port = member.rpc_port.to_string();
        let mut args = vec!["--datadir", &datadir, "--log-level", &self.log.level, "--log-format", self.log.format];
        args.extend(["run", "--until-stdin-closes", "--listen", &member.address, "--port", &port]);
        let peers = peers.join(",");
        if !peers.is_empty() {
            args.extend(["--peers", &peers]);
        }
        args.into_iter().map(str::to_owned).collect()
    }
}
