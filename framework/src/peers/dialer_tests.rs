use proptest::prelude::*;

use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn endpoint(n: usize) -> Endpoint {
    Endpoint::new(format!("192.0.{}.{}:9000", n / 256, n % 256))
}

/// Pauses are not shortened.
fn no_jitter() -> u64 {
    0
}

fn dialer(configured: usize, saved: usize) -> Dialer {
    let mut dialer = Dialer::new(&Limits::default());
    // The saved ones first, to show that the order of arrival does not decide.
    for n in configured..configured + saved {
        dialer.add(&endpoint(n), Origin::Saved, ms(0));
    }
    for n in 0..configured {
        dialer.add(&endpoint(n), Origin::Configured, ms(0));
    }
    dialer
}

/// Asks for dials whenever there may be one, until `until`.
fn dials(dialer: &mut Dialer, from: Duration, until: Duration) -> Vec<(Duration, Dial)> {
    let mut made = Vec::new();
    let mut now = from;
    while let Some(deadline) = dialer.next_deadline() {
        now = now.max(deadline);
        if now > until {
            break;
        }
        made.extend(dialer.next(now).map(|dial| (now, dial)));
    }
    made
}

#[test]
fn dials_the_configured_first_one_each_100_ms_and_at_most_eight() {
    let mut dialer = dialer(2, 20);
    let made = dials(&mut dialer, ms(0), ms(60_000));
    let expected: Vec<_> =
        (0..8).map(|n| (ms(n as u64 * 100), Dial { endpoint: endpoint(n), feeler: false })).collect();
    assert_eq!(made, expected);
    assert_eq!(dialer.outbound(), (0, 8));
    dialer.failed(&endpoint(3), ms(60_000), &mut no_jitter);
    assert_eq!(dialer.next(ms(60_000)).unwrap().endpoint, endpoint(8), "a free slot is used");
}

