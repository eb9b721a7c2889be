//! A framework for small proof-of-authority chains: put a node together from parts, and replace any of them.
//!
//! # A node
//!
//! [`NodeBuilder`](node::NodeBuilder) takes a genesis and, where the defaults do not serve, parts; it gives a
//! [`NodeHandle`](node::NodeHandle) to watch the node, hand in transactions and stop it. Here one node takes a chain from another,
//! over a network inside the process; with `cpc-transports` the same goes over TCP and QUIC.
//!
//! ```
//! use cpc_codecs::PostcardCodec;
//! use cpc_framework::prelude::*;
//! # use std::sync::Arc;
//! # use cpc_framework::chain::Chain;
//! # use cpc_framework::env::Env;
//! # use cpc_framework::executor::ProposalTemplate;
//! # use cpc_framework::rules::{Hasher, keys};
//! # use cpc_framework::types::{GenesisValidator, HashRules};
//! # /// A genesis with one validator, and a store with some blocks of it: the example of `cpc_framework::chain`.
//! # async fn some_chain() -> Result<(Genesis, Arc<MemoryStore>), Box<dyn std::error::Error>> {
//! #     let key = keys::SecretKey::generate(keys::Scheme::Ed25519);
//! #     let genesis = Genesis {
//! #         network: "example".into(),
//! #         chain_id: "example-1".into(),
//! #         hash_rules: HashRules::Canonical,
//! #         params: Network::Devnet.params(),
//! #         checkpoints: vec![],
//! #         alloc: [(key.address(keys::ACCOUNT_PREFIX), 1_000_000)].into(),
//! #         validators: vec![GenesisValidator {
//! #             address: key.address(keys::VALIDATOR_PREFIX),
//! #             pub_key: key.public_key(),
//! #             power: 1000,
//! #             is_active: true,
//! #             reward_address: None,
//! #         }],
//! #     };
//! #     let store = Arc::new(MemoryStore::new());
//! #     let executor = Arc::new(AccountExecutor);
//! #     let mut chain = Chain::open(Arc::new(genesis.clone()), store.clone(), executor, Env::system()?).await?;
//! #     let hasher = Hasher::new(&genesis);
//! #     for height in 0..3 {
//! #         let mut block = chain
//! #             .propose(ProposalTemplate {
//! #                 parent: chain.tip(),
//! #                 timestamp: 1_700_000_000 + height * genesis.params.block_time,
//! #                 proposer: key.address(keys::VALIDATOR_PREFIX),
//! #                 scheme_id: key.scheme().id(),
//! #                 txs: vec![],
//! #             })
//! #             .await?;
//! #         block.pq_signature = key.sign(&hasher.header_hash(&block.header));
//! #         if let Some(stop) = chain.import(vec![Arc::new(block)]).await?.stop {
//! #             return Err(stop.into());
//! #         }
//! #     }
//! #     Ok((genesis, store))
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A genesis with one validator, and a store with three blocks: the example of `cpc_framework::chain`.
//! let (genesis, store) = some_chain().await?;
//! let network = MemoryNetwork::new();
//!
//! let serving = NodeBuilder::new(genesis.clone())
//!     .link(network.member("serving"), PostcardCodec, "serving:9000")
//!     .store(store)
//!     .start()
//!     .await?;
//! let syncing = NodeBuilder::new(genesis)
//!     .link(network.member("syncing"), PostcardCodec, "syncing:9000")
//!     .peers([Endpoint::new("serving:9000")])
//!     .start()
//!     .await?;
//!
//! let status = syncing.wait_for(|status| status.mode == Mode::Synced).await?;
//! assert_eq!(status.tip.map(|tip| tip.height), Some(2));
//! assert_eq!(status.tip, serving.status().tip);
//!
//! syncing.shutdown().await;
//! serving.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! | module | what it is | look here to |
//! |---|---|---|
//! | [`prelude`] | the names above | begin |
//! | [`node`] | builder, handle, status, events | run a node in a program |
//! | [`transport`], [`codec`], [`store`], [`sync`], [`executor`] | a plug point each: trait, contract, guide, and what ships | write a part of your own |
//! | `testkit` (feature) | a conformance suite for each plug point, made-up messages, a simulated network | prove that it works |
//! | [`types`], [`rules`] | blocks and transactions; hashes, keys and checks as pure functions | make, read and check them |
//! | [`chain`] | the one writer of a store | import and roll back blocks without a network |
//! | [`tx_index`] | every transaction of the chain by its hash | look transactions up |
//! | [`mempool`], [`peers`], [`limits`], [`env`](mod@env) | the pool; addresses and scores; every bound; time and threads | tune or simulate a node |
//!
//! # A part of your own
//!
//! Each of the five plug points is a trait whose module says, in sentences, what an implementation must hold. Each sentence is a test
//! case of a suite that runs over your part by one macro call: enable the feature `testkit` for tests,
//!
//! ```toml
//! [dev-dependencies]
//! cpc-framework = { version = "0.1", features = ["testkit"] }
//! ```
//!
//! and call `transport_suite!`, `codec_suite!`, `store_suite!`, `sync_suite!` or `executor_suite!`. The parts that ship pass the same suites.
//! The builder takes a part by value, in an `Arc` or in a `Box<dyn Trait>`. The repository's `examples` folder has a whole one for each
//! plug point: Unix sockets, MessagePack, an append-only log, a strategy with one request at a time, a quota for senders.

#![forbid(unsafe_code)]

pub mod chain;
pub mod codec;
mod durable;
mod engine;
pub mod env;
pub mod executor;
mod fast_map;
pub mod limits;
pub mod memory;
pub mod mempool;
pub mod node;
pub mod peers;
pub mod prelude;
pub mod producer;
pub mod rules;
pub mod store;
pub mod sync;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod transport;
pub mod tx_index;
pub mod types;
