//! For whoever writes a plug: conformance suites.

pub mod store;
