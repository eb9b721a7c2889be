//! One budget for the memory of everything that waits: what peers send, what they are sent, and what is to be imported.
//!
//! [`Limits::network_memory`](crate::limits::Limits::network_memory) is cut into shares, each in 32nds of it; their sum is the budget:
//!
//! | share | 32nds | of 64 MiB | what it bounds | when it is full |
//! |---|---|---|---|---|
//! | [`frames`](MemoryShares::frames) | 6 | 12 MiB | messages that have begun to come, of all connections | who sends is not read from; after a second, the connection that has held the most for the longest is closed |
//! | [`inbox`](MemoryShares::inbox) | 4 | 8 MiB | messages from their decoding until the engine is done with them, at [`DECODED`] times their bytes, or at what they take in memory if that is more | who sends is not read from, in turn |
//! | [`outboxes`](MemoryShares::outboxes) | 5 | 10 MiB | what waits to be sent: three fifths for answers and those under preparation, one for gossip, one for blocks announced by their hash | gossip is dropped, a block of which only the height is told is asked for as an answer; answers wait in turn; after a second, the connection that has taken nothing of the most for the longest is closed |
//! | [`blocks`](MemoryShares::blocks) | 10 | 20 MiB | blocks that wait for their import or are under it: four fifths for the window of the sync, at [`IMPORTED`] times what they weigh, one for gossip | the sync asks for nothing more; gossip is left to the sync |
//! | [`verifying`](MemoryShares::verifying) | 4 | 8 MiB | transactions whose signatures wait to be checked or are | the newest is dropped, and may come again |
//! | [`transports`](MemoryShares::transports) | 3 | 6 MiB | bytes that a transport holds in the process (QUIC; TCP's are the kernel's) | windows get smaller |
//!
//! What the shares do not count is bounded too, and so is the process:
//!
//! ```text
//! resident ≤ RESIDENT_AT_REST + network_memory + RESIDENT_BESIDE + state
//! ```
//!
//! *State* is what a node keeps, not what waits: the pool (at most [`pool_bytes`](crate::limits::Limits::pool_bytes)), and accounts and
//! validators. The two constants are measured, over TCP and QUIC, by the tests in `tests/tests/memory`; they hold for the allocator of
//! glibc where it gives large buffers back, as the program has it do.
//!
//! An answer of up to [`frame_response_max`](crate::limits::Limits::frame_response_max) bytes is read within that. Of a long line of JSON the blocks at its
//! front are taken, and the rest is forgotten as it comes. What must be held until it is whole, one block or a frame of a codec that reads
//! frames as a whole, is one at a time in the whole node; what it has beyond [`MemoryShares::held_of_one`] the pool of transactions gives up meanwhile,
//! twice, since it is decoded too: what comes from the chain goes before what may come again.

/// The least budget with which a node starts: below it, a block of the largest size that is passed on could not come.
pub const LEAST_MEMORY: usize = 16 << 20;

/// What a node's process takes while nothing happens, in bytes: 22 MiB were measured.
pub const RESIDENT_AT_REST: usize = 24 << 20;

/// What attacks add besides the budget, in bytes, however many peers take part: the tables of what was seen and is known (20 MiB when
/// full), buffers of up to 64 KiB for each stream, two answers under preparation, what an allocator wastes.
pub const RESIDENT_BESIDE: usize = 24 << 20;

/// How much a decoded message takes for each of its bytes: a usual transaction has 500 bytes in JSON and some 600 in memory, and 200 in
/// postcard, whose bytes are kept besides.
pub const DECODED: usize = 2;

/// How much a block under import takes for each of its bytes: besides its transactions in memory the bytes themselves, signatures to
/// be checked, and what it changes in the state.
pub const IMPORTED: usize = 4;

/// The budget is cut into so many parts.
const PARTS: usize = 32;

