//! Transports for [`cpc_framework`]: how bytes travel between nodes.
//!
//! | transport | feature (all on by default) | identity |
//! |---|---|---|
//! | [`TcpTransport`] | `tcp` | none: a peer is known by its address only |
//! | [`QuicTransport`] | `quic` | an Ed25519 key on both sides, proved by TLS 1.3 |
//!
//! In a node a transport is half of a link: `NodeBuilder::link(TcpTransport::default(), codec, "0.0.0.0:9000")`. By hand:
//!
//! ```
//! use cpc_framework::transport::{Endpoint, Transport};
//! use cpc_transports::{NodeIdentity, QuicTransport};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (identity, own) = (NodeIdentity::generate()?, NodeIdentity::generate()?);
//! let server = QuicTransport::new(&identity, "json")?;
//! let mut listener = server.listen(&Endpoint::new("127.0.0.1:0")).await?;
//!
//! // `PEERID@host:port` reaches whoever has that key, and nobody else.
//! let to = Endpoint { identity: Some(identity.peer_id()), ..Endpoint::new(listener.local().address) };
//! let client = QuicTransport::new(&own, "json")?;
//! let accept = async { listener.accept().await?.upgrade.await };
//! let (dialled, accepted) = tokio::join!(client.dial(&to), accept);
//! let (mut dialled, mut accepted) = (dialled?, accepted?);
//! assert_eq!(accepted.identity, Some(own.peer_id()));
//!
//! dialled.control.writer.write_all(b"hello").await?;
//! let mut read = [0; 5];
//! accepted.control.reader.read_exact(&mut read).await?;
//! assert_eq!(&read, b"hello");
//! dialled.handle.close("that was all");
//! # Ok(())
//! # }
//! ```
//!
//! Addresses are `host:port` or `[v6]:port`; a name that stands for several addresses is tried at all of them. Both transports proved
//! themselves with the suite of [`cpc_framework::transport`], which has the guide to a transport of one's own.

#![forbid(unsafe_code)]

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
