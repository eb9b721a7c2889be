//! The command line: what it does, and what it says where something is wrong.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_tests::process::Output;

mod export_import;
mod init;
mod refusals;
mod running;
mod usage;

const NODE: &str = cpc_tests::node_binary!();

/// How long an error may take to show.
const SOON: Duration = Duration::from_secs(15);

/// It ended with `code`, and said why in one line on stderr that has one of `words`.
#[track_caller]
fn refused(output: Output, code: i32, words: &[&str]) -> Output {
    let output = output.expect_code(code);
    assert!(output.says_any(words), "none of {words:?} is said: {output:?}");
    let errors: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("cpc-node: ")).collect();
    assert_eq!(errors.len(), 1, "one clear line: {output:?}");
    assert!(!output.stderr.contains("panicked"), "{output:?}");
    output
}
