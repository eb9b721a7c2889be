//! A directory or a disk that cannot be written to.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use cpc_tests::datadir::Datadir;
use cpc_tests::process::{Call, free_port};
use cpc_tests::small_disk::SmallDisk;
use cpc_tests::vectors::Chain;

use super::{NODE, check};

/// Commands that write to a datadir, of which each must say that it cannot.
fn that_write(dir: &Datadir) -> Vec<Call> {
    let ports = [free_port(), free_port()].map(|port| port.to_string());
    vec![
        Call::sync(NODE, dir.path(), &["127.0.0.1:1"]),
        dir.call(NODE).args(["run", "--p2p-port", &ports[0], "--port", &ports[1]]),
        dir.call(NODE).args(["import", "-"]).stdin(Chain::fork().text()),
        dir.call(NODE).arg("check"),
        dir.call(NODE).args(["keys", "new", "alice"]),
        dir.call(NODE).arg("export").arg(dir.path().join("blocks.jsonl")),
    ]
}

/// Each of these ends with 1 and one line that names something in the datadir, and what it must be.
async fn are_refused(calls: Vec<Call>, dir: &Datadir) {
    for call in calls {
        let output = call.output().await.expect_code(1);
        let last = output.stderr.lines().last().unwrap_or_default();
        let names = last.contains("must be writable") && last.contains(dir.path().to_str().unwrap());
        assert!(names && !output.stderr.contains("panicked"), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datadir_that_cannot_be_written_to_is_refused_in_one_line_and_left_as_it_is() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(30)).await;
    let before = dir.files();
    let bound = |call: Call| call.bound_by_permissions();
    let with_modes = |directory, file| {
        for path in [dir.path().to_owned(), dir.path().join("chain")] {
            for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    fs::set_permissions(entry.path(), Permissions::from_mode(file)).unwrap();
                }
            }
            fs::set_permissions(path, Permissions::from_mode(directory)).unwrap();
        }
    };
    with_modes(0o555, 0o444);
    are_refused(that_write(&dir).into_iter().map(bound).collect(), &dir).await;
    let status = bound(dir.call(NODE).args(["status", "--json"])).output().await.expect_code(0).json();
    assert_eq!(status["height"], 30, "to look needs no writing");
    with_modes(0o755, 0o600);
    assert_eq!(dir.files(), before);
    assert_eq!(check(&dir).await["height"], 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_mounted_read_only_is_refused_in_one_line_and_left_as_it_is() {
    let Some(mut disk) = SmallDisk::mounted(64 << 10) else { return };
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(30)).await.copy_into(disk.path());
    let before = dir.files();
    disk.set_read_only(true);
    are_refused(that_write(&dir), &dir).await;
    assert_eq!(dir.status(NODE).await["height"], 30, "to look needs no writing");
    disk.set_read_only(false);
    assert!(dir.files() == before, "a file has changed");
    dir.import(NODE, Chain::fork()).await;
    assert_eq!(check(&dir).await["tip_hash"], Chain::fork().tip_hash());
}
