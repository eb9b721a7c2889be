//! Chains of any width, whose keys anybody can work out.

use std::error::Error;
use std::sync::Arc;

use cpc_framework::env::ComputePool;
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, SecretKey};
use cpc_framework::testkit::chains::{self, Shape, ShapedChain};
use cpc_framework::types::{Address, Block, HashRules, Network, Transaction};

/// So many valid blocks of so many transfers each, on a devnet of its own under the rules of reference v1.
///
/// # Errors
/// The operating system gives no threads, or a block does not take so many transfers.
pub fn blocks(count: u64, transfers: usize) -> Result<Vec<Arc<Block>>, Box<dyn Error>> {
    let shape = Shape { rules: HashRules::ComputechainV1, txs: transfers, accounts: transfers, new_accounts: 0.0 };
    let mut chain = ShapedChain::new(shape, ComputePool::all_cores()?)?;
    (0..count).map(|_| Ok(chain.next_block()?.block.block)).collect()
}

/// A signed transfer on a devnet, which costs the least that is allowed.
pub fn transfer(hasher: &Hasher, from: &SecretKey, to: Address, nonce: u64) -> Transaction {
    chains::transfer(hasher, from, to, nonce, Network::Devnet.params().min_gas_price)
}

/// The account of a key.
pub fn address(key: &SecretKey) -> Address {
    key.address(ACCOUNT_PREFIX)
}
