//! A window over all peers: what comes of several that are slow, and of some that stand still.

use super::*;
use crate::testkit::sync::Peer;

/// A block of a hundred transactions or so, in bytes.
const BLOCK: usize = 20_000;
/// What one throttled server sends, in bytes a second.
const RATE: u64 = 400_000;

fn throttled(chain: &Chain) -> Peer {
    Peer { bytes_per_second: Some(RATE), latency: Duration::from_millis(5), ..Scripted::able(chain) }
}

/// How long it takes to sync with these servers, in seconds.
fn time_with(chain: &Chain, servers: impl IntoIterator<Item = Peer>) -> f64 {
    let mut world = world(&Chain::default()).with_blocks_of(BLOCK);
    for server in servers {
        world.connect(server);
    }
    assert!(world.run_until_synced(secs(3600)), "at {:?} after {:?}", world.height(), world.now());
    assert_eq!(world.tip(), chain.tip());
    assert_eq!(world.penalised(), []);
    world.assert_all_kept();
    world.now().as_secs_f64()
}

/// So many seconds of sending for so many servers.
fn chain_for(servers: u64, seconds: u64) -> Chain {
    Chain::to(servers * seconds * RATE / BLOCK as u64 - 1)
}

#[test]
fn four_throttled_servers_give_nine_tenths_of_their_sum() {
    let chain = chain_for(4, 60);
    let took = time_with(&chain, (0..4).map(|_| throttled(&chain)));
    assert!(60.0 / took >= 0.9, "took {took} s where the sum would take 60");
}

#[test]
fn four_throttled_servers_without_request_numbers_are_not_much_slower() {
    let chain = chain_for(4, 60);
    let took = time_with(&chain, (0..4).map(|_| Peer { requests: 1, headers: false, ..throttled(&chain) }));
    assert!(60.0 / took >= 0.85, "took {took} s where the sum would take 60");
}

#[test]
fn one_of_eight_servers_that_freezes_half_way_costs_no_more_than_a_seventh() {
    let chain = chain_for(8, 60);
    let base = time_with(&chain, (0..8).map(|_| throttled(&chain)));
    let frozen = time_with(&chain, (0..8).map(|at| freezing(&chain, at < 1)));
    assert!(frozen <= 1.15 * base, "{frozen} s with one frozen, {base} s with none");
}

#[test]
fn four_of_eight_servers_that_freeze_half_way_cost_little_more_than_their_share() {
    let chain = chain_for(8, 60);
    let base = time_with(&chain, (0..8).map(|_| throttled(&chain)));
    let frozen = time_with(&chain, (0..8).map(|at| freezing(&chain, at < 4)));
    // Half of it took twice the time: one and a half times is the least.
    assert!(frozen <= 1.75 * base, "{frozen} s with four frozen, {base} s with none");
}

fn freezing(chain: &Chain, freezes: bool) -> Peer {
    Peer { freezes_at: freezes.then_some(secs(30)), ..throttled(chain) }
}

#[test]
fn a_slow_server_among_fast_ones_holds_nothing_up_and_is_not_banned() {
    let chain = chain_for(8, 30);
    let fast = || Peer { bytes_per_second: Some(10 * RATE), ..throttled(&chain) };
    let base = time_with(&chain, (0..2).map(|_| fast()));
    let slow = Peer { bytes_per_second: Some(RATE / 10), ..throttled(&chain) };
    let with_slow = time_with(&chain, [slow, fast(), fast()]);
    assert!(with_slow <= 1.1 * base, "{with_slow} s with a slow one, {base} s without");
}

#[test]
fn a_legacy_server_among_able_ones_helps_or_does_no_harm() {
    let chain = chain_for(4, 30);
    let base = time_with(&chain, (0..3).map(|_| throttled(&chain)));
    let legacy = Peer { requests: 1, headers: false, legacy: true, ..throttled(&chain) };
    let with_legacy = time_with(&chain, (0..3).map(|_| throttled(&chain)).chain([legacy]));
    assert!(with_legacy <= base, "{with_legacy} s with it, {base} s without");
}

