//! One node of the soak: its process, its memory, and what it warns of.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::heap;
use crate::deadline::within;

/// How long an orderly end may take.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How many ids the nodes remember, in each cache of what was seen: few, so that all caches are full after the warm-up and what
/// grows after it is no cache.
const REMEMBERED: usize = 1000;

/// KiB of the store's page cache: for the same reason.
const PAGE_CACHE_KIB: u32 = 512;

/// A line of a log that an operator would look at.
#[derive(Debug, Clone)]
pub struct Warning {
    /// Which node wrote it, from 0 on.
    pub node: usize,
    /// When it was read.
    pub at: Instant,
    /// Its text.
    pub text: String,
}

/// The memory of one process over its life.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// When, from its start, and resident KiB.
    pub samples: Vec<(Duration, u64)>,
    /// When, and bytes that it has allocated, as it told us.
    pub heap: Vec<(Duration, u64)>,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its number, from 0 on.
    pub number: usize,
    /// Where it listens for peers.
    pub listen: SocketAddr,
    /// The port of its RPC.
    pub rpc_port: u16,
    /// Its processes' memory, the last one's last.
    pub lives: Vec<Life>,
    /// Ends that should not have been.
    pub faults: Vec<String>,
    datadir: PathBuf,
    /// Bytes that it is to lose each second.
    leak: u64,
    peers: String,
    child: Option<(Child, Instant)>,
    warnings: Arc<Mutex<Vec<Warning>>>,
}

impl Node {
    /// A node that does not run yet. It listens on a loopback address of its own, so that what others guess from its
    /// connections leads nowhere, and all come through the proxies at `peers`.
    pub fn new(
        number: usize,
        ports: (u16, u16),
        datadir: PathBuf,
        peers: &[u16],
        leak: u64,
        warnings: Arc<Mutex<Vec<Warning>>>,
    ) -> Self {
        let peers: Vec<String> = peers.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Self {
            number,
            listen: listen_address(number, ports.0),
            rpc_port: ports.1,
            lives: Vec::new(),
            faults: Vec::new(),
            datadir,
            leak,
            peers: peers.join(","),
            child: None,
            warnings,
        }
    }

    /// Starts its process: this very program as a node.
    pub fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.datadir.join("node.log")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("node").arg("--datadir").arg(&self.datadir);
        command.args(["run", "--until-stdin-closes", "--port", &self.rpc_port.to_string(), "--peers", &self.peers]);
        command.args(["--listen", &format!("tcp+postcard://{}", self.listen)]);
        command.args(["--remember", &REMEMBERED.to_string(), "--page-cache", &PAGE_CACHE_KIB.to_string()]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CPC_")) {
            command.env_remove(name);
        }
        command.env(heap::FILE, self.heap_file(self.lives.len())).env(heap::LEAK, self.leak.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C is for us alone: the nodes end when their standard input does.
        command.process_group(0);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        tokio::spawn(follow(lines, log, self.number, Arc::clone(&self.warnings)));
        self.child = Some((child, Instant::now()));
        self.lives.push(Life::default());
    }

    /// Reads what its processes have told of what they allocated.
    pub fn read_heap(&mut self) {
        for number in 0..self.lives.len() {
            self.lives[number].heap = heap::told(&self.heap_file(number));
        }
    }

    fn heap_file(&self, life: usize) -> PathBuf {
        self.datadir.join(format!("heap-{}.txt", life + 1))
    }

    /// Sends a signal by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().and_then(|(child, _)| child.id());
        if let Some(pid) = pid {
            let status = std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
            assert!(status.success(), "kill {name} {pid}");
        }
    }

    /// Kills its process.
    pub async fn kill(&mut self) {
        if let Some((mut child, _)) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Stops its process in order.
    pub async fn stop(&mut self) {
        let Some((mut child, _)) = self.child.take() else { return };
        // The end of its input is its sign to stop; `wait` closes it.
        let status = within(ENDS_WITHIN, &format!("the end of node-{}", self.number + 1), child.wait()).await.unwrap();
        if !status.success() {
            self.faults.push(format!("node-{} was stopped and ended with {status}", self.number + 1));
        }
    }

    /// Notes its memory, and whether it ended by itself.
    pub fn look_after(&mut self) {
        let Some((child, started)) = &mut self.child else { return };
        if let Ok(Some(status)) = child.try_wait() {
            self.faults.push(format!("node-{} ended by itself with {status}", self.number + 1));
            self.child = None;
            return;
        }
        let status = child.id().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let rss = status.as_deref().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        });
        if let (Some(rss), Some(life)) = (rss, self.lives.last_mut()) {
            life.samples.push((started.elapsed(), rss));
        }
    }
}

/// Where a node listens: on an address of 127.0.0.0/8 that no other one has.
pub fn listen_address(number: usize, port: u16) -> SocketAddr {
    let last = 11 + u8::try_from(number).unwrap();
    (Ipv4Addr::new(127, 0, 0, last), port).into()
}

/// Keeps a log, and sets aside what an operator would look at.
async fn follow<R>(mut lines: R, mut log: File, node: usize, warnings: Arc<Mutex<Vec<Warning>>>)
where
    R: tokio::io::AsyncBufRead + Unpin,
{
    use std::io::Write as _;
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let _ = log.write_all(&line);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        // What is no line of the log is a panic.
        if !text.contains(" INFO ") {
            warnings.lock().unwrap().push(Warning { node, at: Instant::now(), text });
        }
    }
}