#[test]
fn a_configured_peer_is_dialled_for_ever_after_1_s_to_60_s() {
    let mut dialer = dialer(1, 0);
    let mut now = ms(0);
    let mut pauses = Vec::new();
    for _ in 0..200 {
        let ready = dialer.next_deadline().unwrap();
        pauses.push(ready.saturating_sub(now).as_secs());
        now = ready;
        assert_eq!(dialer.next(now).unwrap().endpoint, endpoint(0));
        dialer.failed(&endpoint(0), now, &mut no_jitter);
        dialer.clean_up(now);
    }
    assert_eq!(pauses[..10], [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(pauses[199], 60);
}

#[test]
fn others_are_dialled_after_30_s_to_1_h_and_forgotten_after_a_week() {
    let mut dialer = dialer(0, 1);
    let mut now = ms(0);
    let mut pauses = Vec::new();
    while let Some(ready) = dialer.next_deadline() {
        pauses.push(ready.saturating_sub(now).as_secs());
        now = ready;
        dialer.next(now).unwrap();
        dialer.failed(&endpoint(0), now, &mut no_jitter);
        dialer.clean_up(now);
    }
    assert_eq!(pauses[..9], [0, 30, 60, 120, 240, 480, 960, 1920, 3600]);
    assert_eq!(now.as_secs() / 86_400, 7);
}

#[test]
fn a_connection_that_held_is_dialled_again_soon_and_one_that_did_not_ever_later() {
    let mut dialer = dialer(1, 0);
    let mut now = ms(0);
    for pause in [1, 2, 4] {
        dialer.next(now).unwrap();
        dialer.succeeded(&endpoint(0), now);
        dialer.disconnected(&endpoint(0), now, &mut no_jitter);
        assert_eq!(dialer.next_deadline(), Some(now + ms(pause * 1000)));
        now += ms(pause * 1000);
    }
    dialer.next(now).unwrap();
    dialer.succeeded(&endpoint(0), now);
    now += ms(60_000);
    dialer.disconnected(&endpoint(0), now, &mut no_jitter);
    assert_eq!(dialer.next_deadline(), Some(now + ms(1000)));
}

#[test]
fn ourselves_are_forgotten_and_not_learnt_again() {
    let mut dialer = dialer(0, 1);
    let dial = dialer.next(ms(0)).unwrap();
    dialer.mark_self(&dial.endpoint, ms(0), &mut no_jitter);
    dialer.add(&endpoint(0), Origin::Saved, ms(1));
    assert!(dialer.inbound(&Endpoint::new("192.0.0.0:5555"), 9000, ms(1), &mut no_jitter).is_none());
    assert!(dialer.book().is_empty() && dialer.next_deadline().is_none());
    assert_eq!(dialer.connectivity(false), Connectivity::NoPeersKnown);
}

#[test]
fn a_configured_address_that_claims_to_be_ourselves_is_dialled_again_and_does_not_count_meanwhile() {
    let mut dialer = dialer(1, 0);
    let dial = dialer.next(ms(0)).unwrap();
    dialer.mark_self(&dial.endpoint, ms(0), &mut no_jitter);
    assert_eq!(dialer.connectivity(false), Connectivity::NoPeersKnown);
    assert!(dialer.is_configured(&dial.endpoint) && !dialer.refused_everywhere());
    assert_eq!(dialer.next(ms(59_999)), None, "not before the longest pause");
    assert_eq!(dialer.next(ms(60_000)), Some(dial.clone()));
    dialer.succeeded(&dial.endpoint, ms(60_000));
    assert_eq!(dialer.connectivity(false), Connectivity::Dialling, "another node is there now");
}

#[test]
fn an_inbound_peer_is_dialled_back_in_its_turn_and_saved_only_if_it_answers() {
    let mut dialer = dialer(0, 0);
    let good = dialer.inbound(&Endpoint::new("[::ffff:192.0.2.1]:41000"), 9000, ms(0), &mut no_jitter).unwrap();
    let bad = dialer.inbound(&Endpoint::new("192.0.2.2:41000"), 1, ms(0), &mut no_jitter).unwrap();
    assert_eq!(good, Endpoint::new("192.0.2.1:9000"));
    assert_eq!(dialer.next(ms(999)), None, "not at once");
    assert_eq!(dialer.next(ms(1000)), Some(Dial { endpoint: good.clone(), feeler: true }));
    assert_eq!(dialer.next(ms(9000)), None, "one feeler at a time");
    dialer.succeeded(&good, ms(9000));
    assert_eq!(dialer.next(ms(9000)), Some(Dial { endpoint: bad.clone(), feeler: true }));
    dialer.failed(&bad, ms(9000), &mut no_jitter);
    assert_eq!(dialer.book().saved(), std::slice::from_ref(&good));
    assert_eq!(dialer.outbound(), (0, 0));
    dialer.inbound_gone(&bad);
    dialer.inbound_gone(&good);
    let again = dials(&mut dialer, ms(9000), ms(39_100));
    assert_eq!(again.len(), 2, "once they do not dial us, we dial them: {again:?}");
    assert!(again.iter().all(|(at, dial)| !dial.feeler && *at >= ms(39_000)));
}

#[test]
fn a_configured_peer_is_dialled_though_somebody_claims_to_be_it() {
    let mut dialer = dialer(1, 0);
    dialer.inbound(&Endpoint::new("192.0.0.0:5555"), 9000, ms(0), &mut no_jitter);
    assert_eq!(dialer.next(ms(0)), Some(Dial { endpoint: endpoint(0), feeler: false }));
}

#[test]
fn a_peer_of_another_network_is_forgotten_unless_it_is_configured() {
    let mut dialer = dialer(1, 1);
    dialer.next(ms(0)).unwrap();
    dialer.next(ms(100)).unwrap();
    dialer.refused(&endpoint(0), ms(100), &mut no_jitter);
    dialer.refused(&endpoint(1), ms(100), &mut no_jitter);
    assert!(dialer.book().contains(&endpoint(0)) && !dialer.book().contains(&endpoint(1)));
    assert_eq!(dialer.next_deadline(), Some(ms(60_100)));
}

#[test]
fn says_how_the_node_stands_to_the_network() {
    let mut dialer = dialer(0, 0);
    assert_eq!(dialer.connectivity(false), Connectivity::NoPeersKnown);
    assert_eq!(dialer.connectivity(true), Connectivity::Connected);
    dialer.inbound(&Endpoint::new("192.0.2.1:41000"), 9000, ms(0), &mut no_jitter);
    assert_eq!(dialer.connectivity(false), Connectivity::NoPeersKnown, "a claim is no peer");
    dialer.add(&endpoint(0), Origin::Configured, ms(0));
    dialer.add(&endpoint(1), Origin::Saved, ms(0));
    assert_eq!(dialer.connectivity(false), Connectivity::Dialling);
    dialer.next(ms(0)).unwrap();
    dialer.failed(&endpoint(0), ms(0), &mut no_jitter);
    assert_eq!(dialer.connectivity(false), Connectivity::Dialling, "one is still to be tried");
    dialer.next(ms(100)).unwrap();
    dialer.failed(&endpoint(1), ms(100), &mut no_jitter);
    assert_eq!(dialer.connectivity(false), Connectivity::AllDialsFailed);
    dialer.next(ms(1000)).unwrap();
    assert_eq!(dialer.connectivity(false), Connectivity::AllDialsFailed, "another try does not start it anew");
    dialer.succeeded(&endpoint(0), ms(1100));
    dialer.disconnected(&endpoint(0), ms(1200), &mut no_jitter);
    assert_eq!(dialer.connectivity(false), Connectivity::Dialling);
}

/// What may happen to a dialler.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Learn(usize),
    Inbound(usize),
    InboundGone(usize),
    Succeed(usize),
    Fail(usize),
    Refuse(usize),
    Disconnect(usize),
    MarkSelf(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0usize..30;
    prop_oneof![
        8 => (0u64..5000).prop_map(Step::Wait),
        2 => n.clone().prop_map(Step::Learn),
        2 => n.clone().prop_map(Step::Inbound),
        1 => n.clone().prop_map(Step::InboundGone),
        4 => n.clone().prop_map(Step::Succeed),
        4 => n.clone().prop_map(Step::Fail),
        1 => n.clone().prop_map(Step::Refuse),
        2 => n.clone().prop_map(Step::Disconnect),
        1 => (20usize..30).prop_map(Step::MarkSelf),
    ]
}

proptest! {
    #[test]
    fn never_dials_too_often_too_many_or_twice(steps in prop::collection::vec(step(), 0..300), seed: u64) {
        let mut random = seed;
        let mut rng = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 11
        };
        let mut dialer = dialer(5, 5);
        let mut now = ms(0);
        let mut last: Option<Duration> = None;
        let mut busy: Vec<Dial> = Vec::new();
        let mut own: Vec<Endpoint> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(wait) => now += ms(wait),
                Step::Learn(n) => dialer.add(&endpoint(n), Origin::Saved, now),
                Step::Inbound(n) => { dialer.inbound(&endpoint(n), 9000, now, &mut rng); }
                Step::InboundGone(n) => dialer.inbound_gone(&endpoint(n)),
                Step::MarkSelf(n) => {
                    dialer.mark_self(&endpoint(n), now, &mut rng);
                    busy.retain(|dial| dial.endpoint != endpoint(n));
                    own.push(endpoint(n));
                }
                Step::Succeed(n) => if busy.iter().any(|dial| dial.endpoint == endpoint(n)) {
                    dialer.succeeded(&endpoint(n), now);
                    busy.retain(|dial| !(dial.feeler && dial.endpoint == endpoint(n)));
                },
                Step::Fail(n) | Step::Disconnect(n) | Step::Refuse(n) => if busy.iter().any(|dial| dial.endpoint == endpoint(n)) {
                    match step {
                        Step::Fail(_) => dialer.failed(&endpoint(n), now, &mut rng),
                        Step::Refuse(_) => dialer.refused(&endpoint(n), now, &mut rng),
                        _ => dialer.disconnected(&endpoint(n), now, &mut rng),
                    }
                    busy.retain(|dial| dial.endpoint != endpoint(n));
                },
            }
            if let Some(dial) = dialer.next(now) {
                prop_assert!(last.is_none_or(|last| now >= last + ms(100)));
                prop_assert!(busy.iter().all(|other| other.endpoint != dial.endpoint));
                prop_assert!(!own.contains(&dial.endpoint));
                busy.push(dial);
                last = Some(now);
            }
            prop_assert!(busy.iter().filter(|dial| !dial.feeler).count() <= 8);
            prop_assert!(busy.iter().filter(|dial| dial.feeler).count() <= 1);
            let (connected, dialling) = dialer.outbound();
            prop_assert_eq!(connected + dialling, busy.len());
            prop_assert!((0..5).all(|n| dialer.book().contains(&endpoint(n))), "a configured address is gone");
            prop_assert!(dialer.next_deadline().is_some() || connected + dialling > 0);
        }
    }
}

