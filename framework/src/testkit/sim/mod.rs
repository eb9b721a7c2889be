//! Whole nodes in a simulated world, in virtual time: a minute takes a millisecond, and the same seed always gives the same run.
//!
//! A [`Scenario`] says what happens: how many honest nodes there are, how far they are apart, whose disk is slow or full, who
//! crashes, is cut off or restarted, and which [Byzantine peers](Attack) do their worst meanwhile. [`Scenario::from_seed`] makes
//! one up. [`Simulation`] runs it with the real node — engine, driver, chain, pool, producer — over a network and disks of its own, and
//! with the parts that you give it, and watches.
//!
//! # What goes wrong
//!
//! Every link has a latency and jitter of its own. At times that follow from the seed, connections are lost, groups of nodes are
//! [cut off or stalled](Separation), nodes are restarted or crash, validators crash between signing a block and committing it, disks are
//! slow or full, and clocks are up to five seconds off. Meanwhile up to three Byzantine peers dial every honest node, and are dialled by
//! some, and run attacks ([`Attack`]), by row of `attacks.md`:
//!
//! | row | what they do | attack |
//! |---|---|---|
//! | 1, 2, 5 | bytes that are no message, a byte now and then, anything before the handshake | `Garbage`, `SlowBytes`, `Early` |
//! | 3, 14, 15 | signed transactions, nested deep, with gaps, at changing fees | `Spam` |
//! | 4 | counts and lengths that claim more than there is | `Bombs` |
//! | 6, 10 | heights that are too high, fall, or are the highest there is; answers that are short, empty or none | `Heights` |
//! | 7 | answers that nobody asked for, or of another range | `Unasked` |
//! | 8 | forks: made up, left by others, or signed by a validator of theirs; branches of which only the end is shown | `FakeFork`, `StaleFork`, `SignedFork`, `Decoy` |
//! | 9, 22 | the same blocks asked for again and again; answers that are not read | `Amplify`, `NotReading` |
//! | 11 to 13 | floods of blocks, announcements, questions and transactions, doubled and made up | `Flood` |
//! | 16, 17, 21 | names that come and go, with ports where nobody listens | `Churn`, and all others now and then |
//! | 18 | a crowd that takes places | `Crowd` |
//! | 19, 20 | the victim's own handshake and name | `Mirror` |
//! | 24 | good blocks with one thing changed, the body under a good header among them | `Corrupt` |
//! | 25, and a validator's worst | blocks of times to come, proposals whose state is wrong | `Ahead`, `BadProposals` |
//! | 26 | one mistake after the other that a node tells of | `Errors` |
//!
//! Two honest nodes may also have the key of one validator, so that two valid blocks of one height and round are about.
//!
//! # What is watched
//!
//! Always:
//! - No invalid block is ever committed: each is one that an honest validator has signed, with its very body, and in the end the
//!   whole chain is executed again from genesis.
//! - No committed block leaves without a better branch, and what was acknowledged is there after a crash.
//! - No honest peer is ever penalised, let alone banned.
//! - No validator signs two blocks for one height and round.
//!
//! In the end:
//! - Once all is [repaired](Scenario::healed), all honest nodes are SYNCED on one tip within [`CONVERGENCE`] block times,
//!   though the Byzantine peers go on.
//! - From then on the chain grows, and has every transaction that was handed to a node which has not been restarted since.
//! - No node has given up, and each stops when it is told to.
//!
//! # Using it
//!
//! Give it your own codec, store, strategy or executor, and run as many seeds as you have time for:
//!
//! ```
//! use cpc_codecs::PostcardCodec;
//! use cpc_framework::prelude::*;
//! use cpc_framework::testkit::sim::{Plugs, Scenario, Simulation};
//!
//! let plugs = Plugs::new(PostcardCodec).store(MemoryStore::new).sync(BatchSync::default);
//! for seed in 0..2 {
//!     let report = Simulation::new(Scenario::from_seed(seed), plugs.clone()).run();
//!     assert!(report.is_ok(), "{report}");
//! }
//!
//! // One seed again, to see what happened; a scenario can also be changed, or written by hand.
//! let mut scenario = Scenario::from_seed(1);
//! scenario.byzantine.clear();
//! let report = Simulation::new(scenario, plugs).with_log().run();
//! println!("{}", report.lines.join("\n"));
//! assert!(report.is_ok(), "{report}");
//! ```
//!
//! A run is repeatable only where its parts are: a part must take time from tokio, no randomness from anywhere, and start no thread.
//! `cpc-tests` has the program `simulate`, which runs the parts that ship.

mod byzantine;
mod clock;
mod disk;
mod ending;
mod load;
mod log;
mod network;
mod nodes;
mod oracle;
mod rng;
mod scenario;
mod wire;
mod world;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use byzantine::Attack;
pub use ending::{CONVERGENCE, TAIL};
pub use load::BLOCK_TIME;
pub use network::{Member, Separation, SimNetwork};
pub use oracle::{Figures, IsBetter};
pub use rng::Rng;
pub use scenario::{ByzantinePlan, Fault, NodePlan, Scenario};
pub use wire::Latency;

