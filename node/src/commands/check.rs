use std::path::Path;
use std::sync::Arc;

use clap::Args;
use clap::builder::BoolishValueParser;
use cpc_framework::chain::{self, AuditReport, ChainError};
use cpc_framework::rules::Rule;
use cpc_framework::rules::keys::Scheme;
use cpc_framework::types::{Genesis, Hash32, Height};
use serde::Serialize;

use crate::args::NetworkArgs;
use crate::console::Progress;
use crate::datadir::Datadir;
use crate::signals::Stop;
use crate::{CliError, console, engine_glue, one_line};

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print one JSON line [default: off]
    #[arg(long, env = "CPC_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,

    /// The network of a v1 genesis file.
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// What `check --json` prints.
#[derive(Debug, Serialize)]
struct Found {
    /// Whether nothing is wrong.
    ok: bool,
    height: Option<Height>,
    tip_hash: Option<Hash32>,
    blocks: u64,
    txs: u64,
    signatures: u64,
    state_entries: u64,
    /// Where there was a checkpoint: blocks up to here may have been taken without a look at their signatures.
    unchecked_to: Option<Height>,
    /// What is wrong, the chain's fault first.
    faults: Vec<String>,
}

/// `cpc-node check`
pub(super) async fn check(datadir: &Datadir, args: &CheckArgs) -> Result<(), CliError> {
    let mut stop = Stop::listen()?;
    let genesis = Arc::new(datadir.genesis(args.network.network)?);
    engine_glue::refuse_if_unusable(datadir)?;
    let chain = tokio::select! {
        biased;
        () = stop.wanted() => return Err(CliError::failed("interrupted: the check did not come to its end")),
        chain = check_chain(datadir, &genesis) => chain,
    };
    let mut faults = Vec::new();
    let report = chain.unwrap_or_else(|error| {
        faults.push(one_line(&error));
        None
    });
    faults.extend(check_files(datadir, &genesis));
    let found = Found {
        ok: faults.is_empty(),
        height: report.and_then(|report| report.tip).map(|tip| tip.height),
        tip_hash: report.and_then(|report| report.tip).map(|tip| tip.hash),
        blocks: report.map_or(0, |report| report.blocks),
        txs: report.map_or(0, |report| report.txs),
        signatures: report.map_or(0, |report| report.blocks + report.txs),
        state_entries: report.map_or(0, |report| report.state_entries),
        unchecked_to: datadir.unchecked_to()?,
        faults,
    };
    if args.json {
        console::print_json(&found)?;
    } else {
        console::print(&text(datadir.root(), &found))?;
    }
    match found.faults.len() {
        0 => Ok(()),
        1 => Err(CliError::failed(format!("{} is damaged", datadir.root().display()))),
        faults => Err(CliError::failed(format!("{} is damaged: {faults} faults", datadir.root().display()))),
    }
}

/// Reads every block and the whole state; `None` where there is no chain yet.
async fn check_chain(datadir: &Datadir, genesis: &Arc<Genesis>) -> Result<Option<AuditReport>, CliError> {
    let Some(store) = engine_glue::open_existing(datadir, genesis)? else { return Ok(None) };
    let total = engine_glue::height_of_tip(datadir, &store).await?.map_or(0, |height| height + 1);
    if total == 0 && store.genesis_id().is_none() {
        // The first start was cut short before the genesis state was there.
        return Ok(None);
    }
    let mut progress = Progress::start("checking", 0);
    let (executor, env) = (engine_glue::executor(), engine_glue::environment()?);
    let audit = chain::audit(Arc::clone(genesis), &store, executor, &env, |height| {
        progress.set(height + 1, Some(total));
    });
    match audit.await {
        Ok(report) => Ok(Some(report)),
        Err(error) => {
            let unchecked = datadir.unchecked_to()?.filter(|to| has_bad_signature(&error, *to));
            let fault = engine_glue::failed(datadir, &error);
            Err(match unchecked {
                Some(to) => CliError::failed(format!("{}; {}", one_line(&fault), spoilt_below(to))),
                None => fault,
            })
        }
    }
}

/// Whether a block up to this height has a signature that does not hold.
fn has_bad_signature(error: &ChainError, to: Height) -> bool {
    let ChainError::StoredBlock(rejection) = error else { return false };
    let of_signature =
        matches!(rejection.rule, Rule::BlockSignature | Rule::TxSignature | Rule::TxSignatureMissing | Rule::TxSender);
    of_signature && rejection.height <= to
}

fn spoilt_below(checkpoint: Height) -> String {
    format!(
        "the blocks up to {checkpoint} came below a checkpoint, where nobody looked at their signatures, and whoever sent this one has spoilt it: \
         its hash and what it does are right, but it is not given to other nodes; to have it right, sync into a new datadir, from another peer \
         or without the checkpoint"
    )
}

/// The small files, each read as a node would.
fn check_files(datadir: &Datadir, genesis: &Genesis) -> Vec<String> {
    let faults = [
        datadir.validator_key(Scheme::of(genesis.hash_rules)).err(),
        datadir.node_key().err(),
        datadir.peers_known().err(),
        // Opened only where it is: opening makes its lock.
        datadir.signed_file().exists().then(|| engine_glue::signing_journal(datadir).err()).flatten(),
    ];
    faults.into_iter().flatten().map(|error| one_line(&error)).collect()
}

fn text(datadir: &Path, found: &Found) -> String {
    let chain = match (found.height, found.tip_hash) {
        (Some(height), Some(hash)) => format!(
            "blocks      {} (0 to {height}): they link, and their hashes and roots are right\ntip hash    {hash}\nsignatures  {} of blocks and {} of transactions are valid\nstate       {} entries, as the blocks give them\n",
            found.blocks, found.blocks, found.txs, found.state_entries
        ),
        _ if found.ok => "blocks      none (the chain is empty)\n".to_owned(),
        _ => String::new(),
    };
    let unchecked = found.unchecked_to.map_or_else(String::new, |to| {
        format!(
            "checkpoint  blocks up to {to} may have come without a look at their signatures; this check looks at all\n"
        )
    });
    let faults = found.faults.iter().fold(String::new(), |faults, fault| faults + "FAULT       " + fault + "\n");
    let verdict = if found.ok { "nothing is wrong\n" } else { "" };
    format!("datadir     {}\n{chain}{unchecked}{faults}{verdict}", datadir.display())
}
