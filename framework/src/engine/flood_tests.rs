//! How many blocks of gossip wait for their import at a time (`attacks.md` row 11).

use std::sync::Arc;

use super::announcing_tests::Bench;
use super::connection::Inbound;
use super::core::{Action, ImportOrigin};
use crate::chain::{ChainCommand, ChainEvent, ChainOutcome};
use crate::rules::HashedBlock;
use crate::rules::keys::VALIDATOR_PREFIX;
use crate::sync::ConnId;
use crate::testkit::messages::Messages;
use crate::types::{Hash32, Tip};

/// Blocks of one peer that wait for their import.
const OF_A_PEER: usize = 64;
/// Blocks of gossip that wait for their import.
const IN_ALL: usize = 256;

impl Bench {
    /// So many blocks from the start of a chain on, signed by the validator.
    fn chain(&self, blocks: u64) -> Vec<HashedBlock> {
        let hasher = self.core.config.verifier.hasher();
        let mut messages = Messages::from_printed_seed();
        let mut chain: Vec<HashedBlock> = Vec::new();
        for height in 0..blocks {
            let mut block = messages.block();
            block.txs.clear();
            block.header.height = height;
            block.header.prev_hash = chain.last().map_or(Hash32::ZERO, |parent| parent.link.hash);
            block.header.chain_id = hasher.chain_id().to_owned();
            block.header.proposer_address = self.key.address(VALIDATOR_PREFIX);
            block.header.tx_root = hasher.tx_root(&[]);
            block.pq_sig_scheme_id = self.key.scheme().id();
            block.pq_signature = self.key.sign(&hasher.header_hash(&block.header));
            chain.push(hasher.hash_block(Arc::new(block)));
        }
        chain
    }

    /// Takes these blocks from a peer. Gives how many of them go to the chain.
    fn flooded(&mut self, conn: ConnId, blocks: &[HashedBlock]) -> usize {
        let mut imports = 0;
        for block in blocks {
            self.core.received(self.now, conn, Inbound::NewBlock(block.clone()));
            while let Some(action) = self.core.poll_action() {
                imports += usize::from(matches!(
                    action,
                    Action::Chain(ChainCommand::Import { .. } | ChainCommand::ImportSigned { .. })
                ));
            }
        }
        imports
    }

    /// All that waits is imported.
    fn import_all(&mut self, tip: Tip) {
        for (batch, origin) in self.core.imports.clone() {
            assert!(matches!(origin, ImportOrigin::Gossip { .. }));
            let outcome = ChainOutcome { applied: Vec::new(), stop: None, tip: Some(tip) };
            self.core.chain_event(self.now, ChainEvent::Imported { batch, outcome });
        }
        while self.core.poll_action().is_some() {}
    }
}

#[tokio::test]
async fn of_one_peer_64_blocks_wait_for_their_import_and_256_in_all() {
    let mut bench = Bench::new().await;
    bench.core.config.keys.insert(bench.key.address(VALIDATOR_PREFIX), bench.key.public_key());
    for more in 4..=6 {
        bench.join(ConnId(more), Vec::new());
    }
    let chain = bench.chain(400);
    let mut waiting = 0;
    for (peer, taken) in [(1, OF_A_PEER), (2, OF_A_PEER), (3, OF_A_PEER), (4, OF_A_PEER), (5, 0), (6, 0)] {
        assert_eq!(bench.flooded(ConnId(peer), &chain[waiting..waiting + 100]), taken, "of peer {peer}");
        waiting += taken;
    }
    assert_eq!((waiting, bench.core.imports.len()), (IN_ALL, IN_ALL));
    // Once they are imported there is room for as many more.
    bench.import_all(chain[IN_ALL - 1].link.tip());
    assert_eq!(bench.flooded(ConnId(5), &chain[IN_ALL..]), OF_A_PEER);
}
