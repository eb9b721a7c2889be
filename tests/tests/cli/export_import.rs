//! `export` and `import`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::vectors::Chain;

use super::{NODE, SOON, refused};

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
