//! How fast answers come: what a peer is given at a time, and after how long somebody else is asked as well.

use std::collections::VecDeque;
use std::time::Duration;

use super::IN_FLIGHT;
use super::limits::SyncLimits;

/// How many answers are remembered: enough for a median, few enough to follow a change.
const REMEMBERED: usize = 33;
/// The most doublings of a peer's patience; the limits end it before.
const MOST_DOUBLINGS: u32 = 16;
/// A peer whose answers take so many times as long as the usual one is slow by nature.
const SLOW: u32 = 3;
/// An answer that came so many times sooner after the one before than it was waited for came together with it. More than the
/// requests on their way: those that are answered one after the other are spread evenly.
const TOGETHER: u32 = 8;
const _: () = assert!(TOGETHER as usize > IN_FLIGHT);

/// How long the last answers took, whoever gave them.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Those whose blocks were imported.
    used: VecDeque<Duration>,
    /// Those that came before anything was imported: who is late with the very first blocks should be found out too.
    first: VecDeque<Duration>,
}

impl Answers {
    /// The blocks of an answer were imported.
    pub(super) fn used(&mut self, took: Duration) {
        note(&mut self.used, took);
    }

    /// An answer came, for what it is worth.
    pub(super) fn came(&mut self, took: Duration) {
        if self.used.is_empty() {
            note(&mut self.first, took);
        }
    }

    pub(super) fn median(&self) -> Option<Duration> {
        let all = if self.used.is_empty() { &self.first } else { &self.used };
        let mut sorted: Vec<Duration> = all.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

fn note(all: &mut VecDeque<Duration>, took: Duration) {
    if all.len() == REMEMBERED {
        all.pop_front();
    }
    all.push_back(took);
}

/// How fast one peer is.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Whether it has ever answered.
    known: bool,
    /// How long its answers take, smoothed.
    usual: Option<Duration>,
    /// The least time that an answer took, which is not a matter of its size.
    least: Option<Duration>,
    /// Bytes in a second, smoothed.
    rate: Option<u64>,
    /// How often its patience is doubled, since somebody else was asked needlessly.
    doublings: u32,
    /// How often lately somebody else was asked with success.
    overtaken: u32,
    /// Where others are faster, it is asked for nothing before.
    rests_until: Duration,
}

impl Pace {
    /// Takes note of an answer with blocks to a request of this time, at which the peer could work since then, with its size; says how long
    /// it took. One that came together with the one before, after a way that both went at once, says nothing: the first one has said it.
    pub(super) fn answered(
        &mut self,
        since: Duration,
        asked: Duration,
        now: Duration,
        bytes: usize,
    ) -> Option<Duration> {
        let took = now.saturating_sub(since);
        if took.saturating_mul(TOGETHER) < now.saturating_sub(asked) {
            return None;
        }
        self.usual = Some(self.usual.map_or(took, |usual| usual / 4 * 3 + took / 4));
        let least = self.least.map_or(took, |least| least.min(took));
        self.least = Some(least);
        // What every answer takes says nothing of how fast bytes come.
        let sending = took.saturating_sub(least).as_micros();
        if let Some(rate) = (bytes as u128).saturating_mul(1_000_000).checked_div(sending) {
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            self.rate = Some(self.rate.map_or(rate, |old| old / 4 * 3 + rate / 4).max(1));
        }
        Some(took)
    }

    /// Takes note of an answer of any kind.
    pub(super) fn heard(&mut self) {
        self.known = true;
    }

    /// Whether it has ever answered.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// How many bytes come in so long; `None` while nothing is known.
    pub(super) fn bytes_in(&self, time: Duration) -> Option<usize> {
        let bytes = u128::from(self.rate?).saturating_mul(time.as_micros()) / 1_000_000;
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// How long its answers usually take.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.usual
    }

    /// Whether it is slow where others usually take so long.
    pub(super) fn is_slow(&self, others: Option<Duration>) -> bool {
        self.usual.zip(others).is_some_and(|(usual, others)| usual > others.saturating_mul(SLOW))
    }

    /// After how long without an answer somebody else is asked as well.
    pub(super) fn hedge_after(&self, answers: &Answers, limits: &SyncLimits) -> Duration {
        let usual = answers.median().map_or(limits.stall, |median| median.saturating_mul(3));
        let least = usual.clamp(limits.hedge_least, limits.hedge_most);
        least.saturating_mul(1 << self.doublings).min(limits.hedge_most)
    }

    /// Somebody else was asked as well, and this peer answered first: it takes longer by nature.
    pub(super) fn was_hedged_needlessly(&mut self) {
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
    }

    /// It answered before anybody else was asked. Its patience shrinks where it would do twice over: otherwise an answer that takes as long as
    /// the last one would be late again.
    pub(super) fn was_in_time(&mut self, took: Duration, answers: &Answers, limits: &SyncLimits) {
        if took < self.hedge_after(answers, limits) / 4 {
            self.doublings = self.doublings.saturating_sub(1);
        }
        self.overtaken = self.overtaken.saturating_sub(1);
    }

