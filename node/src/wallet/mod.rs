//! The wallet: keys in files, transactions, and questions to a running node over its RPC.
//!
//! It needs no chain of its own. For signing it needs the network's rules: those of the datadir's genesis, of another
//! genesis file, or of a network of the reference by its name.

mod amount;
pub(crate) mod args;
mod block;
mod client;
mod keys;
mod network;
mod send;
mod show;
pub(crate) mod table;

pub(crate) use block::show as block;
pub(crate) use keys::run as keys;
pub(crate) use send::run as tx;
pub(crate) use show::{balance, status, validators};
