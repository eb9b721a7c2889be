use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::announcing::gossip_frame_max;
use super::connection::{self, ConnEvent, Inbox, Link, Received};
use super::core::{Action, Core};
use super::crowd::Short;
use super::links::{self, NodeLink};
use super::outbox::{Class, Full, Pushed};
use super::peer::Wanted;
use super::recovering;
use super::saver::{Files, Saver};
use super::serve;
use super::turns::Turns;
use super::unchecked::Unchecked;
use super::verifying::{self, Unverified, Verdicts};
use crate::chain::{ChainCommand, ChainEvent, ChainHandle, KeyBook, VerifiedTxs};
use crate::codec::Codec;
use crate::env::Env;
use crate::limits::Limits;
use crate::mempool::{PoolSnapshot, Refusal};
use crate::node::{NodeEvent, NodeStatus};
use crate::peers::{PeerInfo, Standing};
use crate::rules::Verifier;
use crate::store::ChainStore;
use crate::sync::{ConnId, StakeBlock};
use crate::transport::{Connection, Endpoint, Incoming, LinkName, Listener, TransportError, TransportErrorKind};
use crate::types::{Address, BlockLink, Hash32, Height, Transaction};

/// What accept loops, dials, upgrades and answers may leave waiting for the engine; they wait when it is full.
const INTERNAL_EVENTS: usize = 256;
/// Answers that are read and encoded at a time; whoever had least is next, so that peers share alike.
const ANSWERS_AT_ONCE: usize = 2;
/// Time to send what is still in the outboxes when the node stops.
const FAREWELL: Duration = Duration::from_millis(500);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a node's handle asks of the engine.
#[derive(Debug)]
pub(crate) enum Command {
    Submit { tx: Arc<Transaction>, reply: oneshot::Sender<Result<Hash32, Refusal>> },
    Peers { reply: oneshot::Sender<Vec<PeerInfo>> },
    Standing { reply: oneshot::Sender<Standing> },
    Pooled { hash: Hash32, reply: oneshot::Sender<Option<Arc<Transaction>>> },
    Pool { sender: Option<Address>, most: usize, reply: oneshot::Sender<PoolSnapshot> },
    Hold { reply: oneshot::Sender<()> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// What a driver is made of.
#[derive(Debug)]
pub(crate) struct DriverParts {
    pub(crate) core: Core,
    pub(crate) env: Env,
    pub(crate) limits: Arc<Limits>,
    pub(crate) links: Vec<NodeLink>,
    pub(crate) listeners: Vec<(usize, Box<dyn Listener>)>,
    pub(crate) chain: ChainHandle,
    pub(crate) store: Arc<dyn ChainStore>,
    pub(crate) verifier: Verifier,
    pub(crate) verified: VerifiedTxs,
    pub(crate) keys: KeyBook,
    /// Blocks up to this height may have been taken without a look at their signatures.
    pub(crate) unchecked_to: Option<Height>,
    pub(crate) peers_file: Option<PathBuf>,
    pub(crate) pool_file: Option<PathBuf>,
    /// Saved addresses that this node cannot dial, and does not forget for that.
    pub(crate) kept: Vec<Endpoint>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) status: watch::Sender<NodeStatus>,
    pub(crate) events: broadcast::Sender<NodeEvent>,
}

/// What the driver's own tasks report.
enum Internal {
    Incoming {
        link: usize,
        incoming: Incoming,
    },
    Upgraded {
        conn: ConnId,
        link: usize,
        remote: Endpoint,
        result: Result<(Connection, Arc<dyn Codec>), TransportError>,
    },
    Dialled {
        endpoint: Endpoint,
        feeler: bool,
        result: Result<Connection, TransportError>,
    },
    Served {
        conn: ConnId,
        /// What could not be answered, and why.
        failed: Option<(Wanted, String)>,
    },
    Verified {
        verdicts: Verdicts,
    },
    OwnLinks {
        links: Vec<BlockLink>,
    },
    OwnStakes {
        below: Height,
        stakes: Vec<StakeBlock>,
    },
    ListenerFailed {
        error: TransportError,
    },
}

/// What the driver wakes up for.
enum Next {
    Chain(ChainEvent),
    ChainHasRoom,
    Command(Command),
    Internal(Internal),
    Conn(ConnEvent),
    Time,
    /// A reader needs so many of the pool's bytes.
    Lend(usize),
    Nothing,
    End,
}

/// The one task that feeds the core and carries out its actions.
pub(crate) struct Driver {
    core: Core,
    env: Env,
    limits: Arc<Limits>,
    links: Vec<NodeLink>,
    chain: ChainHandle,
    /// Commands that found the pipeline's queue full; bounded by the sync's window.
    chain_backlog: VecDeque<ChainCommand>,
    store: Arc<dyn ChainStore>,
    inbox: Inbox,
    inbound: mpsc::Receiver<ConnEvent>,
    internal: mpsc::Receiver<Internal>,
    to_internal: mpsc::Sender<Internal>,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<NodeStatus>,
    events: broadcast::Sender<NodeEvent>,
    /// In order, so that a simulation always ends them alike.
    conns: BTreeMap<ConnId, Arc<Link>>,
    next_conn: u64,
    /// Accept loops, dials, upgrades and answers under way: all end with the driver.
    tasks: JoinSet<()>,
    answering: Arc<Turns>,
    kept: Vec<Endpoint>,
    saver: Saver,
    verifier: Verifier,
    verified: VerifiedTxs,
    unchecked: Arc<Unchecked>,
    /// Our users who wait to hear what became of their transactions, by number; as many as the pool's queue takes.
    submitters: HashMap<u64, oneshot::Sender<Result<Hash32, Refusal>>>,
    submitted: u64,
}

impl Driver {
    pub(crate) fn new(parts: DriverParts) -> Self {
        let (to_engine, inbound) = mpsc::channel(INTERNAL_EVENTS);
        let (to_internal, internal) = mpsc::channel(INTERNAL_EVENTS);
        let inbox = Inbox::new(to_engine, parts.verifier.hasher().clone(), Arc::clone(&parts.limits));
        let unchecked = Unchecked::new(parts.unchecked_to, parts.verifier.clone(), parts.keys, parts.env.pool.clone());
        let mut tasks = JoinSet::new();
        for (link, listener) in parts.listeners {
            tasks.spawn(accept_loop(link, listener, to_internal.clone(), parts.limits.log_interval));
        }
        Self {
            core: parts.core,
            env: parts.env,
            limits: parts.limits,
            links: parts.links,
            chain: parts.chain,
            chain_backlog: VecDeque::new(),
            store: parts.store,
            inbox,
            inbound,
            internal,
            to_internal,
            commands: parts.commands,
            status: parts.status,
            events: parts.events,
            conns: BTreeMap::new(),
            next_conn: 0,
            tasks,
            answering: Turns::new(ANSWERS_AT_ONCE),
            kept: parts.kept,
            saver: Saver::new(Files { peers: parts.peers_file, pool: parts.pool_file }),
            verifier: parts.verifier,
            verified: parts.verified,
            unchecked: Arc::new(unchecked),
            submitters: HashMap::new(),
            submitted: 0,
        }
    }

