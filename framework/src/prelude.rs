//! What a program that builds a node needs most often: `use cpc_framework::prelude::*;`.

pub use crate::executor::accounts::AccountExecutor;
pub use crate::limits::Limits;
pub use crate::node::{NodeBuilder, NodeEvent, NodeHandle, NodeStatus, StartError, SubmitError};
pub use crate::store::file::FileStore;
pub use crate::store::memory::MemoryStore;
pub use crate::sync::{BatchSync, Mode, RollbackOne, SyncLimits};
pub use crate::transport::Endpoint;
pub use crate::transport::memory::MemoryNetwork;
pub use crate::tx_index::TxIndex;
pub use crate::types::{Genesis, Network, Tip, Transaction};
