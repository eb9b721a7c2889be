//! Ports of this machine that nobody uses.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::CliError;
use crate::args::TransportName;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A link of this transport.
    Peers(TransportName),
    /// The RPC.
    Rpc,
}

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    /// Its number.
    pub(super) port: u16,
    _socket: Socket,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for what its drop does")]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Use {
    /// Reserves as many ports: those from `base` on where one is given, any where it is 0, else free ones from `usual` up.
    ///
    /// # Errors
    /// One of those from `base` on is in use, or there are not so many.
    pub(super) fn reserve(self, base: Option<u16>, usual: u16, count: u16) -> Result<Vec<Reserved>, CliError> {
        match base {
            Some(0) => (0..count).map(|_| self.one(0).map_err(|error| self.taken(0, &error))).collect(),
            Some(base) => {
                let Some(last) = base.checked_add(count - 1) else {
                    return Err(CliError::usage(format!(
                        "{} {base} leaves no room for {count} ports: the last port is {}",
                        self.option(),
                        u16::MAX
                    )));
                };
                (base..=last).map(|port| self.one(port).map_err(|error| self.taken(port, &error))).collect()
            }
            None => {
                let free: Vec<Reserved> =
                    (usual..=u16::MAX).filter_map(|port| self.one(port).ok()).take(count.into()).collect();
                if free.len() < count.into() {
                    return Err(CliError::failed(format!("there are not {count} free ports from {usual} up")));
                }
                Ok(free)
            }
        }
    }

    fn one(self, port: u16) -> io::Result<Reserved> {
        let at = (Ipv4Addr::LOCALHOST, port);
        Ok(if self == Self::Peers(TransportName::Quic) {
            let socket = UdpSocket::bind(at)?;
            Reserved { port: socket.local_addr()?.port(), _socket: Socket::Udp(socket) }
        } else {
            let socket = TcpListener::bind(at)?;
            Reserved { port: socket.local_addr()?.port(), _socket: Socket::Tcp(socket) }
        })
    }

    fn option(self) -> &'static str {
        match self {
            Self::Peers(_) => "--p2p-port",
            Self::Rpc => "--port",
        }
    }

    fn taken(self, port: u16, error: &io::Error) -> CliError {
        CliError::failed(format!(
            "cannot listen on 127.0.0.1:{port}: {error}: take another {}, or leave it out for ports that are free",
            self.option()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_passed_over_or_named() {
        for kind in [Use::Rpc, Use::Peers(TransportName::Tcp), Use::Peers(TransportName::Quic)] {
            let taken = kind.reserve(Some(0), 0, 1).unwrap();
            let port = taken[0].port;
            let next = kind.reserve(None, port, 2).unwrap();
            assert!(next.iter().all(|reserved| reserved.port > port), "{next:?}");
            let error = kind.reserve(Some(port), 0, 1).unwrap_err();
            assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn a_base_without_room_is_wrong_usage() {
        assert_eq!(Use::Rpc.reserve(Some(65_535), 0, 2).unwrap_err().exit_code(), 2);
    }
}