#[test]
fn a_connection_that_is_made_anew_is_dialled_before_all_others_and_ever_more_seldom() {
    let mut dialer = dialer(10, 0);
    let mut now = ms(1000);
    for (at, dial) in dials(&mut dialer, ms(0), now) {
        dialer.succeeded(&dial.endpoint, at);
    }
    assert_eq!(dialer.outbound(), (8, 0));
    let stuck = endpoint(5);
    for pause in [120, 240, 480, 960, 1920, 3600, 3600] {
        assert!(dialer.connects_anew_at(&stuck).unwrap() <= now);
        dialer.connect_anew(&stuck, now, &mut no_jitter);
        assert_eq!(dialer.connects_anew_at(&endpoint(4)), None, "one at a time");
        let (at, dial) = dials(&mut dialer, now, now + ms(200)).remove(0);
        assert_eq!(dial, Dial { endpoint: stuck.clone(), feeler: false }, "though two others wait for a slot");
        dialer.succeeded(&stuck, at);
        assert_eq!(dialer.connects_anew_at(&stuck), Some(now + ms(pause * 1000)));
        assert_eq!(dialer.connects_anew_at(&endpoint(4)), Some(ms(0)));
        now += ms(pause * 1000);
    }
    dialer.caught_up(&stuck);
    assert_eq!(dialer.connects_anew_at(&stuck), Some(ms(0)));
}

