use super::announcing_tests::{A, Bench};
use super::connection::{CloseReason, Inbound};
use super::core::Action;
use crate::sync::ConnId;
use crate::transport::Endpoint;
use crate::types::{Handshake, Hash32};

const H: ConnId = ConnId(20);
const M: ConnId = ConnId(21);

/// What the honest peer H shows to everybody who connects.
fn shown_by_h() -> u64 {
    u64::MAX
}

impl Bench {
    /// Somebody connects to us from `host` and shows this nonce. Gives the connections that we close.
    fn visit(&mut self, conn: ConnId, host: &str, nonce: u64) -> Vec<ConnId> {
        let remote = Endpoint::new(format!("{host}:7"));
        assert!(self.core.admit(self.now, conn, &remote));
        self.core.connected(self.now, conn, 0, remote, None, None);
        let greeting = Handshake { nonce: Some(nonce), ..self.greeting(A) };
        self.hear(conn, greeting)
    }

    fn greeting(&self, conn: ConnId) -> Handshake {
        self.core.peers[&conn].handshake.clone().unwrap()
    }

    fn hear(&mut self, conn: ConnId, handshake: Handshake) -> Vec<ConnId> {
        self.core.received(self.now, conn, Inbound::Handshake(handshake));
        let mut closed = Vec::new();
        while let Some(action) = self.core.poll_action() {
            if let Action::Close { conn, .. } = action {
                closed.push(conn);
            }
        }
        closed
    }
}

#[tokio::test]
async fn a_nonce_that_was_overheard_closes_nobodys_connection() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.visit(H, "192.0.2.50", shown_by_h()), []);
    assert_eq!(bench.visit(M, "192.0.2.66", shown_by_h()), [], "another host: its nonce proves nothing");
    assert!(bench.core.peers[&H].is_ready() && bench.core.peers[&M].is_ready());
}

#[tokio::test]
async fn a_nonce_that_is_taken_already_keeps_nobody_out() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.visit(M, "192.0.2.66", shown_by_h()), []);
    assert_eq!(bench.visit(H, "192.0.2.50", shown_by_h()), []);
    assert!(bench.core.peers[&H].is_ready());
}

#[tokio::test]
async fn a_second_connection_of_one_node_is_closed() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.visit(H, "127.0.0.1", shown_by_h()), []);
    assert_eq!(bench.visit(M, "127.0.0.1", shown_by_h()), [M]);
}

#[tokio::test]
async fn a_copy_of_a_block_goes_with_the_peer_that_sent_it() {
    let mut bench = Bench::new().await;
    let block = crate::testkit::messages::Messages::from_printed_seed().block();
    let block = bench.core.config.verifier.hasher().hash_block(std::sync::Arc::new(block));
    bench.core.spares.push((A, block));
    bench.core.closed(bench.now, A, &CloseReason::Idle);
    assert_eq!(bench.core.spares.len(), 0);
}

#[tokio::test]
async fn a_repeated_handshake_of_another_genesis_ends_the_connection() {
    let mut bench = Bench::new().await;
    bench.core.genesis_hash = Some(Hash32([1; 32]));
    let same = Handshake { genesis_hash: Some(Hash32([1; 32])), best_height: Some(3), ..bench.greeting(A) };
    assert_eq!(bench.hear(A, same), []);
    let other = Handshake { genesis_hash: Some(Hash32([2; 32])), best_height: Some(4), ..bench.greeting(A) };
    assert_eq!(bench.hear(A, other), [A]);
    assert!(bench.core.last_error.as_ref().is_some_and(|why| why.contains("genesis")), "{:?}", bench.core.last_error);
}

#[tokio::test]
async fn whoever_showed_another_genesis_goes_once_we_have_one() {
    let mut bench = Bench::new().await;
    let theirs = Handshake { genesis_hash: Some(Hash32([2; 32])), best_height: Some(4), ..bench.greeting(A) };
    assert_eq!(bench.hear(A, theirs), [], "without a block 0 of our own nothing contradicts it");
    bench.core.genesis_hash = Some(Hash32([1; 32]));
    bench.core.refuse_other_chains(bench.now);
    let closed = std::iter::from_fn(|| bench.core.poll_action()).filter_map(|action| match action {
        Action::Close { conn, .. } => Some(conn),
        _ => None,
    });
    assert_eq!(closed.collect::<Vec<_>>(), [A]);
}
