//! A whole network in one process: validators with keys of their own, accounts with money, and links that can be cut.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cpc_codecs::PostcardCodec;
use cpc_framework::executor::accounts::state;
use cpc_framework::node::{NodeBuilder, NodeHandle, NodeStatus};
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_framework::store::ByteBudget;
use cpc_framework::transport::memory::{MemoryNetwork, MemoryTransport};
use cpc_framework::transport::{
    Connection, ConnectionHandle, Endpoint, Listener, Transport, TransportError, TransportErrorKind,
};
use cpc_framework::types::{
    Address, Block, Genesis, GenesisValidator, Hash32, HashRules, HexText, NetworkParams, Payload, Tip, Transaction,
    TxType, encoding,
};

use crate::deadline::within;

/// What each account has at first.
pub const FIRST_BALANCE: u128 = 1_000_000_000_000_000_000_000_000;
/// The least stake of an active validator.
pub const MIN_STAKE: u128 = 1000;
/// Blocks in an epoch.
pub const EPOCH: u64 = 5;
/// What a unit of gas costs.
pub const GAS_PRICE: u128 = 1000;

/// The parameters of these networks: blocks every second, so that tests need not wait.
pub fn params() -> NetworkParams {
    NetworkParams {
        block_time: 1,
        min_gas_price: GAS_PRICE,
        block_gas_limit: 10_000_000,
        max_txs_per_block: 100,
        epoch_length: EPOCH,
        min_stake: MIN_STAKE,
        max_validators: 5,
    }
}

/// The key with this number; the same number gives the same key.
pub fn key(scheme: Scheme, number: u16) -> SecretKey {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_hex(scheme, &hex::encode(bytes)).unwrap()
}

/// The number of a validator's key.
pub fn validator_key(number: u16) -> SecretKey {
    key(Scheme::Ed25519, number)
}

/// A genesis under canonical rules, with validators 0, 1, ... and accounts of the keys from 1000 on.
pub fn genesis(validators: u16, accounts: u16, params: NetworkParams) -> Genesis {
    let validator = |number| {
        let key = validator_key(number);
        GenesisValidator {
            address: key.address(VALIDATOR_PREFIX),
            pub_key: key.public_key(),
            power: MIN_STAKE,
            is_active: true,
            reward_address: None,
        }
    };
    Genesis {
        network: "local".into(),
        chain_id: "cpc-local-test".into(),
        hash_rules: HashRules::Canonical,
        params,
        checkpoints: Vec::new(),
        alloc: (0..accounts).map(|number| (Wallet::new(number).address, FIRST_BALANCE)).collect(),
        validators: (0..validators).map(validator).collect(),
    }
}

/// An account whose key we have.
#[derive(Debug)]
pub struct Wallet {
    key: SecretKey,
    /// Its address.
    pub address: Address,
    /// The nonce of its next transaction.
    pub nonce: u64,
}

impl Wallet {
    /// The account with this number.
    pub fn new(number: u16) -> Self {
        let key = key(Scheme::Ed25519, 1000 + number);
        Self { address: key.address(ACCOUNT_PREFIX), key, nonce: 0 }
    }

    /// Its key.
    pub fn into_key(self) -> SecretKey {
        self.key
    }

    /// A transfer, with the next nonce.
    pub fn transfer(&mut self, hasher: &Hasher, to: &Address, amount: u128) -> Transaction {
        self.sign(hasher, TxType::Transfer, Some(to.clone()), amount, "{}")
    }

    /// A stake for the validator of a key.
    pub fn stake(&mut self, hasher: &Hasher, validator: &HexText, amount: u128) -> Transaction {
        self.sign(hasher, TxType::Stake, None, amount, &format!("{{\"pub_key\":\"{}\"}}", validator.text()))
    }

    /// A result of a computation.
    pub fn result(&mut self, hasher: &Hasher, task: &str) -> Transaction {
        let payload = serde_json::json!({
            "task_id": task, "worker_address": self.address, "result_hash": "00", "proof": "p", "nonce": 0,
            "signature": "s"
        });
        self.sign(hasher, TxType::SubmitResult, None, 0, &payload.to_string())
    }

    fn sign(
        &mut self,
        hasher: &Hasher,
        tx_type: TxType,
        to_address: Option<Address>,
        amount: u128,
        payload: &str,
    ) -> Transaction {
        let gas = tx_type.base_gas().unwrap();
        let mut tx = Transaction {
            tx_type,
            from_address: self.address.clone(),
            to_address,
            amount,
            fee: (u128::from(gas) * GAS_PRICE).into(),
            nonce: self.nonce,
            signature: HexText::default(),
            pub_key: self.key.public_key(),
            payload: Payload::new(payload).unwrap(),
            gas_price: GAS_PRICE,
            gas_limit: gas.into(),
        };
        tx.signature = self.key.sign(&hasher.transaction_hash(&tx));
        self.nonce += 1;
        tx
    }
}

/// Links between the nodes of one process, by name; they can be cut.
#[derive(Debug, Clone, Default)]
pub struct Links(Arc<Mutex<Wires>>);

#[derive(Debug, Default)]
struct Wires {
    network: MemoryNetwork,
    cut: HashSet<(String, String)>,
    open: Vec<(String, String, Arc<dyn ConnectionHandle>)>,
}