/// How much of the budget each kind of queue may hold, in bytes. See the [module's documentation](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryShares {
    /// Messages that have begun to come.
    pub frames: usize,
    /// Messages that came and are not dealt with yet.
    pub inbox: usize,
    /// What waits to be sent.
    pub outboxes: usize,
    /// Blocks that wait for their import, or are under it.
    pub blocks: usize,
    /// Transactions whose signatures wait to be checked.
    pub verifying: usize,
    /// What transports hold in the process.
    pub transports: usize,
}

impl MemoryShares {
    /// The shares of this budget. What the division leaves over is nobody's.
    pub const fn of(budget: usize) -> Self {
        let part = budget / PARTS;
        Self {
            frames: 6 * part,
            inbox: 4 * part,
            outboxes: 5 * part,
            blocks: 10 * part,
            verifying: 4 * part,
            transports: 3 * part,
        }
    }

    /// All of them together: never more than the budget.
    pub const fn sum(&self) -> usize {
        self.frames + self.inbox + self.outboxes + self.blocks + self.verifying + self.transports
    }

    /// Answers to requests for blocks and headers that wait to be sent or are under preparation: gossip is not dropped for them.
    pub const fn answers(&self) -> usize {
        self.outboxes / 5 * 3
    }

    /// What else waits to be sent.
    pub const fn gossip(&self) -> usize {
        self.outboxes / 5
    }

    /// Blocks that were announced by their hash and are kept until they are asked for, with the frames that were made of them.
    pub const fn recent_blocks(&self) -> usize {
        self.outboxes / 5
    }

    /// Of frames longer than this one is read at a time in the whole node.
    pub const fn frame(&self) -> usize {
        self.frames / 3
    }

    /// How much of such a frame the share holds: 8 MiB of 64 MiB, and always as much as may come unasked, which is `frame_max`, and what is
    /// read at a time. The pool of transactions gives up what more is needed.
    pub const fn held_of_one(&self, frame_max: usize) -> usize {
        let share = self.frames / 3 * 2;
        let unasked = frame_max + (64 << 10);
        if share > unasked { share } else { unasked }
    }

    /// The window of a sync, in bytes of the framework's encoding, whichever codec the blocks came in.
    pub const fn sync_window(&self) -> usize {
        self.blocks / 5 * 4 / IMPORTED
    }

    /// Blocks of gossip under import, with the copies of them that are kept, decoded; while a reorganisation lasts, which no gossip is
    /// imported in, the transactions of the blocks that it removed.
    pub const fn gossip_blocks(&self) -> usize {
        self.blocks / 5
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::Limits;
    use crate::sync::SyncLimits;

    proptest! {
        #[test]
        fn the_shares_of_any_budget_make_up_all_of_it_but_less_than_a_part(budget in 0..=usize::MAX) {
            let shares = MemoryShares::of(budget);
            prop_assert!(shares.sum() <= budget && budget - shares.sum() < PARTS);
            prop_assert!(shares.answers() + shares.gossip() + shares.recent_blocks() <= shares.outboxes);
            prop_assert!(shares.sync_window() * IMPORTED + shares.gossip_blocks() <= shares.blocks);
        }
    }

    #[test]
    fn a_frame_of_the_usual_cap_fits_the_default_budget_beside_others() {
        let limits = Limits::default();
        assert_eq!(MemoryShares::of(limits.network_memory).frame(), limits.frame_max);
    }

    #[test]
    fn of_a_long_answer_8_mib_are_held_by_default_and_more_with_more_memory_and_always_what_may_come_unasked() {
        let frame_max = Limits::default().frame_max;
        let held = |mib: usize| MemoryShares::of(mib << 20).held_of_one(frame_max);
        assert_eq!([16, 64, 256].map(held), [frame_max + (64 << 10), 8 << 20, 32 << 20]);
    }

    #[test]
    fn the_default_budget_gives_the_sync_its_default_window() {
        assert_eq!(
            MemoryShares::of(Limits::default().network_memory).sync_window(),
            SyncLimits::default().window_bytes
        );
    }
}
