//! The `Transport` plug point: byte streams between nodes.
//!
//! # Contract
//! Each sentence is one case of the conformance suite in [`crate::testkit`].
//!
//! - What one side writes the other reads, in order and whole.
//! - Both directions flow at once; a full one never stalls the other.
//! - A reader that does not read makes the writer wait; nothing grows without bound.
//! - The end of the writer is the end of the reader's stream, after all that was written; the other direction goes on.
//! - A writer that is dropped ends its direction as `shutdown` does.
//! - `close` ends both directions on both sides promptly.
//! - `close` wakes whoever waits in a read or a write, and is seen by `closed`: here at once, on the other side once both
//!   its directions have ended.
//! - `listen` on port 0 reports the real port; on a taken port it fails and names the address.
//! - `dial` to a place where nobody listens fails within ten seconds with an error that names the address.
//! - An address that is none of this transport's is refused at once, with an error that names it.
//! - An endpoint that pins a key reaches whoever proves it and nobody else; where no key is proved, it reaches nobody.
//! - A dial that is dropped leaves no connection behind.
//! - `accept` is cancel-safe: a dropped call loses no connection.
//! - A remote that does nothing delays neither `accept` nor anybody's `upgrade`.
//! - Dropping the listener frees its address.
//!
//! # Writing your own
//!
//! 1. Choose what an address is. It has the form `name:port`, whatever carries the bytes: nodes tell each other where they listen in this
//!    form, and [`Endpoint::host_port`] reads it and refuses the rest. Port 0 means any free one.
//! 2. Write `listen` and `dial`. Give errors a [kind](TransportErrorKind) that is true: who dials tries again after a transient one and not
//!    after the others. The message names the address, since [`TransportError`] prints it.
//! 3. In `accept` only take what has come. What waits for the other side (a TLS handshake, say) belongs into [`Incoming::upgrade`], which the
//!    engine drives in a task of its own, under a limit of time and number.
//! 4. Make the [`Connection`]. [`closable`] turns any stream into its two halves and a [`ConnectionHandle`] that keeps what the contract says of
//!    `close`; a transport that can end a connection itself implements the handle.
//! 5. Run `transport_suite!` over it.
//!
//! Watch for: reads and writes that nobody wakes after `close`; a `dial` that is dropped half-way and leaves a socket; buffers without a bound; an
//! [identity](Endpoint::identity) that is asked for and cannot be proved, which is an error and never a connection.
//!
//! A transport around another one, which dials no stranger:
//!
//! ```
//! use async_trait::async_trait;
//! use cpc_framework::transport::memory::MemoryNetwork;
//! use cpc_framework::transport::{
//!     Connection, Endpoint, Listener, Transport, TransportError, TransportErrorKind,
//! };
//!
//! #[derive(Debug)]
//! struct Acquainted<T> {
//!     inner: T,
//!     known: Vec<Endpoint>,
//! }
//!
//! #[async_trait]
//! impl<T: Transport> Transport for Acquainted<T> {
//!     fn name(&self) -> &'static str {
//!         self.inner.name()
//!     }
//!
//!     async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
//!         self.inner.listen(at).await
//!     }
//!
//!     async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
//!         if self.known.contains(to) {
//!             return self.inner.dial(to).await;
//!         }
//!         let source = "it is not on the list".into();
//!         Err(TransportError { kind: TransportErrorKind::Refused, doing: "cannot reach", endpoint: to.clone(), source })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), TransportError> {
//! let network = MemoryNetwork::new();
//! let [friend, stranger] = ["friend:1", "stranger:1"].map(Endpoint::new);
//! let mut listener = network.member("friend").listen(&friend).await?;
//! let transport = Acquainted { inner: network.member("me"), known: vec![friend.clone()] };
//!
//! transport.dial(&friend).await?;
//! listener.accept().await?.upgrade.await?;
//!
//! let refused = transport.dial(&stranger).await.unwrap_err();
//! assert_eq!(refused.to_string(), "cannot reach stranger:1: it is not on the list");
//! # Ok(())
//! # }
//! ```
//!
//! A whole one, over Unix sockets: `examples/src/unix.rs` in the repository.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