    /// Runs until it is told to stop, or every handle of the node is gone.
    pub(crate) async fn run(mut self, configured: Vec<Endpoint>, saved: Vec<Endpoint>, pool: Vec<Transaction>) {
        self.core.restore(pool);
        self.core.start(self.now(), &configured, &saved);
        let reply = loop {
            let (now, unix_time) = (self.now(), self.env.clock.unix_time());
            self.core.tell_time(now, unix_time);
            self.core.produce(now, unix_time);
            self.carry_out();
            self.publish();
            match self.next().await {
                Next::Chain(event) => self.chain_event(event),
                Next::ChainHasRoom => {
                    if let Some(command) = self.chain_backlog.pop_front() {
                        self.chain_command_first(command);
                    }
                }
                Next::Command(Command::Shutdown { reply }) => break Some(reply),
                Next::Command(command) => self.command(command),
                Next::Internal(event) => self.internal_event(event),
                Next::Conn(event) => self.conn_event(event),
                Next::Time => {
                    let now = self.now();
                    self.core.tick(now);
                }
                Next::Lend(bytes) => {
                    self.core.lend_from_pool(self.env.clock.elapsed(), bytes);
                    self.inbox.loan().give(bytes);
                }
                Next::Nothing => {}
                Next::End => break None,
            }
        };
        self.shutdown().await;
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }

