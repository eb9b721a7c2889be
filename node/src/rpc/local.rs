//! Who may talk to an RPC that is bound to this machine alone.
//!
//! A page in a browser may have its own name point to 127.0.0.1 (DNS rebinding) and then read what it likes, or send
//! requests blindly from where it is. Its requests name it, in `Host` or `Origin`: such requests are refused.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::error::ApiError;

/// Checks that a request means this machine, and comes from no page of another one. What names nobody is no browser's.
pub(super) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |what: &str, value: &str| {
        let shown: String = value.chars().take(100).collect();
        let detail = format!(
            "{what} is {shown:?}, but this RPC answers to localhost alone: use http://localhost, or start the node with another --host"
        );
        Err(ApiError::new(StatusCode::FORBIDDEN, detail))
    };
    if let Some(named) = uri.authority().map(Authority::as_str)
        && !is_local(named)
    {
        return refused("the host of the request", named);
    }
    for host in headers.get_all(header::HOST) {
        if !text(host).is_some_and(is_local) {
            return refused("Host", text(host).unwrap_or_default());
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        let site = text(origin).and_then(|origin| origin.split_once("://"));
        if !site.is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && is_local(host)) {
            return refused("Origin", text(origin).unwrap_or_default());
        }
    }
    Ok(())
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// Whether `host` or `host:port` is this machine, by a name or number that nobody else can point elsewhere.
fn is_local(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            return host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => authority.split_once(':').unwrap_or((authority, "0")),
    };
    let named = host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
    named && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_let_in(pairs: &[(header::HeaderName, &str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        check(&Uri::from_static("/status"), &headers).is_ok()
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
        assert!(check(&Uri::from_static("http://evil.example/status"), &HeaderMap::new()).is_err());
    }
}
