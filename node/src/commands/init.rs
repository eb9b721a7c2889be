use std::fmt::Write;

use crate::args::InitArgs;
use crate::datadir::Datadir;
use crate::init::{Made, join_network, new_network};
use crate::{CliError, console};

/// `cpc-node init`
pub(super) fn init(datadir: &Datadir, args: &InitArgs) -> Result<(), CliError> {
    let made = match &args.genesis {
        Some(genesis) => join_network(datadir, genesis, args.network)?,
        None => new_network(datadir, args.network)?,
    };
    console::print(&summary(datadir, &made))
}

/// What was made, for people.
fn summary(datadir: &Datadir, made: &Made) -> String {
    let dir = datadir.root().display();
    let genesis = &made.genesis;
    let what = if made.faucet.is_some() { "made a new network in" } else { "made a datadir that joins a network in" };
    let mut text = format!("{what} {dir}\n");
    let mut row = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    row("network", &genesis.network);
    row("chain id", &genesis.chain_id);
    row("rules", &genesis.hash_rules);
    if let Some(validator) = &made.validator {
        row("validator", &format_args!("{validator} (validator_key.hex)"));
    }
    if let Some(faucet) = &made.faucet {
        row("faucet", &format_args!("{faucet} (faucet_key.hex)"));
        row("to join", &format_args!("give {} to the others", datadir.genesis_file().display()));
    } else {
        row("to start", &format_args!("cpc-node --datadir {dir} run --peers HOST:PORT"));
    }
    text
}
