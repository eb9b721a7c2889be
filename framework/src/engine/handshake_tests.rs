use std::time::Duration;

use super::announcing_tests::{A, Bench};
use super::connection::{CloseReason, Inbound};
use super::core::Action;
use super::handshake::AT_ONCE;
use crate::node::NodeEvent;
use crate::rules::{Rejection, Rule};
use crate::sync::ConnId;
use crate::testkit::messages::Messages;
use crate::transport::{Endpoint, PeerId};
use crate::types::{BlockLink, Handshake, Hash32};

const H: ConnId = ConnId(20);
const M: ConnId = ConnId(21);

/// What the honest peer H shows on one of its connections, and somebody has copied.
fn shown_by_h() -> u64 {
    u64::MAX
}

impl Bench {
    /// Somebody connects to us from `host` and shows this nonce. Gives the connections that we close.
    fn visit(&mut self, conn: ConnId, host: &str, nonce: u64) -> Vec<ConnId> {
        self.visit_as(conn, host, None, nonce)
    }

    fn visit_as(&mut self, conn: ConnId, host: &str, key: Option<PeerId>, nonce: u64) -> Vec<ConnId> {
        let remote = Endpoint::new(format!("{host}:7"));
        assert!(self.core.admit(self.now, conn, &remote));
        self.core.connected(self.now, conn, 0, remote, key, None);
        let greeting = Handshake { nonce: Some(nonce), ..self.greeting(A) };
        self.hear(conn, greeting)
    }

    /// We connect to an address.
    fn dial(&mut self, conn: ConnId, address: &str, key: Option<PeerId>) {
        let to = Endpoint::new(address);
        self.core.connected(self.now, conn, 0, to.clone(), key, Some((to, false)));
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
async fn behind_one_address_too_a_nonce_closes_nobodys_connection() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.visit(H, "127.0.0.1", shown_by_h()), []);
    assert_eq!(bench.visit(M, "127.0.0.1", shown_by_h()), [], "without keys, the connection is the identity");
    assert!(bench.core.peers[&H].is_ready() && bench.core.peers[&M].is_ready());
}

/// The first connection of a node that was killed goes on for us until it is idle for too long.
#[tokio::test]
async fn a_node_that_was_restarted_comes_in_beside_its_dead_connection() {
    let mut bench = Bench::new().await;
    let key = Some(PeerId([7; 32]));
    assert_eq!(bench.visit_as(H, "127.0.0.1", key, 1), []);
    assert_eq!(bench.visit_as(M, "127.0.0.1", key, 2), []);
    bench.dial(ConnId(22), "192.0.2.50:7", Some(PeerId([8; 32])));
    let greeting = Handshake { nonce: Some(u64::MAX), ..bench.greeting(A) };
    assert_eq!(bench.hear(ConnId(22), greeting), []);
    bench.now += AT_ONCE + Duration::from_secs(1);
    assert_eq!(bench.visit_as(ConnId(23), "192.0.2.50", Some(PeerId([8; 32])), u64::MAX), [], "whatever it shows");
}

#[tokio::test]
async fn of_two_connections_to_one_node_that_we_dialled_the_first_stays() {
    let mut bench = Bench::new().await;
    let key = Some(PeerId([7; 32]));
    for (conn, endpoint, closed) in [(H, "192.0.2.50:7", None), (M, "192.0.2.50:8", Some(M))] {
        bench.dial(conn, endpoint, key);
        let greeting = Handshake { nonce: Some(1), ..bench.greeting(A) };
        assert_eq!(bench.hear(conn, greeting), Vec::from_iter(closed));
    }
}

#[tokio::test]
async fn both_sides_keep_the_same_one_of_two_connections_that_they_dialled_at_once() {
    let mut bench = Bench::new().await;
    let key = Some(PeerId([7; 32]));
    bench.dial(H, "192.0.2.50:7", key);
    let ours = bench.core.peers[&H].nonce;
    let greeting = Handshake { nonce: Some(1), ..bench.greeting(A) };
    assert_eq!(bench.hear(H, greeting.clone()), []);
    // The dialler with the smaller nonce wins, and each side knows both.
    assert_eq!(bench.visit_as(M, "192.0.2.50", key, ours + 1), [M]);
    assert_eq!(bench.visit_as(ConnId(22), "192.0.2.50", key, ours - 1), [H]);
}

