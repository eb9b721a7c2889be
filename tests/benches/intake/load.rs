//! The transactions: made, signed and encoded before anything is measured.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cpc_framework::codec::Codec;
use cpc_framework::rules::Hasher;
use cpc_framework::types::{Genesis, Hash32, HexText, Message, Transaction};
use cpc_tests::feeder::frame;
use cpc_tests::network::{Wallet, genesis, params};

use crate::Size;

/// All transactions of a run.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) genesis: Genesis,
    /// One transaction of each sender, then the next of each, and so on.
    pub(crate) rounds: Vec<Vec<Arc<Transaction>>>,
    /// The first round's signatures, each by another key.
    pub(crate) signed: Vec<Signed>,
}

/// A signature over a hash.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) pub_key: HexText,
    pub(crate) signature: HexText,
    pub(crate) hash: Hash32,
}

impl Load {
    pub(crate) fn count(&self) -> usize {
        self.rounds.iter().map(Vec::len).sum()
    }
}

/// Makes the transactions, on all cores.
pub(crate) fn make(size: Size) -> Load {
    let genesis = genesis(1, size.senders, params());
    let hasher = Hasher::new(&Arc::new(genesis.clone()));
    let mut wallets: Vec<Wallet> = (0..size.senders).map(Wallet::new).collect();
    let to = wallets[0].address.clone();
    let rounds: Vec<Vec<Arc<Transaction>>> = (0..size.rounds)
        .map(|_| on_all_cores(&mut wallets, |wallet| Arc::new(wallet.transfer(&hasher, &to, 1))))
        .collect();
    let signed = rounds[0].iter().map(|tx| Signed {
        pub_key: tx.pub_key.clone(),
        signature: tx.signature.clone(),
        hash: hasher.transaction_hash(tx),
    });
    Load { signed: signed.collect(), genesis, rounds }
}

/// The rounds as `new_tx` frames.
pub(crate) fn encode(rounds: &[Vec<Arc<Transaction>>], codec: &Arc<dyn Codec>) -> Vec<Bytes> {
    let frames = rounds.iter().map(|round| {
        let mut out = BytesMut::new();
        for tx in round {
            frame(codec.as_ref(), &Message::NewTx(Arc::clone(tx)), &mut out);
        }
        out.freeze()
    });
    frames.collect()
}

fn on_all_cores<T: Send, R: Send>(items: &mut [T], f: impl Fn(&mut T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().unwrap().get();
    let (share, f) = (items.len().div_ceil(cores), &f);
    std::thread::scope(|scope| {
        let shares: Vec<_> = items
            .chunks_mut(share)
            .map(|share| scope.spawn(move || share.iter_mut().map(f).collect::<Vec<R>>()))
            .collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    })
}
