//! What a soak must show, and what explains a warning.

use std::time::{Duration, Instant};

use super::node::{Life, Warning};
use super::schedule::Kind;

/// A process' memory is compared with what it was at this age: by then its caches of the first blocks are there.
pub const WARM_AFTER: Duration = Duration::from_secs(15);

/// Over how long memory is averaged, at the age of [`WARM_AFTER`] and at the end.
const WINDOW: Duration = Duration::from_secs(5);

/// How much a process may have grown since, in KiB: a bound for ten minutes at fifty transactions a second, while the index of
/// recent transactions, the seen caches and the store's page cache fill. A run of nine minutes took 20 MiB of it.
pub const GROWTH_KIB: u64 = 24 * 1024;

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

/// By how much a process grew since it was warm, in KiB; none where it did not live long enough to tell.
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
        };
        assert_eq!(growth(&life(20, |_| 1000)), None);
        assert_eq!(growth(&life(60, |at| at.min(10) * 100)), Some(0));
        assert!(growth(&life(60, |at| at * 1024)).unwrap() > GROWTH_KIB);
    }
}
