//! Chains of one shape from end to end.

use std::collections::VecDeque;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{ChainBuilder, ChainMakerError, Made};
use crate::env::ComputePool;
use crate::rules::Hasher;
use crate::rules::keys::{ACCOUNT_PREFIX, KeyError, Scheme, SecretKey, VALIDATOR_PREFIX};
use crate::testkit::messages::Messages;
use crate::types::{
    Address, Genesis, GenesisValidator, HashRules, HexText, Network, NetworkParams, Payload, Transaction, TxType,
};

/// When block 0 was made, in unix seconds: any moment far enough in the past will do.
const BEGINNING: u64 = 1_700_000_000;
/// Validators, with equal power, so that they take turns.
const VALIDATORS: u64 = 4;
/// What each account has at first, in the smallest unit: the fees of more transfers than any chain has.
const BALANCE: u128 = 1_000_000_000_000_000_000_000;
/// So many accounts have a key and send; the others only hold and receive. More than any batch of signatures has, so that
/// their keys are distinct.
const MOST_SENDERS: usize = 10_000;
/// Transactions that are signed together, on all cores.
const SIGNED_AHEAD: usize = 2048;
/// Unit of the canonical networks: parameters like those that `init` gives.
const CPC: u128 = 1_000_000_000_000_000_000;

/// What the blocks of a chain are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// The family of rules: `canonical` with Ed25519 keys, or that of reference v1 with secp256k1 keys on devnet.
    pub rules: HashRules,
    /// Transfers in each block.
    pub txs: usize,
    /// Accounts with a balance at the beginning. The first 10,000 of them send in turn.
    pub accounts: usize,
    /// The share of the transfers, 0 to 1, that go to an address which was not there before.
    pub new_accounts: f64,
}

/// Makes a chain of a [`Shape`]. The same shape gives the same chain; anybody can work out its keys.
#[derive(Debug)]
pub struct ShapedChain {
    shape: Shape,
    builder: ChainBuilder,
    senders: Vec<Sender>,
    pool: ComputePool,
    signed: VecDeque<Arc<Transaction>>,
    /// Transfers thought up so far.
    transfers: u64,
}

#[derive(Debug)]
struct Sender {
    key: SecretKey,
    pub_key: HexText,
    address: Address,
    nonce: u64,
}

/// A transfer before it is signed.
struct Draft {
    sender: usize,
    nonce: u64,
    to: Address,
}

impl ShapedChain {
    /// The empty chain.
    ///
    /// # Errors
    /// Blocks of transfers from no account at all are wanted.
    pub fn new(shape: Shape, pool: ComputePool) -> Result<Self, ChainMakerError> {
        let scheme = Scheme::of(shape.rules);
        let validators: Vec<SecretKey> = (0..VALIDATORS).map(|number| key(scheme, number)).collect::<Result<_, _>>()?;
        let numbers: Vec<u64> = (0..shape.accounts.min(MOST_SENDERS) as u64).collect();
        let senders = pool.map(&numbers, |number| {
            let key = key(scheme, VALIDATORS + number)?;
            Ok(Sender { pub_key: key.public_key(), address: key.address(ACCOUNT_PREFIX), key, nonce: 0 })
        });
        let senders: Vec<Sender> = senders.into_iter().collect::<Result<_, KeyError>>()?;
        if senders.is_empty() && shape.txs > 0 {
            return Err(KeyError("blocks with transfers need at least one account".to_owned()).into());
        }
        let genesis = genesis(&shape, &validators, &senders);
        let builder = ChainBuilder::new(Arc::new(genesis), validators, BEGINNING)?;
        Ok(Self { shape, builder, senders, pool, signed: VecDeque::new(), transfers: 0 })
    }

    /// The genesis.
    pub fn genesis(&self) -> &Arc<Genesis> {
        self.builder.genesis()
    }

    /// The hasher of the chain.
    pub fn hasher(&self) -> &Hasher {
        self.builder.hasher()
    }

    /// Makes the next block.
    ///
    /// # Errors
    /// A block does not take so many transfers.
    pub fn next_block(&mut self) -> Result<Made, ChainMakerError> {
        if self.signed.len() < self.shape.txs {
            self.sign_ahead();
        }
        let txs = self.signed.drain(..self.shape.txs).collect();
        self.builder.produce(txs)
    }

