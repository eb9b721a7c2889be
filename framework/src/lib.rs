//! A framework for small proof-of-authority chains.

pub mod codec;
pub mod executor;
pub mod rules;
pub mod store;
pub mod sync;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod transport;
pub mod types;
