//! Plain TCP, as the reference nodes speak it (protocol.md section 2).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use cpc_framework::transport::{
    Connection, Endpoint, Incoming, Listener, Transport, TransportError, TransportErrorKind, closable,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::socket::{Failed, OtherTransport, canonical, no_address};

/// Connects nodes by plain TCP. An endpoint is `host:port`; a name may stand for several addresses, all are tried.
///
/// Small messages leave at once (`TCP_NODELAY`). A connection over which nothing flows is probed after 30 s and given up
/// after about a minute without an answer, so that a peer with nothing to say needs no other limit.
/// TCP proves nobody's key: an endpoint that pins one is refused.
#[derive(Debug, Clone)]
pub struct TcpTransport {
    dial_timeout: Duration,
}

/// How long a dial may take, names and all their addresses included: half of what the contract allows.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// So many connections may wait to be accepted: room for every inbound peer to come back at once.
const BACKLOG: u32 = 128;
/// A connection is probed after this long without traffic.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(30);
/// The time between two probes.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
/// The connection is given up after so many probes without an answer.
const KEEP_ALIVE_PROBES: u32 = 3;

impl Default for TcpTransport {
    fn default() -> Self {
        Self { dial_timeout: DIAL_TIMEOUT }
    }
}

impl TcpTransport {
    /// Gives up a dial after `limit` instead of 5 s.
    pub fn dial_timeout(self, limit: Duration) -> Self {
        Self { dial_timeout: limit }
    }
}

#[async_trait]
impl Transport for TcpTransport {
    fn name(&self) -> &'static str {
        "tcp"
    }

    async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        let failed = Failed { doing: "cannot listen on", endpoint: at };
        unpinned(failed)?;
        let addresses = failed.resolve(self.dial_timeout).await?;
        let mut last = None;
        for address in addresses {
            match bind(address) {
                Ok((listener, local)) => return Ok(Box::new(TcpAcceptor { listener, local })),
                Err(error) => last = Some(error),
            }
        }
        Err(failed.io(last.unwrap_or_else(no_address)))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
        let failed = Failed { doing: "cannot reach", endpoint: to };
        unpinned(failed)?;
        let attempt = async {
            let mut last = None;
            for address in failed.resolve(self.dial_timeout).await? {
                match TcpStream::connect(address).await {
                    Ok(stream) => return connection(stream, canonical(address)).map_err(|error| failed.io(error)),
                    Err(error) => last = Some(error),
                }
            }
            let error = last.unwrap_or_else(no_address);
            if error.kind() == io::ErrorKind::ConnectionRefused {
                // The host answers, and nobody listens on TCP there.
                let error = OtherTransport { error, listens: "QUIC", write: format!("quic+postcard://{}", to.address) };
                return Err(failed.because(TransportErrorKind::Unreachable, error));
            }
            Err(failed.io(error))
        };
        match timeout(self.dial_timeout, attempt).await {
            Ok(result) => result,
            Err(_) => Err(failed.because(
                TransportErrorKind::TimedOut,
                format!("no answer within {} s", self.dial_timeout.as_secs_f32()),
            )),
        }
    }
}

#[derive(Debug)]
struct TcpAcceptor {
    listener: TcpListener,
    local: SocketAddr,
}

#[async_trait]
impl Listener for TcpAcceptor {
    fn local(&self) -> Endpoint {
        Endpoint::new(self.local.to_string())
    }

    async fn accept(&mut self) -> Result<Incoming, TransportError> {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let from = canonical(from);
                    let remote = Endpoint::new(from.to_string());
                    let upgrade = Box::pin(async move {
                        let endpoint = Endpoint::new(from.to_string());
                        let failed = Failed { doing: "cannot take a connection from", endpoint: &endpoint };
                        connection(stream, from).map_err(|error| failed.io(error))
                    });
                    return Ok(Incoming { remote, upgrade });
                }
                // The dialler gave up while it waited: nothing of ours is wrong.
                Err(error) if is_the_diallers(&error) => {}
                // Out of descriptors or memory, most likely: another call may succeed.
                Err(error) => {
                    let endpoint = self.local();
                    let failed = Failed { doing: "cannot accept on", endpoint: &endpoint };
                    return Err(failed.because(TransportErrorKind::Other, error));
                }
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Unix this only lets a restarted node have its port back; on Windows it would let two nodes share it.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

fn connection(stream: TcpStream, remote: SocketAddr) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER).with_interval(KEEP_ALIVE_EVERY);
    #[cfg(unix)]
    let keep_alive = keep_alive.with_retries(KEEP_ALIVE_PROBES);
    SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    let (control, handle) = closable(stream);
    Ok(Connection { remote: Endpoint::new(remote.to_string()), identity: None, control, bulk: None, handle })
}

fn is_the_diallers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// TCP proves no key.
fn unpinned(failed: Failed<'_>) -> Result<(), TransportError> {
    match failed.endpoint.identity {
        None => Ok(()),
        Some(_) => Err(failed.because(TransportErrorKind::BadEndpoint, "tcp cannot prove the key before the @")),
    }
}

#[cfg(test)]
mod tests;