    fn sign_ahead(&mut self) {
        let drafts: Vec<Draft> = (0..SIGNED_AHEAD.max(self.shape.txs)).map(|_| self.draft()).collect();
        let (senders, hasher) = (&self.senders, self.builder.hasher());
        let price = self.builder.genesis().params.min_gas_price;
        self.signed.extend(self.pool.map(&drafts, |draft| {
            let from = &senders[draft.sender];
            let (to, nonce) = (draft.to.clone(), draft.nonce);
            Arc::new(signed(hasher, &from.key, unsigned(from.address.clone(), from.pub_key.clone(), to, nonce, price)))
        }));
    }

    fn draft(&mut self) -> Draft {
        let number = self.transfers;
        self.transfers += 1;
        let sender = usize::try_from(number % self.senders.len() as u64).unwrap_or_default();
        let nonce = self.senders[sender].nonce;
        self.senders[sender].nonce += 1;
        let to = if is_to_new_account(number, self.shape.new_accounts) {
            address_of_nobody(b"new", number)
        } else {
            account(&self.senders, Messages::new(number).below(self.shape.accounts))
        };
        Draft { sender, nonce, to }
    }
}

/// A signed transfer of the least amount, which costs the least that is allowed.
pub fn transfer(hasher: &Hasher, from: &SecretKey, to: Address, nonce: u64, gas_price: u128) -> Transaction {
    signed(hasher, from, unsigned(from.address(ACCOUNT_PREFIX), from.public_key(), to, nonce, gas_price))
}

fn unsigned(from: Address, pub_key: HexText, to: Address, nonce: u64, gas_price: u128) -> Transaction {
    let gas = TxType::Transfer.base_gas().unwrap_or_default();
    Transaction {
        tx_type: TxType::Transfer,
        from_address: from,
        to_address: Some(to),
        amount: 1,
        fee: (u128::from(gas) * gas_price).into(),
        nonce,
        signature: HexText::default(),
        pub_key,
        payload: Payload::default(),
        gas_price,
        gas_limit: gas.into(),
    }
}

fn signed(hasher: &Hasher, key: &SecretKey, mut tx: Transaction) -> Transaction {
    tx.signature = key.sign(&hasher.transaction_hash(&tx));
    tx
}

/// Spreads the share evenly over all transfers.
#[expect(clippy::cast_precision_loss, reason = "fewer transfers than 2^52")]
fn is_to_new_account(number: u64, share: f64) -> bool {
    ((number + 1) as f64 * share).floor() > (number as f64 * share).floor()
}

fn account(senders: &[Sender], number: usize) -> Address {
    senders.get(number).map_or_else(|| address_of_nobody(b"held", number as u64), |sender| sender.address.clone())
}

/// An address that belongs to no key that anybody knows.
fn address_of_nobody(kind: &[u8], number: u64) -> Address {
    let digest = Sha256::new().chain_update(kind).chain_update(number.to_be_bytes()).finalize();
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&digest[..20]);
    Address::bech32(ACCOUNT_PREFIX, &bytes).expect("the prefix of accounts is one of bech32")
}

fn key(scheme: Scheme, number: u64) -> Result<SecretKey, KeyError> {
    SecretKey::from_hex(scheme, &format!("{:064x}", number + 1))
}

fn genesis(shape: &Shape, validators: &[SecretKey], senders: &[Sender]) -> Genesis {
    let (network, chain_id, params) = match shape.rules {
        HashRules::Canonical => ("generated", "cpc-generated-1", params(shape.txs)),
        HashRules::ComputechainV1 => (Network::Devnet.name(), Network::Devnet.chain_id(), Network::Devnet.params()),
    };
    let power = params.min_stake;
    let validator = |key: &SecretKey| GenesisValidator {
        address: key.address(VALIDATOR_PREFIX),
        pub_key: key.public_key(),
        power,
        is_active: true,
        reward_address: None,
    };
    Genesis {
        network: network.to_owned(),
        chain_id: chain_id.to_owned(),
        hash_rules: shape.rules,
        params,
        checkpoints: Vec::new(),
        alloc: (0..shape.accounts).map(|number| (account(senders, number), BALANCE)).collect(),
        validators: validators.iter().map(validator).collect(),
    }
}

/// Those of a network that `init` makes, with room for so many transfers in a block.
fn params(txs: usize) -> NetworkParams {
    let most = u32::try_from(txs).unwrap_or(u32::MAX).max(1000);
    NetworkParams {
        block_time: 2,
        min_gas_price: 1000,
        block_gas_limit: 30_000 * u64::from(most),
        max_txs_per_block: most,
        epoch_length: 10,
        min_stake: 1000 * CPC,
        max_validators: 21,
    }
}
