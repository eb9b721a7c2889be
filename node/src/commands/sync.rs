use std::time::Duration;

use cpc_framework::node::{CheckpointAhead, NodeHandle, NodeStatus};
use cpc_framework::sync::Mode;
use cpc_framework::types::{Hash32, Height};
use serde::Serialize;
use tokio::time::Instant;

use super::run::Shown;
use crate::args::SyncArgs;
use crate::console::{self, rate};
use crate::datadir::Datadir;
use crate::links::{ByDefault, LinkSpec};
use crate::signals::Stop;
use crate::{CliError, engine_glue};

/// The line that `sync` prints.
#[derive(Debug, PartialEq, Serialize)]
struct Figures {
    /// `None` on an empty chain.
    height: Option<Height>,
    tip_hash: Option<Hash32>,
    blocks: u64,
    txs: u64,
    /// From the first request for blocks to the last durable commit.
    seconds: f64,
    blocks_per_second: f64,
    rolled_back: u64,
}

/// `cpc-node sync`
pub(super) async fn sync(datadir: &Datadir, args: SyncArgs) -> Result<(), CliError> {
    let mut stop = Stop::listen()?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let links = LinkSpec::all(&args.node, ByDefault::Dials)?;
    // Counted before the node sets a damaged file aside, with a warning of its own.
    let known = args.node.peers.len() + datadir.peers_known().unwrap_or(0);
    let node = tokio::select! {
        node = engine_glue::start_node(datadir, &args.node, &links, false) => node?,
        () = stop.wanted() => return Err(CliError::failed("interrupted: the chain was still being opened")),
        () = at(deadline) => return Err(timed_out(args.timeout, "the chain was still being opened")),
    };
    let outcome = if known == 0 {
        Err(CliError::failed("no peer is known: give at least one with --peers HOST:PORT"))
    } else {
        until_synced(&node, args.timeout, deadline, stop).await
    };
    node.shutdown().await;
    let line = serde_json::to_string(&outcome?).map_err(|error| CliError::caused("cannot write JSON", &error))?;
    console::print(&format!("{line}\n"))
}

/// Waits for the end of the sync.
async fn until_synced(
    node: &NodeHandle,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    mut stop: Stop,
) -> Result<Figures, CliError> {
    let mut watch = node.watch();
    let mut shown = Shown::default();
    let mut claimed = None;
    loop {
        {
            let status = watch.borrow_and_update();
            shown.show(&status);
            claimed = claimed.max(status.target);
            if let Some(why) = &status.fatal {
                return Err(CliError::failed(why));
            }
            if status.refused_everywhere && !status.reached_anyone {
                return Err(CliError::failed(format!("every known peer was refused: {}", tried(&status))));
            }
            // A legacy peer may need longer for an answer than a claim stays open.
            if status.mode == Mode::Synced && status.outstanding == 0 {
                return if !status.reached_anyone {
                    Err(nobody_reached(&status))
                } else if let Some(claimed) = left_undelivered(&status, claimed) {
                    Err(lost(&status, claimed))
                } else if let Some(ahead) = &status.checkpoint_ahead {
                    Err(short_of(&status, ahead))
                } else {
                    Ok(figures(&status))
                };
            }
        }
        tokio::select! {
            () = stop.wanted() => return Err(CliError::failed(format!("interrupted: {}", so_far(&watch.borrow())))),
            () = at(deadline) => return Err(timed_out(timeout, &so_far(&watch.borrow()))),
            changed = watch.changed() => if changed.is_err() {
                return Err(CliError::failed("the node stopped by itself"));
            },
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn figures(status: &NodeStatus) -> Figures {
    let seconds = status.sync_time().unwrap_or_default().as_secs_f64();
    Figures {
        height: status.tip.map(|tip| tip.height),
        tip_hash: status.tip.map(|tip| tip.hash),
        blocks: status.figures.blocks,
        txs: status.figures.txs,
        seconds: rounded(seconds),
        blocks_per_second: rounded(rate(status.figures.blocks, seconds)),
        rolled_back: status.rolled_back,
    }
}

/// To microseconds: what is below is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The height that was claimed, where it lies above the tip and nobody is left to deliver it: a claim then ends without being
/// refuted.
fn left_undelivered(status: &NodeStatus, claimed: Option<Height>) -> Option<Height> {
    claimed.filter(|_| status.peers == 0 && claimed > status.tip.map(|tip| tip.height))
}

/// Where the chain stands without the rest that somebody claimed.
fn lost(status: &NodeStatus, claimed: Height) -> CliError {
    let at = status.tip.map_or_else(|| "with an empty chain".to_owned(), |tip| format!("at height {}", tip.height));
    let why = match (&status.last_error, failed_dials(status)) {
        (_, Some(dials)) => format!(": {dials}"),
        (Some(error), None) => format!(": {error}"),
        (None, None) => String::new(),
    };
    CliError::failed(format!("the last peer was lost {at} of {claimed}, what came is kept{why}; sync again to go on"))
}

/// No peer has a chain that leads further, and ours does not have what it must.
fn short_of(status: &NodeStatus, ahead: &CheckpointAhead) -> CliError {
    let at = status.tip.map_or_else(|| "an empty chain".to_owned(), |tip| format!("height {}", tip.height));
    CliError::failed(format!(
        "the sync ended at {at}, and {ahead}; compare the checkpoint with a source that you trust, and name peers whose chain has it: \
         where they cannot be followed from here, sync into a new datadir"
    ))
}

fn timed_out(timeout: Option<Duration>, so_far: &str) -> CliError {
    CliError::failed(format!("not synced within {} s: {so_far}", timeout.unwrap_or_default().as_secs_f64()))
}

/// Who was tried, and why in vain.
fn nobody_reached(status: &NodeStatus) -> CliError {
    CliError::failed(format!("no peer could be reached: {}", tried(status)))
}

fn tried(status: &NodeStatus) -> String {
    failed_dials(status).unwrap_or_else(|| "no dial has ended yet".to_owned())
}

fn failed_dials(status: &NodeStatus) -> Option<String> {
    let reasons: Vec<&str> = status.failed_dials.values().map(String::as_str).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Where an unfinished sync stands.
fn so_far(status: &NodeStatus) -> String {
    let tip =
        status.tip.map_or_else(|| "the chain is empty".to_owned(), |tip| format!("the chain is at {}", tip.height));
    let why = match (status.target, &status.last_error) {
        _ if !status.reached_anyone => format!("no peer was reached: {}", tried(status)),
        (_, Some(error)) => format!("the last trouble was: {error}"),
        (Some(target), None) => format!("the best peer claims {target}"),
        (None, None) => format!("{} peers are connected", status.peers),
    };
    format!("{tip}, what came is kept; {why}")
}
