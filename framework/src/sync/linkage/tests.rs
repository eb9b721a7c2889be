use super::*;

fn hash(height: Height, branch: u8) -> Hash32 {
    let mut bytes = [branch; 32];
    bytes[..8].copy_from_slice(&height.to_be_bytes());
    Hash32(bytes)
}

/// Blocks of branch 1, which leaves branch 0 after `common`.
fn links(from: Height, to: Height, common: Height) -> Vec<BlockLink> {
    let hash_at = |height| hash(height, u8::from(height > common));
    let parent = |height: Height| height.checked_sub(1).map_or(Hash32::ZERO, hash_at);
    (from..=to).map(|height| BlockLink { height, hash: hash_at(height), prev_hash: parent(height) }).collect()
}

fn chain(from: Height, to: Height) -> Vec<BlockLink> {
    links(from, to, Height::MAX)
}

fn point(height: Height) -> Checkpoint {
    Checkpoint { height, hash: hash(height, 0) }
}

/// Branch 1 has its own block where branch 0 is expected.
fn other(height: Height) -> Contradiction {
    Contradiction { height, expected: hash(height, 0), offered: Some(hash(height, 1)) }
}

fn at(height: Height) -> Tip {
    Tip { height, hash: hash(height, 0) }
}

/// Walks down with a peer that has the chain.
fn walk(linkage: &mut Linkage, ours: Option<Tip>) -> (Option<Arrival>, usize) {
    let mut answers = 0;
    loop {
        if let Some(arrival) = linkage.follow(ours) {
            return (Some(arrival), answers);
        }
        let Some((from, to)) = linkage.wanted(ours) else { return (None, answers) };
        assert!(to - from < MAX_HEADERS);
        assert_eq!(linkage.take(&chain(from, to), ours), Some(Step::Down));
        answers += 1;
    }
}

#[test]
fn headers_lead_from_the_checkpoint_down_to_our_tip() {
    let mut linkage = Linkage::new(&[point(10_000)]);
    assert_eq!(walk(&mut linkage, Some(at(20))), (Some(Arrival::Linked(10_000)), 3));
    assert_eq!(linkage.judge(&chain(21, 520)), Verdict::Ancestor(512));
    assert_eq!(linkage.judge(&chain(9_999, 10_001)), Verdict::Ancestor(10_000));
    assert_eq!(linkage.judge(&chain(513, 520)), Verdict::Unknown);
    assert_eq!(linkage.align(21, 520), 512);
    assert_eq!(linkage.align(513, 520), 520);
}

#[test]
fn an_empty_chain_is_walked_down_to_block_0() {
    let mut linkage = Linkage::new(&[point(100)]);
    assert_eq!(walk(&mut linkage, None), (Some(Arrival::Linked(100)), 1));
    assert_eq!(linkage.judge(&chain(0, 50)), Verdict::Ancestor(48));
    assert_eq!(linkage.follow(None), None);
    assert_eq!(linkage.wanted(None), None, "the walk is over");
}

#[test]
fn nothing_is_known_before_the_headers_came_but_the_checkpoint_itself() {
    let mut linkage = Linkage::new(&[point(1000)]);
    linkage.follow(Some(at(0)));
    assert_eq!(linkage.judge(&chain(1, 500)), Verdict::Unknown);
    assert_eq!(linkage.judge(&chain(900, 1100)), Verdict::Ancestor(1000));
}

#[test]
fn another_chain_is_found_out_by_its_headers_and_by_its_blocks() {
    let mut linkage = Linkage::new(&[point(10_000)]);
    linkage.follow(Some(at(0)));
    let (from, to) = linkage.wanted(Some(at(0))).unwrap();
    assert_eq!(linkage.take(&links(from, to, 9_000), Some(at(0))), Some(Step::Contradiction(other(10_000))));
    assert_eq!(linkage.wanted(Some(at(0))), Some((from, to)), "the walk stands where it stood");
    walk(&mut linkage, Some(at(0)));
    assert_eq!(linkage.judge(&links(101, 600, 300)), Verdict::Contradiction(other(304)));
    assert_eq!(linkage.judge(&links(101, 303, 300)), Verdict::Ancestor(288));
}

