use std::io::Cursor;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::codec::{Codec, Sniff};
use crate::transport::{Connection, Duplex, Endpoint, LinkName, Transport, TransportError, TransportErrorKind};

/// Within so many bytes every codec has decided (the contract of [`Codec::sniff`]).
const SNIFFED: usize = 16;

/// One way to talk to peers: a transport, with a codec or several of which each peer chooses one.
#[derive(Debug, Clone)]
pub(crate) struct NodeLink {
    pub(crate) transport: Arc<dyn Transport>,
    /// Never empty. Dials that name no codec take the first.
    pub(crate) codecs: Vec<Arc<dyn Codec>>,
}

impl NodeLink {
    /// What operators call it.
    pub(crate) fn name(&self) -> LinkName {
        match self.codecs.as_slice() {
            [codec] => LinkName::new(self.transport.name(), codec.name()),
            _ => LinkName::new(self.transport.name(), LinkName::AUTO),
        }
    }

    /// The codec that an address means.
    fn codec(&self, name: &LinkName) -> Option<&Arc<dyn Codec>> {
        if name.transport != self.transport.name() {
            None
        } else if name.codec == LinkName::AUTO && self.codecs.len() > 1 {
            self.codecs.first()
        } else {
            self.codecs.iter().find(|codec| codec.name() == name.codec)
        }
    }

    /// Learns what the other side of an accepted connection speaks. Not cancel-safe: dropped, the connection is lost.
    pub(crate) async fn recognise(
        &self,
        connection: Connection,
    ) -> Result<(Connection, Arc<dyn Codec>), TransportError> {
        if let [codec] = self.codecs.as_slice() {
            return Ok((connection, Arc::clone(codec)));
        }
        let Connection { remote, identity, control: Duplex { mut reader, mut writer }, bulk, handle } = connection;
        let failed = |why: String| TransportError {
            kind: TransportErrorKind::Refused,
            doing: "cannot take a connection from",
            endpoint: remote.clone(),
            source: why.into(),
        };
        let mut prefix = Vec::with_capacity(SNIFFED);
        let codec = loop {
            let opinions: Vec<Sniff> = self.codecs.iter().map(|codec| codec.sniff(&prefix)).collect();
            if let Some(at) = opinions.iter().position(|opinion| *opinion == Sniff::Mine) {
                break Arc::clone(&self.codecs[at]);
            }
            if prefix.len() >= SNIFFED || opinions.iter().all(|opinion| *opinion == Sniff::NotMine) {
                let ours: Vec<&str> = self.codecs.iter().map(|codec| codec.name()).collect();
                let why = format!(
                    "this link speaks {}, the peer none of them: it begins with {prefix:02x?}",
                    ours.join(" or ")
                );
                let _ = writer.shutdown().await;
                handle.close("unknown codec");
                return Err(failed(why));
            }
            let mut window = (&mut reader).take((SNIFFED - prefix.len()) as u64);
            match window.read_buf(&mut prefix).await {
                Ok(0) => return Err(failed("it went before it said anything".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(failed(error.to_string())),
            }
        };
        let reader = Box::new(Cursor::new(prefix).chain(reader));
        Ok((Connection { remote, identity, control: Duplex { reader, writer }, bulk, handle }, codec))
    }
}

/// The link and the codec that an address means: without a link, the first of both.
pub(crate) fn find<'a>(links: &'a [NodeLink], endpoint: &Endpoint) -> Option<(usize, &'a Arc<dyn Codec>)> {
    let Some(name) = &endpoint.link else {
        return links.first().and_then(|link| Some((0, link.codecs.first()?)));
    };
    links.iter().enumerate().find_map(|(at, link)| Some((at, link.codec(name)?)))
}

/// The address with the transport and the codec written out that are used for it; `None` where no link fits.
pub(crate) fn resolved(links: &[NodeLink], endpoint: &Endpoint) -> Option<Endpoint> {
    let (at, codec) = find(links, endpoint)?;
    Some(endpoint.clone().over(LinkName::new(links[at].transport.name(), codec.name())))
}