    /// Waits for whatever comes next. Cancel-safe.
    async fn next(&mut self) -> Next {
        // What has ended is let go even while there is always something else to do.
        while self.tasks.try_join_next().is_some() {}
        let wait = self.core.next_deadline().map(|at| at.saturating_sub(self.now()));
        let loan = self.inbox.loan();
        // The chain first: what it has done makes room for what peers send.
        tokio::select! {
            biased;
            event = self.chain.events.recv() => event.map_or(Next::End, Next::Chain),
            _ = self.chain.commands.reserve(), if !self.chain_backlog.is_empty() => Next::ChainHasRoom,
            command = self.commands.recv() => command.map_or(Next::End, Next::Command),
            Some(event) = self.internal.recv() => Next::Internal(event),
            bytes = loan.changed() => Next::Lend(bytes),
            () = self.saver.turn() => Next::Nothing,
            Some(event) = self.inbound.recv() => Next::Conn(event),
            () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => Next::Time,
            Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => Next::Nothing,
        }
    }

    fn now(&self) -> Duration {
        self.env.clock.elapsed()
    }

    fn chain_event(&mut self, event: ChainEvent) {
        let now = self.now();
        self.core.chain_event(now, event);
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Submit { tx, reply } => {
                self.submitted += 1;
                self.submitters.insert(self.submitted, reply);
                self.core.submit(self.submitted, tx);
            }
            Command::Peers { reply } => {
                let conns = &self.conns;
                let links = &self.links;
                let peers = self.core.peer_infos(now, self.env.clock.unix_seconds(), |conn| {
                    conns.get(&conn).map_or_else(Default::default, |link| {
                        let name = links.get(link.transport).map_or("?", |l| l.transport.name());
                        (format!("{name}+{}", link.codec.name()), link.traffic())
                    })
                });
                let _ = reply.send(peers);
            }
            Command::Standing { reply } => {
                let _ = reply.send(self.core.standing(now, self.env.clock.unix_seconds()));
            }
            Command::Pooled { hash, reply } => {
                let _ = reply.send(self.core.pooled(&hash));
            }
            Command::Pool { sender, most, reply } => {
                let _ = reply.send(self.core.pool_snapshot(sender.as_ref(), most));
            }
            Command::Hold { reply } => {
                self.core.hold_proposals();
                let _ = reply.send(());
            }
            Command::Shutdown { .. } => {}
        }
    }

    fn conn_event(&mut self, event: ConnEvent) {
        let now = self.now();
        match event {
            ConnEvent::Received(Received { conn, inbound, .. }) => self.core.received(now, conn, inbound),
            ConnEvent::Closed { conn, why } => {
                self.conns.remove(&conn);
                self.core.closed(now, conn, &why);
            }
        }
        self.overdue(now);
    }

    /// Under a steady stream of events the timer may never get its turn.
    fn overdue(&mut self, now: Duration) {
        if self.core.next_deadline().is_some_and(|at| at <= now) {
            self.core.tick(now);
        }
    }

