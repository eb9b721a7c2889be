use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Mutator, TARGETS, Target, inputs};

/// No input may take longer. The most expensive one takes a second on a busy machine; one whose time grows with the square of its length takes
/// minutes.
const SLOWEST: Duration = Duration::from_secs(20);
/// After so long an input is taken for one that does not come to an end.
const ENDLESS: Duration = Duration::from_secs(120);
/// Faults after which a target is left: one more says little.
const MOST_FAULTS: usize = 3;

/// A run over all targets: their corpus, and then the corpus with changes.
#[derive(Debug)]
pub struct Smoke {
    /// The changes follow from it.
    pub seed: u64,
    /// How long each target may take.
    pub time: Duration,
    /// Where inputs that fail are written.
    pub failures: PathBuf,
    /// Only this target, if any.
    pub only: Option<String>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Name, inputs tried.
    pub tried: Vec<(&'static str, u64)>,
    /// What failed, and how to run it again.
    pub faults: Vec<String>,
}

impl Smoke {
    /// Runs all.
    pub fn run(&self) -> Report {
        let mut report = Report::default();
        for (place, target) in TARGETS.into_iter().enumerate() {
            if self.only.as_deref().is_some_and(|only| only != target.name) {
                continue;
            }
            let tried = self.run_target(target, self.seed.wrapping_add(place as u64), &mut report.faults);
            report.tried.push((target.name, tried));
        }
        report
    }

    fn run_target(&self, target: Target, seed: u64, faults: &mut Vec<String>) -> u64 {
        let current = Arc::new(Mutex::new(Vec::new()));
        let (done, results) = mpsc::sync_channel(1);
        let (time, running) = (self.time, Arc::clone(&current));
        // Not joined where an input does not come to an end: then it ends with the program.
        thread::spawn(move || {
            for input in Inputs::new(target, seed, time) {
                running.lock().unwrap().clone_from(&input);
                if done.send(run_one(target, &input)).is_err() {
                    return;
                }
            }
        });
        let (mut tried, mut failed) = (0, 0);
        while failed < MOST_FAULTS {
            let result = match results.recv_timeout(ENDLESS) {
                Ok(result) => result,
                Err(RecvTimeoutError::Timeout) => {
                    failed = MOST_FAULTS;
                    Err(format!("it is not done after {} s", ENDLESS.as_secs()))
                }
                Err(RecvTimeoutError::Disconnected) => return tried,
            };
            tried += 1;
            if let Err(why) = result {
                failed += 1;
                let path = self.failures.join(format!("{}-{seed}-{tried}", target.name));
                std::fs::create_dir_all(&self.failures).unwrap();
                std::fs::write(&path, &*current.lock().unwrap()).unwrap();
                faults.push(format!("{0}: {why}; again with --target {0} --input {1}", target.name, path.display()));
            }
        }
        tried
    }
}

/// The corpus of a target, whole however little time there is, and then changed inputs for so long.
struct Inputs {
    unchanged: std::vec::IntoIter<(String, Vec<u8>)>,
    corpus: Vec<(String, Vec<u8>)>,
    mutator: Mutator,
    end: Instant,
}

impl Inputs {
    fn new(target: Target, seed: u64, time: Duration) -> Self {
        let corpus = inputs(target.name);
        let unchanged = corpus.clone().into_iter();
        Self { unchanged, corpus, mutator: Mutator::new(seed), end: Instant::now() + time }
    }
}

impl Iterator for Inputs {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        match self.unchanged.next() {
            Some((_, bytes)) => Some(bytes),
            None if Instant::now() < self.end => Some(self.mutator.next(&self.corpus)),
            None => None,
        }
    }
}

/// Feeds one input to a target.
///
/// # Errors
/// The target panicked, or took too long.
pub fn run_one(target: Target, input: &[u8]) -> Result<(), String> {
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = begun.elapsed();
    match result {
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            Err(said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
        }
        Ok(()) if took > SLOWEST => Err(format!("{} bytes took {} s", input.len(), took.as_secs())),
        Ok(()) => Ok(()),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, tried) in &self.tried {
            writeln!(f, "{name:>14}: {tried} inputs")?;
        }
        let all: u64 = self.tried.iter().map(|(_, tried)| tried).sum();
        write!(f, "{all} inputs, {} faults", self.faults.len())
    }
}
