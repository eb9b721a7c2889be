//! Transports for [`cpc_framework`]: how bytes travel between nodes.
//!
//! | transport | feature | identity |
//! |---|---|---|
//! | [`TcpTransport`] | `tcp` (default) | none: a peer is known by its address only |

#[cfg(feature = "tcp")]
mod tcp;

#[cfg(feature = "tcp")]
pub use tcp::TcpTransport;
