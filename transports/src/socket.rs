//! What every transport over sockets needs: names looked up, addresses in one form, errors of one form.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cpc_framework::transport::{Endpoint, TransportError, TransportErrorKind};
use tokio::net::lookup_host;
use tokio::time::timeout;

/// An IPv4 peer of a socket that listens on IPv6 is the same peer as over IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(crate) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name stands for no address")
}

/// Nobody answers over this transport; perhaps somebody does over the other one.
#[derive(Debug, thiserror::Error)]
#[error("{error}; if that node listens on {listens}, write {write}")]
pub(crate) struct OtherTransport<E: std::error::Error + 'static> {
    #[source]
    pub(crate) error: E,
    /// What it may listen on.
    pub(crate) listens: &'static str,
    /// How its address is written then.
    pub(crate) write: String,
}

/// What was being done, to whom: the frame of every error.
#[derive(Clone, Copy)]
pub(crate) struct Failed<'a> {
    pub(crate) doing: &'static str,
    pub(crate) endpoint: &'a Endpoint,
}

impl Failed<'_> {
    pub(crate) fn because(
        self,
        kind: TransportErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> TransportError {
        TransportError { kind, doing: self.doing, endpoint: self.endpoint.clone(), source: source.into() }
    }

    pub(crate) fn io(self, error: io::Error) -> TransportError {
        use io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::AddrInUse => TransportErrorKind::AddressInUse,
            Io::AddrNotAvailable | Io::PermissionDenied | Io::InvalidInput | Io::Unsupported => {
                TransportErrorKind::BadEndpoint
            }
            Io::TimedOut => TransportErrorKind::TimedOut,
            Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::NotConnected
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::NetworkDown
            | Io::NotFound => TransportErrorKind::Unreachable,
            _ => TransportErrorKind::Other,
        };
        self.because(kind, error)
    }

    /// The socket addresses of the endpoint, names looked up.
    pub(crate) async fn resolve(self, limit: Duration) -> Result<Vec<SocketAddr>, TransportError> {
        let (host, port) =
            self.endpoint.host_port().map_err(|error| self.because(TransportErrorKind::BadEndpoint, error))?;
        match timeout(limit, lookup_host((host, port))).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            // A name that is not known now may be known later.
            Ok(Err(error)) => Err(self.because(TransportErrorKind::Unreachable, error)),
            Err(_) => Err(self.because(TransportErrorKind::TimedOut, format!("the name {host} was not found in time"))),
        }
    }
}
