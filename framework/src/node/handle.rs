use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::NodeStatus;
use crate::engine::Command;
use crate::mempool::{self, PoolSnapshot};
use crate::peers::{PeerInfo, Penalty, Standing};
use crate::store::ChainStore;
use crate::sync::Mode;
use crate::transport::Endpoint;
use crate::types::{Address, BlockLink, Genesis, Hash32, Tip, Transaction};

/// A running node. Clones talk to the same node; it stops when [`shutdown`](Self::shutdown) is called or the last clone is dropped.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: watch::Receiver<NodeStatus>,
    pub(super) events: broadcast::Sender<NodeEvent>,
    pub(super) store: Arc<dyn ChainStore>,
    pub(super) genesis: Arc<Genesis>,
    pub(super) listening: Arc<[Endpoint]>,
}

/// Something that happened in a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// A block was applied, and is durable.
    BlockApplied {
        /// Its place.
        link: BlockLink,
        /// How many transactions it has.
        txs: usize,
    },
    /// Blocks were rolled back.
    RolledBack {
        /// The tip now.
        tip: Option<Tip>,
    },
    /// The mode changed.
    ModeChanged(Mode),
    /// A peer was penalised for a proven fault.
    Penalised {
        /// Whose fault it is: an address as the log shows it.
        peer: String,
        /// What it did, with the proof, and what it costs.
        penalty: Penalty,
    },
}

/// The node has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct NodeStopped;

/// A transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The pool refuses it.
    #[error(transparent)]
    Refused(#[from] mempool::Refusal),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] NodeStopped),
}

impl NodeHandle {
    /// How the node stands now.
    pub fn status(&self) -> NodeStatus {
        self.status.borrow().clone()
    }

    /// The status as it changes. The channel closes when the node has stopped.
    pub fn watch(&self) -> watch::Receiver<NodeStatus> {
        self.status.clone()
    }

    /// Waits until the status is as `condition` wants it. Cancel-safe.
    ///
    /// # Errors
    /// The node stopped before.
    pub async fn wait_for(&self, condition: impl FnMut(&NodeStatus) -> bool) -> Result<NodeStatus, NodeStopped> {
        self.status.clone().wait_for(condition).await.map(|status| status.clone()).map_err(|_| NodeStopped)
    }

    /// What happens from now on. Holds 1024 events; a listener that is slower loses the oldest and is told how many.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    /// Where the node listens, in the order of its links, with the real ports.
    pub fn listening(&self) -> &[Endpoint] {
        &self.listening
    }

    /// The node's genesis.
    pub fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    /// The node's store, for reading.
    pub fn store(&self) -> &Arc<dyn ChainStore> {
        &self.store
    }

    /// Hands in a transaction, which is passed on to peers. Gives its hash. Cancel-safe, but a dropped call may still take effect.
    ///
    /// # Errors
    /// The pool refuses it, or the node has stopped.
    pub async fn submit(&self, tx: Transaction) -> Result<Hash32, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Submit { tx: Arc::new(tx), reply };
        self.commands.send(command).await.map_err(|_| NodeStopped)?;
        Ok(answer.await.map_err(|_| NodeStopped)??)
    }

    /// The peers whose handshake is done. Cancel-safe.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, NodeStopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Peers { reply }).await.map_err(|_| NodeStopped)?;
        answer.await.map_err(|_| NodeStopped)
    }

    /// The bans that hold and the last penalties with their proofs, those of peers that have gone included. Cancel-safe.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn standing(&self) -> Result<Standing, NodeStopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Standing { reply }).await.map_err(|_| NodeStopped)?;
        answer.await.map_err(|_| NodeStopped)
    }

    /// A transaction that waits in the pool. Cancel-safe.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn pooled(&self, hash: Hash32) -> Result<Option<Arc<Transaction>>, NodeStopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Pooled { hash, reply }).await.map_err(|_| NodeStopped)?;
        answer.await.map_err(|_| NodeStopped)
    }

    /// A look at the pool, with at most `most` transactions, of one sender or of all. Cancel-safe.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn pool(&self, sender: Option<Address>, most: usize) -> Result<PoolSnapshot, NodeStopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Pool { sender, most, reply }).await.map_err(|_| NodeStopped)?;
        answer.await.map_err(|_| NodeStopped)
    }

    /// Has the node propose no more blocks; all else goes on. A block that is made already may still come. So a network can be
    /// brought to rest at one height before its nodes stop. Cancel-safe, but a dropped call may still take effect.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn hold_proposals(&self) -> Result<(), NodeStopped> {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Hold { reply }).await.map_err(|_| NodeStopped)?;
        done.await.map_err(|_| NodeStopped)
    }

    /// Stops the node: finishes what is being written, saves `peers.json`, closes all connections. Returns at once if it has stopped.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            let _ = done.await;
        }
    }
}
