//! In what order a peer's questions are answered, and which have to wait.

use std::time::Duration;

use super::announcing_tests::Bench;
use super::connection::Inbound;
use super::core::Action;
use super::peer::{Part, Wanted};
use crate::sync::{ConnId, IN_FLIGHT};
use crate::types::{Height, REQUEST_ID};

const ABLE: ConnId = ConnId(7);
const PLAIN: ConnId = ConnId(3);
const NOTHING: [u64; 0] = [];

impl Bench {
    async fn with_able() -> Self {
        let mut bench = Self::new().await;
        bench.join(ABLE, vec![REQUEST_ID.to_owned()]);
        bench
    }

    /// Asks for ten blocks. Gives what is answered now.
    fn ask_blocks(&mut self, conn: ConnId, id: Option<u64>, from: Height) -> Vec<Wanted> {
        let wanted = Wanted { id, part: Part::Block, from, to: from + 9 };
        self.core.received(self.now, conn, Inbound::Asked(wanted));
        self.answering()
    }

    /// What is answered now.
    fn answering(&mut self) -> Vec<Wanted> {
        let actions = std::iter::from_fn(|| self.core.poll_action());
        actions
            .filter_map(|action| match action {
                Action::Serve { wanted, .. } => Some(wanted),
                _ => None,
            })
            .collect()
    }

    /// The answer under preparation is sent. Gives what is answered next.
    fn sent_answer(&mut self, conn: ConnId) -> Vec<Wanted> {
        self.core.served(self.now, conn);
        self.answering()
    }

    fn tick_at(&mut self, now: Duration) -> Vec<Wanted> {
        self.now = now;
        self.core.tick(self.now);
        self.answering()
    }
}

fn ids(wanted: &[Wanted]) -> Vec<u64> {
    wanted.iter().filter_map(|wanted| wanted.id).collect()
}

#[tokio::test]
async fn what_was_served_a_moment_ago_waits_and_holds_up_nothing_else() {
    let mut bench = Bench::with_able().await;
    let memory = bench.core.config.limits.served_range_memory;
    assert_eq!(ids(&bench.ask_blocks(ABLE, Some(1), 0)), [1]);
    assert_eq!(ids(&bench.sent_answer(ABLE)), NOTHING);
    assert_eq!(ids(&bench.ask_blocks(ABLE, Some(2), 0)), NOTHING, "the very same again");
    assert_eq!(ids(&bench.ask_blocks(ABLE, Some(3), 10)), [3], "another range");
    assert_eq!(ids(&bench.sent_answer(ABLE)), NOTHING);
    assert!(bench.core.next_deadline().is_some_and(|at| at <= memory), "the engine wakes up for it");
    assert_eq!(ids(&bench.tick_at(memory.saturating_sub(Duration::from_millis(1)))), NOTHING);
    assert_eq!(ids(&bench.tick_at(memory)), [2]);
    bench.sent_answer(ABLE);
    assert_eq!(ids(&bench.ask_blocks(ABLE, Some(4), 0)), NOTHING, "and once more");
}

#[tokio::test]
async fn who_does_not_number_its_questions_is_answered_in_their_order() {
    let mut bench = Bench::with_able().await;
    let memory = bench.core.config.limits.served_range_memory;
    assert_eq!(bench.ask_blocks(PLAIN, None, 0).len(), 1);
    bench.sent_answer(PLAIN);
    assert_eq!(bench.ask_blocks(PLAIN, None, 0), []);
    assert_eq!(bench.ask_blocks(PLAIN, None, 10), [], "it would take the answer for the other's");
    assert_eq!(bench.tick_at(memory)[0].from, 0);
    assert_eq!(bench.sent_answer(PLAIN)[0].from, 10);
}

#[tokio::test]
async fn the_last_questions_are_answered_where_more_wait_than_may() {
    let mut bench = Bench::with_able().await;
    let in_flight = IN_FLIGHT as u64;
    // Given up by who asked them, the first ones wait here still.
    let mut answered = vec![];
    for id in 1..=2 * in_flight {
        answered.extend(ids(&bench.ask_blocks(ABLE, Some(id), 10 * id)));
    }
    for _ in 0..2 * in_flight {
        answered.extend(ids(&bench.sent_answer(ABLE)));
    }
    let last: Vec<u64> = (in_flight + 1..=2 * in_flight).collect();
    assert_eq!(answered, [vec![1], last].concat());
}
