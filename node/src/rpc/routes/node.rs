use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cpc_framework::node::{CheckpointAhead, NodeStatus};
use cpc_framework::peers::{BanInfo, PeerInfo, PenaltyInfo, Standing};
use cpc_framework::sync::Mode;
use cpc_framework::types::Height;
use serde::Serialize;

use super::App;
use crate::rpc::error::{ApiError, json};

/// `GET /peers`
pub(super) async fn peers(State(app): State<App>) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Answer {
        peers: Vec<PeerInfo>,
        // Field by field, since `flatten` goes through serde's buffers.
        bans: Vec<BanInfo>,
        banned: usize,
        penalties: Vec<PenaltyInfo>,
    }
    let peers = app.node.peers().await?;
    let Standing { bans, banned, penalties } = app.node.standing().await?;
    json(&Answer { peers, bans, banned, penalties })
}

/// `GET /health`: whether the node works at all. 503 where it cannot go on.
pub(super) async fn health(State(app): State<App>) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        version: &'static str,
    }
    working(&app)?;
    json(&Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// `GET /ready`: whether the node is SYNCED, with all checkpoints reached. 503 where it is not.
pub(super) async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Readiness {
        ready: bool,
        mode: &'static str,
        height: Option<Height>,
        /// The height that a peer claims and that is not yet reached.
        target: Option<Height>,
        peers: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    }
    let status = working(&app)?;
    let synced = status.mode == Mode::Synced;
    let ready = synced && status.checkpoint_ahead.is_none();
    let height = status.tip.map(|tip| tip.height);
    let detail = match &status.checkpoint_ahead {
        _ if !synced => Some(still_syncing(height, status.target)),
        ahead => ahead.as_ref().map(CheckpointAhead::to_string),
    };
    let mut response = json(&Readiness {
        ready,
        mode: if synced { "SYNCED" } else { "SYNCING" },
        height,
        target: status.target,
        peers: status.peers,
        detail,
    })?;
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

fn still_syncing(height: Option<Height>, target: Option<Height>) -> String {
    let at = height.map_or_else(|| "without blocks".to_owned(), |height| format!("at block {height}"));
    match target {
        Some(target) => format!("the node is SYNCING: {at} of {target}"),
        None => format!("the node is SYNCING: {at}, and does not know yet how far its peers are"),
    }
}

/// The node's status, unless it cannot go on.
fn working(app: &App) -> Result<NodeStatus, ApiError> {
    let stopped = app.node.watch().has_changed().is_err();
    let status = app.node.status();
    match &status.fatal {
        Some(why) => Err(ApiError::unavailable(why.clone())),
        None if stopped => Err(ApiError::unavailable("the node has stopped")),
        None => Ok(status),
    }
}
