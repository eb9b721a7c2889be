//! A network inside one process, for tests and for nodes that live together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::{Connection, Endpoint, Incoming, Listener, Transport, TransportError, TransportErrorKind, closable};

/// A network: the places where its members listen. Clones are the same network.
///
/// Places are `name:port` with any name; port 0 means any free one.
#[derive(Debug, Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    listeners: HashMap<(String, u16), mpsc::Sender<Incoming>>,
    /// Counts up, so that a port comes back only after all the others.
    last_port: u16,
}

/// So many bytes are on their way in each direction before the writer waits: about what a socket's buffer holds.
const PIPE_BYTES: usize = 64 * 1024;
/// So many connections may wait to be accepted before diallers wait themselves.
const BACKLOG: usize = 64;
/// Ports below are for places that were named.
const FIRST_FREE_PORT: u16 = 32_768;

impl MemoryNetwork {
    /// A network where nobody listens.
    pub fn new() -> Self {
        Self::default()
    }

    /// A member of this network whose connections come from `name`.
    pub fn member(&self, name: &str) -> MemoryTransport {
        MemoryTransport { network: self.clone(), name: name.to_owned() }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Every change is one insertion or removal, so a panic elsewhere leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn next_port(&mut self) -> u16 {
        self.last_port = self.last_port.checked_add(1).unwrap_or(FIRST_FREE_PORT).max(FIRST_FREE_PORT);
        self.last_port
    }
}

/// Connects the members of a [`MemoryNetwork`] by bounded pipes. It proves nobody's key.
#[derive(Debug, Clone)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    name: String,
}

impl MemoryTransport {
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
            return Err(Self::error(doing, endpoint, bad, "memory cannot prove the key before the @"));
        }
        endpoint.host_port().map_err(|error| Self::error(doing, endpoint, bad, error))
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        const DOING: &str = "cannot listen on";
        let (name, port) = Self::place(DOING, at)?;
        let in_use = |why| Self::error(DOING, at, TransportErrorKind::AddressInUse, why);
        let mut places = self.network.places();
        let candidates = if port == 0 { usize::from(u16::MAX - FIRST_FREE_PORT) } else { 1 };
        for _ in 0..=candidates {
            let place = (name.to_owned(), if port == 0 { places.next_port() } else { port });
            if let Entry::Vacant(vacant) = places.listeners.entry(place.clone()) {
                let (sender, waiting) = mpsc::channel(BACKLOG);
                vacant.insert(sender);
                return Ok(Box::new(MemoryListener { network: self.network.clone(), place, waiting }));
            }
        }
        Err(in_use(if port == 0 { "no port is free" } else { "somebody listens there already" }))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
        const DOING: &str = "cannot reach";
        let (name, port) = Self::place(DOING, to)?;
        let unreachable = || Self::error(DOING, to, TransportErrorKind::Unreachable, "nobody listens there");
        let (listener, own_port) = {
            let mut places = self.network.places();
            let listener = places.listeners.get(&(name.to_owned(), port)).cloned().ok_or_else(unreachable)?;
            (listener, places.next_port())
        };
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let remote = Endpoint::new(format!("{}:{own_port}", self.name));
        let far = connection(far, remote.clone());
        let incoming = Incoming { remote, upgrade: Box::pin(async { Ok(far) }) };
        listener.send(incoming).await.map_err(|_| unreachable())?;
        Ok(connection(near, to.clone()))
    }
}

fn connection(pipe: DuplexStream, remote: Endpoint) -> Connection {
    let (control, handle) = closable(pipe);
    Connection { remote, identity: None, control, bulk: None, handle }
}

#[derive(Debug)]
struct MemoryListener {
    network: MemoryNetwork,
    place: (String, u16),
    waiting: mpsc::Receiver<Incoming>,
}

#[async_trait]
impl Listener for MemoryListener {
    fn local(&self) -> Endpoint {
        Endpoint::new(format!("{}:{}", self.place.0, self.place.1))
    }

    async fn accept(&mut self) -> Result<Incoming, TransportError> {
        self.waiting.recv().await.ok_or_else(|| {
            // The network keeps a sender as long as this listener lives.
            MemoryTransport::error("cannot accept on", &self.local(), TransportErrorKind::Other, "the network is gone")
        })
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.network.places().listeners.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::transport::TransportFixture;

    fn fixture() -> TransportFixture {
        let network = MemoryNetwork::new();
        TransportFixture {
            listener: Arc::new(network.member("listener")),
            dialler: Arc::new(network.member("dialler")),
            at: Endpoint::new("listener:0"),
        }
    }

    crate::transport_suite!(memory, fixture());
}