#[test]
fn a_configured_peer_that_does_not_answer_when_connected_to_anew_is_dialled_for_ever() {
    let mut dialer = dialer(1, 0);
    let mut now = dials(&mut dialer, ms(0), ms(100)).pop().unwrap().0;
    dialer.succeeded(&endpoint(0), now);
    dialer.connect_anew(&endpoint(0), now + ms(60_000), &mut no_jitter);
    now += ms(60_000);
    for round in 0..50 {
        let (at, dial) = dials(&mut dialer, now, now + ms(61_000)).remove(0);
        assert_eq!(dial.endpoint, endpoint(0), "round {round}");
        now = at;
        dialer.failed(&endpoint(0), now, &mut no_jitter);
    }
}

#[test]
fn an_address_that_was_never_reached_or_has_no_slot_is_not_connected_to_anew() {
    let mut dialer = dialer(8, 0);
    let inbound = Endpoint::new("203.0.113.9:40000");
    let known = dialer.inbound(&inbound, 9000, ms(0), &mut no_jitter).unwrap();
    assert_eq!(dialer.connects_anew_at(&known), None, "a claim");
    let made = dials(&mut dialer, ms(0), ms(5000));
    assert_eq!(made.len(), 9);
    dialer.succeeded(&known, ms(5000));
    assert_eq!(dialer.connects_anew_at(&known), None, "no slot");
    dialer.failed(&endpoint(0), ms(5000), &mut no_jitter);
    assert_eq!(dialer.connects_anew_at(&known), Some(ms(0)));
}
