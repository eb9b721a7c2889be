use serde::Deserialize;

use super::amount::cpc;
use super::args::{BalanceArgs, NodeUrl, ValidatorsArgs};
use super::client::{Account, Client, Status};
use super::table;
use crate::{CliError, console};

/// `balance`
pub(crate) async fn balance(args: BalanceArgs) -> Result<(), CliError> {
    let client = Client::new(args.node.node);
    if args.output.json {
        return console::print_json(&client.get(&Client::balance_path(&args.address)).await?.ok()?);
    }
    let account: Account = client.balance(&args.address).await?;
    let units = account.units()?;
    console::print(&table::fields([
        ("address", account.address),
        ("balance", format!("{} CPC ({units} units)", cpc(units))),
        ("nonce", account.nonce.to_string()),
    ]))
}

/// `validators`
pub(crate) async fn validators(args: ValidatorsArgs) -> Result<(), CliError> {
    #[derive(Deserialize)]
    struct Validators {
        epoch: u64,
        validators: Vec<Validator>,
    }
    #[derive(Deserialize)]
    struct Validator {
        address: String,
        power: u128,
        is_active: bool,
        reward_address: Option<String>,
    }
    let client = Client::new(args.node.node);
    let body = client.get("/validators").await?.ok()?;
    if args.output.json {
        return console::print_json(&body);
    }
    let mut read: Validators = client.read(&body)?;
    read.validators.sort_by_key(|validator| (!validator.is_active, std::cmp::Reverse(validator.power)));
    let active = read.validators.iter().filter(|validator| validator.is_active).count();
    let heading = format!("epoch {}: {active} of {} validators are active\n", read.epoch, read.validators.len());
    let rows = read.validators.into_iter().map(|validator| {
        let active = if validator.is_active { "yes" } else { "no" };
        let reward = validator.reward_address.unwrap_or_else(|| "its own".to_owned());
        [validator.address, cpc(validator.power), active.to_owned(), reward]
    });
    console::print(&(heading + &table::rows(["VALIDATOR", "STAKE (CPC)", "ACTIVE", "REWARDS TO"], rows)))
}

/// `status --node`
pub(crate) async fn status(node: NodeUrl, json: bool) -> Result<(), CliError> {
    let client = Client::new(node);
    let body = client.get("/status").await?.ok()?;
    if json {
        return console::print_json(&body);
    }
    let status: Status = client.read(&body)?;
    let empty = "none (the chain is empty)";
    let (height, hash) = match status.height {
        ..0 => (empty.to_owned(), empty.to_owned()),
        height => (height.to_string(), status.last_hash),
    };
    console::print(&table::fields([
        ("node", client.url().to_string()),
        ("network", status.network),
        ("mode", mode(&client).await?),
        ("height", height),
        ("tip hash", hash),
        ("epoch", status.epoch.to_string()),
        ("mempool", format!("{} transactions", status.mempool_size)),
    ]))
}

/// The node's mode and peers, where it tells: a reference node does not.
async fn mode(client: &Client) -> Result<String, CliError> {
    #[derive(Deserialize)]
    struct Ready {
        mode: String,
        target: Option<u64>,
        peers: u64,
    }
    let answer = client.get("/ready").await?;
    let Ok(ready) = client.read::<Ready>(answer.body()) else { return Ok("unknown".to_owned()) };
    let of = ready.target.map(|target| format!(" to {target}")).unwrap_or_default();
    Ok(format!("{}{of}, {} peers", ready.mode, ready.peers))
}