use crate::codec::Codec;
use crate::executor::Executor;
use crate::executor::accounts::AccountExecutor;
use crate::store::ChainStore;
use crate::store::memory::MemoryStore;
use crate::sync::{BatchSync, SyncStrategy};
use crate::types::{Hash32, Tip};

/// The parts that the nodes of a simulation are made of. Cheap to clone.
#[derive(Clone)]
pub struct Plugs {
    codec: Arc<dyn Codec>,
    store: Arc<dyn Fn() -> Arc<dyn ChainStore> + Send + Sync>,
    sync: Arc<dyn Fn() -> Box<dyn SyncStrategy> + Send + Sync>,
    executor: Arc<dyn Executor>,
    is_better: IsBetter,
    replay: String,
}

impl Plugs {
    /// The parts that ship, with this codec, since the framework has none.
    pub fn new(codec: impl Codec) -> Self {
        let height = |tip: Option<Tip>| tip.map(|tip| tip.height);
        Self {
            codec: Arc::new(codec),
            store: Arc::new(|| Arc::new(MemoryStore::new())),
            sync: Arc::new(|| Box::new(BatchSync::default())),
            executor: Arc::new(AccountExecutor),
            is_better: Arc::new(move |old, new| height(new) > height(old)),
            replay: "run Scenario::from_seed with this seed: ".into(),
        }
    }

    /// Makes an empty store for each node. It outlives the node's runs, as a disk does. Default: [`MemoryStore::new`].
    pub fn store<S: ChainStore>(mut self, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        self.store = Arc::new(move || Arc::new(make()));
        self
    }

    /// Makes the strategy of each run of a node. Default: [`BatchSync`].
    pub fn sync<S: SyncStrategy>(mut self, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        self.sync = Arc::new(move || Box::new(make()));
        self
    }

    /// What blocks do to the state. It must know the accounts of [`AccountExecutor`], which is the default.
    pub fn executor(mut self, executor: impl Executor) -> Self {
        self.executor = Arc::new(executor);
        self
    }

    /// For which tips the strategy may leave which. Default: for higher ones only.
    pub fn is_better(mut self, is_better: impl Fn(Option<Tip>, Option<Tip>) -> bool + Send + Sync + 'static) -> Self {
        self.is_better = Arc::new(is_better);
        self
    }

    /// What a report says before the seed, on how to run it again: a command line.
    pub fn replay(mut self, command: impl Into<String>) -> Self {
        self.replay = command.into();
        self
    }
}

impl fmt::Debug for Plugs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugs").field("codec", &self.codec).field("executor", &self.executor).finish_non_exhaustive()
    }
}

/// A scenario, ready to be run.
#[derive(Debug)]
#[must_use = "nothing happens before it is run"]
pub struct Simulation {
    scenario: Scenario,
    plugs: Plugs,
    log: bool,
}

impl Simulation {
    /// A simulation of this scenario with these parts.
    pub fn new(scenario: Scenario, plugs: Plugs) -> Self {
        Self { scenario, plugs, log: false }
    }

    /// Keeps the whole trace for the report, and the logs of all nodes in it.
    pub fn with_log(mut self) -> Self {
        self.log = true;
        self
    }

    /// Runs it, on this thread, to its end or its first breach.
    ///
    /// # Panics
    /// Called from within an async runtime, or if a node panics.
    pub fn run(self) -> Report {
        world::run(self)
    }
}

/// What became of a simulation.
#[derive(Debug, Clone)]
pub struct Report {
    /// The scenario's seed.
    pub seed: u64,
    /// What happened that may not happen; empty where all is well.
    pub breaches: Vec<String>,
    /// After what time, once all was repaired, all honest nodes were on one tip.
    pub converged: Option<Duration>,
    /// Where all honest nodes ended.
    pub tip: Option<Tip>,
    /// What happened, in numbers.
    pub figures: Figures,
    /// A hash over all that was signed, committed, left and penalised, with its time: equal for equal runs.
    pub trace: Hash32,
    /// The last lines of what happened; all of them [with a log](Simulation::with_log).
    pub lines: Vec<String>,
    replay: String,
}

impl Report {
    /// Whether nothing happened that may not happen.
    pub fn is_ok(&self) -> bool {
        self.breaches.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            let height = self.tip.map_or(-1, |tip| i128::from(tip.height));
            let converged = self.converged.unwrap_or_default().as_secs();
            return write!(f, "seed {}: one tip at height {height}, {converged} s after all was repaired", self.seed);
        }
        writeln!(f, "seed {}:", self.seed)?;
        for breach in &self.breaches {
            writeln!(f, "  {breach}")?;
        }
        write!(f, "to see it again: {}{}", self.replay, self.seed)
    }
}
