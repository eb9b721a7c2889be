//! A network in memory and in virtual time: bytes take their while, connections break, groups are cut off from each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::rng::Rng;
use super::wire::{Latency, Side, Wire};
use crate::transport::{
    Connection, Endpoint, Incoming, Listener, Transport, TransportError, TransportErrorKind, closable,
};

/// So many connections may wait to be accepted before diallers wait themselves.
const BACKLOG: usize = 64;
/// How long a dial takes that nobody answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Ports below are for places that were named.
const FIRST_FREE_PORT: u16 = 32_768;

/// How two groups of hosts are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separation {
    /// Connections break at once, and dials fail at once.
    Cut,
    /// Connections stay, and nothing moves on them; dials take their whole time-out.
    Stalled,
}

/// A network in memory. Clones are the same network. Every host has a name; all runs inside one runtime, whose time may be paused.
#[derive(Debug, Clone)]
pub struct SimNetwork(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: Rng,
    latency: Latency,
    listeners: BTreeMap<(String, u16), mpsc::Sender<Incoming>>,
    links: BTreeMap<u64, Open>,
    apart: BTreeMap<(String, String), Separation>,
    connections: u64,
    last_port: u16,
}

#[derive(Debug)]
struct Open {
    hosts: (String, String),
    wires: [Arc<Wire>; 2],
}

impl SimNetwork {
    /// A network where nobody listens. Every pair of hosts has a distance of its own, of `latency` or up to twice that.
    pub fn new(rng: Rng, latency: Latency) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng,
            latency,
            listeners: BTreeMap::new(),
            links: BTreeMap::new(),
            apart: BTreeMap::new(),
            connections: 0,
            last_port: FIRST_FREE_PORT,
        })))
    }

    /// The transport of one run of a host. [`Member::kill`] ends all that goes through it.
    pub fn member(&self, host: &str) -> Member {
        Member { network: self.clone(), host: host.to_owned(), alive: Arc::new(AtomicBool::new(true)) }
    }

    /// Keeps every host of one group from every host of the other.
    pub fn separate(&self, one: &[String], other: &[String], how: Separation) {
        let mut state = self.state();
        for a in one {
            for b in other {
                state.apart.insert(pair(a, b), how);
            }
        }
        state.apply();
    }

    /// Brings two groups together again.
    pub fn join(&self, one: &[String], other: &[String]) {
        let mut state = self.state();
        for a in one {
            for b in other {
                state.apart.remove(&pair(a, b));
            }
        }
        state.apply();
    }

    /// Breaks every connection between two hosts; they may connect anew.
    pub fn lose(&self, a: &str, b: &str) {
        let lost = pair(a, b);
        self.state().reset(|hosts| *hosts == lost);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self) {
        let apart = std::mem::take(&mut self.apart);
        self.reset(|hosts| apart.get(hosts) == Some(&Separation::Cut));
        for open in self.links.values() {
            let stalled = apart.get(&open.hosts) == Some(&Separation::Stalled);
            open.wires.iter().for_each(|wire| wire.stall(stalled));
        }
        self.apart = apart;
    }

    fn reset(&mut self, which: impl Fn(&(String, String)) -> bool) {
        self.links.retain(|_, open| {
            let hit = which(&open.hosts);
            if hit {
                open.wires.iter().for_each(|wire| wire.reset());
            }
            !hit && !open.wires.iter().all(|wire| wire.is_over())
        });
    }

    fn next_port(&mut self) -> u16 {
        self.last_port = self.last_port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
        self.last_port
    }

    /// Of one pair always the same.
    fn distance(&self, hosts: &(String, String)) -> Latency {
        let text = hosts.0.bytes().chain(hosts.1.bytes());
        let mut rng = Rng::new(text.fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))));
        let more = u64::try_from(self.latency.least.as_millis()).unwrap_or(u64::MAX);
        Latency { least: self.latency.least + rng.millis(0..=more), jitter: self.latency.jitter }
    }
}

fn pair(a: &str, b: &str) -> (String, String) {
    if a <= b { (a.to_owned(), b.to_owned()) } else { (b.to_owned(), a.to_owned()) }
}

/// One run of a host of a [`SimNetwork`]. It proves nobody's key.
#[derive(Debug, Clone)]
pub struct Member {
    network: SimNetwork,
    host: String,
    alive: Arc<AtomicBool>,
}

impl Member {
    /// Ends this run: all its connections break, and it neither listens nor dials any more. As if the machine had lost its power.
    pub fn kill(&self) {
        self.alive.store(false, Ordering::Relaxed);
        let mut state = self.network.state();
        state.listeners.retain(|(host, _), _| *host != self.host);
        state.reset(|(a, b)| *a == self.host || *b == self.host);
    }

    fn error(
        doing: &'static str,
        endpoint: &Endpoint,
        kind: TransportErrorKind,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> TransportError {
        TransportError { kind, doing, endpoint: endpoint.clone(), source: why.into() }
    }

    fn place<'a>(doing: &'static str, endpoint: &'a Endpoint) -> Result<(&'a str, u16), TransportError> {
        let bad = TransportErrorKind::BadEndpoint;
        if endpoint.identity.is_some() {
            return Err(Self::error(doing, endpoint, bad, "a simulated network cannot prove the key before the @"));
        }
        endpoint.host_port().map_err(|error| Self::error(doing, endpoint, bad, error))
    }
}

