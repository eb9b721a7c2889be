//! The chain that simulations run: its genesis, its keys, and the transactions that its users send.

use crate::rules::Hasher;
use crate::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use crate::types::{
    Address, Genesis, GenesisValidator, Hash32, HashRules, HexText, NetworkParams, Payload, Transaction, TxType,
};

/// Seconds between blocks, as on devnet.
pub const BLOCK_TIME: u64 = 10;
/// Accounts with money.
pub(super) const ACCOUNTS: usize = 128;
/// The first of them belong to users; each run of a node has some of its own for its user.
pub(super) const USERS: usize = ACCOUNTS - SPAMMERS;
/// The last ones belong to Byzantine peers.
pub(super) const SPAMMERS: usize = 8;
/// Transactions of one account: no more than a pool takes of one sender, so that all of them come back to it where a long
/// branch is left (attacks.md row 13).
pub(super) const TXS_PER_ACCOUNT: u64 = 60;
/// What each has at first.
const BALANCE: u128 = 1_000_000_000_000_000_000_000_000;
/// The least price of gas.
pub(super) const GAS_PRICE: u128 = 1000;

/// A genesis under canonical rules with so many validators.
pub(super) fn genesis(validators: usize) -> Genesis {
    let validator = |number| {
        let key = validator_key(number);
        GenesisValidator {
            address: key.address(VALIDATOR_PREFIX),
            pub_key: key.public_key(),
            power: 1000,
            is_active: true,
            reward_address: None,
        }
    };
    Genesis {
        network: "simulation".into(),
        chain_id: "cpc-simulation".into(),
        hash_rules: HashRules::Canonical,
        params: NetworkParams {
            block_time: BLOCK_TIME,
            min_gas_price: GAS_PRICE,
            block_gas_limit: 10_000_000,
            max_txs_per_block: 100,
            epoch_length: 10,
            min_stake: 1000,
            max_validators: 8,
        },
        checkpoints: Vec::new(),
        alloc: (0..ACCOUNTS).map(|number| (Wallet::new(number).address, BALANCE)).collect(),
        validators: (0..validators).map(validator).collect(),
    }
}

/// The key of a validator. Of no use anywhere else: it is as public as this code.
pub(super) fn validator_key(number: usize) -> SecretKey {
    key(1, number)
}

fn key(kind: u8, number: usize) -> SecretKey {
    // The last four digits of 64.
    let text = format!("{}{kind:02x}{number:04x}", "5".repeat(58));
    SecretKey::from_hex(Scheme::Ed25519, &text).expect("64 hexadecimal digits are an Ed25519 key")
}

/// An account and its owner.
#[derive(Debug)]
pub(super) struct Wallet {
    key: SecretKey,
    pub(super) address: Address,
    /// The nonce of its next transaction.
    pub(super) nonce: u64,
}

impl Wallet {
    pub(super) fn new(number: usize) -> Self {
        let key = key(2, number);
        Self { address: key.address(ACCOUNT_PREFIX), key, nonce: 0 }
    }

    /// A transfer with the next nonce, which counts as used only once [`nonce`](Self::nonce) is raised.
    pub(super) fn transfer(&self, hasher: &Hasher, to: &Address, amount: u128) -> (Transaction, Hash32) {
        self.transfer_at(hasher, to, amount, GAS_PRICE, Payload::default())
    }

    /// The same at another price, and with a payload.
    pub(super) fn transfer_at(
        &self,
        hasher: &Hasher,
        to: &Address,
        amount: u128,
        gas_price: u128,
        payload: Payload,
    ) -> (Transaction, Hash32) {
        let gas = TxType::Transfer.base_gas().unwrap_or_default();
        let mut tx = Transaction {
            tx_type: TxType::Transfer,
            from_address: self.address.clone(),
            to_address: Some(to.clone()),
            amount,
            fee: (u128::from(gas) * gas_price).into(),
            nonce: self.nonce,
            signature: HexText::default(),
            pub_key: self.key.public_key(),
            payload,
            gas_price,
            gas_limit: gas.into(),
        };
        let hash = hasher.transaction_hash(&tx);
        tx.signature = self.key.sign(&hash);
        (tx, hash)
    }
}
