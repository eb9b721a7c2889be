//! Ports of this machine.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port on which nobody listens, outside the range that the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(97);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + u16::try_from((start.wrapping_add(u32::from(step))) % u32::from(COUNT)).unwrap();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// Whether somebody listens on `port`, over TCP or UDP, by the kernel's tables, so that nobody has to connect to find out.
pub(super) fn is_listening(port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    // The states of a listening TCP socket and of a UDP socket that is not connected.
    let tables = [("/proc/net/tcp", "0A"), ("/proc/net/tcp6", "0A"), ("/proc/net/udp", "07"), ("/proc/net/udp6", "07")];
    tables.into_iter().filter_map(|(file, state)| Some((std::fs::read_to_string(file).ok()?, state))).any(
        |(table, wanted)| {
            table.lines().skip(1).any(|line| {
                let mut fields = line.split_whitespace().skip(1);
                let (local, state) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
                local.ends_with(&suffix) && state == wanted
            })
        },
    )
}
