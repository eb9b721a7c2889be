//! QUIC (RFC 9000): encrypted, and each side proves a key.
//!
//! A connection has one bidirectional stream for messages and, where the dialler asks for it, a second one for bulk
//! answers. The dialler opens them and writes a byte first that says which is which: the other side sees a stream only
//! once something was written.
//!
//! ALPN carries `cpc/1/CODEC`. Both sides also offer the bare `cpc`: where nothing better fits, the handshake still ends,
//! and the two can say what each of them speaks before they part.

mod config;
mod identity;
mod tls;
mod windows;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use cpc_framework::transport::{
    Connection, ConnectionHandle, Duplex, Endpoint, Incoming, Listener, PeerId, Transport, TransportError,
    TransportErrorKind,
};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionError, EndpointConfig, ReadError, RecvStream, SendStream, TokioRuntime, TransportErrorCode};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout;

pub use self::identity::{IdentityError, NodeIdentity};
use self::windows::{Window, Windows};
use crate::socket::{Failed, OtherTransport, canonical, no_address};

/// Connects nodes by QUIC. An endpoint is `host:port` or `PEERID@host:port`; the latter reaches only who has that key.
#[derive(Debug, Clone)]
pub struct QuicTransport {
    id: PeerId,
    /// `cpc/1/CODEC`
    protocol: Arc<str>,
    /// Tells the listener what the dialler speaks, where the two have no codec in common.
    server_name: Arc<str>,
    client: quinn::ClientConfig,
    server: quinn::ServerConfig,
    socket: EndpointConfig,
    with_bulk: bool,
    windows: Windows,
}

/// Offered by every node besides its own protocol.
const ANY_CPC: &[u8] = b"cpc";
/// The first byte of a connection's only stream.
const LANE_CONTROL_ALONE: u8 = 0;
/// The first byte of the control stream where a bulk stream comes too.
const LANE_CONTROL: u8 = 1;
/// The first byte of a bulk stream.
const LANE_BULK: u8 = 2;
/// How many streams a dialler may open.
const LANES: u8 = 2;
/// Reason code of a connection that a node has closed in order.
const CODE_CLOSED: u8 = 0;
/// Reason code where the two speak different codecs, or not this protocol.
const CODE_MISMATCH: u8 = 1;
/// Reason code where the other is not who was meant.
const CODE_WRONG_PEER: u8 = 2;
/// The longest reason that is sent, in bytes: it must fit one packet.
const MAX_REASON: usize = 256;
/// How long a dialler waits to hear what the other side speaks.
const FAREWELL: Duration = Duration::from_secs(1);

impl QuicTransport {
    /// A transport for the node `identity`, for connections that speak the codec of this name.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn new(identity: &NodeIdentity, codec: &str) -> Result<Self, IdentityError> {
        let protocol = format!("cpc/1/{codec}");
        let offered = || vec![protocol.clone().into_bytes(), ANY_CPC.to_vec()];
        let crypto = QuicClientConfig::try_from(tls::client(identity, offered())?).map_err(IdentityError::new)?;
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        client.transport_config(config::transport(0));
        let crypto = QuicServerConfig::try_from(tls::server(identity, offered())?).map_err(IdentityError::new)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(config::transport(LANES));
        config::bound_strangers(&mut server);
        Ok(Self {
            id: identity.peer_id(),
            server_name: format!("{codec}.1.cpc").into(),
            protocol: protocol.into(),
            client,
            server,
            socket: config::socket(identity),
            with_bulk: false,
            windows: Windows::default(),
        })
    }

    /// Gives the connections that are dialled a second stream for bulk answers. A listener takes either kind.
    pub fn with_bulk_stream(self) -> Self {
        Self { with_bulk: true, ..self }
    }

    /// Bytes that all its connections may hold in this process for what is under way, besides 128 KiB each. Default: the
    /// [transports' share](cpc_framework::memory::MemoryShares::transports) of the default memory. Connections get smaller windows the
    /// more there are.
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { windows: Windows::new(bytes), ..self }
    }

    /// The key that this node proves.
    pub fn peer_id(&self) -> PeerId {
        self.id
    }

    /// A connection to one address, checked but for its identity.
    async fn connect(&self, failed: Failed<'_>, to: SocketAddr) -> Result<quinn::Connection, TransportError> {
        let from: SocketAddr =
            if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let endpoint = endpoint(from, EndpointConfig::default(), None).map_err(|error| failed.io(error))?;
        let connecting = endpoint
            .connect_with(self.client.clone(), to, &self.server_name)
            .map_err(|error| failed.because(TransportErrorKind::BadEndpoint, error))?;
        let connection = connecting.await.map_err(|error| failed.quic(error))?;
        if negotiated(&connection).is_some_and(|data| data.protocol.as_deref() == Some(self.protocol.as_bytes())) {
            return Ok(connection);
        }
        let answer = match timeout(FAREWELL, connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => String::from_utf8_lossy(&close.reason).into_owned(),
            _ => "nothing".to_owned(),
        };
        connection.close(CODE_MISMATCH.into(), &[]);
        let why = format!("this node speaks {}, the other side says: {answer}", self.protocol);
        Err(failed.because(TransportErrorKind::Refused, why))
    }

    /// The dialler's part after the handshake.
    async fn dialled(&self, failed: Failed<'_>, to: SocketAddr) -> Result<Connection, TransportError> {
        let quic = self.connect(failed, to).await?;
        let window = self.windows.open(&quic, true);
        let identity = identity_of(failed, &quic)?;
        if let Some(pinned) = failed.endpoint.identity
            && pinned != identity
        {
            quic.close(CODE_WRONG_PEER.into(), b"another node was meant");
            let why = format!("the node there has the key {identity}");
            return Err(failed.because(TransportErrorKind::Refused, why));
        }
        let first = if self.with_bulk { LANE_CONTROL } else { LANE_CONTROL_ALONE };
        let control = open(failed, &quic, first).await?;
        let bulk = if self.with_bulk { Some(open(failed, &quic, LANE_BULK).await?) } else { None };
        Ok(connection(quic, window, identity, control, bulk))
    }

    /// The listener's part of the handshake.
    async fn accepted(self, failed: Failed<'_>, incoming: quinn::Incoming) -> Result<Connection, TransportError> {
        let connecting = incoming.accept().map_err(|error| failed.quic(error))?;
        let quic = connecting.await.map_err(|error| failed.quic(error))?;
        let data = negotiated(&quic);
        if data.as_ref().and_then(|data| data.protocol.as_deref()) != Some(self.protocol.as_bytes()) {
            quic.close(CODE_MISMATCH.into(), format!("it speaks {}", self.protocol).as_bytes());
            let name = data.and_then(|data| data.server_name);
            let theirs = name.as_deref().and_then(|name| name.strip_suffix(".1.cpc")).unwrap_or("something else");
            let why = format!("this node speaks {}, the other side {theirs}", self.protocol);
            return Err(failed.because(TransportErrorKind::Refused, why));
        }
        let identity = identity_of(failed, &quic)?;
        let window = self.windows.open(&quic, false);
        let (first, control) = take(failed, &quic).await?;
        let bulk = match first {
            LANE_CONTROL_ALONE => None,
            LANE_CONTROL => match take(failed, &quic).await? {
                (LANE_BULK, bulk) => Some(bulk),
                (lane, _) => return Err(unknown_lane(failed, &quic, lane)),
            },
            lane => return Err(unknown_lane(failed, &quic, lane)),
        };
        Ok(connection(quic, window, identity, control, bulk))
    }
}

