use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Connection, Endpoint, Incoming, Listener, PeerId, Transport, TransportError, TransportErrorKind};

/// What a refused peer is told.
const TOLD: &str = "this node admits only the peers on its list";

/// A transport that connects with these keys and with nobody else, whoever dials.
///
/// A connection that proves another key, or none, is closed before a byte of it is read, and its peer is told why where the transport can
/// tell.
#[derive(Debug)]
pub struct AllowList {
    inner: Arc<dyn Transport>,
    allowed: Arc<BTreeSet<PeerId>>,
}

impl AllowList {
    /// Connects by `inner`, with these keys alone.
    pub fn new(inner: impl Transport, allowed: impl IntoIterator<Item = PeerId>) -> Self {
        Self { inner: Arc::new(inner), allowed: Arc::new(allowed.into_iter().collect()) }
    }
}

#[async_trait]
impl Transport for AllowList {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    /// As [`Transport::listen`].
    ///
    /// # Errors
    /// Also where this transport proves no keys: nobody could ever come in.
    async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        let inner = self.inner.listen(at).await?;
        if inner.local().identity.is_none() {
            let source = "only certain keys are let in, and this transport proves none: nobody could connect".into();
            let kind = TransportErrorKind::BadEndpoint;
            return Err(TransportError { kind, doing: "cannot listen on", endpoint: at.clone(), source });
        }
        Ok(Box::new(AllowListener { inner, allowed: Arc::clone(&self.allowed) }))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
        const DOING: &str = "cannot reach";
        if let Some(pinned) = to.identity
            && !self.allowed.contains(&pinned)
        {
            return Err(refused(DOING, to, Some(pinned)));
        }
        let connection = self.inner.dial(to).await?;
        checked(&self.allowed, DOING, to, connection)
    }
}

#[derive(Debug)]
struct AllowListener {
    inner: Box<dyn Listener>,
    allowed: Arc<BTreeSet<PeerId>>,
}

#[async_trait]
impl Listener for AllowListener {
    fn local(&self) -> Endpoint {
        self.inner.local()
    }

    async fn accept(&mut self) -> Result<Incoming, TransportError> {
        let Incoming { remote, upgrade } = self.inner.accept().await?;
        let (allowed, from) = (Arc::clone(&self.allowed), remote.clone());
        let upgrade =
            Box::pin(async move { checked(&allowed, "cannot take a connection from", &from, upgrade.await?) });
        Ok(Incoming { remote, upgrade })
    }
}

/// The connection, if its peer is on the list; otherwise it is ended.
fn checked(
    allowed: &BTreeSet<PeerId>,
    doing: &'static str,
    endpoint: &Endpoint,
    connection: Connection,
) -> Result<Connection, TransportError> {
    if connection.identity.is_some_and(|identity| allowed.contains(&identity)) {
        return Ok(connection);
    }
    connection.handle.close(TOLD);
    Err(refused(doing, endpoint, connection.identity))
}

fn refused(doing: &'static str, endpoint: &Endpoint, identity: Option<PeerId>) -> TransportError {
    let source = match identity {
        Some(identity) => format!("its key {identity} is not on the list of those let in").into(),
        None => "only certain keys are let in, and it has proved none".into(),
    };
    TransportError { kind: TransportErrorKind::Refused, doing, endpoint: endpoint.clone(), source }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::transport::memory::MemoryNetwork;

    #[tokio::test]
    async fn where_keys_are_asked_for_a_transport_that_proves_none_neither_listens_nor_reaches_anybody() {
        let (network, id) = (MemoryNetwork::new(), PeerId([1; 32]));
        let there = Endpoint::new("there:1");
        let mut open = network.member("there").listen(&there).await.unwrap();
        let list = AllowList::new(network.member("here"), [id]);
        let error = list.listen(&Endpoint::new("here:1")).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::BadEndpoint);
        assert!(error.to_string().contains("here:1") && error.to_string().contains("proves none"), "{error}");

        let error = list.dial(&there).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Refused);
        // The connection was made and is ended: the other side sees it.
        let mut accepted = open.accept().await.unwrap().upgrade.await.unwrap();
        let read = accepted.control.reader.read(&mut [0]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    #[tokio::test]
    async fn an_address_that_pins_another_key_is_not_even_dialled() {
        let (id, other) = (PeerId([1; 32]), PeerId([2; 32]));
        let list = AllowList::new(MemoryNetwork::new().member("here"), [id]);
        let pinned = Endpoint { identity: Some(other), ..Endpoint::new("nowhere:1") };
        let error = list.dial(&pinned).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Refused);
        assert!(error.to_string().contains(&other.to_string()), "{error}");
    }
}
