use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use cpc_framework::node::SubmitError;
use cpc_framework::tx_index::IncludedTx;
use cpc_framework::types::{Address, Hash32, Height, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::{RawValue, to_raw_value};

use super::App;
use crate::rpc::error::{ApiError, json};

/// Pooled transactions in an answer where nobody says how many.
const POOL_TXS: usize = 100;

/// `POST /tx/send`
pub(super) async fn send(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Sent {
        tx_hash: Hash32,
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    }
    let tx: Transaction = serde_json::from_slice(&body).map_err(|error| {
        let status = match error.classify() {
            Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            Category::Io | Category::Syntax | Category::Eof => StatusCode::BAD_REQUEST,
        };
        let shown: String = error.to_string().chars().take(300).collect();
        ApiError::new(status, format!("the body is no transaction: {shown}"))
    })?;
    let tx_hash = app.hasher.transaction_hash(&tx);
    match app.node.submit(tx).await {
        Ok(_) => json(&Sent { tx_hash, status: "received", error: None }),
        Err(SubmitError::Refused(refusal)) => {
            json(&Sent { tx_hash, status: "rejected", error: Some(refusal.reason()) })
        }
        Err(SubmitError::Stopped(stopped)) => Err(stopped.into()),
    }
}

/// Where a transaction is.
#[derive(Serialize)]
struct Found<'a> {
    tx_hash: Hash32,
    /// `pending` in the pool, `included` in a block.
    status: &'static str,
    /// The three fields are null in the pool.
    #[serde(flatten)]
    place: Place,
    tx: &'a Transaction,
    /// Older ones with the same hash, newest first: absent where there are none, as nearly always.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    others: &'a [Other<'a>],
}

/// Another included transaction with the same hash.
#[derive(Serialize)]
struct Other<'a> {
    #[serde(flatten)]
    place: Place,
    tx: &'a Transaction,
}

#[derive(Serialize, Default)]
struct Place {
    height: Option<Height>,
    block_hash: Option<Hash32>,
    /// Which of the block's transactions it is, from 0 on.
    index: Option<usize>,
}

impl From<&IncludedTx> for Place {
    fn from(included: &IncludedTx) -> Self {
        Self { height: Some(included.height), block_hash: Some(included.block_hash), index: Some(included.index) }
    }
}

/// `GET /tx/{hash}`
pub(super) async fn find(
    State(app): State<App>,
    hash: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(text) = hash.map_err(|error| ApiError::unusable(error.body_text()))?;
    let tx_hash: Hash32 = text.parse().map_err(|error| ApiError::unusable(format!("{error}")))?;
    // Once more at the end: what is rolled back meanwhile leaves the chain for the pool.
    for look_at_chain in [true, false] {
        if let Some(tx) = app.node.pooled(tx_hash).await? {
            let place = Place::default();
            return json(&Found { tx_hash, status: "pending", place, tx: &tx, others: &[] });
        }
        if !look_at_chain {
            break;
        }
        let found = app.included(tx_hash).await?;
        if let Some((newest, older)) = found.split_first() {
            let others: Vec<Other<'_>> =
                older.iter().map(|other| Other { place: other.into(), tx: &other.tx }).collect();
            let place = newest.into();
            return json(&Found { tx_hash, status: "included", place, tx: &newest.tx, others: &others });
        }
    }
    Err(ApiError::not_found(format!("there is no transaction {tx_hash} in the pool or in a block")))
}

impl App {
    /// The transactions with this hash in blocks, the newest first.
    async fn included(&self, hash: Hash32) -> Result<Vec<IncludedTx>, ApiError> {
        let _place = self.reader().await;
        Ok(self.index.find(hash).await?)
    }
}

#[derive(Deserialize)]
pub(super) struct PoolQuery {
    sender: Option<Address>,
    limit: Option<usize>,
}

/// `GET /mempool?sender=&limit=`
pub(super) async fn pool(
    State(app): State<App>,
    query: Result<Query<PoolQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Pooled {
        tx_hash: Hash32,
        tx: Box<RawValue>,
    }
    #[derive(Serialize)]
    struct Pool {
        size: usize,
        bytes: usize,
        waiting: usize,
        txs: Vec<Pooled>,
    }
    let Query(query) = query.map_err(|error| ApiError::unusable(error.body_text()))?;
    let most = query.limit.unwrap_or(POOL_TXS).min(app.limits.pool_txs);
    let pool = app.node.pool(query.sender, most).await?;
    let limits = Arc::clone(&app.limits);
    app.blocking(move || {
        let mut txs = Vec::new();
        let mut bytes = 0;
        for (tx_hash, tx) in pool.txs {
            let tx = to_raw_value(tx.as_ref()).map_err(|error| ApiError::internal(error.to_string()))?;
            bytes += tx.get().len();
            if bytes > limits.pool_bytes && !txs.is_empty() {
                break;
            }
            txs.push(Pooled { tx_hash, tx });
        }
        json(&Pool { size: pool.size, bytes: pool.bytes, waiting: pool.waiting, txs })
    })
    .await
}
