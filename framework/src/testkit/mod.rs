//! Conformance suites: one for each plug point, with a named test for each sentence of its contract.

pub mod codec;
pub mod messages;
pub mod transport;