#[tokio::test]
async fn who_shows_what_we_showed_elsewhere_is_closed_and_nobody_else_is() {
    let mut bench = Bench::new().await;
    bench.visit(H, "192.0.2.50", 1);
    let shown_to_h = bench.core.peers[&H].nonce;
    assert_eq!(bench.visit(M, "192.0.2.66", shown_to_h), [M]);
    assert!(bench.core.peers[&H].is_ready());
    assert_ne!(shown_to_h, bench.core.peers[&A].nonce, "each connection has its own");
}

#[tokio::test]
async fn both_ends_of_a_connection_with_ourselves_are_closed_and_a_configured_address_is_only_backed_off() {
    let mut bench = Bench::new().await;
    let ours = Endpoint::new("192.0.2.50:7");
    bench.core.start(bench.now, std::slice::from_ref(&ours), &[]);
    bench.dial(H, "192.0.2.50:7", None);
    let shown = bench.core.peers[&H].nonce;
    assert_eq!(bench.visit(M, "192.0.2.50", shown), [H, M]);
    for conn in [H, M] {
        bench.core.closed(bench.now, conn, &CloseReason::Ended("closed".into()));
    }
    let redials = |bench: &mut Bench| {
        bench.core.tick(bench.now);
        std::iter::from_fn(|| bench.core.poll_action())
            .filter(|action| matches!(action, Action::Dial { endpoint, .. } if *endpoint == ours))
            .count()
    };
    bench.now += Duration::from_secs(44);
    assert_eq!(redials(&mut bench), 0);
    bench.now += Duration::from_secs(16);
    assert_eq!(redials(&mut bench), 1, "tomorrow another node may be there");
}

#[tokio::test]
async fn the_time_for_a_handshake_runs_from_when_the_connection_came() {
    let mut bench = Bench::new().await;
    let remote = Endpoint::new("192.0.2.50:7");
    assert!(bench.core.admit(bench.now, H, &remote));
    let came = bench.now;
    bench.now += Duration::from_secs(4);
    bench.core.connected(bench.now, H, 0, remote, None, None);
    bench.now = came + Duration::from_secs(5);
    assert!(bench.core.next_deadline().is_some_and(|at| at <= bench.now));
    bench.core.tick(bench.now);
    let closed =
        std::iter::from_fn(|| bench.core.poll_action()).any(|action| matches!(action, Action::Close { conn: H, .. }));
    assert!(closed);
}

