//! Making blocks: when it is our turn, and never twice.
//!
//! A validator's node asks the chain for its next [`Slot`] on top of the tip, waits for it, and has the chain propose.
//! What it signs is in the [`SigningJournal`] before anybody sees it. The new block is then imported like any other,
//! and so checked by the very rules that others check it by.

mod fill;
mod journal;
mod journal_file;
mod signer;
mod slot;

pub use fill::{HEADER_ROOM, candidates};
pub use journal::{JournalError, MemoryJournal, Signed, SigningJournal};
pub use journal_file::FileJournal;
pub use signer::{SignError, Signer};
pub use slot::{Slot, next_slot};
