use std::collections::BTreeMap;

use cpc_framework::types::{Genesis, HashRules, Network};

use super::args::RulesArgs;
use crate::CliError;
use crate::datadir::{Datadir, read_genesis};

/// The network that a wallet command is about, as a genesis: of one that is only named, without accounts and validators.
pub(super) fn resolve(datadir: &Datadir, args: &RulesArgs) -> Result<Genesis, CliError> {
    match (&args.genesis, args.network) {
        (Some(file), network) => read_genesis(file, network).map(|file| file.genesis),
        (None, network) if datadir.has_genesis() => datadir.genesis(network),
        (None, Some(network)) => Ok(named(network)),
        (None, None) => Err(CliError::failed(format!(
            "which network? There is no genesis file in {}: give one with --genesis FILE, or a network of the reference with --network NAME",
            datadir.root().display()
        ))),
    }
}

fn named(network: Network) -> Genesis {
    Genesis {
        network: network.name().to_owned(),
        chain_id: network.chain_id().to_owned(),
        hash_rules: HashRules::ComputechainV1,
        params: network.params(),
        checkpoints: Vec::new(),
        alloc: BTreeMap::new(),
        validators: Vec::new(),
    }
}
