//! Sessions one event at a time, where a simulated network would not come to the point.

use super::*;

/// Our tip.
const OURS: Height = 120;

/// A strategy with our chain, and the peers of another branch, all of which claim more.
struct Desk {
    strategy: BatchSync,
    ours: Chain,
    theirs: Chain,
    now: Duration,
    batches: u64,
}

impl Desk {
    fn new(limits: SyncLimits) -> Self {
        let (ours, theirs) = fork_to(200);
        let mut desk = Self {
            strategy: BatchSync::with_limits(RollbackOne::default(), limits),
            ours,
            theirs,
            now: Duration::ZERO,
            batches: 0,
        };
        assert_eq!(desk.tell(SyncEvent::LocalTip(desk.ours.tip())), []);
        desk
    }

    /// The actions that an event leads to.
    fn tell(&mut self, event: SyncEvent) -> Vec<SyncAction> {
        self.strategy.handle(self.now, event);
        std::iter::from_fn(|| self.strategy.poll_action()).collect()
    }

    fn tell_at(&mut self, now: Duration, event: SyncEvent) -> Vec<SyncAction> {
        self.now = now;
        self.tell(event)
    }

    fn joins(&mut self, peer: u64) -> Vec<SyncAction> {
        self.tell(SyncEvent::PeerTip { peer: ConnId(peer), height: Some(200), legacy: false })
    }

    /// Answers the request among some actions with at most so many blocks of the other branch.
    fn answer(&mut self, actions: &[SyncAction], most: u64) -> Vec<SyncAction> {
        let Some(&SyncAction::Request { peer, request, from, to, .. }) =
            actions.iter().find(|action| matches!(action, SyncAction::Request { .. }))
        else {
            panic!("no request among {actions:?}")
        };
        self.batches += 1;
        let links = if most == 0 { vec![] } else { self.theirs.range(from, to.min(from + most - 1)) };
        let (batch, bytes) = (BatchId(self.batches), links.len() * 1000);
        self.tell(SyncEvent::Blocks { peer, request, batch, links, bytes, weight: bytes, malformed: false })
    }

    /// Answers the look-up and all questions of the search, and gives what follows after the branching point is found.
    fn search(&mut self, mut actions: Vec<SyncAction>, most: u64) -> Vec<SyncAction> {
        if let Some(&SyncAction::LookUp { from, to }) = actions.last() {
            actions = self.tell(SyncEvent::OwnLinks { links: self.ours.range(from, to) });
        }
        while !actions.iter().any(|action| matches!(action, SyncAction::Check { .. })) {
            actions = self.answer(&actions, most);
        }
        actions
    }

    fn deadline(&self) -> Option<Duration> {
        self.strategy.next_deadline()
    }
}

fn is_lookup(action: &SyncAction) -> bool {
    matches!(action, SyncAction::LookUp { to: OURS, .. })
}

#[test]
fn a_reorganisation_longer_than_a_search_may_be_still_asks_again_in_time() {
    // The first answer on the branch fills the window: the rollback comes before the rest is there.
    let limits = SyncLimits { window_bytes: 1000, ..SyncLimits::default() };
    let (pause, search) = (limits.empty_pause, limits.search);
    let mut desk = Desk::new(limits);
    let mut actions = desk.joins(1);
    actions = desk.answer(&actions, 1);
    actions = desk.search(actions, 1);
    while let Some(&SyncAction::Check { batch }) =
        actions.iter().find(|action| matches!(action, SyncAction::Check { .. }))
    {
        actions = desk.tell(SyncEvent::Checked { batch, signed: 1, wrong: None });
    }
    assert!(matches!(actions[..], [SyncAction::Rollback { keep: Some(100) }]), "{actions:?}");
    let kept = desk.ours.at(100).unwrap().tip();
    actions = desk.tell(SyncEvent::RolledBack { tip: Some(kept) });
    let [SyncAction::Import { batch }] = actions[..] else { panic!("{actions:?}") };
    let tip = desk.theirs.at(101).unwrap().tip();
    let late = search + secs(5);
    actions = desk.tell_at(late, SyncEvent::Imported { batch, tip });
    actions = desk.answer(&actions, 0);
    assert!(matches!(actions[..], [SyncAction::Discard { .. }]), "{actions:?}");
    assert_eq!(desk.deadline(), Some(late + pause), "our blocks are rolled back, and nobody is asked for more");
    actions = desk.tell_at(late + pause, SyncEvent::Tick);
    assert!(matches!(actions[..], [SyncAction::Request { from: 102, .. }]), "{actions:?}");
}

