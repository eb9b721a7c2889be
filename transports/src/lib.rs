//! Transports for [`cpc_framework`]: how bytes travel between nodes.
//!
//! | transport | feature (all on by default) | identity |
//! |---|---|---|
//! | [`TcpTransport`] | `tcp` | none: a peer is known by its address only |
//! | [`QuicTransport`] | `quic` | an Ed25519 key on both sides, proved by TLS 1.3 |

#[cfg(feature = "quic")]
mod quic;
#[cfg(any(feature = "tcp", feature = "quic"))]
mod socket;
#[cfg(feature = "tcp")]
mod tcp;

#[cfg(feature = "quic")]
pub use quic::{IdentityError, NodeIdentity, QuicTransport};
#[cfg(feature = "tcp")]
pub use tcp::TcpTransport;
