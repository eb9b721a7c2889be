//! A transport of one's own: Unix sockets, for nodes on one machine.
//!
//! An address is `name:port`, as it is for every transport: nodes tell each other where they listen in this form. It
//! stands for the socket `DIR/name.port`; port 0 takes the first free one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use cpc_framework::transport::{
    Connection, Endpoint, Incoming, Listener, Transport, TransportError, TransportErrorKind, closable,
};
use tokio::net::{UnixListener, UnixStream};

/// Connects nodes by the sockets in one directory, which goes when nobody listens in it any more.
#[derive(Debug, Clone)]
pub struct UnixTransport {
    dir: Arc<Path>,
}

impl UnixTransport {
    /// The network of all who use this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into().into() }
    }

    fn path(&self, name: &str, port: u16) -> PathBuf {
        self.dir.join(format!("{name}.{port}"))
    }
}

#[async_trait]
impl Transport for UnixTransport {
    fn name(&self) -> &'static str {
        "unix"
    }

    async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        let failed = |kind, why: io::Error| error(kind, "cannot listen on", at, why);
        let (name, port) = name_and_port("cannot listen on", at)?;
        std::fs::create_dir_all(&self.dir).map_err(|why| failed(TransportErrorKind::Other, why))?;
        let ports = if port == 0 { 1..=u16::MAX } else { port..=port };
        for port in ports {
            let path = self.path(name, port);
            match bind(&path) {
                Ok(listener) => {
                    let local = Endpoint::new(format!("{name}:{port}"));
                    return Ok(Box::new(UnixAcceptor { listener, local, path, accepted: AtomicU64::new(0) }));
                }
                Err(why) if why.kind() != io::ErrorKind::AddrInUse => {
                    return Err(failed(TransportErrorKind::Other, why));
                }
                Err(_) => {}
            }
        }
        Err(failed(TransportErrorKind::AddressInUse, io::ErrorKind::AddrInUse.into()))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
        let (name, port) = name_and_port("cannot reach", to)?;
        let stream = UnixStream::connect(self.path(name, port)).await;
        let stream = stream.map_err(|why| error(TransportErrorKind::Unreachable, "cannot reach", to, why))?;
        Ok(connection(stream, to.clone()))
    }
}

#[derive(Debug)]
struct UnixAcceptor {
    listener: UnixListener,
    local: Endpoint,
    path: PathBuf,
    accepted: AtomicU64,
}

#[async_trait]
impl Listener for UnixAcceptor {
    fn local(&self) -> Endpoint {
        self.local.clone()
    }

    async fn accept(&mut self) -> Result<Incoming, TransportError> {
        let (stream, _) = self
            .listener
            .accept()
            .await
            .map_err(|why| error(TransportErrorKind::Other, "cannot accept on", &self.local, why))?;
        // Whoever dials a Unix socket has no address of its own.
        let remote = Endpoint::new(format!("unix:{}", self.accepted.fetch_add(1, Ordering::Relaxed) % 65_536));
        let from = remote.clone();
        Ok(Incoming { remote, upgrade: Box::pin(async { Ok(connection(stream, from)) }) })
    }
}

impl Drop for UnixAcceptor {
    fn drop(&mut self) {
        // A socket stays in its directory until it is removed; only an empty directory can be removed.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}

/// `closable` makes the two halves and the handle that ends both, for a stream that has no such thing itself.
fn connection(stream: UnixStream, remote: Endpoint) -> Connection {
    let (control, handle) = closable(stream);
    Connection { remote, identity: None, control, bulk: None, handle }
}

/// Binds a socket, also where a process that was killed has left one.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let taken = match UnixListener::bind(path) {
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => why,
        bound => return bound,
    };
    match std::os::unix::net::UnixStream::connect(path) {
        Err(nobody) if nobody.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        _ => Err(taken),
    }
}

fn name_and_port<'a>(doing: &'static str, at: &'a Endpoint) -> Result<(&'a str, u16), TransportError> {
    let bad = TransportErrorKind::BadEndpoint;
    if at.identity.is_some() {
        return Err(error(bad, doing, at, "a Unix socket cannot prove the key before the @"));
    }
    at.host_port().map_err(|why| error(bad, doing, at, why))
}

fn error(
    kind: TransportErrorKind,
    doing: &'static str,
    endpoint: &Endpoint,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TransportError {
    TransportError { kind, doing, endpoint: endpoint.clone(), source: why.into() }
}
