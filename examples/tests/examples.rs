//! Every example runs, ends by itself, and says what its header promises.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Enough for a busy machine and a build without optimisation.
const PATIENCE: Duration = Duration::from_secs(120);

macro_rules! examples {
    ($($name:ident: $($says:literal),+;)*) => {$(
        #[test]
        fn $name() {
            let output = run(stringify!($name), &[]);
            for says in [$($says),+] {
                assert!(output.contains(says), "no {says:?} in:\n{output}");
            }
        }
    )*};
}

examples! {
    bridge:
        "TCP+JSON -> bridge -> QUIC+postcard: 600 blocks",
        "QUIC+postcard -> bridge -> TCP+JSON: 610 blocks",
        "one transaction each way";
    custom_codec: "1210 blocks synced over tcp+msgpack", "a node that speaks json has 0 peers";
    custom_executor: "a quota of 3: executed 1210 blocks", "a quota of 0: ";
    custom_node: "SYNCED at block 1209", "a peer over tcp+json claims height Some(1209)";
    custom_store: "synced 1210 blocks into a log", "opened again at block 1209";
    custom_sync: "1210 blocks synced one request at a time, Synced";
    two_nodes: "synced to block 1209";
}

#[cfg(unix)]
examples! {
    custom_transport: "1210 blocks synced from unix+postcard://first:1 to unix+postcard://second:1";
}

#[test]
fn compare_codecs_writes_a_chart() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("chart.svg");
    let output = run("compare_codecs", &["--out", out.to_str().unwrap()]);
    for row in ["handshake", "get_blocks", "new_tx", "new_block", "blocks_response", "mainline", "blocks of 100 txs"] {
        assert!(output.contains(row), "no {row:?} in:\n{output}");
    }
    let chart = std::fs::read_to_string(&out).unwrap();
    assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n") && !chart.contains("NaN"), "{chart}");
    assert_eq!(chart.matches("<text").count(), chart.matches("</text>").count());
}

/// Runs an example, which `cargo test` has built, and gives what it prints.
fn run(name: &str, args: &[&str]) -> String {
    // Tests are in target/PROFILE/deps, examples beside it.
    let tests = std::env::current_exe().unwrap();
    let program: PathBuf = tests.parent().unwrap().with_file_name("examples").join(name);
    let program = program.with_extension(std::env::consts::EXE_EXTENSION);
    let mut child = Command::new(&program)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}: build it by cargo build --examples", program.display()));
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).map(|_| output)
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{name} has not ended after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let output = reading.join().unwrap().unwrap();
    assert!(status.success(), "{name}: {status}:\n{output}");
    output
}
