//! Conformance suites: one case for each sentence of a plug point's contract, for whoever writes a plug of their own.
//!
//! | plug point | macro | what it needs |
//! |---|---|---|
//! | [`Transport`](crate::transport) | [`transport_suite!`](crate::transport_suite) | a [fixture](transport::TransportFixture): who listens, who dials, an address with port 0 |
//! | [`Codec`](crate::codec) | [`codec_suite!`](crate::codec_suite) | a [fixture](codec::CodecFixture): the codec, and bad frames that only its author can write |
//! | [`ChainStore`](crate::store) | [`store_suite!`](crate::store_suite) | a [factory](store::StoreFactory) that opens a place again and again |
//! | [`SyncStrategy`](crate::sync) | [`sync_suite!`](crate::sync_suite) | an expression that makes a new strategy |
//! | [`Executor`](crate::executor) | [`executor_suite!`](crate::executor_suite) | a [subject](executor::Subject): the executor, a genesis, transactions for some blocks |
//!
//! Each macro makes a module with a `#[test]` for each case, so that a failure names the sentence that does not hold. Where a case needs
//! randomness it prints the seed, and `CPC_TEST_SEED` repeats it. A crate that calls `store_suite!` needs tokio with `macros` and `rt`.
//!
//! Besides them: [`chains`] makes chains of any shape, [`messages`] makes up messages with every oddity that chains may hold, [`sync::World`] is
//! a strategy in virtual time, [`sim`] runs whole nodes so, with faults and Byzantine peers, by seed,
//! [`fuzz`] has the bodies of fuzz targets, and [`store::HookedStore`] fails, waits or lies where a test wants it to.

pub mod chains;
pub mod codec;
pub mod executor;
pub mod fuzz;
pub mod messages;
pub mod sim;
pub mod store;
pub mod sync;
pub mod transport;
