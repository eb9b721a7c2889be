use cpc_framework::types::{Genesis, Hash32, Height};
use serde::Serialize;

use crate::args::StatusArgs;
use crate::datadir::Datadir;
use crate::{CliError, console, engine_glue};

/// What `status --json` prints.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Status {
    /// `None` on an empty chain.
    height: Option<Height>,
    tip_hash: Option<Hash32>,
    /// The hash of block 0, by which the nodes of a network know each other (protocol.md section 1).
    genesis_hash: Option<Hash32>,
    network: String,
    /// The key by which peers know this node over QUIC; `None` until `init` or the first run has made it.
    node_id: Option<String>,
    peers_known: usize,
}

/// `cpc-node status`
pub(super) fn status(datadir: &Datadir, args: &StatusArgs) -> Result<(), CliError> {
    let genesis = datadir.genesis(args.network.network)?;
    let chain = engine_glue::summary(datadir, &genesis)?;
    let tip = chain.and_then(|chain| chain.tip);
    let status = Status {
        height: tip.map(|tip| tip.height),
        tip_hash: tip.map(|tip| tip.hash),
        genesis_hash: chain.and_then(|chain| chain.first),
        network: genesis.network.clone(),
        node_id: datadir.node_key()?.map(|key| key.public_key().text().into_owned()),
        peers_known: datadir.peers_known().unwrap_or_else(|error| {
            // A node sets such a file aside and starts without it; here nothing is moved.
            tracing::warn!("{error}");
            0
        }),
    };
    if args.json {
        let line = serde_json::to_string(&status).map_err(|error| CliError::caused("cannot write JSON", &error))?;
        console::print(&format!("{line}\n"))
    } else {
        console::print(&text(datadir, &genesis, &status))
    }
}

fn text(datadir: &Datadir, genesis: &Genesis, status: &Status) -> String {
    let or_none = |hash: Option<Hash32>| hash.map_or_else(|| "none (the chain is empty)".to_owned(), |h| h.to_string());
    format!(
        "datadir       {}\nnetwork       {} ({}, rules {})\nheight        {}\ntip hash      {}\ngenesis hash  {}\nnode id       {}\nknown peers   {}\n",
        datadir.root().display(),
        status.network,
        genesis.chain_id,
        genesis.hash_rules,
        status.height.map_or_else(|| "none (the chain is empty)".to_owned(), |height| height.to_string()),
        or_none(status.tip_hash),
        or_none(status.genesis_hash),
        status.node_id.as_deref().unwrap_or("none (made when a node first runs)"),
        status.peers_known,
    )
}
