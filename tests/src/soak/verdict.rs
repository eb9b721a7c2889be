//! What a soak must show, and what explains a warning.

use std::time::{Duration, Instant};

use super::node::{Life, Warning};
use super::schedule::Kind;

/// A process is warm at this age, or after a third of its life if that is later: by then its caches are full, since the nodes of a
/// soak have small ones (`--remember`, `--page-cache`).
pub const WARM_AFTER: Duration = Duration::from_secs(30);

/// Over how long resident memory is averaged, at the age of [`WARM_AFTER`] and at the end.
const WINDOW: Duration = Duration::from_secs(5);

/// What is allocated is compared between two stretches of at least this length: connections, questions and the store's newest
/// state come and go in a few seconds.
const LEAST_HALF: Duration = Duration::from_secs(10);

/// A run of at least this length must have had a process that lived long enough for its memory to be judged. In a shorter one chance may
/// have ended every process sooner, which the report then says.
pub const MUST_JUDGE_FROM: Duration = Duration::from_secs(300);

/// How much a process may have allocated more than when it was warm, in bytes. Tables of connections and of the pool, which keep the
/// room that they once needed, blocks that wait to be passed on, and the ids of the last thousand blocks, of which a run of ten
/// minutes makes half, took up to 275 KiB of it in such a run; it is 26 bytes for each transaction of a hundred a second.
pub const HEAP_GROWTH: u64 = 512 << 10;

/// How much a process' resident memory may have grown since, in KiB: what the allocator keeps for later varies by some MiB.
pub const GROWTH_KIB: u64 = 8 * 1024;

/// What a node may use at all, in KiB.
pub const MOST_KIB: u64 = 160 * 1024;

/// How long after its end something may still be what a warning is about: a request and a dial take so long to fail.
const AFTERMATH: Duration = Duration::from_secs(15);

/// A warning that a perturbation explains.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// What the line says.
    pub text: &'static str,
    /// What explains it.
    pub by: &'static [Kind],
    /// Whether only the node that it happened to may say so.
    pub only_itself: bool,
}

/// Every warning that a perturbation explains.
pub const ALLOWED: &[Allowed] = &[];

/// Something that happened, with its real times.
#[derive(Debug, Clone, Copy)]
pub struct Happened {
    /// What.
    pub kind: Kind,
    /// To whom.
    pub node: usize,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub to: Instant,
}

/// Whether something that happened explains this warning.
pub fn explains(happened: &[Happened], allowed: &[Allowed], warning: &Warning) -> bool {
    allowed.iter().filter(|allowed| warning.text.contains(allowed.text)).any(|allowed| {
        happened.iter().any(|what| {
            allowed.by.contains(&what.kind)
                && (!allowed.only_itself || what.node == warning.node)
                && (what.from..what.to + AFTERMATH).contains(&warning.at)
        })
    })
}

/// By how much a process' resident memory grew since it was warm, in KiB; none where it did not live long enough to tell.
pub fn growth(life: &Life) -> Option<u64> {
    let end = life.samples.last()?.0;
    let window = |from: Duration| {
        let mut window: Vec<u64> =
            life.samples.iter().filter(|(at, _)| (from..=from + WINDOW).contains(at)).map(|(_, rss)| *rss).collect();
        window.sort_unstable();
        window.get(window.len() / 2).copied()
    };
    if end < WARM_AFTER + WINDOW * 2 {
        return None;
    }
    Some(window(end.saturating_sub(WINDOW))?.saturating_sub(window(WARM_AFTER)?))
}

/// By how much what a process has allocated grew, in bytes: from the least in the first half of the time since it was warm to the
/// least in the second half. What work takes for a while is in neither. None where it did not live long enough.
pub fn heap_growth(life: &Life) -> Option<u64> {
    let half = half(life)?;
    let end = life.heap.last()?.0;
    let least = |to: Duration| {
        let within = life.heap.iter().filter(|(at, _)| (to.saturating_sub(half)..=to).contains(at));
        within.map(|(_, bytes)| *bytes).min()
    };
    Some(least(end)?.saturating_sub(least(end.saturating_sub(half))?))
}

