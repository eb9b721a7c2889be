use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn remote(host: &str) -> Endpoint {
    Endpoint::new(format!("{host}:40000"))
}

/// A host of its own for each number.
fn host(n: u64) -> String {
    format!("192.0.{}.{}", n / 256, n % 256)
}

fn guard(change: impl FnOnce(&mut Limits)) -> InboundGuard {
    let mut limits = Limits::default();
    change(&mut limits);
    InboundGuard::new(&limits)
}

fn penalty() -> Penalty {
    Penalty {
        offence: "invalid block",
        proof: "block 7 is invalid".into(),
        points: 100,
        score: 100,
        close: true,
        ban: None,
        backed_off: false,
    }
}

/// Lets a connection in all the way; gives who had to go.
fn enter(guard: &mut InboundGuard, conn: u64, host: &str, now: Duration) -> Result<Option<u64>, Refusal> {
    guard.admit(ConnId(conn), &remote(host), now)?;
    guard.establish(ConnId(conn), None, now).map(|evicted| evicted.map(|conn| conn.0))
}

#[test]
fn at_most_64_wait_for_their_handshake() {
    let mut guard = guard(|_| {});
    for n in 0..64 {
        guard.admit(ConnId(n), &remote(&host(n)), secs(0)).unwrap();
    }
    let refusal = guard.admit(ConnId(64), &remote(&host(64)), secs(0)).unwrap_err();
    assert_eq!(refusal.to_string(), "64 connections wait for their handshake already");
    guard.gone(ConnId(0));
    guard.admit(ConnId(64), &remote(&host(64)), secs(0)).unwrap();
    guard.establish(ConnId(64), None, secs(1)).unwrap();
    assert_eq!((guard.pending(), guard.established()), (63, 1));
}

#[test]
fn at_most_5_of_one_address_wait_for_their_handshake() {
    let mut guard = guard(|limits| limits.inbound_per_address = 8);
    for n in 0..5 {
        guard.admit(ConnId(n), &remote("192.0.2.1"), secs(0)).unwrap();
    }
    let refusal = guard.admit(ConnId(5), &remote("::ffff:192.0.2.1").clone(), secs(0));
    refusal.unwrap_or_else(|refusal| panic!("a bare name is another host: {refusal}"));
    let refusal = guard.admit(ConnId(6), &remote("[::ffff:192.0.2.1]"), secs(0)).unwrap_err();
    assert_eq!(refusal.to_string(), "5 connections of 192.0.2.1 wait for their handshake already");
    guard.admit(ConnId(7), &remote("192.0.2.2"), secs(0)).unwrap();
}

#[test]
fn one_address_has_one_connection_or_eight_on_devnet() {
    for (network, most) in [("mainnet", 1), ("devnet", 8)] {
        let mut guard = InboundGuard::new(&Limits::for_network(network));
        for n in 0..most {
            enter(&mut guard, n, "192.0.2.1", secs(n)).unwrap();
        }
        let refusal = guard.admit(ConnId(99), &remote("192.0.2.1"), secs(60)).unwrap_err();
        assert_eq!(refusal.to_string(), format!("192.0.2.1 has {most} connections already"));
    }
}

#[test]
fn those_that_waited_together_do_not_exceed_the_bound_per_address_together() {
    let mut guard = guard(|_| {});
    guard.admit(ConnId(1), &remote("192.0.2.1"), secs(0)).unwrap();
    guard.admit(ConnId(2), &remote("192.0.2.1"), secs(0)).unwrap();
    guard.establish(ConnId(1), None, secs(1)).unwrap();
    let refusal = guard.establish(ConnId(2), None, secs(1)).unwrap_err();
    assert_eq!(refusal.kind(), "address full");
    assert_eq!((guard.pending(), guard.established()), (0, 1));
}

