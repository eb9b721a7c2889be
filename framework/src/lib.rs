//! A framework for small proof-of-authority chains.

pub mod chain;
pub mod codec;
mod durable;
mod engine;
pub mod env;
pub mod executor;
pub mod limits;
pub mod mempool;
pub mod node;
pub mod peers;
pub mod producer;
pub mod rules;
pub mod store;
pub mod sync;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod transport;
pub mod types;