#[test]
fn several_answers_are_on_their_way_from_a_far_server() {
    let chain = chain_for(8, 30);
    let far = |requests| Peer { latency: Duration::from_millis(300), requests, ..Scripted::honest(&chain) };
    let (one, four) = (time_with(&chain, [far(1)]), time_with(&chain, [far(4)]));
    // Four requests share the bytes of the window: each asks for less.
    assert!(four < 0.6 * one, "{four} s with four requests on their way, {one} s with one");
}

#[test]
fn four_servers_at_a_fifth_of_what_we_import_give_nine_tenths_of_their_sum() {
    // As a small machine does it: 13 MB of such blocks a second, durable a fifth of a second after they are executed.
    let (rate, seconds, import) = (2_600_000, 20, Duration::from_micros(1_540));
    let chain = Chain::to(4 * seconds * rate / BLOCK as u64 - 1);
    let world = world(&Chain::default()).with_blocks_of(BLOCK).importing_at(import);
    let mut world = world.durable_after(Duration::from_millis(200));
    for _ in 0..4 {
        world.connect(Peer { bytes_per_second: Some(rate), ..throttled(&chain) });
    }
    assert!(world.run_until_synced(secs(600)));
    assert_eq!(world.tip(), chain.tip());
    let took = world.now().as_secs_f64();
    assert!(20.0 / took >= 0.9, "took {took} s where the sum would take 20");
}

#[test]
fn a_peer_whose_blocks_are_padded_takes_no_room_from_the_others() {
    let chain = chain_for(4, 60);
    let base = time_with(&chain, (0..4).map(|_| throttled(&chain)));
    let slow = Duration::from_secs(1);
    let padded = Peer { block_bytes: Some(16 << 20), latency: slow, longest_answer: 1, ..Peer::able(&chain) };
    let with_padded = time_with(&chain, (0..4).map(|_| throttled(&chain)).chain([padded]));
    assert!(with_padded <= 1.05 * base, "{with_padded} s with it, {base} s without");
}

#[test]
fn what_waits_never_exceeds_the_window_however_many_serve() {
    let chain = chain_for(8, 60);
    let mut world = world(&Chain::default()).with_blocks_of(BLOCK).importing_at(Duration::from_millis(40));
    for _ in 0..16 {
        world.connect(Peer { bytes_per_second: None, ..throttled(&chain) });
    }
    let limits = SyncLimits::default();
    for second in 1..30 {
        world.run_until(secs(second));
        // One answer more, since those that everything waits for are asked for in any case.
        assert!(world.held_blocks() * BLOCK <= limits.window_bytes + limits.answer_bytes, "at {second} s");
    }
    world.assert_all_kept();
}

#[test]
fn what_waits_exceeds_the_window_by_one_large_answer_at_most_however_many_pad() {
    const PADDED: usize = 16 << 20;
    let chain = chain_for(4, 60);
    let mut world = world(&Chain::default()).with_blocks_of(BLOCK).importing_at(Duration::from_millis(40));
    for latency in 0..8 {
        world.connect(throttled(&chain));
        let latency = Duration::from_millis(200 + 50 * latency);
        world.connect(Peer { block_bytes: Some(PADDED), longest_answer: 1, latency, ..Peer::able(&chain) });
    }
    let limits = SyncLimits::default();
    let most = limits.window_bytes + limits.answer_bytes + PADDED;
    for tenth in 1..300 {
        world.run_until(Duration::from_millis(100) * tenth);
        assert!(world.held_bytes() <= most, "{} bytes after {tenth} tenths of a second", world.held_bytes());
    }
    assert!(world.height() > Some(300), "at {:?}", world.height());
    world.assert_all_kept();
}
