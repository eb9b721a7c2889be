use proptest::prelude::*;

use super::*;
use crate::rules::Rule;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn subject(n: u8) -> Subject {
    Subject::of(&Endpoint::new(format!("192.0.2.{n}:9000")), None)
}

fn invalid_block() -> Offence {
    Offence::InvalidBlock { height: 7, hash: Some(Hash32([1; 32])), rule: "state_root: expected a, found b".into() }
}

fn malformed() -> Offence {
    Offence::MalformedMessage { detail: "expected value at column 1".into() }
}

fn board() -> ScoreBoard {
    ScoreBoard::new(&Limits::default())
}

#[test]
fn an_invalid_block_bans_for_an_hour_and_names_its_proof() {
    let penalty = board().record(&subject(1), &invalid_block(), secs(5));
    assert_eq!(penalty.proof, "block 7 (01010101) is invalid: state_root: expected a, found b");
    assert_eq!((penalty.ban, penalty.close, penalty.points), (Some(secs(3600)), true, 100));
}

#[test]
fn bans_double_up_to_a_day_and_are_forgotten_a_day_after_their_end() {
    let mut board = board();
    let mut now = secs(0);
    let mut hours = Vec::new();
    for _ in 0..7 {
        let ban = board.record(&subject(1), &invalid_block(), now).ban.unwrap();
        hours.push(ban.as_secs() / 3600);
        now += ban;
    }
    assert_eq!(hours, [1, 2, 4, 8, 16, 24, 24]);
    now += secs(24 * 3600);
    assert_eq!(board.record(&subject(1), &invalid_block(), now).ban, Some(secs(3600)));
}

#[test]
fn small_faults_add_up_within_a_short_time_only() {
    let mut quick = board();
    let bans: Vec<usize> =
        (0..30).filter(|n| quick.record(&subject(1), &malformed(), secs(*n as u64)).ban.is_some()).collect();
    assert_eq!(bans, [25], "25 faults of 4 points, less what they decayed meanwhile");
    let mut slow = board();
    for n in 0..1000 {
        let penalty = slow.record(&subject(1), &malformed(), secs(n * 120));
        assert_eq!((penalty.ban, penalty.close), (None, false), "one fault in two minutes bans nobody");
    }
}

#[test]
fn points_halve_in_ten_minutes() {
    let mut board = board();
    let offence = Offence::UnaskedResponse { first: Some(3) };
    assert_eq!(board.record(&subject(1), &offence, secs(0)).score, 20);
    assert_eq!(board.score(&subject(1), secs(600)), 10);
    assert_eq!(board.score(&subject(1), secs(1200)), 5);
    assert_eq!(board.score(&subject(2), secs(0)), 0);
}

#[test]
fn points_count_for_the_key_or_for_the_address_without_port() {
    let key = PeerId([7; 32]);
    let a = Endpoint::new("192.0.2.1:5000");
    let b = Endpoint::new("[::ffff:192.0.2.1]:6000");
    assert_eq!(Subject::of(&a, None), Subject::of(&b, None));
    assert_eq!(Subject::of(&a, Some(&key)), Subject::of(&Endpoint::new("192.0.2.9:1"), Some(&key)));
    assert_ne!(Subject::of(&a, None), Subject::of(&a, Some(&key)));
}

#[test]
fn the_table_is_bounded_and_keeps_the_worst() {
    let limits = Limits { addresses_tracked: 10, ..Limits::default() };
    let mut board = ScoreBoard::new(&limits);
    board.record(&subject(0), &invalid_block(), secs(0));
    board.record(&subject(1), &Offence::OversizeFrame { cap: 2048 }, secs(0));
    for n in 2..250 {
        board.record(&subject(n), &malformed(), secs(0));
    }
    assert_eq!(board.records.len(), 10);
    assert_eq!(board.score(&subject(1), secs(0)), 34);
    assert_eq!(
        board.record(&subject(0), &invalid_block(), secs(3600)).ban,
        Some(secs(7200)),
        "its first ban is remembered"
    );
}

#[test]
fn a_refused_block_is_a_proof_only_where_its_sender_alone_can_be_at_fault() {
    let rejection = |rule, stricter_than_v1| Rejection { stricter_than_v1, ..Rejection::new(4, rule, "x") };
    let invalid = Offence::of_block(&rejection(Rule::StateRoot, false), None);
    assert_eq!(invalid.unwrap().to_string(), "block 4 is invalid: state root: x");
    assert_eq!(Offence::of_block(&rejection(Rule::StateRoot, true), None), None);
    for rule in [Rule::Proposer, Rule::FutureTimestamp, Rule::PrevHash, Rule::TxRoot, Rule::Length, Rule::Checkpoint] {
        assert_eq!(Offence::of_block(&rejection(rule, false), None), None, "{rule}");
    }
}

#[test]
fn unknown_message_types_and_refusals_by_state_are_no_offence() {
    assert_eq!(Offence::of_frame(&DecodeError::UnknownType("ping".into())), None);
    assert_eq!(Offence::of_frame(&DecodeError::TooLarge { cap: 7 }), Some(Offence::OversizeFrame { cap: 7 }));
    let used = mempool::Refusal::NonceUsed { nonce: 1, next: 2 };
    assert_eq!(Offence::of_transaction(&used, Hash32::ZERO), None);
}

fn offence() -> impl Strategy<Value = Offence> {
    prop_oneof![
        Just(invalid_block()),
        Just(malformed()),
        Just(Offence::InvalidSignatureTx { hash: Hash32::ZERO }),
        Just(Offence::UnaskedResponse { first: None }),
        Just(Offence::WrongRange { from: 1, to: 2, detail: "3 blocks".into() }),
        Just(Offence::OversizeFrame { cap: 1 }),
        Just(Offence::BeforeHandshake { kind: None }),
        Just(Offence::BeforeHandshake { kind: Some(MessageKind::GetBlocks) }),
        Just(Offence::UnreadableStream { detail: "no frame".into() }),
    ]
}

proptest! {
    #[test]
    fn whoever_commits_no_offence_has_no_points_whatever_others_do(
        offences in prop::collection::vec((1u8..20, offence(), 0u64..1000), 0..200)
    ) {
        let mut board = ScoreBoard::new(&Limits { addresses_tracked: 8, ..Limits::default() });
        let mut now = secs(0);
        for (who, offence, wait) in offences {
            now += secs(wait);
            let penalty = board.record(&subject(who), &offence, now);
            prop_assert!(!penalty.proof.is_empty() && penalty.points > 0);
            prop_assert!(penalty.ban.is_none_or(|ban| penalty.close && ban <= secs(24 * 3600)));
            prop_assert_eq!(board.score(&subject(0), now), 0);
            prop_assert!(board.records.len() <= 8);
            prop_assert!(!board.records.contains_key(&subject(0)));
        }
    }
}
