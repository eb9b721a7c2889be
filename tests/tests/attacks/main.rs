//! What hostile or broken peers do, and the bound that holds, by number (attacks.md).
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

mod addresses;
mod blame;
mod bodies;
mod bombs;
mod claims;
mod clocks;
mod fairness;
mod floods;
mod forks;
mod frames;
mod honest;
mod identity;
mod inside;
mod inventions;
mod large;
mod legacy;
mod log;
mod nonces;
mod outboxes;
mod passing_on;
mod pool;
mod remembering;
mod scores;
mod serving;
mod slots;
mod slow_handshakes;
mod waiting;

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::process::Process;
use cpc_tests::raw::Socket;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Hello;

const NODE: &str = cpc_tests::node_binary!();

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The longest line before the handshake is done.
const LINE_BEFORE_HANDSHAKE: usize = 2 * KIB;

/// The longest line after it.
const LINE: usize = 4 * MIB;

/// The longest line while our own `get_blocks` is outstanding.
const LINE_WHILE_ASKED: usize = 32 * MIB;

/// How long a sync of one of the test chains may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);

async fn running(chain: &Chain) -> (Datadir, Process) {
    let dir = Datadir::holding(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    (dir, node)
}

/// The node still takes an honest peer.
async fn serves(node: &Process) {
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(Chain::fork()).without_blocks()).await;
    assert_eq!(socket.ask(0, 0).await.len(), 1);
}