    /// Somebody else was asked as well, and answered first: where others are faster it is asked for less and less.
    pub(super) fn was_overtaken(&mut self, now: Duration, limits: &SyncLimits) {
        self.overtaken = (self.overtaken + 1).min(MOST_DOUBLINGS);
        let rest = self.usual.unwrap_or_default().saturating_mul(1 << self.overtaken).min(limits.hedge_most);
        self.rests_until = now.saturating_add(rest);
    }

    /// Where others are faster, it is asked for nothing before.
    pub(super) fn rests_until(&self) -> Duration {
        self.rests_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn answers(of: impl IntoIterator<Item = u64>) -> Answers {
        let mut answers = Answers::default();
        of.into_iter().for_each(|millis| answers.used(ms(millis)));
        answers
    }

    #[test]
    fn others_are_asked_after_three_median_answers_but_not_before_50_ms() {
        let (pace, limits) = (Pace::default(), SyncLimits::default());
        assert_eq!(pace.hedge_after(&answers([]), &limits), limits.stall);
        assert_eq!(pace.hedge_after(&answers([5, 5, 400]), &limits), ms(50));
        assert_eq!(pace.hedge_after(&answers([100, 200, 9000]), &limits), ms(600));
        assert_eq!(pace.hedge_after(&answers([33_000; 40]), &limits), ms(64_000));
    }

    #[test]
    fn only_before_the_first_import_an_answer_counts_that_was_not_used() {
        let mut answers = Answers::default();
        (0..5).for_each(|_| answers.came(ms(1)));
        assert_eq!(answers.median(), Some(ms(1)));
        answers.used(ms(300));
        (0..5).for_each(|_| answers.came(ms(1)));
        assert_eq!(answers.median(), Some(ms(300)));
    }

    #[test]
    fn patience_with_a_peer_that_is_slow_by_nature_grows_to_64_s_and_back() {
        let (mut pace, limits, answers) = (Pace::default(), SyncLimits::default(), answers([100]));
        let mut seen = vec![];
        for _ in 0..10 {
            seen.push(pace.hedge_after(&answers, &limits).as_millis());
            pace.was_hedged_needlessly();
        }
        assert_eq!(seen, [300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 64_000, 64_000]);
        (0..10).for_each(|_| pace.was_in_time(ms(20), &answers, &limits));
        assert_eq!(pace.hedge_after(&answers, &limits), ms(300));
    }

    #[test]
    fn patience_that_was_needed_stays() {
        let (mut pace, limits, answers) = (Pace::default(), SyncLimits::default(), answers([100]));
        pace.was_hedged_needlessly();
        (0..10).for_each(|_| pace.was_in_time(ms(300), &answers, &limits));
        assert_eq!(pace.hedge_after(&answers, &limits), ms(600));
    }

    #[test]
    fn who_is_overtaken_rests_for_longer_each_time_up_to_64_s() {
        let (mut pace, limits) = (Pace::default(), SyncLimits::default());
        let rests: Vec<u64> = (0..6)
            .map(|_| {
                pace.answered(ms(0), ms(0), ms(5_000), 1000);
                pace.was_overtaken(ms(5_000), &limits);
                pace.rests_until().saturating_sub(ms(5_000)).as_secs()
            })
            .collect();
        assert_eq!(rests, [10, 20, 40, 64, 64, 64]);
    }

    #[test]
    fn answers_that_come_together_count_as_one() {
        let mut pace = Pace::default();
        assert_eq!(pace.answered(ms(0), ms(0), ms(300), 1000), Some(ms(300)));
        assert_eq!(pace.answered(ms(300), ms(1), ms(301), 1000), None);
        assert_eq!(pace.usual(), Some(ms(300)));
        assert_eq!(pace.answered(ms(301), ms(2), ms(400), 1000), Some(ms(99)), "these come one after the other");
    }

    #[test]
    fn what_every_answer_takes_is_no_matter_of_its_size() {
        let mut far = Pace::default();
        for at in 0..10 {
            far.answered(ms(at * 2000), ms(at * 2000), ms(at * 2000 + 2000), 50_000);
        }
        assert_eq!(far.bytes_in(ms(500)), None, "as many as are asked for");
        let mut throttled = Pace::default();
        throttled.answered(ms(0), ms(0), ms(100), 50_000);
        for at in 1..30 {
            throttled.answered(ms(at * 2000), ms(at * 2000), ms(at * 2000 + 1100), 500_000);
        }
        assert_eq!(throttled.bytes_in(ms(500)), Some(250_000));
    }

    #[test]
    fn a_peer_is_slow_beside_others_only() {
        let mut pace = Pace::default();
        pace.answered(ms(0), ms(0), ms(33_000), 1000);
        assert!(pace.is_slow(Some(ms(60))));
        assert!(!pace.is_slow(Some(ms(20_000))));
        assert!(!pace.is_slow(None) && !Pace::default().is_slow(Some(ms(50))));
    }
}
