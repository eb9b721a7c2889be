//! What a node knows about its peers, and what it decides by that: whom to dial, whom to let in, whom to ban.
//!
//! Everything here but [`peers_file`] is pure: the time since the node's start and the randomness are passed in.

pub mod address_book;
pub mod dialer;
pub mod guard;
mod host;
pub mod known;
pub mod log_limiter;
pub mod peers_file;
pub mod penalties;
pub mod score;
pub mod table;

pub use address_book::{AddressBook, Origin};
pub use dialer::{Dial, Dialer};
pub use guard::{InboundGuard, Refusal};
pub use host::{Host, canonical};
pub use known::{KnownByPeer, SeenCache};
pub use log_limiter::LogLimiter;
pub use penalties::{BanInfo, PenaltyInfo, PenaltyLog, Standing};
pub use score::{Offence, Penalty, ScoreBoard, Subject};
pub use table::{Direction, PeerInfo};