#[async_trait]
impl Transport for QuicTransport {
    fn name(&self) -> &'static str {
        "quic"
    }

    async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        let failed = Failed { doing: "cannot listen on", endpoint: at };
        if at.identity.is_some_and(|id| id != self.id) {
            return Err(failed.because(
                TransportErrorKind::BadEndpoint,
                "a node listens with its own key, which is another one: leave out the @",
            ));
        }
        let mut last = None;
        for address in failed.resolve(config::HANDSHAKE_TIMEOUT).await? {
            let bound = endpoint(address, self.socket.clone(), Some(self.server.clone()))
                .and_then(|endpoint| endpoint.local_addr().map(|local| (endpoint, local)));
            match bound {
                Ok((endpoint, local)) => {
                    return Ok(Box::new(QuicAcceptor { transport: self.clone(), endpoint, local }));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(failed.io(last.unwrap_or_else(no_address)))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
        let failed = Failed { doing: "cannot reach", endpoint: to };
        let attempts = async {
            let addresses = failed.resolve(config::HANDSHAKE_TIMEOUT).await?;
            // UDP says nothing about a place where nobody listens, so each address has its share of the time.
            let share = config::HANDSHAKE_TIMEOUT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
            let mut last = failed.io(no_address());
            for address in addresses {
                match in_time(share, failed, self.dialled(failed, address)).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        // The share of a single address is the whole time: the outer limit only counts the look-up in.
        in_time(config::HANDSHAKE_TIMEOUT, failed, attempts).await.map_err(|error| silent(failed, error))
    }
}

#[derive(Debug)]
struct QuicAcceptor {
    transport: QuicTransport,
    endpoint: quinn::Endpoint,
    local: SocketAddr,
}

#[async_trait]
impl Listener for QuicAcceptor {
    fn local(&self) -> Endpoint {
        Endpoint { identity: Some(self.transport.id), ..Endpoint::new(self.local.to_string()) }
    }

    async fn accept(&mut self) -> Result<Incoming, TransportError> {
        loop {
            let Some(incoming) = self.endpoint.accept().await else {
                let endpoint = self.local();
                let failed = Failed { doing: "cannot accept on", endpoint: &endpoint };
                return Err(failed.because(TransportErrorKind::Other, "the socket was closed"));
            };
            if self.endpoint.open_connections() >= config::RETRY_FROM
                && !incoming.remote_address_validated()
                && incoming.may_retry()
            {
                // It comes back with a proof of its address, or never.
                let _ = incoming.retry();
                continue;
            }
            let remote = Endpoint::new(canonical(incoming.remote_address()).to_string());
            let (transport, endpoint) = (self.transport.clone(), remote.clone());
            let upgrade = Box::pin(async move {
                let failed = Failed { doing: "cannot take a connection from", endpoint: &endpoint };
                in_time(config::HANDSHAKE_TIMEOUT, failed, transport.accepted(failed, incoming)).await
            });
            return Ok(Incoming { remote, upgrade });
        }
    }
}

/// Ends a QUIC connection, and keeps its windows for as long as it lives.
#[derive(Debug)]
struct QuicHandle(quinn::Connection, #[expect(dead_code, reason = "given back when it is dropped")] Window);

#[async_trait]
impl ConnectionHandle for QuicHandle {
    fn close(&self, reason: &str) {
        self.0.close(CODE_CLOSED.into(), &reason.as_bytes()[..reason.len().min(MAX_REASON)]);
    }

    async fn closed(&self) {
        self.0.closed().await;
    }
}

fn endpoint(
    at: SocketAddr,
    socket: EndpointConfig,
    server: Option<quinn::ServerConfig>,
) -> io::Result<quinn::Endpoint> {
    quinn::Endpoint::new(socket, server, config::bind(at)?, Arc::new(TokioRuntime))
}

fn connection(
    quic: quinn::Connection,
    window: Window,
    identity: PeerId,
    control: Duplex,
    bulk: Option<Duplex>,
) -> Connection {
    let remote = Endpoint::new(canonical(quic.remote_address()).to_string());
    Connection { remote, identity: Some(identity), control, bulk, handle: Arc::new(QuicHandle(quic, window)) }
}

/// Opens a stream, and shows it to the other side.
async fn open(failed: Failed<'_>, quic: &quinn::Connection, lane: u8) -> Result<Duplex, TransportError> {
    let (mut writer, reader) = quic.open_bi().await.map_err(|error| failed.quic(error))?;
    writer.write_all(&[lane]).await.map_err(|error| failed.because(TransportErrorKind::Unreachable, error))?;
    Ok(duplex(writer, reader))
}

/// Takes the next stream that the other side has opened.
async fn take(failed: Failed<'_>, quic: &quinn::Connection) -> Result<(u8, Duplex), TransportError> {
    let (writer, mut reader) = quic.accept_bi().await.map_err(|error| failed.quic(error))?;
    let mut lane = [0];
    reader.read_exact(&mut lane).await.map_err(|error| failed.because(TransportErrorKind::Unreachable, error))?;
    Ok((lane[0], duplex(writer, reader)))
}

fn duplex(writer: SendStream, reader: RecvStream) -> Duplex {
    Duplex { reader: Box::new(Reader(reader)), writer: Box::new(writer) }
}

/// Says why a stream broke, and not only that the connection was lost.
struct Reader(RecvStream);

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf).map_err(|error| match error.downcast::<ReadError>() {
            Ok(ReadError::ConnectionLost(why)) => why.into(),
            Ok(other) => other.into(),
            Err(error) => error,
        })
    }
}

fn unknown_lane(failed: Failed<'_>, quic: &quinn::Connection, lane: u8) -> TransportError {
    quic.close(CODE_MISMATCH.into(), b"unknown lane");
    failed.because(TransportErrorKind::Refused, format!("it opened a stream of the unknown lane {lane}"))
}

fn negotiated(quic: &quinn::Connection) -> Option<Box<HandshakeData>> {
    quic.handshake_data()?.downcast().ok()
}

/// The key that the other side has proved.
fn identity_of(failed: Failed<'_>, quic: &quinn::Connection) -> Result<PeerId, TransportError> {
    let chain = quic.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    match chain.as_ref().and_then(|chain| chain.first()).map(tls::key_of) {
        Some(Ok(identity)) => Ok(identity),
        _ => Err(failed.because(TransportErrorKind::Refused, "it has shown no Ed25519 key")),
    }
}

async fn in_time<T>(
    limit: Duration,
    failed: Failed<'_>,
    work: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => {
            Err(failed.because(TransportErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs_f32())))
        }
    }
}

/// Says of a node that was silent where else it may be.
fn silent(failed: Failed<'_>, error: TransportError) -> TransportError {
    if error.kind != TransportErrorKind::TimedOut {
        return error;
    }
    let write = format!("tcp+json://{}", failed.endpoint.address);
    let source = OtherTransport { error: Silence(error.source), listens: "TCP", write };
    failed.because(error.kind, source)
}

/// What was heard instead of an answer, without the words around it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Silence(Box<dyn std::error::Error + Send + Sync>);

impl Failed<'_> {
    fn quic(self, error: ConnectionError) -> TransportError {
        let kind = match &error {
            ConnectionError::TimedOut => TransportErrorKind::TimedOut,
            // It has no room now (RFC 9000 section 20.1).
            ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                TransportErrorKind::Unreachable
            }
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::ApplicationClosed(_) => TransportErrorKind::Refused,
            ConnectionError::Reset => TransportErrorKind::Unreachable,
            ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => TransportErrorKind::Other,
        };
        self.because(kind, error)
    }
}

#[cfg(test)]
mod tests;
