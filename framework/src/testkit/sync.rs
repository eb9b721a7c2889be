//! The conformance suite of [`crate::sync::SyncStrategy`], and the simulated network that it uses.
//!
//! ```
//! # mod doc {
//! use cpc_framework::sync::BatchSync;
//!
//! cpc_framework::sync_suite!(batch_sync, BatchSync::default());
//! # }
//! ```
//! makes a test of each sentence of the contract. [`World`] is a node without IO in virtual time, for tests of one's own.

mod any_events;
mod cases;
mod model;
mod record;
mod serving;
mod world;

pub use any_events::AnyEvents;
pub use cases::*;
pub use model::{Chain, Dice, Peer};
pub use world::{Rule, World};

/// Makes a module of tests, one for each sentence of the contract of [`crate::sync`]. The second argument makes a new strategy.
#[macro_export]
macro_rules! sync_suite {
    ($name:ident, $subject:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::sync_suite!(@cases $subject;
                the_same_events_give_the_same_actions
                as_many_requests_are_outstanding_with_a_peer_as_it_keeps_apart
                a_request_asks_for_1_to_500_consecutive_heights
                blocks_are_imported_in_order
                every_batch_is_imported_or_discarded_once
                what_was_asked_of_a_gone_peer_is_asked_of_another
                an_announced_tip_alone_changes_neither_mode_nor_memory
                one_honest_peer_among_silent_and_lying_ones_is_enough
                a_synced_strategy_with_all_claims_closed_rests
                blocks_are_rolled_back_only_towards_delivered_blocks_that_link
                a_rollback_that_leads_to_nothing_better_is_put_back
                an_honest_peer_is_never_penalised
                a_batch_is_vouched_for_only_up_to_an_ancestor_of_a_checkpoint
            );
        }
    };
    (@cases $subject:expr; $($case:ident)*) => {$(
        #[test]
        fn $case() {
            $crate::testkit::sync::$case(&|| ::std::boxed::Box::new($subject));
        }
    )*};
}