#[test]
fn our_own_chain_may_be_another_one() {
    let mut linkage = Linkage::new(&[point(100)]);
    let ours = Some(Tip { height: 50, hash: hash(50, 7) });
    let found = Contradiction { height: 50, expected: hash(50, 0), offered: Some(hash(50, 7)) };
    assert_eq!(walk(&mut linkage, ours), (Some(Arrival::OffChain(100, found)), 1));
}

#[test]
fn several_checkpoints_are_walked_to_one_after_the_other() {
    let mut linkage = Linkage::new(&[point(5_000), point(1_000)]);
    assert_eq!(walk(&mut linkage, Some(at(0))), (Some(Arrival::Linked(1_000)), 1));
    assert_eq!(walk(&mut linkage, Some(at(0))), (Some(Arrival::Linked(5_000)), 1));
    assert_eq!(walk(&mut linkage, Some(at(0))), (None, 0));
    assert_eq!(linkage.judge(&chain(4_000, 4_499)), Verdict::Ancestor(4_496));
}

#[test]
fn anchors_are_bounded_however_far_the_checkpoint_is() {
    let far = 3_000_000;
    let mut linkage = Linkage::new(&[1, 2, 3, 4].map(|times| point(times * far)));
    while walk(&mut linkage, Some(at(0))).0.is_some() {}
    assert!(linkage.anchors.len() <= MOST_ANCHORS + 4, "{}", linkage.anchors.len());
    assert!(linkage.anchors.len() > 20_000, "{}", linkage.anchors.len());
    assert_eq!(linkage.follow(Some(at(far))), None);
    assert!(walk(&mut linkage, Some(at(far))).0.is_some(), "there is room again");
}

#[test]
fn a_walk_that_the_tip_overtakes_is_over() {
    let mut linkage = Linkage::new(&[point(10_000), point(20_000)]);
    linkage.follow(Some(at(0)));
    assert_eq!(linkage.judge(&links(9_900, 10_100, 9_950)), Verdict::Contradiction(other(10_000)));
    assert_eq!(linkage.follow(Some(at(10_500))), Some(Arrival::Linked(10_000)));
    assert_eq!(linkage.wanted(Some(at(10_500))), Some((15_905, 20_000)));
}

#[test]
fn no_gap_above_our_tip_is_larger_than_what_can_be_undone() {
    let is_small = |linkage: &Linkage, tip: Height| linkage.anchors.first_key_value().unwrap().0 - tip <= MOST_UNLINKED;
    // So far that the anchors of the first walk are a thousand blocks apart.
    let far = 8_000_000;
    let mut linkage = Linkage::new(&[point(far)]);
    assert_eq!(walk(&mut linkage, Some(at(0))).0, Some(Arrival::Linked(far)));
    assert!(!is_small(&linkage, 0));
    assert_eq!(walk(&mut linkage, Some(at(0))), (None, 1));
    assert!(is_small(&linkage, 0));
    assert_eq!(walk(&mut linkage, Some(at(1000))), (None, 0));
    assert_eq!(walk(&mut linkage, Some(at(1024))), (None, 1), "the next gap");

    // Our blocks were rolled back to below what was walked to.
    let mut linkage = Linkage::new(&[point(9_000)]);
    assert_eq!(walk(&mut linkage, Some(at(6_000))).0, Some(Arrival::Linked(9_000)));
    assert_eq!(walk(&mut linkage, Some(at(5_000))), (None, 1));
    assert!(is_small(&linkage, 5_000));
}

#[test]
fn what_is_linked_grows_with_the_chain_and_falls_with_a_rollback() {
    let mut linkage = Linkage::new(&[point(100), point(5_000)]);
    linkage.follow(Some(at(30)));
    assert_eq!((linkage.unlinked(Some(30)), linkage.may_leave(30)), (31, u64::MAX));
    linkage.follow(Some(at(120)));
    assert_eq!((linkage.unlinked(Some(120)), linkage.may_leave(120)), (20, 20), "the checkpoint itself is linked");
    walk(&mut linkage, Some(at(120)));
    assert_eq!(linkage.unlinked(Some(120)), 0);
    linkage.added(Verdict::Ancestor(400));
    linkage.follow(Some(at(420)));
    assert_eq!(linkage.unlinked(Some(420)), 20);
    linkage.follow(Some(at(300)));
    assert_eq!(linkage.unlinked(Some(310)), 10);
    linkage.follow(Some(at(5_000)));
    assert_eq!((linkage.unlinked(Some(6_000)), linkage.may_leave(6_000)), (0, u64::MAX), "nothing more is demanded");
}
