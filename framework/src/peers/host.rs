use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::transport::Endpoint;

/// Whom bounds per address count for: the address of a machine, without its port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IP address in its canonical form: an IPv4 address mapped into IPv6 is the IPv4 address.
    Ip(IpAddr),
    /// What another transport, or a name that was not resolved, calls the other side.
    Name(String),
}

/// The bits of an IPv6 address that name a network: whoever has one address usually has all of a /64.
const IPV6_NETWORK_BITS: u32 = 64;

impl Host {
    /// The host of an endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        let host = endpoint.host_port().map_or(endpoint.address.as_str(), |(host, _)| host);
        host.parse().map_or_else(|_| Self::Name(host.to_ascii_lowercase()), Self::ip)
    }

    /// An IP address in its canonical form.
    pub fn ip(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }

    /// What slots are counted by: the address, for IPv6 its /64 network.
    #[must_use]
    pub fn group(&self) -> Self {
        match self {
            Self::Ip(IpAddr::V6(ip)) if !ip.is_loopback() => {
                let network = ip.to_bits() >> (128 - IPV6_NETWORK_BITS) << (128 - IPV6_NETWORK_BITS);
                Self::Ip(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            other => other.clone(),
        }
    }

    /// The endpoint of a port on this host: where an inbound peer says that it listens.
    pub fn endpoint(&self, port: u16) -> Endpoint {
        match self {
            Self::Ip(ip) => Endpoint::new(SocketAddr::new(*ip, port).to_string()),
            // What stood in brackets and is no address that we know, one with a zone for example.
            Self::Name(name) if name.contains(':') => Endpoint::new(format!("[{name}]:{port}")),
            Self::Name(name) => Endpoint::new(format!("{name}:{port}")),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The endpoint with its address in the one form that addresses are compared in.
pub fn canonical(endpoint: &Endpoint) -> Endpoint {
    let address = match endpoint.host_port() {
        Ok((_, port)) => Host::of(endpoint).endpoint(port).address,
        Err(_) => endpoint.address.clone(),
    };
    Endpoint { address, ..endpoint.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(address: &str) -> Host {
        Host::of(&Endpoint::new(address))
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_the_ipv4_address() {
        assert_eq!(host("[::ffff:192.0.2.7]:1"), host("192.0.2.7:2"));
        assert_eq!(canonical(&Endpoint::new("[::ffff:192.0.2.7]:9000")), Endpoint::new("192.0.2.7:9000"));
        assert!(host("[::ffff:127.0.0.1]:1").is_loopback());
    }

    #[test]
    fn spellings_of_one_address_are_one() {
        assert_eq!(canonical(&Endpoint::new("[2001:DB8:0::1]:09000")), Endpoint::new("[2001:db8::1]:9000"));
        assert_eq!(canonical(&Endpoint::new("Node.Example:9000")), Endpoint::new("node.example:9000"));
        assert_eq!(canonical(&Endpoint::new("in-memory 7")), Endpoint::new("in-memory 7"));
        assert_eq!(canonical(&Endpoint::new("[fe80::1%eth0]:9000")), Endpoint::new("[fe80::1%eth0]:9000"));
    }

    #[test]
    fn ipv6_addresses_of_one_network_are_one_group() {
        assert_eq!(host("[2001:db8::1]:1").group(), host("[2001:db8::ffff:2]:1").group());
        assert_ne!(host("[2001:db8::1]:1").group(), host("[2001:db8:0:1::1]:1").group());
        assert_ne!(host("192.0.2.1:1").group(), host("192.0.2.2:1").group());
    }

    #[test]
    fn all_of_127_is_loopback() {
        assert!(
            host("127.0.0.2:5").is_loopback() && host("[::1]:5").is_loopback() && host("localhost:5").is_loopback()
        );
        assert!(!host("128.0.0.1:5").is_loopback());
    }
}