#[test]
fn ipv6_addresses_of_one_network_share_their_slots() {
    let mut guard = guard(|_| {});
    enter(&mut guard, 1, "[2001:db8::1]", secs(0)).unwrap();
    assert_eq!(enter(&mut guard, 2, "[2001:db8::2]", secs(9)).unwrap_err().kind(), "address full");
    enter(&mut guard, 3, "[2001:db8:1::2]", secs(9)).unwrap();
}

#[test]
fn an_address_connects_eight_times_at_once_and_then_once_a_second() {
    let mut guard = guard(|_| {});
    let mut attempt = |n, now| {
        let answer = guard.admit(ConnId(n), &remote("192.0.2.1"), now);
        guard.gone(ConnId(n));
        answer
    };
    for n in 0..8 {
        attempt(n, secs(0)).unwrap();
    }
    let refusal = attempt(8, secs(0)).unwrap_err();
    assert_eq!(refusal.to_string(), "192.0.2.1 connects too often: more than 8 times at once and once in 1 s");
    attempt(9, secs(1)).unwrap();
    attempt(10, secs(1)).unwrap_err();
    for n in 0..8 {
        attempt(20 + n, secs(60)).unwrap();
    }
    attempt(30, secs(60)).unwrap_err();
}

#[test]
fn many_addresses_do_not_grow_the_table_of_rates() {
    let limits = Limits { addresses_tracked: 100, ..Limits::default() };
    let mut rate = AcceptRate::new(&limits);
    let busy = Host::of(&remote("198.51.100.1"));
    for _ in 0..8 {
        assert!(rate.allow(&busy, secs(0)));
    }
    for n in 0..10_000 {
        assert!(rate.allow(&Host::of(&remote(&host(n))), secs(0)));
        assert!(!rate.allow(&busy, secs(0)), "who is over the rate is not forgotten for a crowd");
    }
}

#[test]
fn loopback_is_exempt_unless_told_otherwise() {
    let mut exempt = guard(|_| {});
    for n in 0..20 {
        enter(&mut exempt, n, "127.0.0.2", secs(0)).unwrap();
    }
    assert!(!exempt.ban(&remote("127.0.0.2"), None, secs(100), secs(0), &penalty()));
    enter(&mut exempt, 20, "[::ffff:127.0.0.2]", secs(0)).unwrap();
    let mut strict = guard(|limits| limits.exempt_loopback = false);
    enter(&mut strict, 0, "127.0.0.2", secs(0)).unwrap();
    assert_eq!(enter(&mut strict, 1, "127.0.0.2", secs(0)).unwrap_err().kind(), "address full");
    enter(&mut strict, 2, "127.0.0.3", secs(0)).unwrap();
    assert!(strict.ban(&remote("127.0.0.4"), None, secs(100), secs(0), &penalty()));
    assert_eq!(enter(&mut strict, 3, "127.0.0.4", secs(0)).unwrap_err().kind(), "banned");
}

#[test]
fn all_of_loopback_shares_the_64_slots() {
    let mut guard = guard(|_| {});
    for n in 0..200 {
        let _ = enter(&mut guard, n, "127.0.0.1", secs(n));
        assert!(guard.established() <= 64);
    }
}

#[test]
fn a_banned_address_comes_back_when_the_ban_ends() {
    let mut guard = guard(|_| {});
    guard.ban(&remote("192.0.2.1"), None, secs(3600), secs(0), &penalty());
    let refusal = guard.admit(ConnId(1), &remote("[::ffff:192.0.2.1]"), secs(3590)).unwrap_err();
    assert_eq!(refusal.to_string(), "192.0.2.1 is banned for another 10 s");
    assert_eq!(guard.banned(&remote("192.0.2.1"), None, secs(3590)), Some(secs(10)));
    guard.admit(ConnId(1), &remote("192.0.2.1"), secs(3600)).unwrap();
}

