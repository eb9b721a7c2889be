use std::collections::HashSet;
use std::time::Duration;

use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey};
use cpc_framework::rules::payload::stake_pub_key;
use cpc_framework::types::{Address, Genesis, Hash32, Height, HexText, Payload, Transaction, TxType};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::amount::cpc;
use super::args::{TxArgs, TxCommand, TxStakeArgs};
use super::client::{Client, Place, Whereabouts};
use super::{keys, network, table};
use crate::datadir::Datadir;
use crate::{CliError, console};

/// How often the node is asked whether a transaction is in a block.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What a transaction is to do.
struct Intent {
    tx_type: TxType,
    to_address: Option<Address>,
    payload: Payload,
}

/// What became of a transaction.
#[derive(Debug, Serialize)]
struct Outcome {
    tx_hash: Hash32,
    /// `received` or `included`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<Height>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_hash: Option<Hash32>,
    from_address: Address,
    nonce: u64,
    amount: u128,
    fee: u128,
}

/// `tx send|stake`
pub(crate) async fn run(datadir: &Datadir, command: TxCommand) -> Result<(), CliError> {
    match command {
        TxCommand::Send(args) => {
            let payload = Payload::default();
            let intent = Intent { tx_type: TxType::Transfer, to_address: Some(args.to), payload };
            let genesis = network::resolve(datadir, &args.common.network)?;
            send(datadir, &genesis, intent, args.common).await
        }
        TxCommand::Stake(args) => {
            let genesis = network::resolve(datadir, &args.common.network)?;
            let payload = stake_payload(datadir, &genesis, &args)?;
            let intent = Intent { tx_type: TxType::Stake, to_address: None, payload };
            send(datadir, &genesis, intent, args.common).await
        }
    }
}

/// The payload that names the validator.
fn stake_payload(datadir: &Datadir, genesis: &Genesis, args: &TxStakeArgs) -> Result<Payload, CliError> {
    #[derive(Serialize)]
    struct Stake {
        pub_key: HexText,
    }
    let scheme = Scheme::of(genesis.hash_rules);
    let pub_key = match (&args.pub_key, &args.validator) {
        (Some(hex), _) => HexText::new(hex),
        (None, Some(key)) => keys::load(datadir, key, scheme)?.public_key(),
        (None, None) => match datadir.validator_key(scheme)? {
            Some(key) => key.public_key(),
            None => keys::load(datadir, &args.common.from, scheme)?.public_key(),
        },
    };
    let json = serde_json::to_string(&Stake { pub_key });
    let payload = json.and_then(|json| Payload::new(&json));
    let payload = payload.map_err(|error| CliError::caused("cannot write JSON", &error))?;
    // A stake on what is no key would be lost for good.
    let pub_key = stake_pub_key(genesis.hash_rules, &payload).map_err(CliError::failed)?;
    let bytes = pub_key.canonical_bytes().map_or(0, <[u8]>::len);
    let expected = if scheme == Scheme::Ed25519 { 32 } else { 33 };
    if bytes != expected {
        return Err(CliError::failed(format!(
            "--pub-key must be {expected} bytes of lower-case hexadecimal digits, a public key of this network, not {pub_key}"
        )));
    }
    Ok(payload)
}

async fn send(datadir: &Datadir, genesis: &Genesis, intent: Intent, args: TxArgs) -> Result<(), CliError> {
    let key = keys::load(datadir, &args.from, Scheme::of(genesis.hash_rules))?;
    let client = Client::new(args.node.node.clone());
    check_network(&client, genesis).await?;
    let tx = signed(&client, genesis, &key, intent, &args).await?;
    let tx_hash = Hasher::new(genesis).transaction_hash(&tx);
    let sent = client.send(&tx).await?;
    if sent.status != "received" {
        let why = sent.error.unwrap_or(sent.status);
        return Err(CliError::failed(format!("the node refuses transaction {tx_hash}: {why}")));
    }
    let mut outcome = Outcome {
        tx_hash,
        status: "received",
        height: None,
        block_hash: None,
        nonce: tx.nonce,
        amount: tx.amount,
        fee: tx.fee.to_u128().unwrap_or(u128::MAX),
        from_address: tx.from_address,
    };
    if !args.no_wait {
        tracing::info!("transaction {tx_hash} is sent: waiting for a block that has it");
        wait(&client, &mut outcome, args.timeout).await?;
    }
    if args.output.json { console::print_json(&outcome) } else { console::print(&text(&outcome)) }
}

/// Checks that the node is of the network that we sign for: elsewhere it would only call the signature wrong.
async fn check_network(client: &Client, genesis: &Genesis) -> Result<(), CliError> {
    #[derive(Deserialize)]
    struct Block {
        header: Header,
    }
    #[derive(Deserialize)]
    struct Header {
        chain_id: String,
    }
    let other = |what: &str, theirs: &str, ours: &str| {
        let advice = "give the genesis file of its network with --genesis, or another --node";
        let url = client.url();
        Err(CliError::failed(format!(
            "the node at {url} is of {what} {theirs:?}, the transaction for {ours:?}: {advice}"
        )))
    };
    let status = client.status().await?;
    if status.network != genesis.network {
        return other("network", &status.network, &genesis.network);
    }
    if status.height >= 0 {
        let block: Block = client.read(&client.get(&format!("/block/{}", status.height)).await?.ok()?)?;
        if block.header.chain_id != genesis.chain_id {
            return other("chain", &block.header.chain_id, &genesis.chain_id);
        }
    }
    Ok(())
}

