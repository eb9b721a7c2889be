//! What an attack must not hinder: while it lasts, an honest peer syncs the node.

use std::cell::Cell;

use cpc_tests::deadline::{LOOK_AGAIN, until};
use cpc_tests::http;
use cpc_tests::peer::{Peer, Script, honest};
use cpc_tests::process::Process;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Hello;

use crate::SYNC;

/// An honest peer that dials the node now gives it what it lacks of `chain`.
pub(crate) async fn syncs(node: &Process, chain: &Chain) -> Peer {
    assert!(lacks(node, chain).await, "the node has the chain already, so that nothing is to be synced");
    let peer = Peer::dial(node.port(), Script::modern(chain)).await;
    // On a busy machine its handshake may come too late; then it comes again, as a node does.
    let comes_again = async {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if peer.open_connections() == 0 {
                peer.dial_again(node.port()).await;
            }
        }
    };
    tokio::select! {
        () = has(node, chain) => {}
        () = comes_again => {}
    }
    peer
}

/// An honest peer that is connected already, and now has `chain`, gives the node what it lacks of it: for attacks that take
/// all places for whoever dials.
pub(crate) async fn syncs_from(peer: &Peer, node: &Process, chain: &Chain) {
    assert!(lacks(node, chain).await, "the node has the chain already, so that nothing is to be synced");
    let Hello { best_height, best_hash, genesis_hash, .. } = Hello::modern(chain);
    peer.change(|script| {
        script.answer = honest(chain);
        script.hello = Hello { best_height, best_hash, genesis_hash, ..script.hello.clone() };
    });
    peer.repeat_hello().await;
    has(node, chain).await;
}

/// Goes on with an attack, round by round, until an honest peer that came after the first round has given the node what it lacks of
/// `chain`. Each round is done to its end. Gives their number.
pub(crate) async fn syncs_while(node: &Process, chain: &Chain, mut round: impl AsyncFnMut(usize)) -> usize {
    round(0).await;
    let (mut rounds, synced) = (1, Cell::new(false));
    let attack = async {
        while !synced.get() {
            round(rounds).await;
            rounds += 1;
            // A round need not wait for anything, and the honest peer is to have its turn.
            tokio::task::yield_now().await;
        }
    };
    let sync = async {
        syncs(node, chain).await;
        synced.set(true);
    };
    tokio::join!(sync, attack);
    rounds
}

async fn lacks(node: &Process, chain: &Chain) -> bool {
    tip(node).await.0 < i64::try_from(chain.height()).unwrap()
}

/// Waits until the node has all of `chain`. Asks its RPC: there may be no place for one more peer.
async fn has(node: &Process, chain: &Chain) {
    let height = i64::try_from(chain.height()).unwrap();
    let hash = until(SYNC, &format!("height {height} by an honest peer"), async || {
        let (at, hash) = tip(node).await;
        (at >= height).then_some(hash)
    })
    .await;
    assert_eq!(hash, chain.tip_hash());
}

async fn tip(node: &Process) -> (i64, String) {
    let status = http::get(node.rpc_port(), "/status").await.expect(200).json();
    (status["height"].as_i64().unwrap(), status["last_hash"].as_str().unwrap().to_owned())
}
