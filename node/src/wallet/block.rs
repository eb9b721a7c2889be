use std::collections::BTreeMap;

use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::Scheme;
use cpc_framework::types::{Block, Genesis, HashRules, Network};

use super::amount::cpc;
use super::args::{BlockArgs, WhichBlock};
use super::client::Client;
use super::table;
use crate::{CliError, console};

/// `block`
pub(crate) async fn show(args: BlockArgs) -> Result<(), CliError> {
    let client = Client::new(args.node.node);
    let height = match args.block {
        WhichBlock::At(height) => height,
        WhichBlock::Latest => u64::try_from(client.status().await?.height)
            .map_err(|_| CliError::failed(format!("the chain of the node at {} is empty", client.url())))?,
    };
    let answer = client.get(&format!("/block/{height}")).await?;
    if answer.is_missing() {
        return Err(CliError::failed(format!("the node at {} has no block {height}", client.url())));
    }
    let body = answer.ok()?;
    if args.output.json {
        return console::print_json(&body);
    }
    console::print(&text(&client.read(&body)?))
}

fn text(block: &Block) -> String {
    let (header, hasher) = (&block.header, hasher(block));
    let mut text = table::fields([
        ("height", header.height.to_string()),
        ("hash", hasher.header_hash(header).to_string()),
        ("parent", header.prev_hash.to_string()),
        ("time", format!("{} (Unix seconds)", header.timestamp)),
        ("chain", header.chain_id.clone()),
        ("proposer", header.proposer_address.to_string()),
        ("state root", header.state_root.to_string()),
        ("gas", format!("{} of {}", header.gas_used, header.gas_limit)),
        ("transactions", block.txs.len().to_string()),
    ]);
    if !block.txs.is_empty() {
        let rows = block.txs.iter().map(|tx| {
            let to = tx.to_address.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            let hash = hasher.transaction_hash(tx).to_string();
            [hash, tx.tx_type.to_string(), tx.from_address.to_string(), to, cpc(tx.amount), tx.nonce.to_string()]
        });
        text.push('\n');
        text.push_str(&table::rows(["TRANSACTION", "TYPE", "FROM", "TO", "CPC", "NONCE"], rows));
    }
    text
}

/// The block says itself by which rules it is hashed: by its signature scheme and its chain's name.
fn hasher(block: &Block) -> Hasher {
    let hash_rules =
        if block.pq_sig_scheme_id == Scheme::Ed25519.id() { HashRules::Canonical } else { HashRules::ComputechainV1 };
    Hasher::new(&Genesis {
        network: String::new(),
        chain_id: block.header.chain_id.clone(),
        hash_rules,
        params: Network::Devnet.params(),
        checkpoints: Vec::new(),
        alloc: BTreeMap::new(),
        validators: Vec::new(),
    })
}