mod allow_list;
mod closable;
mod endpoint;
pub mod memory;

pub use allow_list::AllowList;
pub use closable::closable;
pub use endpoint::{Endpoint, LinkName, ParseEndpointError, ParseLinkNameError, ParsePeerIdError, PeerId};

/// Makes connections. See the [module documentation](self) for the contract.
#[async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// A short name, `tcp` for example: part of link names and logs.
    fn name(&self) -> &'static str;

    /// Starts to listen. Cancel-safe.
    ///
    /// # Errors
    /// The address is none of this transport's, or it is taken.
    async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError>;

    /// Connects. Cancel-safe: a dropped call leaves no connection behind.
    ///
    /// # Errors
    /// Nobody answers there, or whoever does is not who was meant.
    async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError>;
}

/// Takes what others dial.
#[async_trait]
pub trait Listener: Debug + Send {
    /// Where this listener is, with the real port, and with the key that it proves, if any: what others dial.
    fn local(&self) -> Endpoint;

    /// The next connection. Cancel-safe.
    ///
    /// # Errors
    /// A transient error is worth another call after a pause; after any other the listener is dead.
    async fn accept(&mut self) -> Result<Incoming, TransportError>;
}

/// A future that owns all it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A connection on its way in. The work of its security handshake is done by `upgrade`, in a bounded and timed task of the caller.
pub struct Incoming {
    /// Who dials.
    pub remote: Endpoint,
    /// Finishes the connection.
    pub upgrade: BoxFuture<Result<Connection, TransportError>>,
}

impl Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// A connection: one or two streams, and the handle that ends it.
#[derive(Debug)]
pub struct Connection {
    /// The other side's address.
    pub remote: Endpoint,
    /// The other side's key, where the transport proves one.
    pub identity: Option<PeerId>,
    /// The stream of messages.
    pub control: Duplex,
    /// A second stream for bulk answers, where the transport has one.
    pub bulk: Option<Duplex>,
    /// Ends the connection, and tells when it ended.
    pub handle: Arc<dyn ConnectionHandle>,
}

/// A stream of bytes in both directions.
pub struct Duplex {
    /// What the other side writes.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What the other side reads. `shutdown` ends this direction in order.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Debug for Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duplex").finish_non_exhaustive()
    }
}

/// Ends a connection.
#[async_trait]
pub trait ConnectionHandle: Debug + Send + Sync {
    /// Ends both directions at once. What was not yet sent may be lost. Does nothing the second time.
    fn close(&self, reason: &str);

    /// Waits until the connection has ended. Cancel-safe.
    async fn closed(&self);
}

/// What went wrong on the way to a connection.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {endpoint}: {source}")]
pub struct TransportError {
    /// What callers may branch on.
    pub kind: TransportErrorKind,
    /// What was being done: "cannot listen on", "cannot reach".
    pub doing: &'static str,
    /// Where.
    pub endpoint: Endpoint,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Kinds of [`TransportError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// The endpoint is none that this transport can use.
    BadEndpoint,
    /// Somebody else listens there already.
    AddressInUse,
    /// Nobody answers, or the connection broke.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// Whoever answers is not who was meant, or speaks something else.
    Refused,
    /// Anything else.
    Other,
}

impl TransportError {
    /// It took too long.
    pub fn timed_out(doing: &'static str, endpoint: Endpoint, why: &str) -> Self {
        Self { kind: TransportErrorKind::TimedOut, doing, endpoint, source: why.into() }
    }

    /// Whether another attempt may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, TransportErrorKind::Unreachable | TransportErrorKind::TimedOut | TransportErrorKind::Other)
    }
}

macro_rules! forward_transport {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Transport + ?Sized> Transport for $pointer<T> {
            fn name(&self) -> &'static str {
                (**self).name()
            }
            async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
                (**self).listen(at).await
            }
            async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
                (**self).dial(to).await
            }
        }
    };
}
forward_transport!(Arc);
forward_transport!(Box);
