//! Options, the environment, and the log's form.

use cpc_tests::datadir::Datadir;
use cpc_tests::process::{Call, Process};
use cpc_tests::vectors::Chain;

use super::{NODE, SOON, refused};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_ends_with_2_and_one_line() {
    let dir = Datadir::absent();
    for (args, word) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["run", "--no-such-flag"], "--no-such-flag"),
        (&["no-such-command"], "no-such-command"),
        (&["run", "--peers", "nonsense"], "nonsense"),
        (&["run", "--peers", "127.0.0.1:99999"], "99999"),
        (&["sync", "--peers", "127.0.0.1:1,:2"], ":2"),
        (&["run", "--p2p-port", "x"], "x"),
        (&["run", "--transport", "pigeon"], "pigeon"),
        (&["run", "--codec", "xml"], "xml"),
        (&["run", "--store", "cloud"], "cloud"),
        (&["run", "--memory", "8MiB"], "at least 16mib"),
        (&["sync", "--memory", "64 parsecs"], "64 parsecs"),
        (&["run", "--log-format", "opera"], "opera"),
        (&["sync", "--timeout", "soon"], "soon"),
        (&["export"], "file"),
        (&["import"], "file"),
        (&["init", "--network", "nowhere"], "nowhere"),
    ] {
        let output = dir.call(NODE).args(args).output_within(SOON).await;
        refused(output, 2, &[word]);
        assert!(!dir.path().exists(), "{args:?} left a datadir behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_has_help_an_environment_variable_and_a_default() {
    for command in [
        &["--help"][..],
        &["run", "--help"],
        &["sync", "--help"],
        &["init", "--help"],
        &["status", "--help"],
        &["keys", "new", "--help"],
        &["keys", "list", "--help"],
        &["keys", "show", "--help"],
        &["tx", "send", "--help"],
        &["tx", "stake", "--help"],
        &["balance", "--help"],
        &["block", "--help"],
        &["validators", "--help"],
    ] {
        let help = Call::new(NODE).args(command).output_within(SOON).await.expect_code(0).stdout;
        let options = options(&help);
        assert!(!options.is_empty(), "{help}");
        for option in options.iter().filter(|option| !option.contains("--help") && !option.contains("--version")) {
            assert!(option.contains("[env: CPC_"), "no environment variable in {command:?}: {option}");
            assert!(option.contains("[default:"), "no default in {command:?}: {option}");
        }
    }
    let run = Call::new(NODE).args(["run", "--help"]).output().await.stdout;
    for option in [
        "--peers",
        "--p2p-host",
        "--p2p-port",
        "--host",
        "--port",
        "--transport",
        "--codec",
        "--store",
        "--rebuild-state",
    ] {
        assert!(run.contains(option), "{option} is missing: {run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_stands_in_for_options() {
    let dir = Datadir::absent();
    Call::new(NODE).env("CPC_DATADIR", dir.path()).arg("init").output().await.expect_code(0);
    let status =
        Call::new(NODE).env("CPC_DATADIR", dir.path()).args(["status", "--json"]).output().await.expect_code(0);
    assert_eq!(status.json()["network"], "local");
    let output = dir.call(NODE).env("CPC_PEERS", "nonsense").arg("run").output_within(SOON).await;
    refused(output, 2, &["nonsense"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_logs_are_json() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let node = Process::run(NODE, dir.path(), &["--log-format", "json"]).await;
    let output = node.stop().await;
    assert!(!output.stderr.is_empty());
    for line in output.stderr.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

/// The part of a help page about each option: from its name to the next one's.
fn options(help: &str) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for line in help.lines() {
        let line = line.trim_start();
        if line.starts_with("--") || line.starts_with("-h,") || line.starts_with("-V,") {
            options.push(line.to_owned());
        } else if let Some(option) = options.last_mut() {
            option.push(' ');
            option.push_str(line);
        }
    }
    options
}
