//! The limits of QUIC connections, each set on purpose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use socket2::{Domain, Protocol, Socket, Type};

use super::identity::NodeIdentity;
use super::windows::{LEAST_WINDOW, STREAM_WINDOW};

/// Dial and handshake together may take this long: half of what the transport contract allows.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection over which nothing comes for so long is over. UDP says nothing of a peer whose machine has died; it is to be
/// noticed before the 10 s after which a claim that nothing follows is dropped (framework/LIMITS.md, the rule for SYNCED).
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
/// A silent side says that it lives: three times within the idle time-out, so that two packets in a row may be lost.
const KEEP_ALIVE: Duration = Duration::from_millis(2500);
/// Handshakes that wait for `accept`; the rest is refused. The node takes 64 inbound peers in all (attacks.md row 2).
const MAX_INCOMING: usize = 64;
/// What early packets of one waiting handshake may hold, and of all together.
const INCOMING_BUFFER: u64 = 16 * 1024;
/// From so many connections on, an address must be proved before a handshake costs anything (RFC 9000 section 8.1).
pub(super) const RETRY_FROM: usize = 16;
/// Asked for at the system, which may give less: room for a burst while the task that reads is busy.
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;

/// How a side treats its connections; `streams` is how many the other side may open.
pub(super) fn transport(streams: u8) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from(streams))
        .max_concurrent_uni_streams(VarInt::from(0u8))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from(STREAM_WINDOW))
        // More comes once it is known that there is memory for it.
        .receive_window(VarInt::from(LEAST_WINDOW))
        .send_window(u64::from(LEAST_WINDOW))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
    Arc::new(config)
}

/// Bounds what strangers can make a listener keep. What they can make it send is bounded by quinn as RFC 9000 section 8.1 says:
/// three times what came from an address that is not proved yet. How many connections there are is the node's to say, not
/// the socket's (attacks.md rows 2 and 18).
pub(super) fn bound_strangers(config: &mut quinn::ServerConfig) {
    config
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER * MAX_INCOMING as u64)
        // A node's peers stay where they are; another address would be another peer to the limits.
        .migration(false);
}

/// How a listening socket knows its connections. A node that was killed and runs again knows those of before by the form
/// of their ids, and ends them with their next packet by a stateless reset (RFC 9000 section 10.3), of which its peers
/// would otherwise learn by the idle time-out only. Nobody else can make such a reset: its keys come of the node's own.
pub(super) fn socket(identity: &NodeIdentity) -> EndpointConfig {
    let reset = hmac::Key::new(hmac::HMAC_SHA256, identity.derived("cpc quic stateless reset").as_ref());
    let ids = identity.derived("cpc quic connection ids");
    let ids = ids.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

/// A UDP socket bound to `address`.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // As with TCP: `[::]` takes IPv4 peers too, where the system allows it.
        let _ = socket.set_only_v6(false);
    }
    // Smaller buffers are slower, not wrong.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
