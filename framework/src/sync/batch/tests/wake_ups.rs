//! Between events and before its deadline a strategy has nothing to do.

use super::*;
use crate::testkit::sync::random_network;

/// A strategy that is also looked at when it did not ask for it.
#[derive(Debug)]
struct Disturbed(BatchSync);

impl Disturbed {
    fn disturb(&mut self, now: Duration) {
        if self.0.next_deadline().is_some_and(|at| at <= now) {
            return;
        }
        let before = self.0.status();
        self.0.handle(now, SyncEvent::Tick);
        assert_eq!(self.0.poll_action(), None, "a wake-up was lost at {now:?}");
        assert_eq!(self.0.status(), before, "a wake-up was lost at {now:?}");
    }
}

impl SyncStrategy for Disturbed {
    fn handle(&mut self, now: Duration, event: SyncEvent) {
        self.disturb(now);
        self.0.handle(now, event);
    }

    fn poll_action(&mut self) -> Option<SyncAction> {
        let action = self.0.poll_action();
        if action.is_none() {
            self.disturb(self.0.now);
        }
        action
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.0.next_deadline()
    }

    fn status(&self) -> SyncStatus {
        self.0.status()
    }
}

#[test]
fn no_wake_up_is_lost_in_random_networks() {
    for seed in 0..48 {
        println!("seed {seed}");
        random_network(&|| Box::new(Disturbed(BatchSync::default())), seed);
    }
}
