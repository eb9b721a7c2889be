//! The links of a node: how addresses and options become transports and codecs.

use std::fmt;

use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::codec::Codec;
use cpc_framework::memory::MemoryShares;
use cpc_framework::node::NodeBuilder;
use cpc_framework::transport::{Endpoint, LinkName, Transport};
use cpc_transports::{NodeIdentity, QuicTransport, TcpTransport};
use std::sync::Arc;

use crate::CliError;
use crate::args::{CodecName, DEFAULT_P2P_PORT, NodeArgs, TransportName};

/// One way to talk to peers, as the operator asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// How bytes travel.
    pub transport: TransportName,
    /// How messages are written.
    pub codec: CodecName,
    /// Where it listens, `host:port`, if it does.
    pub listen: Option<String>,
}

/// What a node listens on where nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByDefault {
    /// On the default port.
    Listens,
    /// On nothing: it only dials.
    Dials,
}

impl LinkSpec {
    /// The links that the options ask for, the default one first.
    ///
    /// # Errors
    /// They contradict each other.
    pub(crate) fn all(args: &NodeArgs, by_default: ByDefault) -> Result<Vec<Self>, CliError> {
        let links = Self::asked_for(args, by_default)?;
        match links.iter().find(|link| link.transport != TransportName::Quic) {
            Some(link) if !args.allow.is_empty() => Err(CliError::usage(format!(
                "--allow lets peers in by their keys, which only quic proves, and {link} is a link without: \
                 use --transport quic, or only quic links with --listen"
            ))),
            _ => Ok(links),
        }
    }

    fn asked_for(args: &NodeArgs, by_default: ByDefault) -> Result<Vec<Self>, CliError> {
        if !args.listen.is_empty() {
            return Ok(args.listen.clone());
        }
        let codec = args.codec.unwrap_or_else(|| args.transport.usual_codec());
        fits(args.transport, codec).map_err(CliError::usage)?;
        let port = args.p2p_port.or((by_default == ByDefault::Listens).then_some(DEFAULT_P2P_PORT));
        let listen = port.map(|port| format!("{}:{port}", args.p2p_host));
        Ok(vec![Self { transport: args.transport, codec, listen }])
    }

    /// Reads `LINK://HOST:PORT`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let endpoint: Endpoint = text.parse().map_err(|error| format!("{error}"))?;
        let link = endpoint.link.as_ref().ok_or("expected LINK://HOST:PORT, for example tcp+json://0.0.0.0:9000")?;
        let transport = TransportName::named(link.transport())
            .ok_or_else(|| format!("{:?} is no transport: use tcp or quic", link.transport()))?;
        let codec = CodecName::named(link.codec())
            .ok_or_else(|| format!("{:?} is no codec: use json, postcard or, over tcp, auto", link.codec()))?;
        fits(transport, codec)?;
        if endpoint.identity.is_some() {
            return Err("a node listens with its own key: leave out what is before the @".to_owned());
        }
        endpoint.host_port().map_err(|error| error.to_string())?;
        Ok(Self { transport, codec, listen: Some(endpoint.address) })
    }

    /// Puts the links into a node. `identity` is the node's own key, `memory` its budget for all queues.
    ///
    /// # Errors
    /// The key cannot be used.
    pub(crate) fn add_to(
        links: &[Self],
        mut builder: NodeBuilder,
        identity: &NodeIdentity,
        memory: usize,
    ) -> Result<NodeBuilder, CliError> {
        let quic = links.iter().filter(|link| link.transport == TransportName::Quic).count();
        let share = MemoryShares::of(memory).transports / quic.max(1);
        for link in links {
            let (transport, listen) = (link.transport(identity, share)?, link.listen.clone());
            builder = match (link.codec.single(), listen) {
                (Some(codec), Some(at)) => builder.link(transport, codec, at),
                (Some(codec), None) => builder.dial_link(transport, codec),
                (None, Some(at)) => builder.auto_link(transport, JsonCodec, PostcardCodec, at),
                // A dial that names no codec is one in JSON.
                (None, None) => builder.dial_link(transport, JsonCodec),
            };
        }
        Ok(builder.memory(memory))
    }

    fn transport(&self, identity: &NodeIdentity, memory: usize) -> Result<Arc<dyn Transport>, CliError> {
        Ok(match self.transport {
            TransportName::Tcp => Arc::new(TcpTransport::default()),
            TransportName::Quic => Arc::new(
                QuicTransport::new(identity, self.codec.name())
                    .map_err(|error| CliError::caused("cannot use the node's key", &error))?
                    .with_bulk_stream()
                    .with_memory(memory),
            ),
        })
    }
}

impl fmt::Display for LinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", LinkName::new(self.transport.name(), self.codec.name()))?;
        self.listen.as_ref().map_or(Ok(()), |at| write!(f, "://{at}"))
    }
}

impl CodecName {
    /// The codec; `None` for those that the peer chooses from.
    fn single(self) -> Option<Arc<dyn Codec>> {
        match self {
            Self::Json => Some(Arc::new(JsonCodec)),
            Self::Postcard => Some(Arc::new(PostcardCodec)),
            Self::Auto => None,
        }
    }
}

/// Whether a codec goes with a transport.
fn fits(transport: TransportName, codec: CodecName) -> Result<(), String> {
    if (transport, codec) == (TransportName::Quic, CodecName::Auto) {
        return Err("quic+auto is no link: QUIC agrees on one codec before a byte flows; \
            listen on quic+json and quic+postcard instead"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_it_is_written() {
        for text in
            ["tcp+json://0.0.0.0:9000", "tcp+auto://[::]:0", "quic+postcard://127.0.0.1:9001", "quic+json://h:1"]
        {
            assert_eq!(LinkSpec::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_link_is_refused_with_what_to_use() {
        let key = "ab".repeat(32);
        for (text, named) in [
            ("0.0.0.0:9000", "tcp+json://"),
            ("udp+json://a:1", "tcp or quic"),
            ("tcp+xml://a:1", "json, postcard"),
            ("quic+auto://a:1", "quic+postcard"),
            (&format!("quic+json://{key}@a:1"), "@"),
            ("tcp+json://a", "host:port"),
        ] {
            let error = LinkSpec::parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
