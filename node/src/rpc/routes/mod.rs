use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use cpc_framework::node::NodeHandle;
use cpc_framework::rules::Hasher;
use cpc_framework::store::{StateView, StoreError};
use cpc_framework::tx_index::TxIndex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use super::gate::gate;
use super::limits::RpcLimits;

mod chain;
mod node;
mod txs;

/// What the routes work with.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) node: NodeHandle,
    pub(super) limits: Arc<RpcLimits>,
    /// Whether only this machine is meant.
    pub(super) loopback: bool,
    /// Places for requests.
    pub(super) requests: Arc<Semaphore>,
    /// Places for requests that read the store.
    readers: Arc<Semaphore>,
    hasher: Hasher,
    index: TxIndex,
}

impl App {
    pub(super) fn new(node: NodeHandle, index: TxIndex, limits: Arc<RpcLimits>, loopback: bool) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests)),
            readers: Arc::new(Semaphore::new(limits.readers)),
            hasher: Hasher::new(node.genesis()),
            index,
            node,
            limits,
            loopback,
        }
    }

    /// A place to read the store, once it is our turn.
    async fn reader(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.readers).acquire_owned().await.expect("nobody closes the semaphore")
    }

    /// Does work that may block, when it is its turn.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        blocking(self.reader().await, work).await
    }

    /// Reads the state as of the tip.
    async fn state<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn StateView) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = Arc::clone(self.node.store());
        self.blocking(move || Ok(read(store.state()?.as_ref())?)).await
    }
}

/// Does work that may block, in a reader's place. It runs to its end, and keeps the place as long, even where nobody waits
/// for it any more.
async fn blocking<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let work = move || {
        let _place = place;
        work()
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ApiError::internal(format!("the request ended early: {error}"))))
}

/// All routes behind the gate.
pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/status", get(chain::status))
        .route("/block/{height}", get(chain::block))
        .route("/blocks", get(chain::blocks))
        .route("/balance/{address}", get(chain::balance))
        .route("/validators", get(chain::validators))
        .route("/tx/send", post(txs::send))
        .route("/tx/{hash}", get(txs::find))
        .route("/mempool", get(txs::pool))
        .route("/peers", get(node::peers))
        .route("/health", get(node::health))
        .route("/ready", get(node::ready))
        .fallback(async || ApiError::not_found("Not Found"))
        .method_not_allowed_fallback(async || ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .layer(from_fn_with_state(app.clone(), gate))
        .with_state(app)
}