#[test]
fn own_blocks_that_cannot_be_read_are_looked_up_again_only_after_a_pause() {
    let limits = SyncLimits::default();
    let pause = limits.local_pause;
    let mut desk = Desk::new(limits);
    let actions = desk.joins(1);
    let actions = desk.answer(&actions, 500);
    assert!(actions.iter().any(is_lookup), "{actions:?}");
    for round in 1..4 {
        assert_eq!(desk.tell(SyncEvent::OwnLinks { links: vec![] }), [], "round {round}");
        assert_eq!(desk.tell(SyncEvent::Tick), []);
        let wake = desk.now + pause;
        while desk.now < wake {
            let at = desk.deadline().expect("there is a fork to look at");
            assert!(at <= wake, "wakes at {at:?}, not at {wake:?}");
            let actions = desk.tell_at(at, SyncEvent::Tick);
            assert_eq!(actions.iter().any(is_lookup), at == wake, "{actions:?} at {at:?}");
        }
    }
}

#[test]
fn the_next_peer_has_its_turn_at_once_when_a_search_took_too_long() {
    let limits = SyncLimits::default();
    let search = limits.search;
    let mut desk = Desk::new(limits);
    let (one, other) = (desk.joins(1), desk.joins(2));
    let mut actions = desk.answer(&one, 500);
    actions.extend(desk.answer(&other, 500));
    assert_eq!(actions.iter().filter(|action| is_lookup(action)).count(), 1, "{actions:?}");
    // The store takes its time.
    let actions = desk.tell_at(search, SyncEvent::Tick);
    assert_eq!(actions.iter().filter(|action| is_lookup(action)).count(), 1, "{actions:?}");
}

#[test]
fn the_silence_of_a_peer_whose_turn_was_over_ends_no_session_of_another() {
    let limits = SyncLimits::default();
    let turn = limits.stall;
    let mut desk = Desk::new(limits);
    let (one, other) = (desk.joins(1), desk.joins(2));
    let mut actions = desk.answer(&one, 500);
    actions.extend(desk.answer(&other, 500));
    assert!(actions.iter().any(is_lookup), "{actions:?}");
    let asked = desk.tell(SyncEvent::OwnLinks { links: desk.ours.range(0, OURS) });
    let [SyncAction::Request { peer: ConnId(1), request: silent, .. }] = asked[..] else { panic!("{asked:?}") };
    let actions = desk.tell_at(turn, SyncEvent::Tick);
    assert!(actions.iter().any(is_lookup), "the other one's turn: {actions:?}");
    let actions = desk.tell(SyncEvent::OwnLinks { links: desk.ours.range(0, OURS) });
    let why = crate::sync::RequestFailure::TimedOut;
    assert_eq!(desk.tell(SyncEvent::RequestFailed { peer: ConnId(1), request: silent, why }), []);
    let actions = desk.search(actions, 500);
    assert!(actions.iter().any(|action| matches!(action, SyncAction::Check { .. })), "{actions:?}");
}

#[test]
fn a_block_that_was_applied_just_before_the_rollback_counts_for_our_branch() {
    let mut desk = Desk::new(SyncLimits::default());
    let actions = desk.tell(SyncEvent::PeerTip { peer: ConnId(1), height: Some(OURS + 1), legacy: false });
    let actions = desk.answer(&actions, 500);
    let actions = desk.search(actions, 500);
    let Some(&SyncAction::Check { batch }) = actions.iter().find(|action| matches!(action, SyncAction::Check { .. }))
    else {
        panic!("{actions:?}")
    };
    let actions = desk.tell(SyncEvent::Checked { batch, signed: 21, wrong: None });
    assert_eq!(actions, [SyncAction::Rollback { keep: Some(100) }]);
    // Gossip that the chain had taken in before it came to the rollback.
    let newer = Chain::to(OURS + 1).tip();
    assert_eq!(desk.tell(SyncEvent::LocalTip(newer)), []);
    let kept = desk.ours.at(100).unwrap().tip();
    let actions = desk.tell(SyncEvent::RolledBack { tip: Some(kept) });
    let [SyncAction::Import { batch }] = actions[..] else { panic!("{actions:?}") };
    let theirs = desk.theirs.at(OURS + 1).unwrap().tip();
    let actions = desk.tell(SyncEvent::Imported { batch, tip: theirs });
    assert_eq!(actions, [SyncAction::FinishReorg { keep: false }], "a branch of equal height is not better");
}