/// What nobody can say of these processes since none of them has lived long enough: whether their resident memory grew, and whether what they
/// have allocated did.
pub fn unjudged(lives: &[&Life]) -> Option<&'static str> {
    match (lives.iter().any(|life| growth(life).is_some()), lives.iter().any(|life| heap_growth(life).is_some())) {
        (true, true) => None,
        (true, false) => Some("what processes have allocated"),
        (false, true) => Some("resident memory"),
        (false, false) => Some("memory"),
    }
}

/// Half of a process' time since it was warm, where it is long enough: a leak has so long to show.
pub fn half(life: &Life) -> Option<Duration> {
    let end = life.heap.last()?.0;
    end.checked_sub(WARM_AFTER.max(end / 3)).map(|time| time / 2).filter(|half| *half >= LEAST_HALF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_explained_only_by_the_right_thing_at_the_right_time_and_node() {
        let from = Instant::now();
        let happened = [Happened { kind: Kind::Kill, node: 1, from, to: from + Duration::from_secs(2) }];
        let allowed = [Allowed { text: "lost", by: &[Kind::Kill], only_itself: true }];
        let warning =
            |node, seconds, text: &str| Warning { node, at: from + Duration::from_secs(seconds), text: text.into() };
        assert!(explains(&happened, &allowed, &warning(1, 1, "peer lost")));
        assert!(explains(&happened, &allowed, &warning(1, 16, "peer lost")));
        assert!(!explains(&happened, &allowed, &warning(1, 18, "peer lost")));
        assert!(!explains(&happened, &allowed, &warning(2, 1, "peer lost")));
        assert!(!explains(&happened, &allowed, &warning(1, 1, "block refused")));
        assert!(!explains(&happened, &[Allowed { by: &[Kind::Pause], ..allowed[0] }], &warning(1, 1, "lost")));
    }

    #[test]
    fn growth_is_what_came_after_the_warm_up() {
        let life = |seconds: u64, rss: fn(u64) -> u64| Life {
            samples: (0..seconds).map(|at| (Duration::from_secs(at), rss(at))).collect(),
            heap: Vec::new(),
        };
        assert_eq!(growth(&life(39, |_| 1000)), None);
        assert_eq!(growth(&life(60, |at| at.min(10) * 100)), Some(0));
        assert!(growth(&life(60, |at| at * 1024)).unwrap() > GROWTH_KIB);
    }

    #[test]
    fn what_no_process_lived_long_enough_for_is_named() {
        let life = |samples: u64, heap: u64| Life {
            samples: (0..samples).map(|at| (Duration::from_secs(at), 1000)).collect(),
            heap: (0..heap).map(|at| (Duration::from_secs(at), 1000)).collect(),
        };
        assert_eq!(unjudged(&[&life(39, 49), &life(10, 10)]), Some("memory"));
        assert_eq!(unjudged(&[&life(60, 0), &life(10, 10)]), Some("what processes have allocated"));
        assert_eq!(unjudged(&[&life(0, 60)]), Some("resident memory"));
        assert_eq!(unjudged(&[&life(60, 10), &life(10, 60)]), None);
        assert_eq!(unjudged(&[]), Some("memory"));
    }

    #[test]
    fn a_leak_of_some_bytes_is_found_under_what_comes_and_goes_and_caches_that_fill_are_none() {
        let life = |seconds: u64, bytes: fn(u64) -> u64| Life {
            samples: Vec::new(),
            heap: (0..seconds).map(|at| (Duration::from_secs(at), bytes(at))).collect(),
        };
        assert_eq!(heap_growth(&life(50, |_| 1000)), None);
        // Full before it is warm; besides, a MiB for half of each time of seven seconds.
        let busy = |at: u64| at.min(25) * 100_000 + (at % 7 / 4) * (1 << 20);
        assert_eq!(heap_growth(&life(61, busy)), Some(0));
        assert_eq!(heap_growth(&life(600, busy)), Some(0));
        // Thirty bytes for each of a hundred transactions a second.
        assert!(heap_growth(&life(600, |at| at * 3000 + (at % 7 / 4) * (1 << 20))).unwrap() > HEAP_GROWTH);
    }
}
