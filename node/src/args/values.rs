//! How the values of options are read.

use std::net::IpAddr;
use std::time::Duration;

use cpc_framework::memory::LEAST_MEMORY;
use cpc_framework::transport::{Endpoint, PeerId};
use cpc_framework::types::{Checkpoint, Network};

/// The longest time that an option can ask for: 100 years, which every clock can count to.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Names of networks, listed in the help.
pub(crate) fn network() -> impl clap::builder::TypedValueParser<Value = Network> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(Network::ALL.map(Network::name)).try_map(|name| name.parse::<Network>())
}

/// The address of a peer: what cannot be dialled is refused here, before anything starts.
pub(super) fn peer(text: &str) -> Result<Endpoint, String> {
    let endpoint: Endpoint = text.parse().map_err(|error| format!("{error}"))?;
    let (_, port) = endpoint.host_port().map_err(|error| error.to_string())?;
    if port == 0 {
        return Err(format!("{text:?} has port 0, which nobody can listen on"));
    }
    Ok(endpoint)
}

/// The key by which a node is known.
pub(super) fn peer_id(text: &str) -> Result<PeerId, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// The name of a host, as it stands in a URL, without a port.
pub(super) fn rpc_name(text: &str) -> Result<String, String> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if text.is_empty() || !text.chars().all(of_a_name) {
        return Err("expected the name of a host, such as node.example, without a port".to_owned());
    }
    Ok(text.to_owned())
}

/// A height and the hash of the block there.
pub(super) fn checkpoint(text: &str) -> Result<Checkpoint, String> {
    let (height, hash) = text.split_once(':').ok_or("expected HEIGHT:HASH")?;
    let height = height.parse().map_err(|_| format!("{height:?} is no height"))?;
    let hash = hash.parse().map_err(|error| format!("{hash:?} is no hash: {error}"))?;
    Ok(Checkpoint { height, hash })
}

/// The memory for queues: a size of at least [`LEAST_MEMORY`].
pub(super) fn memory(text: &str) -> Result<usize, String> {
    let bytes = size(text).ok_or("expected a size such as 64MiB, 64M or 67108864")?;
    if bytes < LEAST_MEMORY {
        return Err(format!("too little: a node needs at least {}MiB", LEAST_MEMORY >> 20));
    }
    Ok(bytes)
}

/// A number of bytes: digits, and a unit, if any. Units are powers of 1024, in either case.
fn size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

/// A host to listen on, in the form that goes before `:port`.
pub(super) fn listen_host(text: &str) -> Result<String, String> {
    let host = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => text.to_owned(),
    };
    match Endpoint::new(format!("{host}:0")).host_port() {
        Ok(_) => Ok(host),
        Err(_) => Err("expected an IP address or a host name without a port".to_owned()),
    }
}

/// A time of 0 or more. What is longer than anybody waits is the longest time.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number of seconds".to_owned();
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.map(|time| time.min(LONGEST_TIMEOUT)).ok_or_else(wrong)
}

/// A time above 0. What is longer than anybody waits is the longest time.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .map(|time| time.min(LONGEST_TIMEOUT))
        .ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

/// Checks each part of a filter by itself: the filter's own parser takes a misspelt level for the name of a module.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        level
            .trim()
            .parse::<tracing_subscriber::filter::LevelFilter>()
            .map_err(|_| format!("{level:?} is no level: use off, error, warn, info, debug or trace"))?;
    }
    tracing_subscriber::EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bytes_or_has_a_unit_of_powers_of_1024() {
        for text in ["67108864", "67108864B", "65536K", "65536KiB", "64M", "64MiB", "64mib"] {
            assert_eq!(memory(text), Ok(64 << 20), "{text}");
        }
        assert_eq!(memory("1G"), Ok(1 << 30));
        assert_eq!(memory("16MiB"), Ok(16 << 20));
    }

    #[test]
    fn what_is_no_size_or_too_little_is_refused_with_what_to_write() {
        for text in ["", "MiB", "64 MiB", "64MB", "6.5M", "-1", "64Mi", "99999999999999999999", "99999999999G"] {
            assert!(memory(text).unwrap_err().contains("such as 64MiB"), "{text}");
        }
        for text in ["0", "15MiB", "16777215"] {
            assert!(memory(text).unwrap_err().contains("at least 16MiB"), "{text}");
        }
    }
}
