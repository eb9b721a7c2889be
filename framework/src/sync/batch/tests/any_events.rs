//! Any events in any order: nothing panics, overflows or runs in circles, and the books are kept.

use proptest::prelude::*;

use super::*;
use crate::testkit::sync::{AnyEvents, Dice};

/// Seeds that found a fault. The first: a session that a new tip ended left its peer's claim open until the next event came.
const FOUND: [u64; 1] = [16_876_576_008_529_273_330];

fn keeps_the_books(seed: u64) {
    AnyEvents::new(Box::new(BatchSync::default()), Dice::new(seed)).run(400);
}

#[test]
fn keep_the_books_where_they_were_not_kept_once() {
    FOUND.into_iter().for_each(keeps_the_books);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keep_the_books(seed in any::<u64>()) {
        keeps_the_books(seed);
    }
}
