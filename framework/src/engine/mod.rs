//! What moves messages between peers, chain and strategy.
//!
//! The core decides and does no IO; the driver is one task that carries its decisions out; each connection has a
//! reader and a writer task of its own.

mod announcing;
#[cfg(test)]
mod announcing_tests;
mod budget;
mod clocks;
mod connection;
mod connections;
mod core;
mod crowd;
mod driver;
mod fetching;
#[cfg(test)]
mod flood_tests;
mod gossip;
mod handshake;
#[cfg(test)]
mod handshake_tests;
mod importing;
#[cfg(test)]
mod importing_tests;
mod large;
mod links;
mod loan;
mod offering;
mod outbox;
mod outgoing;
mod peer;
#[cfg(test)]
mod pool_tests;
mod pool_view;
mod preparing;
mod producing;
#[cfg(test)]
mod producing_tests;
mod recent;
mod recovering;
mod report;
mod requests;
mod saver;
mod saving;
mod serve;
#[cfg(test)]
mod serve_tests;
mod serving;
#[cfg(test)]
mod serving_tests;
mod stuck;
#[cfg(test)]
mod stuck_tests;
mod syncing;
mod turns;
mod unchecked;
mod verifying;
mod weight;
mod writer;

pub use self::core::Figures;
pub(crate) use self::core::{Core, CoreConfig, OwnName};
pub(crate) use driver::{Command, Driver, DriverParts};
pub(crate) use links::{NodeLink, resolved};