#[async_trait]
impl Transport for Member {
    fn name(&self) -> &'static str {
        "sim"
    }

    async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        const DOING: &str = "cannot listen on";
        let (name, port) = Self::place(DOING, at)?;
        let mut state = self.network.state();
        let port = if port == 0 { state.next_port() } else { port };
        let place = (name.to_owned(), port);
        if state.listeners.contains_key(&place) {
            let in_use = TransportErrorKind::AddressInUse;
            return Err(Self::error(DOING, at, in_use, "somebody listens there already"));
        }
        let (sender, waiting) = mpsc::channel(BACKLOG);
        state.listeners.insert(place.clone(), sender.clone());
        Ok(Box::new(SimListener { network: self.network.clone(), place, sender, waiting }))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
        const DOING: &str = "cannot reach";
        let (name, port) = Self::place(DOING, to)?;
        let hosts = pair(&self.host, name);
        let unreachable = || Self::error(DOING, to, TransportErrorKind::Unreachable, "nobody listens there");
        let trip = self.network.state().distance(&hosts).least;
        // There and back: whoever is too far away to answer is found out only in the end.
        tokio::time::sleep(trip * 2).await;
        let apart = self.network.state().apart.get(&hosts).copied();
        match apart {
            Some(Separation::Stalled) => {
                tokio::time::sleep(CONNECT_TIMEOUT).await;
                return Err(TransportError::timed_out(DOING, to.clone(), "nobody answered"));
            }
            Some(Separation::Cut) => return Err(unreachable()),
            None if !self.alive.load(Ordering::Relaxed) => return Err(unreachable()),
            None => {}
        }
        let (near, incoming, listener) = {
            let mut state = self.network.state();
            let listener = state.listeners.get(&(name.to_owned(), port)).cloned().ok_or_else(unreachable)?;
            let own_port = state.next_port();
            let latency = state.distance(&hosts);
            let wires = [Wire::new(latency, state.rng.fork()), Wire::new(latency, state.rng.fork())];
            let (near, far) = (Side::new(&wires[0], &wires[1]), Side::new(&wires[1], &wires[0]));
            state.connections += 1;
            let number = state.connections;
            state.links.insert(number, Open { hosts, wires });
            let remote = Endpoint::new(format!("{}:{own_port}", self.host));
            let far = connection(far, remote.clone());
            (near, Incoming { remote, upgrade: Box::pin(async { Ok(far) }) }, listener)
        };
        listener.send(incoming).await.map_err(|_| unreachable())?;
        Ok(connection(near, to.clone()))
    }
}

fn connection(side: Side, remote: Endpoint) -> Connection {
    let (control, handle) = closable(side);
    Connection { remote, identity: None, control, bulk: None, handle }
}

#[derive(Debug)]
struct SimListener {
    network: SimNetwork,
    place: (String, u16),
    /// Kept, so that a killed listener waits for ever rather than fail.
    sender: mpsc::Sender<Incoming>,
    waiting: mpsc::Receiver<Incoming>,
}

#[async_trait]
impl Listener for SimListener {
    fn local(&self) -> Endpoint {
        Endpoint::new(format!("{}:{}", self.place.0, self.place.1))
    }

    async fn accept(&mut self) -> Result<Incoming, TransportError> {
        // It holds a sender itself, so that there is always one.
        self.waiting.recv().await.ok_or_else(|| {
            Member::error("cannot accept on", &self.local(), TransportErrorKind::Other, "the network is gone")
        })
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.network.state();
        // Another run of the host may listen there by now.
        if state.listeners.get(&self.place).is_some_and(|sender| sender.same_channel(&self.sender)) {
            state.listeners.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::testkit::transport::TransportFixture;

    fn fixture() -> TransportFixture {
        let latency = Latency { least: Duration::from_millis(1), jitter: Duration::from_millis(2) };
        let network = SimNetwork::new(Rng::new(1), latency);
        TransportFixture {
            listener: Arc::new(network.member("listener")),
            dialler: Arc::new(network.member("dialler")),
            at: Endpoint::new("listener:0"),
        }
    }

    crate::transport_suite!(simulated, fixture());

    async fn pair(network: &SimNetwork) -> (Connection, Connection) {
        let mut listener = network.member("b").listen(&Endpoint::new("b:1")).await.unwrap();
        let dialled = network.member("a").dial(&Endpoint::new("b:1")).await.unwrap();
        (dialled, listener.accept().await.unwrap().upgrade.await.unwrap())
    }

    fn network() -> SimNetwork {
        let latency = Latency { least: Duration::from_millis(100), jitter: Duration::from_millis(50) };
        SimNetwork::new(Rng::new(7), latency)
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_take_their_while_and_stay_in_order() {
        let (mut near, mut far) = pair(&network()).await;
        let begun = tokio::time::Instant::now();
        for byte in 0..50 {
            near.control.writer.write_all(&[byte]).await.unwrap();
        }
        let mut read = [0; 50];
        far.control.reader.read_exact(&mut read).await.unwrap();
        assert!(read.iter().enumerate().all(|(at, byte)| at == usize::from(*byte)));
        // A pair is up to twice as far apart as the least.
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(100) && took <= Duration::from_millis(252), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stalled_arrives_after_the_stall_and_what_is_cut_breaks() {
        let network = network();
        let (mut near, mut far) = pair(&network).await;
        let [a, b] = ["a", "b"].map(|host| [host.to_owned()]);
        network.separate(&a, &b, Separation::Stalled);
        near.control.writer.write_all(b"x").await.unwrap();
        let mut byte = [0; 1];
        let minute = Duration::from_secs(60);
        assert!(tokio::time::timeout(minute, far.control.reader.read_exact(&mut byte)).await.is_err());
        assert!(network.member("a").dial(&Endpoint::new("b:1")).await.is_err());
        network.join(&a, &b);
        far.control.reader.read_exact(&mut byte).await.unwrap();
        network.separate(&a, &b, Separation::Cut);
        let error = far.control.reader.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
