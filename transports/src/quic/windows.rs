use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cpc_framework::limits::Limits;
use cpc_framework::memory::MemoryShares;
use quinn::VarInt;

/// What every connection may have under way, in each direction, whatever others have: a round trip of 20 ms still brings 3 MiB/s.
pub(super) const LEAST_WINDOW: u32 = 64 * 1024;
/// What a connection may have under way at most: a full bulk stream leaves room for the control stream.
pub(super) const MOST_WINDOW: u32 = 2 * STREAM_WINDOW;
/// What one stream may have under way: 100 ms at 20 MiB/s.
pub(super) const STREAM_WINDOW: u32 = 2 * 1024 * 1024;

/// The memory that the windows of all connections take together, beyond the least of each.
///
/// Half of it is for connections that this node has dialled, so that those who dial it can make it slower and nothing worse. Each takes
/// half of what is left, in equal parts for both directions.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    dialled: Arc<Mutex<u32>>,
    accepted: Arc<Mutex<u32>>,
}

/// What a connection has for its windows, until it is dropped.
#[derive(Debug)]
pub(super) struct Window {
    left: Arc<Mutex<u32>>,
    taken: u32,
}

impl Windows {
    /// For all of a transport's connections.
    pub(super) fn new(bytes: usize) -> Self {
        let half = u32::try_from(bytes / 2).unwrap_or(u32::MAX);
        Self { dialled: Arc::new(Mutex::new(half)), accepted: Arc::new(Mutex::new(half)) }
    }

    /// Gives a new connection its windows.
    pub(super) fn open(&self, quic: &quinn::Connection, dialled: bool) -> Window {
        let window = Window::take(if dialled { &self.dialled } else { &self.accepted });
        let each = window.each();
        quic.set_receive_window(VarInt::from(each));
        quic.set_send_window(each.into());
        window
    }
}

impl Default for Windows {
    fn default() -> Self {
        Self::new(MemoryShares::of(Limits::default().network_memory).transports)
    }
}

impl Window {
    fn take(left: &Arc<Mutex<u32>>) -> Self {
        let mut amount = lock(left);
        let taken = (*amount / 2).min(2 * (MOST_WINDOW - LEAST_WINDOW));
        *amount -= taken;
        Self { left: Arc::clone(left), taken }
    }

    /// What may be under way in each direction.
    fn each(&self) -> u32 {
        LEAST_WINDOW + self.taken / 2
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        *lock(&self.left) += self.taken;
    }
}

fn lock(left: &Mutex<u32>) -> MutexGuard<'_, u32> {
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_connections_there_are_their_windows_fit_and_all_of_it_comes_back() {
        let whole = 6 << 20;
        let left = Arc::new(Mutex::new(whole));
        let windows: Vec<Window> = (0..100).map(|_| Window::take(&left)).collect();
        assert_eq!(windows[0].each(), LEAST_WINDOW + whole / 4);
        assert!(windows.iter().all(|window| (LEAST_WINDOW..=MOST_WINDOW).contains(&window.each())));
        assert_eq!(windows.iter().map(|window| window.taken).sum::<u32>() + *lock(&left), whole);
        drop(windows);
        assert_eq!(*lock(&left), whole);
    }

    #[test]
    fn one_connection_takes_no_more_than_the_most() {
        let left = Arc::new(Mutex::new(u32::MAX));
        assert_eq!(Window::take(&left).each(), MOST_WINDOW);
    }
}
