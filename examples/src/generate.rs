//! Chains of any width: a network of one validator, whose keys anybody can work out.

use std::error::Error;
use std::sync::Arc;

use cpc_framework::chain::Chain;
use cpc_framework::env::Env;
use cpc_framework::executor::ProposalTemplate;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, KeyError, Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::types::{
    Address, Block, Genesis, GenesisValidator, HashRules, HexText, Network, Payload, Transaction, TxType,
};

/// When block 0 was made, in unix seconds: any moment in the past will do.
const BEGINNING: u64 = 1_700_000_000;
/// More than the transfers of any chain cost: a thousand coins.
const BALANCE: u128 = 10u128.pow(21);

/// So many valid blocks of so many transfers each, on a devnet of its own under the rules of reference v1.
///
/// # Errors
/// The operating system gives no threads, or a block does not take so many transfers.
pub async fn blocks(count: u64, transfers: usize) -> Result<Vec<Arc<Block>>, Box<dyn Error>> {
    let validator = key(0)?;
    let accounts = (1..=transfers).map(key).collect::<Result<Vec<_>, _>>()?;
    let genesis = Arc::new(genesis(&validator, &accounts));
    let hasher = Hasher::new(&genesis);
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(Arc::clone(&genesis), store, Arc::new(AccountExecutor), Env::system()?).await?;
    let mut blocks = Vec::new();
    for height in 0..count {
        let to_the_next =
            |(from, key)| Arc::new(transfer(&hasher, key, address(&accounts[(from + 1) % transfers]), height));
        let template = ProposalTemplate {
            parent: chain.tip(),
            timestamp: BEGINNING + height * genesis.params.block_time,
            proposer: validator.address(VALIDATOR_PREFIX),
            scheme_id: validator.scheme().id(),
            txs: accounts.iter().enumerate().map(to_the_next).collect(),
        };
        let mut block = chain.propose(template).await?;
        if block.txs.len() != transfers {
            return Err(format!("block {height} took {} of {transfers} transfers", block.txs.len()).into());
        }
        block.pq_signature = validator.sign(&hasher.header_hash(&block.header));
        let block = Arc::new(block);
        if let Some(stop) = chain.import(vec![Arc::clone(&block)]).await?.stop {
            return Err(stop.into());
        }
        blocks.push(block);
    }
    Ok(blocks)
}

fn key(number: usize) -> Result<SecretKey, KeyError> {
    SecretKey::from_hex(Scheme::Secp256k1, &format!("{:064x}", number + 1))
}

fn genesis(validator: &SecretKey, accounts: &[SecretKey]) -> Genesis {
    Genesis {
        network: Network::Devnet.name().to_owned(),
        chain_id: Network::Devnet.chain_id().to_owned(),
        hash_rules: HashRules::ComputechainV1,
        params: Network::Devnet.params(),
        checkpoints: Vec::new(),
        alloc: accounts.iter().map(|key| (address(key), BALANCE)).collect(),
        validators: vec![GenesisValidator {
            address: validator.address(VALIDATOR_PREFIX),
            pub_key: validator.public_key(),
            power: 1_000_000,
            is_active: true,
            reward_address: None,
        }],
    }
}

/// A signed transfer, which costs the least that is allowed.
pub fn transfer(hasher: &Hasher, from: &SecretKey, to: Address, nonce: u64) -> Transaction {
    let gas = TxType::Transfer.base_gas().unwrap_or_default();
    let gas_price = Network::Devnet.params().min_gas_price;
    let mut tx = Transaction {
        tx_type: TxType::Transfer,
        from_address: address(from),
        to_address: Some(to),
        amount: 1_000_000_000_000,
        fee: (u128::from(gas) * gas_price).into(),
        nonce,
        signature: HexText::default(),
        pub_key: from.public_key(),
        payload: Payload::default(),
        gas_price,
        gas_limit: gas.into(),
    };
    tx.signature = from.sign(&hasher.transaction_hash(&tx));
    tx
}

/// The account of a key.
pub fn address(key: &SecretKey) -> Address {
    key.address(ACCOUNT_PREFIX)
}
