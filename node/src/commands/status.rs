use cpc_framework::store::{ByteBudget, ChainStore};
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
pub(super) async fn status(datadir: &Datadir, args: StatusArgs) -> Result<(), CliError> {
    let genesis = datadir.genesis(args.network.network)?;
    let store = engine_glue::open_existing(datadir, &genesis)?;
    let peers_known = datadir.peers_known().unwrap_or_else(|error| {
        // A node sets such a file aside and starts without it; here nothing is moved.
        tracing::warn!("{error}");
        0
    });
    let mut status = read(&genesis, store.as_ref(), peers_known).await?;
    status.node_id = datadir.node_key()?.map(|key| key.public_key().text().into_owned());
    if args.json {
        let line = serde_json::to_string(&status).map_err(|error| CliError::caused("cannot write JSON", &error))?;
        console::print(&format!("{line}\n"))
    } else {
        console::print(&text(datadir, &genesis, &status))
    }
}

async fn read(genesis: &Genesis, store: Option<&impl ChainStore>, peers_known: usize) -> Result<Status, CliError> {
    let mut status = Status {
        height: None,
        tip_hash: None,
        genesis_hash: None,
        network: genesis.network.clone(),
        node_id: None,
        peers_known,
    };
    if let Some(store) = store {
        let failed = |error| CliError::caused("cannot read the chain", &error);
        if let Some(tip) = store.tip().await.map_err(failed)? {
            status.height = Some(tip.height);
            status.tip_hash = Some(tip.hash);
        }
        let first = store.blocks(0..=0, ByteBudget(0)).await.map_err(failed)?;
        status.genesis_hash = first.first().map(|block| block.link.hash);
    }
    Ok(status)
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
