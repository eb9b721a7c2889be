//! The command line: what it does, and what it says where something is wrong.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Call, Output, Process, Signal, free_port};
use cpc_tests::raw::{self, PROMPT};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Received;

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
async fn init_makes_a_network_of_its_own_with_secret_keys() {
    let dir = Datadir::absent();
    dir.call(NODE).arg("init").output().await.expect_code(0);
    for key in ["validator_key.hex", "faucet_key.hex"] {
        let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{key}");
    }
    for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.contains("key") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{name}");
        }
    }
    let genesis: serde_json::Value = serde_json::from_str(&dir.read("genesis.json")).unwrap();
    assert_eq!(genesis["network"], "local");
    assert_eq!(genesis["hash_rules"], "canonical");
    assert!(genesis["chain_id"].as_str().unwrap().starts_with("cpc-local-"), "{genesis}");
    assert_eq!(genesis["validators"].as_array().unwrap().len(), 1);
    let status = dir.status(NODE).await;
    assert!(status["height"].is_null() && status.get("height").is_some(), "{status}");
    assert_eq!(status["network"], "local");
    assert_eq!(status["peers_known"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_for_a_network_of_the_reference_writes_a_genesis_in_its_form() {
    for (network, premine) in [("devnet", "1000000000000000000000000000"), ("testnet", "100000000000000000000000000")] {
        let dir = Datadir::absent();
        dir.call(NODE).args(["init", "--network", network]).output().await.expect_code(0);
        assert_eq!(dir.status(NODE).await["network"], network);
        let genesis = dir.read("genesis.json");
        assert!(genesis.contains(premine), "{genesis}");
        let genesis: serde_json::Value = serde_json::from_str(&genesis).unwrap();
        assert!(genesis["alloc"].is_object() && genesis["validators"].is_array(), "{genesis}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_never_overwrites() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    let before = dir.files();
    for args in [&["init"][..], &["init", "--network", "devnet"], &["init", "--genesis", "GENESIS"]] {
        let genesis = Chain::mainline().genesis.to_str().unwrap();
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "GENESIS" { genesis } else { *arg }).collect();
        refused(dir.call(NODE).args(args).output().await, 1, &["exist"]);
    }
    assert_eq!(dir.files(), before);
    // A key alone is not overwritten either.
    let dir = Datadir::absent();
    fs::create_dir(dir.path()).unwrap();
    fs::write(dir.path().join("validator_key.hex"), "precious").unwrap();
    refused(dir.call(NODE).arg("init").output().await, 1, &["validator_key.hex"]);
    assert_eq!(dir.read("validator_key.hex"), "precious");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_on_an_empty_datadir_makes_a_network_and_says_so() {
    let dir = Datadir::absent();
    let node = Process::run(NODE, dir.path(), &[]).await;
    node.line_where("that a network was made", PROMPT, |line| {
        let line = line.to_lowercase();
        line.contains("network") && (line.contains("made") || line.contains("new") || line.contains("own"))
    })
    .await;
    node.stop().await;
    assert!(dir.path().join("genesis.json").exists());
    assert!(dir.path().join("validator_key.hex").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn run_with_peers_on_an_empty_datadir_says_how_to_join() {
    for command in ["run", "sync"] {
        let dir = Datadir::absent();
        let output = dir.call(NODE).args([command, "--peers", "127.0.0.1:9"]).output_within(SOON).await;
        refused(output, 1, &["init --genesis"]);
        assert!(!dir.path().join("genesis.json").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = dir.call(NODE).args(["run", "--p2p-host", "127.0.0.1", "--p2p-port", &port]).output_within(SOON).await;
    refused(output, 1, &[&port]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_unreadable_genesis_is_named() {
    let good = fs::read_to_string(&Chain::fork().genesis).unwrap();
    let dir = Datadir::absent();
    for (name, text) in [
        ("empty.json", ""),
        ("half.json", &good[..good.len() / 2]),
        ("other.json", "[1, 2]"),
        ("no-validators.json", r#"{"alloc": {"cpc1x": 1}, "validators": []}"#),
        ("negative.json", r#"{"alloc": {"cpc1x": -1}, "validators": []}"#),
    ] {
        let file = dir.beside(name, text);
        let output = dir.call(NODE).args(["init", "--genesis"]).arg(&file).output().await;
        refused(output, 1, &[name]);
        assert!(!dir.path().join("genesis.json").exists(), "{name}");
    }
    let output = dir.call(NODE).args(["init", "--genesis", "/no/such/file.json"]).output().await;
    refused(output, 1, &["/no/such/file.json"]);
    // One that is damaged later.
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    fs::write(dir.path().join("genesis.json"), &good[..good.len() / 2]).unwrap();
    for command in [&["run"][..], &["sync"], &["status"]] {
        refused(dir.call(NODE).args(command).output_within(SOON).await, 1, &["genesis.json"]);
    }
    fs::write(dir.path().join("genesis.json"), &good).unwrap();
    assert_eq!(dir.tip(NODE).await, (3, Chain::fork().hashes[3].clone()), "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datadir_refuses_another_genesis_than_its_own() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    let own = dir.read("genesis.json");
    fs::write(
        dir.path().join("genesis.json"),
        own.replacen("1000000000000000000000000,", "1000000000000000000000001,", 1),
    )
    .unwrap();
    assert_ne!(dir.read("genesis.json"), own);
    let file = dir.path().join("genesis.json");
    refused(dir.call(NODE).arg("run").output_within(SOON).await, 1, &["another genesis", file.to_str().unwrap()]);
    fs::write(dir.path().join("genesis.json"), own).unwrap();
    assert_eq!(dir.tip(NODE).await, (3, Chain::fork().hashes[3].clone()), "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_is_named_and_kept() {
    for text in ["", "not hex", "abcd", "zz"] {
        let dir = Datadir::absent();
        dir.call(NODE).arg("init").output().await.expect_code(0);
        fs::write(dir.path().join("validator_key.hex"), text).unwrap();
        refused(dir.call(NODE).arg("run").output_within(SOON).await, 1, &["validator_key.hex"]);
        assert_eq!(dir.read("validator_key.hex"), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_datadir_ends_in_one_line_and_not_in_a_panic() {
    let good = Datadir::holding(NODE, &Chain::fork().up_to(30)).await;
    let largest = good.files().into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    for damage in ["zeroed", "cut"] {
        let dir = good.copy();
        let file = dir.path().join(&largest);
        let mut bytes = fs::read(&file).unwrap();
        if damage == "zeroed" {
            let end = bytes.len().min(4096);
            bytes[..end].fill(0);
        } else {
            bytes.truncate(100);
        }
        fs::write(&file, &bytes).unwrap();
        let output = dir.call(NODE).args(["sync", "--timeout", "5"]).output_within(SOON).await;
        refused(output, 1, &[dir.path().to_str().unwrap()]);
    }
    // A file where the directory should be.
    let dir = Datadir::absent();
    fs::write(dir.path(), "a file").unwrap();
    for command in ["run", "init", "status"] {
        refused(dir.call(NODE).arg(command).output_within(SOON).await, 1, &[dir.path().to_str().unwrap()]);
    }
    assert_eq!(fs::read_to_string(dir.path()).unwrap(), "a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_a_datadir_that_is_not_there_say_so() {
    let dir = Datadir::absent();
    for args in [&["status"][..], &["export", "-"], &["import", "-"]] {
        refused(dir.call(NODE).args(args).output_within(SOON).await, 1, &["init", "no such", "not found", "empty"]);
        assert!(!dir.path().exists(), "{args:?} made a datadir");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_datadir_is_refused() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let port = free_port().to_string();
    let file = dir.beside("more.jsonl", Chain::fork().text());
    let calls = [
        dir.call(NODE).args(["run", "--p2p-port", &port]),
        dir.call(NODE).args(["sync", "--p2p-port", &port]),
        dir.call(NODE).arg("import").arg(file),
    ];
    for call in calls {
        refused(call.output_within(SOON).await, 1, &["in use", "lock", "another process", "running"]);
    }
    refused(dir.call(NODE).arg("status").output_within(SOON).await, 1, &["status --node url"]);
    node.stop().await;
    assert_eq!(dir.tip(NODE).await.0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_changes_no_file() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    let before = dir.files();
    assert_eq!(dir.status(NODE).await["height"], 3);
    assert!(dir.files() == before, "a file has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_may_be_as_long_as_anybody_likes() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    for timeout in ["1e9", "1e19"] {
        let output = dir.call(NODE).args(["sync", "--timeout", timeout]).output_within(SOON).await;
        refused(output, 1, &["no peer is known"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_of_a_sync_also_ends_the_rebuilding_of_the_state() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let args = ["sync", "--rebuild-state", "--timeout", "0.001", "--peers", "127.0.0.1:9"];
    refused(dir.call(NODE).args(args).output_within(SOON).await, 1, &["not synced within 0.001 s"]);
    assert_eq!(dir.tip(NODE).await, (120, chain.tip_hash().to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn term_and_ctrl_c_end_a_node_in_order_within_five_seconds() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(20)).await;
    for signal in [Signal::Term, Signal::Int] {
        let mut node = Process::run(NODE, dir.path(), &[]).await;
        // With a peer that asks for blocks and does not read.
        let peer = Peer::dial(node.port(), Script::modern(Chain::fork())).await;
        peer.message(PROMPT, "a handshake", Received::greeting).await;
        node.signal(signal);
        node.exit(Duration::from_secs(5)).await.expect_code(0);
    }
    assert!(dir.status(NODE).await["tip_hash"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_node_at_once() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let mut node = Process::run(NODE, dir.path(), &[]).await;
    node.signal(Signal::Int);
    node.signal(Signal::Int);
    node.exit(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_works_right_after_a_kill() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let peer = Peer::dial(node.port(), Script::legacy(chain)).await;
    let height = raw::reaches(&node, 120, SOON).await;
    assert_eq!(height, chain.tip_hash());
    drop(peer);
    node.kill().await;
    let status = dir.status(NODE).await;
    assert_eq!(status["height"], 120, "what was told to a peer is there after a kill");
    assert_eq!(status["tip_hash"], chain.tip_hash());
    assert_eq!(status["genesis_hash"], chain.genesis_hash());
    let text = dir.call(NODE).arg("status").output().await.expect_code(0).stdout;
    for part in ["120", chain.tip_hash(), "devnet"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_killed_half_way_goes_on_where_it_was() {
    let chain = Chain::mainline();
    let dir = Datadir::joined(NODE, chain).await;
    let file = dir.beside("blocks.jsonl", chain.text());
    for delay in [50, 150, 250] {
        let node = dir.call(NODE).arg("import").arg(&file).start();
        // Not a wait for anything: the kill shall come at whatever the node is doing then.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        node.kill().await;
        let status = dir.status(NODE).await;
        if let Some(height) = status["height"].as_u64() {
            assert_eq!(status["tip_hash"], chain.hashes[usize::try_from(height).unwrap()].as_str());
        }
    }
    dir.call(NODE).arg("import").arg(&file).output().await.expect_code(0);
    assert_eq!(dir.tip(NODE).await, (chain.height(), chain.tip_hash().to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn export_and_import_are_a_round_trip() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let export = dir.export(NODE).await;
    assert_eq!(export.lines().count(), chain.lines.len());
    for (height, (ours, theirs)) in export.lines().zip(&chain.lines).enumerate() {
        let (ours, theirs): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(ours).unwrap(), serde_json::from_str(theirs).unwrap());
        assert_eq!(ours, theirs, "block {height}");
    }
    let file = dir.beside("some.jsonl", "");
    fs::remove_file(&file).unwrap();
    dir.call(NODE).arg("export").arg(&file).args(["--from", "10", "--to", "19"]).output().await.expect_code(0);
    let some = fs::read_to_string(&file).unwrap();
    assert_eq!(some.lines().collect::<Vec<_>>(), export.lines().skip(10).take(10).collect::<Vec<_>>());

    let other = Datadir::joined(NODE, chain).await;
    let file = other.beside("all.jsonl", &export);
    other.call(NODE).arg("import").arg(file).output().await.expect_code(0);
    assert_eq!(other.export(NODE).await, export);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_writes_into_a_pipe_and_through_a_link_and_leaves_both_in_place() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(10)).await;
    let export = dir.export(NODE).await;
    let target = dir.beside("target.jsonl", "old");
    let (pipe, link) = (target.with_file_name("pipe"), target.with_file_name("link"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    dir.call(NODE).arg("export").arg(&pipe).output_within(SOON).await.expect_code(0);
    assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    assert_eq!(reader.join().unwrap(), export);

    std::os::unix::fs::symlink("target.jsonl", &link).unwrap();
    dir.call(NODE).arg("export").arg(&link).output().await.expect_code(0);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), export);
}

#[tokio::test(flavor = "multi_thread")]
async fn import_reads_stdin_and_gzip_and_skips_what_is_there() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    dir.call(NODE).args(["import", "-"]).stdin(chain.up_to(40).text()).output().await.expect_code(0);
    assert_eq!(dir.tip(NODE).await.0, 40);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(chain.text().as_bytes()).unwrap();
    let file = dir.beside("blocks.jsonl.gz", gz.finish().unwrap());
    for _ in 0..2 {
        dir.call(NODE).arg("import").arg(&file).output().await.expect_code(0);
        assert_eq!(dir.tip(NODE).await, (120, chain.tip_hash().to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn import_stops_at_the_first_bad_block_and_keeps_all_before_it() {
    let chain = Chain::fork();
    for (bad, words) in [
        (chain.lines[50].replace(r#""gas_used":42000"#, r#""gas_used":42001"#), &["gas_used", "gas used"][..]),
        ("{ not json".to_owned(), &["json", "line"]),
        (chain.lines[52].clone(), &["height"]),
        (chain.lines[50][..300].to_owned(), &["json", "line", "eof"]),
    ] {
        let mut lines = chain.lines.clone();
        lines[50] = bad;
        let dir = Datadir::joined(NODE, chain).await;
        let file = dir.beside("bad.jsonl", lines.join("\n"));
        let output = refused(dir.call(NODE).arg("import").arg(file).output().await, 1, words);
        assert!(output.stderr.contains("50") || output.stderr.contains("51"), "where it stopped: {output:?}");
        assert_eq!(dir.tip(NODE).await, (49, chain.hashes[49].clone()));
        dir.import(NODE, chain).await;
        assert_eq!(dir.tip(NODE).await, (120, chain.tip_hash().to_owned()));
    }
    let dir = Datadir::joined(NODE, chain).await;
    refused(dir.call(NODE).args(["import", "/no/such/file"]).output().await, 1, &["/no/such/file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_another_networks_chain_is_refused_at_block_0() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let file = dir.beside("other.jsonl", Chain::branch().text().replace("cpc-devnet-1", "cpc-testnet-1"));
    refused(dir.call(NODE).arg("import").arg(file).output().await, 1, &["0"]);
    assert!(dir.status(NODE).await["height"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_state_is_the_same_and_the_chain_goes_on() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(100)).await;
    for _ in 0..2 {
        let node = Process::run(NODE, dir.path(), &["--rebuild-state"]).await;
        assert_eq!(raw::reaches(&node, 100, SOON).await, chain.hashes[100]);
        node.stop().await;
    }
    dir.import(NODE, chain).await;
    assert_eq!(dir.tip(NODE).await, (120, chain.tip_hash().to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_memory_leaves_no_chain_behind() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let peer = Peer::listen(Script::modern(chain)).await;
    let output =
        Call::sync(NODE, dir.path(), &[peer.address()]).args(["--store", "memory"]).output().await.expect_code(0);
    assert_eq!(output.json()["tip_hash"], chain.tip_hash());
    assert!(dir.status(NODE).await["height"].is_null());
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

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_were_reached_are_known_after_a_restart() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let peer = Peer::listen(Script::modern(chain)).await;
    Call::sync(NODE, dir.path(), &[peer.address()]).output().await.expect_code(0);
    let saved: Vec<String> = serde_json::from_str(&dir.read("peers.json")).unwrap();
    assert_eq!(saved, [peer.address()]);
    assert_eq!(dir.status(NODE).await["peers_known"], 1);
    let before = peer.openings().len();
    let _node = Process::run(NODE, dir.path(), &[]).await;
    peer.wait(SOON, "the saved peer to be dialled", |_| (peer.openings().len() > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_peers_file_is_set_aside_and_the_node_starts() {
    for text in ["", "{", r#"{"a": 1}"#, "[1, 2", "\u{0}\u{0}"] {
        let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
        fs::write(dir.path().join("peers.json"), text).unwrap();
        let node = Process::run(NODE, dir.path(), &[]).await;
        node.line("peers.json", PROMPT).await;
        node.stop().await;
        let kept = dir.files().into_iter().any(|(name, bytes)| name != "peers.json" && bytes == text.as_bytes());
        assert!(kept || text.is_empty(), "{text:?} was not set aside");
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