    fn internal_event(&mut self, event: Internal) {
        let now = self.now();
        match event {
            Internal::Incoming { link, incoming } => {
                let conn = self.new_conn();
                if self.core.admit(now, conn, &incoming.remote) {
                    self.upgrade(conn, link, incoming);
                }
            }
            Internal::Upgraded { conn, link, remote, result } => match result {
                Ok((connection, codec)) => self.connect(conn, link, codec, connection, None),
                Err(error) => {
                    let refused = error.kind == TransportErrorKind::Refused;
                    self.core.inbound_failed(now, conn, &remote, refused, &error.to_string());
                }
            },
            Internal::Dialled { endpoint, feeler, result } => match result {
                Ok(connection) if feeler && self.core.connecting_suffices(&endpoint) => {
                    connection.handle.close("only to see whether this address is good");
                    self.core.feeler_succeeded(now, &endpoint);
                }
                Ok(connection) => {
                    // It was found before it was dialled.
                    let Some((link, codec)) = links::find(&self.links, &endpoint) else { return };
                    let codec = Arc::clone(codec);
                    let conn = self.new_conn();
                    self.connect(conn, link, codec, connection, Some((endpoint, feeler)));
                }
                Err(error) => {
                    let refused = error.kind == TransportErrorKind::Refused;
                    self.core.dial_failed(now, &endpoint, refused, &error.to_string());
                }
            },
            Internal::OwnLinks { links } => self.core.own_links(now, links),
            Internal::OwnStakes { below, stakes } => self.core.own_stakes(now, below, stakes),
            Internal::Verified { verdicts } => self.core.transactions_verified(now, verdicts),
            Internal::Served { conn, failed } => {
                if let Some((wanted, why)) = failed {
                    self.core.not_answered(now, conn, wanted, &why);
                }
                self.core.served(now, conn);
            }
            Internal::ListenerFailed { error } => {
                tracing::error!("no more connections are accepted: {error}");
                self.core.fail(error.to_string());
            }
        }
        self.overdue(now);
    }

    fn new_conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    fn connect(
        &mut self,
        conn: ConnId,
        link: usize,
        codec: Arc<dyn Codec>,
        connection: Connection,
        dialled: Option<(Endpoint, bool)>,
    ) {
        let Some(parts) = self.links.get(link) else { return };
        let name = LinkName::new(parts.transport.name(), codec.name());
        // Before its handshake an acceptor of v1 may send blocks; a dialler has nothing to send but the handshake.
        let cap = if dialled.is_some() { self.limits.frame_max } else { self.limits.frame_before_handshake };
        let (remote, identity) = (connection.remote.clone().over(name), connection.identity);
        let handle = connection::spawn(conn, link, connection, codec, dialled.is_none(), cap, &self.inbox);
        self.conns.insert(conn, handle);
        let now = self.now();
        self.core.connected(now, conn, link, remote, identity, dialled);
    }

    fn upgrade(&mut self, conn: ConnId, link: usize, incoming: Incoming) {
        let (events, limit) = (self.to_internal.clone(), self.limits.handshake_timeout);
        let Some(parts) = self.links.get(link).cloned() else { return };
        self.tasks.spawn(async move {
            let Incoming { remote, upgrade } = incoming;
            let ready = async { parts.recognise(upgrade.await?).await };
            let result = tokio::time::timeout(limit, ready).await.unwrap_or_else(|_| {
                let why = "neither the security handshake nor a first byte came in time";
                Err(TransportError::timed_out("cannot accept", remote.clone(), why))
            });
            let _ = events.send(Internal::Upgraded { conn, link, remote, result }).await;
        });
    }

