//! Bodies of fuzz targets: each takes any bytes at all, feeds them to a part, and panics where the part breaks its word.
//!
//! They need no fuzzer: a fuzzer, a program that only mutates, and a test that runs a corpus all call the same functions, and a part of
//! your own can be put under them as ours are.
//!
//! | function | what the bytes are | what must hold |
//! |---|---|---|
//! | [`decodes`] | a stream in a codec | whatever is read survives being written and read again, byte for byte |
//! | [`agree`] | a stream in one codec | the other one says the same of every message |
//! | [`frames`] | caps, sizes of pieces, a stream | how it is cut changes nothing; what waits stays below the cap; each call takes something or waits |
//! | [`genesis_file`] | `genesis.json` | what is read survives being written and has a state |
//! | [`peers_file`] | `peers.json` | what is read survives being written, and is bounded |
//! | [`sync_events`] | decisions about events | [`AnyEvents`](super::sync::AnyEvents): the books are kept |
//! | [`sync_network`] | decisions about a network | [`World`](super::sync::World): every rule of the contract |
//!
//! ```
//! use cpc_codecs::PostcardCodec;
//! use cpc_framework::testkit::fuzz;
//!
//! fuzz::decodes(&PostcardCodec, b"\xc7cpc\x01\x00\x00\x00\x03\x03\x01\x05");
//! ```

mod codecs;
mod files;
mod framing;
mod sync;

pub use codecs::{agree, decodes};
pub use files::{genesis_file, peers_file};
pub use framing::frames;
pub use sync::{sync_events, sync_network};

/// The largest frame in these streams: more than any input is long, and little enough to be written often.
const CAP: usize = 4 << 20;
