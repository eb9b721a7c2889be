//! The fuzz targets over their corpus, and over some changes of it.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use cpc_tests::fuzz::{Smoke, TARGETS, inputs};

/// The most that the corpus may take in the repository, in bytes.
const LARGEST_CORPUS: usize = 300 * 1024;

/// The names of the files of a directory beside the manifest of the programs, without what follows the first dot.
fn names(directory: &str) -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(directory);
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.split('.').next().unwrap().to_owned()).collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_none_is_left_over() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
}

#[test]
fn the_corpus_is_small() {
    let bytes: usize = TARGETS.iter().flat_map(|target| inputs(target.name)).map(|(_, input)| input.len()).sum();
    assert!(bytes <= LARGEST_CORPUS, "{bytes} bytes");
}

#[test]
fn nothing_in_the_corpus_breaks_a_target_nor_a_little_change_of_it() {
    // Each target takes its whole corpus, and changed inputs for half a second: `fuzz_smoke` does that for longer.
    let seed = std::env::var("CPC_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ()));
    eprintln!("to repeat this run: CPC_TEST_SEED={seed}");
    let failures = std::env::temp_dir().join("cpc-fuzz-failures");
    let report = Smoke { seed, time: Duration::from_millis(500), failures, only: None }.run();
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
    for (target, tried) in report.tried {
        assert!(tried >= inputs(target).len() as u64, "{target}: {tried} inputs");
    }
}