    /// Does what the core decided.
    fn carry_out(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Send { conn, class, message } => {
                    let Some(link) = self.conns.get(&conn) else { continue };
                    let cap = match class {
                        Class::Gossip => gossip_frame_max(&self.limits),
                        Class::Needed | Class::TipUpdate => self.limits.frame_max,
                    };
                    match message.frame(link.codec.as_ref(), cap) {
                        Ok(frame) => match link.outbox.push(class, frame) {
                            Ok(Pushed::Done) => {}
                            Ok(Pushed::Crowded) => {
                                self.inbox.crowd.relieve(Short::Outgoing);
                            }
                            Err(Full) => link.close("its outbox is full of answers that it does not read"),
                        },
                        Err(error) => {
                            let now = self.now();
                            self.core.not_sent(now, conn, message.message(), &error);
                        }
                    }
                }
                Action::Close { conn, reason } => {
                    if let Some(link) = self.conns.get(&conn) {
                        link.close(&reason);
                    }
                }
                Action::FrameCap { conn, cap } => {
                    if let Some(link) = self.conns.get(&conn) {
                        link.set_frame_cap(cap);
                    }
                }
                Action::Patient { conn } => {
                    if let Some(link) = self.conns.get(&conn) {
                        link.set_patient();
                    }
                }
                Action::Dial { endpoint, feeler } => self.dial(endpoint, feeler),
                Action::Serve { conn, wanted } => self.serve(conn, wanted),
                Action::LookUp { from, to } => self.look_up(from, to),
                Action::FindStakes { below, from, to } => self.find_stakes(below, from, to),
                Action::Chain(command) => self.chain_command(command),
                Action::Verify(batch) => self.verify(batch),
                Action::Submitted { number, result } => {
                    if let Some(reply) = self.submitters.remove(&number) {
                        let _ = reply.send(result);
                    }
                }
                Action::SavePeers(mut peers) => {
                    peers.extend(self.kept.iter().cloned());
                    peers.truncate(self.limits.addresses);
                    self.saver.save_peers(peers);
                }
                Action::SavePool(txs) => self.saver.save_pool(txs),
                Action::Publish(event) => {
                    // Nobody may be listening.
                    let _ = self.events.send(event);
                }
            }
        }
    }

    fn chain_command(&mut self, command: ChainCommand) {
        if !self.chain_backlog.is_empty() {
            self.chain_backlog.push_back(command);
            return;
        }
        self.chain_command_first(command);
    }

    /// Sends a command that is older than the whole backlog.
    fn chain_command_first(&mut self, command: ChainCommand) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.chain.commands.try_send(command) {
            self.chain_backlog.push_front(command);
        }
    }

    fn dial(&mut self, endpoint: Endpoint, feeler: bool) {
        let Some((link, _)) = links::find(&self.links, &endpoint) else {
            let now = self.now();
            self.core.dial_failed(now, &endpoint, true, &format!("this node has no link for {endpoint}"));
            return;
        };
        let (transport, events) = (Arc::clone(&self.links[link].transport), self.to_internal.clone());
        self.tasks.spawn(async move {
            let result = transport.dial(&endpoint.without_link()).await;
            let _ = events.send(Internal::Dialled { endpoint, feeler, result }).await;
        });
    }

    fn serve(&mut self, conn: ConnId, wanted: Wanted) {
        let Some(link) = self.conns.get(&conn) else { return };
        let (link, store, limits) = (Arc::clone(link), Arc::clone(&self.store), Arc::clone(&self.limits));
        let (turns, events) = (Arc::clone(&self.answering), self.to_internal.clone());
        let (crowd, unchecked) = (Arc::clone(&self.inbox.crowd), Arc::clone(&self.unchecked));
        self.tasks.spawn(async move {
            let answer = async {
                let mut turn = turns.turn(conn).await?;
                // Room first: what is prepared and cannot be sent is the same burden.
                let mut room = crowd.answers.nothing();
                room.resize(limits.get_blocks_bytes, || crowd.relieve(Short::Outgoing)).await;
                let mut cost = 0;
                let frame = serve::answer(store.as_ref(), &link, &unchecked, wanted, &limits, &mut cost).await;
                turn.charge(cost);
                Some((frame, room))
            };
            let answer = tokio::select! {
                biased;
                answer = answer => answer,
                () = link.over() => None,
            };
            let mut failed = None;
            if let Some((answer, mut room)) = answer {
                // Whoever asked must not wait for what will not come.
                let frame = answer.or_else(|error| {
                    failed = Some((wanted, error.to_string()));
                    serve::nothing(&link, wanted, &limits)
                });
                if let Ok(frame) = frame {
                    room.force_resize(frame.len());
                    link.answers().push_when_room(frame, room).await;
                }
            }
            let _ = events.send(Internal::Served { conn, failed }).await;
        });
    }

    fn verify(&mut self, batch: Vec<Unverified>) {
        let (verifier, pool, verified) = (self.verifier.clone(), self.env.pool.clone(), self.verified.clone());
        let events = self.to_internal.clone();
        self.tasks.spawn(async move {
            let workers = pool.clone();
            let verdicts = pool.blocking(move || verifying::verify(&verifier, &workers, &verified, batch)).await;
            let _ = events.send(Internal::Verified { verdicts }).await;
        });
    }

    fn look_up(&mut self, from: Height, to: Height) {
        let (store, events) = (Arc::clone(&self.store), self.to_internal.clone());
        self.tasks.spawn(async move {
            let links = serve::own_links(store.as_ref(), from, to).await.unwrap_or_else(|error| {
                tracing::error!("our own blocks {from}..={to} cannot be read: {error}");
                Vec::new()
            });
            let _ = events.send(Internal::OwnLinks { links }).await;
        });
    }

    fn find_stakes(&mut self, below: Height, from: Height, to: Height) {
        let (store, events) = (Arc::clone(&self.store), self.to_internal.clone());
        let rules = self.verifier.genesis().hash_rules;
        self.tasks.spawn(async move {
            let stakes = recovering::own_stakes(store.as_ref(), rules, from, to).await.unwrap_or_else(|error| {
                tracing::error!("our own blocks {from}..={to} cannot be read: {error}");
                Vec::new()
            });
            let _ = events.send(Internal::OwnStakes { below, stakes }).await;
        });
    }

    fn publish(&self) {
        let status = self.core.status();
        self.status.send_if_modified(|old| {
            let modified = *old != status;
            if modified {
                *old = status;
            }
            modified
        });
    }

    async fn shutdown(mut self) {
        self.core.save_peers();
        self.core.save_pool();
        self.carry_out();
        self.tasks.shutdown().await;
        for link in self.conns.values() {
            link.finish();
        }
        let farewell = tokio::time::Instant::now() + FAREWELL;
        self.internal.close();
        while !self.conns.is_empty() {
            match tokio::time::timeout_at(farewell, self.inbound.recv()).await {
                Ok(Some(ConnEvent::Closed { conn, .. })) => {
                    self.conns.remove(&conn);
                }
                Ok(Some(ConnEvent::Received(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        for link in self.conns.values() {
            link.abort("this node is shutting down");
        }
        self.chain.shutdown().await;
        self.saver.finish().await;
    }
}

async fn accept_loop(link: usize, mut listener: Box<dyn Listener>, events: mpsc::Sender<Internal>, interval: Duration) {
    let (mut told, mut untold) = (None::<tokio::time::Instant>, 0_u64);
    loop {
        match listener.accept().await {
            Ok(incoming) => {
                if events.send(Internal::Incoming { link, incoming }).await.is_err() {
                    return;
                }
            }
            Err(error) if error.is_transient() => {
                // Whoever takes all descriptors must not fill the log besides (attacks.md row 26).
                if told.is_none_or(|told| told.elapsed() >= interval) {
                    tracing::warn!(more = untold, "{error}");
                    (told, untold) = (Some(tokio::time::Instant::now()), 0);
                } else {
                    untold += 1;
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => {
                let _ = events.send(Internal::ListenerFailed { error }).await;
                return;
            }
        }
    }
}
