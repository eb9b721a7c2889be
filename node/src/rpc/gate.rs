use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::error::ApiError;
use super::held::Held;
use super::limits::RpcLimits;
use super::local;
use super::routes::App;

/// How much of a body that is too large is read and dropped, in sizes of the largest body: whoever sends it hears why
/// it is refused only once it is through.
const PATIENCE: usize = 16;

/// What every request goes through: who asks, how many ask, how much they send, how long it takes. Its place is free for
/// another one once the client has taken the answer, or is gone: until then the answer is in memory.
pub(super) async fn gate(State(app): State<App>, request: Request, next: Next) -> Response {
    pass(&app, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn pass(app: &App, request: Request, next: Next) -> Result<Response, ApiError> {
    if app.loopback {
        local::check(request.uri(), request.headers())?;
    }
    let limits = &app.limits;
    let place = Arc::clone(&app.requests)
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable(format!("{} requests are being answered: try again", limits.requests)))?;
    let (parts, body) = request.into_parts();
    let body = timeout(limits.body_time, read(body, limits)).await.map_err(|_| {
        let detail = format!("the body did not come within {} s", limits.body_time.as_secs_f64());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, detail)
    })??;
    let answer = timeout(limits.answer_time, next.run(Request::from_parts(parts, Body::from(body))));
    let answer = answer.await.map_err(|_| {
        ApiError::unavailable(format!("there is no answer after {} s: try again", limits.answer_time.as_secs_f64()))
    })?;
    Ok(answer.map(|body| Body::new(Held::new(body, place))))
}

/// Reads a body up to its limit.
async fn read(mut body: Body, limits: &RpcLimits) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut total = 0usize;
    let next = |body: &mut Body, context: &mut Context<'_>| Pin::new(body).poll_frame(context);
    while let Some(frame) = std::future::poll_fn(|context| next(&mut body, context)).await {
        let frame = frame.map_err(|error| {
            ApiError::new(StatusCode::BAD_REQUEST, format!("the body of the request cannot be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        total = total.saturating_add(data.len());
        if total <= limits.body_bytes {
            bytes.extend_from_slice(&data);
        } else if total > limits.body_bytes.saturating_mul(PATIENCE) {
            break;
        }
    }
    if total > limits.body_bytes {
        let detail = format!("the body of the request has more than {} bytes", limits.body_bytes);
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(bytes)
}
