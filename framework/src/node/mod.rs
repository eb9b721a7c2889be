//! Building a node and talking to it.

mod builder;
mod handle;
mod status;

pub use crate::engine::Figures;
pub use builder::{NodeBuilder, StartError};
pub use handle::{NodeEvent, NodeHandle, NodeStopped, SubmitError};
pub use status::{CheckpointAhead, NodeStatus};