#[tokio::test]
async fn a_copy_of_a_block_goes_with_the_peer_that_sent_it() {
    let mut bench = Bench::new().await;
    let block = Messages::from_printed_seed().block();
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

#[tokio::test]
async fn an_acceptor_that_sends_other_messages_instead_of_its_handshake_is_left_and_not_blamed() {
    let mut bench = Bench::new().await;
    bench.dial(H, "192.0.2.50:7", None);
    let mut closed = 0;
    for _ in 0..9 {
        bench.core.received(bench.now, H, Inbound::GetData { blocks: Vec::new(), txs: Vec::new() });
        while let Some(action) = bench.core.poll_action() {
            assert!(!matches!(action, Action::Publish(NodeEvent::Penalised { .. })), "v1 broadcasts to every socket");
            closed += usize::from(matches!(action, Action::Close { conn: H, .. }));
        }
    }
    assert_eq!(closed, 1, "not for ever either");
}

#[tokio::test]
async fn a_penalty_of_a_sync_is_proved_with_the_peers_own_block() {
    let mut bench = Bench::new().await;
    let link = |n: u8| BlockLink { height: 5, hash: Hash32([n; 32]), prev_hash: Hash32([0; 32]) };
    bench.core.note_refused(A, &[link(1)], Rejection::new(5, Rule::GasLimit, "of A"));
    bench.core.note_refused(ConnId(2), &[link(2)], Rejection::new(5, Rule::GasLimit, "of B"));
    let mut proofs = Vec::new();
    for (conn, height) in [(A, 5), (ConnId(2), 6), (ConnId(3), 5)] {
        bench.core.sync_penalty(bench.now, conn, height);
        while let Some(action) = bench.core.poll_action() {
            match action {
                Action::Publish(NodeEvent::Penalised { penalty, .. }) => proofs.push((conn, penalty.proof)),
                Action::Close { conn, .. } => proofs.push((conn, "closed".to_owned())),
                _ => {}
            }
        }
    }
    let [(A, own), (A, closed), (ConnId(2), other_height), (ConnId(3), none)] = &proofs[..] else {
        panic!("{proofs:?}")
    };
    assert!(own.contains("of A") && own.contains(&Hash32([1; 32]).short()), "{own}");
    assert_eq!([closed, other_height, none], ["closed"; 3], "what cannot be proved costs nothing");
}

/// The numbers that `SplitMix64` gives after this one: it is turned back into the state that it came from.
fn numbers_after(shown: u64) -> impl Iterator<Item = u64> {
    let unshift = |z: u64, by: u32| (0..64 / by).fold(z, |out, _| z ^ (out >> by));
    // The inverse of an odd number modulo 2^64, by Newton.
    let inverse = |odd: u64| (0..6).fold(odd, |x, _| x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x))));
    let z = unshift(shown, 31).wrapping_mul(inverse(0x94D0_49BB_1331_11EB));
    let z = unshift(z, 27).wrapping_mul(inverse(0xBF58_476D_1CE4_E5B9));
    let mut numbers = Messages::new(unshift(z, 30));
    std::iter::repeat_with(move || numbers.bits())
}

#[test]
fn one_number_tells_those_that_follow() {
    let mut numbers = Messages::new(4711);
    let first = numbers.bits();
    assert_eq!(numbers_after(first).next(), Some(numbers.bits()), "otherwise the test below shows nothing");
}

/// M was shown one nonce, and works out what H is shown next.
#[tokio::test]
async fn what_one_peer_was_shown_does_not_tell_what_the_next_is_shown() {
    let mut bench = Bench::new().await;
    bench.visit(M, "192.0.2.66", 1);
    let shown_to_m = bench.core.peers[&M].nonce;
    bench.dial(H, "192.0.2.50:7", None);
    let shown_to_h = bench.core.peers[&H].nonce;
    assert!(numbers_after(shown_to_m).take(64).all(|guess| guess != shown_to_h));
    // From a seed all is the same again.
    let mut again = Bench::new().await;
    again.visit(M, "192.0.2.66", 1);
    again.dial(H, "192.0.2.50:7", None);
    assert_eq!([M, H].map(|conn| again.core.peers[&conn].nonce), [shown_to_m, shown_to_h]);
}

#[tokio::test]
async fn whoever_shows_what_we_showed_one_with_a_key_ends_no_dial_of_ours() {
    let mut bench = Bench::new().await;
    let (key, other) = (Some(PeerId([8; 32])), Some(PeerId([9; 32])));
    let theirs = Endpoint::new("192.0.2.50:7");
    for (n, liars_key) in [None, other].into_iter().enumerate() {
        let (dialled, liar) = (ConnId(30 + n as u64), ConnId(40 + n as u64));
        bench.dial(dialled, &theirs.address, key);
        let shown = bench.core.peers[&dialled].nonce;
        assert_eq!(bench.visit_as(liar, "192.0.2.66", liars_key, shown), [liar], "only who copied it");
    }
    // Ourselves, over a link with keys.
    let (ours, dialled, end) = (Some(PeerId([1; 32])), ConnId(50), ConnId(51));
    bench.dial(dialled, "192.0.2.1:7", ours);
    let shown = bench.core.peers[&dialled].nonce;
    assert_eq!(bench.visit_as(end, "192.0.2.1", ours, shown), [dialled, end]);
}
