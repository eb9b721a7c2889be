//! A small disk of a test's own, to be filled and to be made read-only.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// What the holder runs: it mounts the disk where only it and its children see it, then does what it is told line by line.
const HOLDER: &str = "mount -t tmpfs -o size=$1k tmpfs \"$0\" && echo mounted && \
                      while read -r line; do sh -c \"$line\" && echo done || echo failed; done";

/// Bytes of a block of the disk.
const BLOCK: usize = 4096;

/// A file system in memory. It is gone once this is dropped, or its holder killed: nothing is left on the machine.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    mount_point: TempDir,
    root: PathBuf,
}

impl SmallDisk {
    /// A disk of so many KiB; none, with a word about it, on a machine that lets this user mount nothing.
    pub fn mounted(kib: u64) -> Option<Self> {
        // Root needs no user namespace, and some containers forbid one.
        let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
        let disk = ways.iter().find_map(|way| Self::held(way, kib));
        if disk.is_none() {
            eprintln!("this machine lets nobody mount a small disk: what it would show is not tested here");
        }
        disk
    }

    fn held(way: &[&str], kib: u64) -> Option<Self> {
        let mount_point = tempfile::Builder::new().prefix("cpc-disk-").tempdir().unwrap();
        let mut holder = Command::new("unshare")
            .args(way)
            .args(["sh", "-c", HOLDER])
            .arg(mount_point.path())
            .arg(kib.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (orders, answers) = (holder.stdin.take(), BufReader::new(holder.stdout.take()?));
        let inside = mount_point.path().strip_prefix("/").unwrap();
        let root = Path::new("/proc").join(holder.id().to_string()).join("root").join(inside);
        let mut disk = Self { holder, orders, answers, mount_point, root };
        (disk.answer() == "mounted").then_some(disk)
    }

    /// Where it is, for every process of this user.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Fills it with a file, but for so many KiB.
    pub fn fill_but(&self, kib: u64) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        loop {
            match ballast.write_all(&[1; BLOCK]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(kib * 1024)).unwrap();
    }

    /// Takes that file away.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    /// From now on, or until told otherwise, nothing on it can be changed. Nobody may have a file open to write.
    pub fn set_read_only(&mut self, read_only: bool) {
        let how = if read_only { "ro" } else { "rw" };
        let order = format!("mount -o remount,{how} {}\n", self.mount_point.path().display());
        self.orders.as_mut().unwrap().write_all(order.as_bytes()).unwrap();
        assert_eq!(self.answer(), "done", "{order}");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The end of its orders is the holder's own.
        drop(self.orders.take());
        let _ = self.holder.wait();
    }
}