impl Links {
    /// The links of one node.
    pub fn of(&self, name: &str) -> CuttableTransport {
        let inner = self.0.lock().unwrap().network.member(name);
        CuttableTransport { inner, links: self.clone(), name: name.to_owned() }
    }

    /// Cuts every link between the two groups.
    pub fn cut(&self, one: &[&str], other: &[&str]) {
        let mut wires = self.0.lock().unwrap();
        for a in one {
            for b in other {
                wires.cut.insert(((*a).to_owned(), (*b).to_owned()));
                wires.cut.insert(((*b).to_owned(), (*a).to_owned()));
            }
        }
        let wires = &mut *wires;
        wires.open.retain(|(a, b, handle)| {
            let keep = !wires.cut.contains(&(a.clone(), b.clone()));
            if !keep {
                handle.close("the link was cut");
            }
            keep
        });
    }

    /// Mends all links.
    pub fn mend(&self) {
        self.0.lock().unwrap().cut.clear();
    }
}

/// A transport in memory whose links can be cut.
#[derive(Debug)]
pub struct CuttableTransport {
    inner: MemoryTransport,
    links: Links,
    name: String,
}

#[async_trait]
impl Transport for CuttableTransport {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn listen(&self, at: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        self.inner.listen(at).await
    }

    async fn dial(&self, to: &Endpoint) -> Result<Connection, TransportError> {
        let host = to.host_port().map(|(host, _)| host.to_owned()).unwrap_or_default();
        let way = (self.name.clone(), host.clone());
        let refused = || TransportError {
            kind: TransportErrorKind::Unreachable,
            doing: "cannot reach",
            endpoint: to.clone(),
            source: "the link is cut".into(),
        };
        if self.links.0.lock().unwrap().cut.contains(&way) {
            return Err(refused());
        }
        let connection = self.inner.dial(to).await?;
        let mut wires = self.links.0.lock().unwrap();
        if wires.cut.contains(&way) {
            return Err(refused());
        }
        wires.open.push((way.0, way.1, Arc::clone(&connection.handle)));
        Ok(connection)
    }
}

/// Where the node of this name listens.
pub fn place(name: &str) -> Endpoint {
    Endpoint::new(format!("{name}:7000"))
}

/// A builder for a node of this name that dials these others.
pub fn builder(genesis: &Genesis, links: &Links, name: &str, peers: &[&str]) -> NodeBuilder {
    NodeBuilder::new(genesis.clone())
        .link(links.of(name), PostcardCodec, place(name).address)
        .peers(peers.iter().map(|name| place(name)))
}

/// Waits until a node is as `condition` wants it.
pub async fn reaches(
    node: &NodeHandle,
    limit: Duration,
    what: &str,
    condition: impl FnMut(&NodeStatus) -> bool,
) -> NodeStatus {
    let Ok(status) = tokio::time::timeout(limit, node.wait_for(condition)).await else {
        panic!("waited {limit:?} in vain for {what}; the node stands at {:?}", node.status())
    };
    status.unwrap()
}

/// Waits until all nodes have the same tip at or above a height, and gives it.
pub async fn agree(nodes: &[&NodeHandle], at_least: u64, limit: Duration) -> Tip {
    within(limit, "all nodes to have one tip", async {
        loop {
            let tips: Vec<Option<Tip>> = nodes.iter().map(|node| node.status().tip).collect();
            match tips[0] {
                Some(tip) if tip.height >= at_least && tips.iter().all(|other| *other == Some(tip)) => return tip,
                _ => {}
            }
            let mut watches: Vec<_> = nodes.iter().map(|node| node.watch()).collect();
            let changes = watches.iter_mut().map(|watch| Box::pin(watch.changed()));
            tokio::select! {
                () = first_of(changes) => {}
                () = tokio::time::sleep(crate::deadline::LOOK_AGAIN) => {}
            }
        }
    })
    .await
}

async fn first_of<F: Future + Unpin>(futures: impl Iterator<Item = F>) {
    let mut futures: Vec<F> = futures.collect();
    std::future::poll_fn(|context| {
        let ready = futures.iter_mut().any(|future| std::pin::Pin::new(future).poll(context).is_ready());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The blocks of a node, up to and with a height.
pub async fn blocks(node: &NodeHandle, to: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    while blocks.len() as u64 <= to {
        let more = node.store().blocks(blocks.len() as u64..=to, ByteBudget(1 << 20)).await.unwrap();
        assert!(!more.is_empty(), "there is no block {}", blocks.len());
        blocks.extend(more.iter().map(|stored| encoding::decode_block(&stored.bytes).unwrap()));
    }
    blocks
}

/// The hashes of all transactions in blocks, with the block's height.
pub fn included(hasher: &Hasher, blocks: &[Block]) -> BTreeMap<Hash32, u64> {
    let txs = blocks.iter().flat_map(|block| block.txs.iter().map(|tx| (block.header.height, tx)));
    txs.map(|(height, tx)| (hasher.transaction_hash(tx), height)).collect()
}

/// All balances at a node's tip.
pub fn balances(node: &NodeHandle) -> BTreeMap<Address, u128> {
    let mut balances = BTreeMap::new();
    let view = node.store().state().unwrap();
    state::accounts(view.as_ref(), &mut |address, account| {
        balances.insert(address, account.balance);
        true
    })
    .unwrap();
    balances
}
