//! By which names an RPC may be called.
//!
//! A page in a browser may have its own name point to this machine (DNS rebinding) and then read what it likes, or send
//! requests blindly from where it is. Its requests name it, in `Host` or `Origin`: such requests are refused. What names nobody is no browser's.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use super::error::ApiError;

/// Which names an RPC answers to. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Whether it is bound to this machine alone: then nobody else is meant whatever is asked. Else only whoever sends must mean it.
    loopback: bool,
    /// What the operator calls it besides.
    allowed: Arc<[String]>,
}

impl Names {
    pub(super) fn new(loopback: bool, allowed: &[String]) -> Self {
        Self { loopback, allowed: allowed.into() }
    }

    /// Checks that a request means this RPC, and comes from no page of another site.
    pub(super) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.loopback && matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        if let Some(named) = uri.authority().map(Authority::as_str)
            && !self.is_ours(named)
        {
            return Err(self.refusal("the host of the request", named));
        }
        for host in headers.get_all(header::HOST) {
            if !text(host).is_some_and(|host| self.is_ours(host)) {
                return Err(self.refusal("Host", text(host).unwrap_or_default()));
            }
        }
        for origin in headers.get_all(header::ORIGIN) {
            let site = text(origin).and_then(|origin| origin.split_once("://"));
            if !site.is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && self.is_ours(host)) {
                return Err(self.refusal("Origin", text(origin).unwrap_or_default()));
            }
        }
        Ok(())
    }

    fn refusal(&self, what: &str, value: &str) -> ApiError {
        let shown: String = value.chars().take(100).collect();
        let answers = if self.loopback {
            "answers to localhost alone: use http://localhost, or start the node with --rpc-name or another --host"
        } else {
            "takes what is sent to its IP address or localhost only: use these, or start the node with --rpc-name"
        };
        ApiError::new(StatusCode::FORBIDDEN, format!("{what} is {shown:?}, but this RPC {answers}"))
    }

    /// Whether `host` or `host:port` is a name or number that nobody else can point here: of a number, the page of a stranger has none.
    fn is_ours(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else { return false };
        if let Ok(ip) = host.parse::<IpAddr>() {
            return !self.loopback || ip.is_loopback();
        }
        let named = |name: &str| host.eq_ignore_ascii_case(name);
        named("localhost") || self.allowed.iter().any(|name| named(name))
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// The host of `host` or `host:port`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> Option<&str> {
    if let Some((host, port)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        host.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(host);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
    is_port(port).then_some(host)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_let_in(pairs: &[(header::HeaderName, &str)]) -> bool {
        asks(&Names::new(true, &[]), &Method::GET, pairs)
    }

    fn asks(names: &Names, method: &Method, pairs: &[(header::HeaderName, &str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        names.check(method, &Uri::from_static("/status"), &headers).is_ok()
    }

    #[test]
    fn names_of_this_machine_are_let_in() {
        for host in ["localhost", "LocalHost:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]", "[::1]:8000"] {
            assert!(is_let_in(&[(header::HOST, host)]), "{host}");
            assert!(is_let_in(&[(header::HOST, host), (header::ORIGIN, &format!("http://{host}"))]), "{host}");
        }
        assert!(is_let_in(&[]), "a request that names nobody");
    }

    #[test]
    fn other_names_are_not() {
        for host in
            ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.7", ""]
                .into_iter()
                .chain(["127.0.0.1:", "127.0.0.1:x", "[::2]", "[::1]x", "[::1", "localhost:80:80", "user@localhost"])
        {
            assert!(!is_let_in(&[(header::HOST, host)]), "{host}");
            let origin = format!("http://{host}");
            assert!(!is_let_in(&[(header::HOST, "localhost"), (header::ORIGIN, &origin)]), "{origin}");
        }
        for origin in ["null", "file://localhost", "localhost"] {
            assert!(!is_let_in(&[(header::ORIGIN, origin)]), "{origin}");
        }
        assert!(!is_let_in(&[(header::HOST, "localhost"), (header::HOST, "evil.example")]));
        let elsewhere = Uri::from_static("http://evil.example/status");
        assert!(Names::new(true, &[]).check(&Method::GET, &elsewhere, &HeaderMap::new()).is_err());
    }

    #[test]
    fn beyond_this_machine_a_send_must_go_to_a_number_or_a_name_of_the_operators() {
        let names = Names::new(false, &["node.example".to_owned()]);
        let hosts = ["192.0.2.7", "192.0.2.7:8000", "[2001:db8::7]:8000", "localhost:8000", "Node.Example:8000"];
        for host in hosts {
            assert!(asks(&names, &Method::POST, &[(header::HOST, host)]), "{host}");
            let origin = format!("https://{host}");
            assert!(asks(&names, &Method::POST, &[(header::HOST, host), (header::ORIGIN, &origin)]), "{origin}");
        }
        assert!(asks(&names, &Method::POST, &[]), "a request that names nobody");
        for host in ["evil.example", "node.example.evil.example", "192.0.2.7.evil.example:8000", "[x]", ""] {
            assert!(!asks(&names, &Method::POST, &[(header::HOST, host)]), "{host}");
            assert!(!asks(&names, &Method::DELETE, &[(header::HOST, host)]), "{host}");
            let origin = format!("http://{host}");
            assert!(
                !asks(&names, &Method::POST, &[(header::HOST, "192.0.2.7"), (header::ORIGIN, &origin)]),
                "{origin}"
            );
            assert!(asks(&names, &Method::GET, &[(header::HOST, host)]), "what anybody may read");
        }
    }

    #[test]
    fn a_name_of_the_operators_is_good_on_loopback_too() {
        let names = Names::new(true, &["node.example".to_owned()]);
        assert!(asks(&names, &Method::GET, &[(header::HOST, "node.example")]));
        assert!(!asks(&names, &Method::GET, &[(header::HOST, "192.0.2.7")]));
    }
}