/// Puts the transaction together: the sender's next nonce, the network's price, a balance that suffices.
async fn signed(
    client: &Client,
    genesis: &Genesis,
    key: &SecretKey,
    intent: Intent,
    args: &TxArgs,
) -> Result<Transaction, CliError> {
    let Intent { tx_type, to_address, payload } = intent;
    let from_address = key.address(ACCOUNT_PREFIX);
    // The pool first: what leaves it for a block in between shows in the account.
    let pooled = client.pooled_nonces(&from_address).await?;
    let account = client.balance(from_address.as_str()).await?;
    let gas = tx_type.base_gas().ok_or_else(|| CliError::failed(format!("a {tx_type} has no rule")))?;
    let gas_price = args.gas_price.unwrap_or(genesis.params.min_gas_price);
    let fee = gas_price.checked_mul(gas.into());
    let cost = fee.and_then(|fee| fee.checked_add(args.amount));
    let (Some(fee), Some(cost)) = (fee, cost) else {
        return Err(CliError::failed("amount and fee together are more than any account can hold"));
    };
    let balance = account.units()?;
    if cost > balance {
        return Err(CliError::failed(format!(
            "{from_address} has {} CPC, but {} CPC and a fee of {} CPC are to be paid",
            cpc(balance),
            cpc(args.amount),
            cpc(fee)
        )));
    }
    let mut tx = Transaction {
        tx_type,
        to_address,
        amount: args.amount,
        fee: fee.into(),
        nonce: args.nonce.unwrap_or_else(|| next_nonce(account.nonce, pooled)),
        signature: HexText::default(),
        pub_key: key.public_key(),
        payload,
        gas_price,
        gas_limit: gas.into(),
        from_address,
    };
    tx.signature = key.sign(&Hasher::new(genesis).transaction_hash(&tx));
    Ok(tx)
}

/// The first nonce from the account's on that no transaction in the pool has.
fn next_nonce(account: u64, pooled: Vec<u64>) -> u64 {
    let pooled: HashSet<u64> = pooled.into_iter().collect();
    let mut nonce = account;
    while pooled.contains(&nonce) {
        nonce += 1;
    }
    nonce
}

/// What a look at the chain shows.
enum Look {
    Included,
    NotYet,
    /// Another transaction has used its nonce.
    Replaced,
}

/// Waits until a block has the transaction.
async fn wait(client: &Client, outcome: &mut Outcome, limit: Duration) -> Result<(), CliError> {
    let deadline = Instant::now() + limit;
    loop {
        let trouble = match look(client, outcome).await {
            Ok(Look::Included) => {
                outcome.status = "included";
                return Ok(());
            }
            Ok(Look::Replaced) => {
                return Err(CliError::failed(format!(
                    "transaction {} will not be included: another one with nonce {} is in a block",
                    outcome.tx_hash, outcome.nonce
                )));
            }
            Ok(Look::NotYet) => String::new(),
            // The node may come back.
            Err(error) => format!(" ({error})"),
        };
        if Instant::now() + ASK_AGAIN > deadline {
            return Err(CliError::failed(format!(
                "no block has transaction {} after {} s{trouble}: it may still be included; \
                 'cpc-node balance {}' shows whether nonce {} is used",
                outcome.tx_hash,
                limit.as_secs_f64(),
                outcome.from_address,
                outcome.nonce,
            )));
        }
        sleep(ASK_AGAIN).await;
    }
}

async fn look(client: &Client, outcome: &mut Outcome) -> Result<Look, CliError> {
    let first = client.find(&outcome.tx_hash).await?;
    let can_say = !matches!(first, Whereabouts::CannotSay);
    if let Some(look) = seen(first, outcome) {
        return Ok(look);
    }
    if client.balance(outcome.from_address.as_str()).await?.nonce <= outcome.nonce {
        return Ok(Look::NotYet);
    }
    if !can_say {
        // The nonce is all that a reference node tells.
        return Ok(Look::Included);
    }
    // A block may have come between the two answers.
    Ok(seen(client.find(&outcome.tx_hash).await?, outcome).unwrap_or(Look::Replaced))
}

/// What an answer says of this transaction, if anything: under the rules of v1 an older one may have its hash, but not its nonce.
fn seen(answer: Whereabouts, outcome: &mut Outcome) -> Option<Look> {
    let Whereabouts::Found(found) = answer else { return None };
    let place: Place = found.with_nonce(outcome.nonce)?;
    (outcome.height, outcome.block_hash) = (place.height, place.block_hash);
    Some(if place.height.is_some() { Look::Included } else { Look::NotYet })
}

fn text(outcome: &Outcome) -> String {
    let place = outcome.height.map(|height| ("block", height.to_string()));
    let fields = [
        ("transaction", outcome.tx_hash.to_string()),
        ("status", outcome.status.to_owned()),
        ("from", outcome.from_address.to_string()),
        ("nonce", outcome.nonce.to_string()),
        ("amount", format!("{} CPC", cpc(outcome.amount))),
        ("fee", format!("{} CPC", cpc(outcome.fee))),
    ];
    table::fields(fields.into_iter().chain(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_nonce_is_behind_what_waits_without_a_gap() {
        assert_eq!(next_nonce(5, vec![]), 5);
        assert_eq!(next_nonce(5, vec![6, 5]), 7);
        assert_eq!(next_nonce(5, vec![4, 6]), 5);
    }
}
