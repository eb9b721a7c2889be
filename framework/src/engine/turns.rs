//! Whose question is answered next (attacks.md row 9).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::serve::READ_FOR_HEADERS;
use crate::sync::ConnId;

/// How far a connection may fall behind, in bytes, and still have it given back: between its questions a dear one of somebody else's has its
/// turn.
const CREDIT: u64 = READ_FOR_HEADERS as u64;

/// A few places to prepare answers at, given to connections so that all who ask get alike in bytes, however dear their questions are.
///
/// Start-time fair queueing (Goyal, Vin and Cheng 1996): each turn begins, in bytes, where the connection's last one ended, or not far before
/// that of those served now if that is later; the lowest goes first. What a turn costs need be known only at its end. So nobody gains by
/// asking for much, by many questions, or by having been silent for long.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Where the last turn that was given began.
    now: u64,
    /// Where the last turn of a connection ended, unless that is long past.
    ends: BTreeMap<ConnId, u64>,
    /// By where their turn begins, and in order of arrival. One of each connection, which has one answer prepared at a time.
    waiting: BTreeMap<(u64, u64), (ConnId, oneshot::Sender<Turn>)>,
    arrivals: u64,
}

/// A place. Dropped, it goes to the next.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    conn: ConnId,
    begin: u64,
    cost: u64,
    /// False where nobody wanted it any more.
    taken: bool,
}

impl Turns {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        let (ends, waiting) = (BTreeMap::new(), BTreeMap::new());
        Arc::new(Self(Mutex::new(State { free: places, now: 0, ends, waiting, arrivals: 0 })))
    }

    /// Waits for a turn. Cancel-safe: dropped, somebody else has it.
    pub(crate) async fn turn(self: &Arc<Self>, conn: ConnId) -> Option<Turn> {
        let given = {
            let mut state = self.lock();
            let begin = state.ends.get(&conn).map_or(state.now, |end| state.now.saturating_sub(CREDIT).max(*end));
            if state.free > 0 {
                state.free -= 1;
                return Some(self.give(&mut state, conn, begin));
            }
            let (turn, given) = oneshot::channel();
            state.arrivals += 1;
            let arrival = state.arrivals;
            state.waiting.insert((begin, arrival), (conn, turn));
            given
        };
        given.await.ok()
    }

    fn give(self: &Arc<Self>, state: &mut State, conn: ConnId, begin: u64) -> Turn {
        state.now = state.now.max(begin);
        Turn { turns: Arc::clone(self), conn, begin, cost: 0, taken: true }
    }

    /// A place is free: the next who still waits has it.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let (turn, waits) = {
                let mut state = self.lock();
                let Some(((begin, _), (conn, waits))) = state.waiting.pop_first() else {
                    state.free += 1;
                    return;
                };
                (self.give(&mut state, conn, begin), waits)
            };
            match waits.send(turn) {
                Ok(()) => return,
                // Dropped as it is, it would come back here.
                Err(mut turn) => turn.taken = false,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// So many bytes were read or written for it.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.cost = self.cost.saturating_add(bytes as u64);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.taken {
            return;
        }
        {
            let mut state = self.turns.lock();
            // A question costs something, however small its answer.
            let end = self.begin.saturating_add(self.cost.max(1));
            state.ends.insert(self.conn, end);
            let now = state.now;
            state.ends.retain(|_, end| end.saturating_add(CREDIT) > now);
        }
        self.turns.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MIB: usize = 1 << 20;

    /// Answers prepared in so many steps, where each connection asks anew as soon as it was answered, for what costs so much.
    async fn answers(costs: &[usize], steps: usize) -> BTreeMap<usize, usize> {
        let turns = Turns::new(2);
        let (done, mut next) = tokio::sync::mpsc::channel(costs.len());
        let mut tasks = tokio::task::JoinSet::new();
        for (at, cost) in costs.iter().copied().enumerate() {
            let (turns, done) = (Arc::clone(&turns), done.clone());
            tasks.spawn(async move {
                loop {
                    let mut turn = turns.turn(ConnId(at as u64)).await.unwrap();
                    turn.charge(cost);
                    if done.send(at).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        drop(done);
        let mut counts = BTreeMap::new();
        for _ in 0..steps {
            *counts.entry(next.recv().await.unwrap()).or_default() += 1;
        }
        counts
    }

    #[tokio::test]
    async fn a_modest_one_among_sixty_greedy_gets_as_many_bytes_as_each_of_them() {
        let mut costs = vec![16 * MIB; 60];
        costs.push(MIB);
        let counts = answers(&costs, 60 * 20).await;
        let greedy = (0..60).map(|at| counts.get(&at).copied().unwrap_or_default() * 16 * MIB);
        let modest = counts[&60] * MIB;
        let most = greedy.max().unwrap();
        // What a turn costs is known at its end: each may be ahead by one.
        assert!(modest + 32 * MIB >= most, "{modest} bytes, and {most} for a greedy one");
        assert!(counts[&60] > 100, "{} answers", counts[&60]);
    }

    #[tokio::test]
    async fn who_comes_late_has_saved_up_nothing() {
        let turns = Turns::new(1);
        for _ in 0..10 {
            turns.turn(ConnId(1)).await.unwrap().charge(MIB);
        }
        let held = turns.turn(ConnId(1)).await.unwrap();
        let mut order = Vec::new();
        let mut waiting = Vec::new();
        for n in 0..4 {
            for conn in [ConnId(2), ConnId(1)] {
                let turns = Arc::clone(&turns);
                waiting.push((conn, n, tokio::spawn(async move { turns.turn(conn).await.unwrap() })));
                tokio::task::yield_now().await;
            }
        }
        drop(held);
        for (conn, _, task) in waiting {
            let mut turn = task.await.unwrap();
            turn.charge(MIB);
            order.push(conn);
        }
        assert_eq!(order.iter().filter(|conn| **conn == ConnId(1)).count(), 4);
        assert!(turns.lock().now >= 10 * MIB as u64, "time has stood still for nobody");
        assert!(turns.lock().ends.len() <= 2);
    }

    #[tokio::test]
    async fn a_turn_that_nobody_waits_for_any_more_goes_to_the_next() {
        let turns = Turns::new(1);
        let held = turns.turn(ConnId(1)).await.unwrap();
        let waits = |conn| {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.turn(ConnId(conn)).await.is_some() })
        };
        let gone = waits(2);
        tokio::task::yield_now().await;
        let stays = waits(3);
        tokio::task::yield_now().await;
        gone.abort();
        assert!(gone.await.is_err());
        drop(held);
        assert!(stays.await.unwrap());
        assert_eq!(turns.lock().free, 1);
    }
}
