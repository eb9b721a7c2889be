use std::fmt;
use std::str::FromStr;

/// The public key of a node, where the transport proves one: Ed25519, 32 bytes, written as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 32]);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PeerId {
    type Err = ParsePeerIdError;

    fn from_str(text: &str) -> Result<Self, ParsePeerIdError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParsePeerIdError(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

/// The text is no peer's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no peer id: expected 64 hexadecimal digits, as a node shows them before the @ of its address")]
pub struct ParsePeerIdError(pub String);

/// The name of a link: a transport and a codec, `tcp+json` for example.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(Box<str>);

/// The longest name of a transport or a codec in the text of an address, in bytes: longer than any that is known.
const MAX_NAME: usize = 32;

impl LinkName {
    /// The codec's place in the name of a link that takes several.
    pub const AUTO: &'static str = "auto";

    /// The link of a transport and a codec.
    pub fn new(transport: &str, codec: &str) -> Self {
        Self(format!("{transport}+{codec}").into())
    }

    /// What the transport calls itself.
    pub fn transport(&self) -> &str {
        self.0.split_once('+').map_or(&self.0, |(transport, _)| transport)
    }

    /// What the codec calls itself.
    pub fn codec(&self) -> &str {
        self.0.split_once('+').map_or("", |(_, codec)| codec)
    }

    /// What the reference nodes speak (protocol.md section 2), so that plain addresses in `peers.json` mean it.
    pub fn reference() -> Self {
        Self::new("tcp", "json")
    }

    /// Whether it is what the reference nodes speak.
    pub fn is_reference(&self) -> bool {
        &*self.0 == "tcp+json"
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for LinkName {
    type Err = ParseLinkNameError;

    fn from_str(text: &str) -> Result<Self, ParseLinkNameError> {
        let is_name = |name: &str| {
            (1..=MAX_NAME).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        match text.split_once('+') {
            Some((transport, codec)) if is_name(transport) && is_name(codec) => Ok(Self::new(transport, codec)),
            _ => Err(ParseLinkNameError(text.to_owned())),
        }
    }
}

/// The text names no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no link: expected TRANSPORT+CODEC, for example quic+postcard")]
pub struct ParseLinkNameError(pub String);

/// Where to listen or whom to dial: `[LINK://][PEERID@]address`. What an address is depends on the transport; for sockets it is `host:port`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Over which link; where it is absent, over the default one of whoever reads it. Transports do not look at it.
    pub link: Option<LinkName>,
    /// The key that whoever answers must prove, if any.
    pub identity: Option<PeerId>,
    /// The transport's own address.
    pub address: String,
}

impl Endpoint {
    /// An address over the default link, with nobody's key pinned.
    pub fn new(address: impl Into<String>) -> Self {
        Self { link: None, identity: None, address: address.into() }
    }

    /// The same place over this link.
    pub fn over(self, link: LinkName) -> Self {
        Self { link: Some(link), ..self }
    }

    /// What the transport needs of it: all but the link.
    pub fn without_link(&self) -> Self {
        Self { link: None, identity: self.identity, address: self.address.clone() }
    }

    /// The host and the port of an address `host:port` or `[v6]:port`.
    ///
    /// # Errors
    /// The address has another form.
    pub fn host_port(&self) -> Result<(&str, u16), ParseEndpointError> {
        let bad = || ParseEndpointError(self.address.clone());
        let (host, port) = self.address.rsplit_once(':').ok_or_else(bad)?;
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        let plain =
            !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@\"[]".contains(c));
        let port = port.parse().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()));
        match port {
            Some(port) if plain => Ok((host, port)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(link) = &self.link {
            write!(f, "{link}://")?;
        }
        if let Some(identity) = &self.identity {
            write!(f, "{identity}@")?;
        }
        f.write_str(&self.address)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let bad = || ParseEndpointError(text.to_owned());
        let (link, rest) = match text.split_once("://") {
            None => (None, text),
            Some((link, rest)) => (Some(link.parse().map_err(|_| bad())?), rest),
        };
        let (identity, address) = match rest.split_once('@') {
            None => (None, rest),
            Some((key, address)) => (Some(key.parse().map_err(|_| bad())?), address),
        };
        Ok(Self { link, identity, address: address.to_owned() })
    }
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address: expected host:port, for example 192.0.2.7:9000, or a link and perhaps a key before it, as in quic+postcard://PEERID@192.0.2.7:9001"
)]
pub struct ParseEndpointError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let key = "0f".repeat(32);
        for text in [
            "192.0.2.7:9000".to_owned(),
            "tcp+json://[::1]:9000".to_owned(),
            format!("{key}@node.example:1"),
            format!("quic+postcard://{key}@192.0.2.7:9001"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            endpoint.host_port().unwrap();
        }
        let full: Endpoint = format!("quic+postcard://{key}@a:1").parse().unwrap();
        assert_eq!((full.link, full.identity), (Some(LinkName::new("quic", "postcard")), Some(PeerId([0x0f; 32]))));
    }

    #[test]
    fn what_names_no_link_or_no_key_is_refused_with_the_text() {
        for text in
            ["quic://a:1", "://a:1", "+json://a:1", "tcp+://a:1", "TCP+JSON://a:1", "tcp+json://zz@a:1", "ab@a:1"]
        {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_host_holds_no_bracket() {
        for text in ["[[a]:1", "[a]]:1", "a[:1", "a]:1", "[a:1"] {
            assert!(Endpoint::new(text).host_port().is_err(), "{text}");
        }
    }

    #[test]
    fn the_references_link_is_tcp_with_json() {
        assert!(LinkName::reference().is_reference() && "tcp+json".parse::<LinkName>().unwrap().is_reference());
        assert!(!LinkName::new("quic", "json").is_reference());
    }
}
