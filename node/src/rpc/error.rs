use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cpc_framework::node::NodeStopped;
use cpc_framework::store::StoreError;
use cpc_framework::tx_index::{TxIndexError, TxIndexErrorKind};
use serde::Serialize;

use crate::one_line;

/// Why a request has no other answer: a status and `{"detail": ...}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    detail: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The request can be read, but one of its values cannot be used.
    pub(super) fn unusable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// The node cannot answer now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The node itself is at fault. The log has it too, since whoever asks can do nothing.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        tracing::error!("rpc: {detail}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(format!("the chain cannot be read: {}", one_line(&error)))
    }
}

impl From<TxIndexError> for ApiError {
    fn from(error: TxIndexError) -> Self {
        match error.kind {
            TxIndexErrorKind::Behind => Self::unavailable(error.to_string()),
            TxIndexErrorKind::Chain => Self::internal(one_line(&error)),
            // Made room, it goes on; whoever follows the chain has told the log.
            TxIndexErrorKind::Files => Self::unavailable(one_line(&error)),
        }
    }
}

impl From<NodeStopped> for ApiError {
    fn from(stopped: NodeStopped) -> Self {
        Self::unavailable(stopped.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Detail {
            detail: String,
        }
        let mut response = json(&Detail { detail: self.detail }).unwrap_or_else(|_| Response::new(Body::empty()));
        *response.status_mut() = self.status;
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// An answer with the status 200.
pub(super) fn json<T: Serialize + ?Sized>(body: &T) -> Result<Response, ApiError> {
    let text = serde_json::to_vec(body)
        .map_err(|error| ApiError::internal(format!("the answer cannot be written as JSON: {error}")))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