#[test]
fn a_key_is_banned_wherever_it_comes_from_and_its_address_is_not() {
    let mut guard = guard(|_| {});
    let key = PeerId([7; 32]);
    guard.ban(&remote("192.0.2.1"), Some(&key), secs(3600), secs(0), &penalty());
    enter(&mut guard, 1, "192.0.2.1", secs(1)).unwrap();
    guard.admit(ConnId(2), &remote("127.0.0.1"), secs(1)).unwrap();
    assert_eq!(guard.establish(ConnId(2), Some(&key), secs(1)).unwrap_err().kind(), "banned");
    assert_eq!(guard.established(), 1);
}

#[test]
fn bans_are_shown_with_their_proof_and_end_and_no_longer_than_they_hold() {
    let mut guard = guard(|_| {});
    guard.ban(&remote("192.0.2.1"), None, secs(100), secs(10), &penalty());
    guard.ban(&remote("192.0.2.2"), None, secs(200), secs(10), &penalty());
    let (bans, count) = guard.bans(1, secs(20), 1_000_020);
    assert_eq!((bans.len(), count), (1, 2));
    let expected = BanInfo {
        peer: "192.0.2.2".into(),
        offence: "invalid block",
        proof: "block 7 is invalid".into(),
        since: 1_000_010,
        expires: 1_000_200,
    };
    assert_eq!(bans, [expected]);
    assert_eq!(guard.bans(9, secs(100), 0).1, 1, "the other one is over");
}

#[test]
fn a_full_table_of_bans_drops_the_one_that_ends_first() {
    let mut guard = guard(|limits| limits.addresses_tracked = 3);
    for n in 0..4 {
        guard.ban(&remote(&host(n)), None, secs(100 + n), secs(0), &penalty());
    }
    let banned: Vec<bool> = (0..4).map(|n| guard.banned(&remote(&host(n)), None, secs(1)).is_some()).collect();
    assert_eq!(banned, [false, true, true, true]);
}

#[test]
fn a_new_peer_takes_the_place_of_the_youngest_of_the_most_crowded_address() {
    let mut guard = guard(|limits| {
        limits.inbound = 8;
        limits.inbound_per_address = 8;
    });
    enter(&mut guard, 0, &host(0), secs(0)).unwrap();
    for n in 1..5 {
        enter(&mut guard, n, "198.51.100.1", secs(n)).unwrap();
    }
    for n in 5..8 {
        enter(&mut guard, n, &host(n), secs(n)).unwrap();
    }
    assert_eq!(enter(&mut guard, 8, &host(8), secs(8)).unwrap(), Some(7), "no address is crowded among the young");
    enter(&mut guard, 9, "198.51.100.2", secs(9)).unwrap();
    assert_eq!(enter(&mut guard, 10, "198.51.100.2", secs(10)).unwrap(), Some(9));
    assert_eq!(enter(&mut guard, 11, "198.51.100.2", secs(11)).unwrap(), Some(10), "a crowd evicts itself");
}

#[test]
fn useful_and_long_lived_peers_outlast_a_flood() {
    let mut guard = guard(|limits| limits.inbound_per_address = 64);
    for n in 0..64 {
        enter(&mut guard, n, &host(n), secs(n)).unwrap();
    }
    // The eight youngest are the most useful.
    for n in 56..64 {
        guard.useful(ConnId(n));
    }
    let mut evicted = Vec::new();
    for n in 100..1100 {
        evicted.extend(enter(&mut guard, n, &format!("198.51.100.{}", n % 200), secs(n)).unwrap());
    }
    assert!((56..64).all(|n| !evicted.contains(&n)), "the useful stayed");
    assert!((0..28).all(|n| !evicted.contains(&n)), "the long-lived stayed");
    assert_eq!(guard.established(), 64);
}

#[test]
fn the_last_useful_peers_are_not_evicted_for_a_stranger() {
    let mut guard = guard(|limits| limits.inbound = 4);
    for n in 0..4 {
        enter(&mut guard, n, &host(n), secs(n)).unwrap();
        guard.useful(ConnId(n));
    }
    assert_eq!(enter(&mut guard, 9, &host(9), secs(9)).unwrap_err(), Refusal::Full { most: 4 });
    assert_eq!((guard.pending(), guard.established()), (0, 4));
}
