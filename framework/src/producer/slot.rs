use crate::rules::{Parent, schedule};
use crate::types::Height;

/// A stretch of time in which one validator may propose one block (protocol.md section 4, block validity 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The height of the block.
    pub height: Height,
    /// The round that a block of this slot belongs to.
    pub round: u64,
    /// The first second of it, in unix time.
    pub starts: u64,
    /// The first second after it.
    pub ends: u64,
}

impl Slot {
    /// Whether a block with this timestamp, in unix seconds, belongs to the slot.
    pub fn contains(&self, timestamp: u64) -> bool {
        (self.starts..self.ends).contains(&timestamp)
    }
}

/// Our next slot on top of a parent, or the one that is running: the first of at most `rounds` rounds from now on that
/// is ours. `None` where there is none among them.
///
/// Proposers wait one block time before round 0 begins. Block 0 is of round 0 whenever it is made.
pub fn next_slot(
    parent: Option<Parent>,
    block_time: u64,
    now: u64,
    rounds: u64,
    is_ours: impl Fn(Height, u64) -> bool,
) -> Option<Slot> {
    let Some(parent) = parent else {
        return is_ours(0, 0).then_some(Slot { height: 0, round: 0, starts: 0, ends: u64::MAX });
    };
    let height = parent.tip.height.checked_add(1)?;
    let running = schedule::round(now.saturating_sub(parent.timestamp), block_time);
    let round = (running..running.saturating_add(rounds)).find(|round| is_ours(height, *round))?;
    let starts = block_time.checked_mul(round.checked_add(1)?)?.checked_add(parent.timestamp)?;
    Some(Slot { height, round, starts, ends: starts.checked_add(block_time)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::schedule::{proposer_index, round};
    use crate::types::{Hash32, Tip};

    const PARENT: Parent = Parent { tip: Tip { height: 8, hash: Hash32::ZERO }, timestamp: 1000 };
    const BLOCK_TIME: u64 = 10;

    /// Whether it is the turn of number `us` of three validators.
    fn of_three(us: usize) -> impl Fn(Height, u64) -> bool {
        move |height, round| proposer_index(height, round, 3) == Some(us)
    }

    #[test]
    fn waits_one_block_time_for_round_0() {
        let slot = next_slot(Some(PARENT), BLOCK_TIME, 1003, 3, of_three(0));
        assert_eq!(slot, Some(Slot { height: 9, round: 0, starts: 1010, ends: 1020 }));
    }

    #[test]
    fn waits_also_where_the_parent_is_ahead_of_our_clock() {
        let slot = next_slot(Some(PARENT), BLOCK_TIME, 990, 3, of_three(0)).unwrap();
        assert_eq!((slot.round, slot.starts), (0, 1010));
    }

    #[test]
    fn takes_over_in_its_round_when_those_before_it_stay_silent() {
        let slot = |now, us| next_slot(Some(PARENT), BLOCK_TIME, now, 3, of_three(us)).unwrap();
        assert_eq!(slot(1003, 1), Slot { height: 9, round: 1, starts: 1020, ends: 1030 });
        assert_eq!(slot(1029, 1).round, 1);
        assert_eq!(slot(1030, 1), Slot { height: 9, round: 4, starts: 1050, ends: 1060 });
    }

    #[test]
    fn block_0_is_its_first_proposers_whenever_it_comes() {
        let slot = next_slot(None, BLOCK_TIME, 12_345, 3, of_three(0)).unwrap();
        assert!((slot.height, slot.round) == (0, 0) && slot.contains(12_345));
        assert_eq!(next_slot(None, BLOCK_TIME, 12_345, 3, of_three(1)), None);
    }

    #[test]
    fn who_is_not_active_has_no_slot_and_no_number_overflows() {
        assert_eq!(next_slot(Some(PARENT), BLOCK_TIME, 1010, 100, |_, _| false), None);
        let last = Parent { tip: Tip { height: u64::MAX, hash: Hash32::ZERO }, timestamp: u64::MAX };
        assert_eq!(next_slot(Some(last), BLOCK_TIME, u64::MAX, 3, |_, _| true), None);
        let late = Parent { timestamp: u64::MAX - 1, ..PARENT };
        assert_eq!(next_slot(Some(late), u64::MAX, u64::MAX, 3, |_, _| true), None);
    }

    proptest! {
        /// At any second exactly one of the validators has its slot, and a block of that second is valid by the rule.
        #[test]
        fn each_second_after_the_first_block_time_belongs_to_one_validator(
            wait in 0u64..10_000, block_time in 1u64..100, validators in 1usize..9,
        ) {
            let now = PARENT.timestamp + wait;
            let owners: Vec<usize> = (0..validators)
                .filter(|us| {
                    let ours = |height, round| proposer_index(height, round, validators) == Some(*us);
                    next_slot(Some(PARENT), block_time, now, validators as u64, ours)
                        .is_some_and(|slot| slot.contains(now))
                })
                .collect();
            let by_rule = proposer_index(9, round(wait, block_time), validators).unwrap();
            prop_assert_eq!(owners, if wait < block_time { vec![] } else { vec![by_rule] });
        }
    }
}
