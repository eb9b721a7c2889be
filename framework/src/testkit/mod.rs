//! Conformance suites: one case for each sentence of a plug point's contract, for whoever writes a plug of their own.

pub mod codec;
pub mod executor;
pub mod messages;
pub mod store;
pub mod sync;
pub mod transport;
