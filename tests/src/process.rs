//! The node as a process: started, watched, signalled, and killed at the end.

use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::process::Child;
use tokio::task::JoinHandle;

use self::log::{Log, Stream};
use self::ports::is_listening;
use crate::deadline::{until, within};

pub use self::call::{Call, Output};
pub use self::ports::free_port;

mod call;
mod limited;
mod log;
mod ports;
mod usage;

/// How long any command may take that has no deadline of its own.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How many of the last lines a failed test shows.
const TAIL: usize = 60;

/// A signal, by the name that `kill` knows.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// End in order.
    Term,
    /// Ctrl-C.
    Int,
    /// End at once.
    Kill,
    /// Freeze.
    Stop,
    /// Go on.
    Cont,
}

/// A running node. Dropped, it is killed; and if the test is failing, the end of its log is shown.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: u32,
    log: Log,
    readers: Vec<JoinHandle<()>>,
    shown: String,
    started: Instant,
    p2p_port: Option<u16>,
    rpc_port: Option<u16>,
    /// Each link that [`Process::run_over`] chose, with its port.
    links: Vec<(String, u16)>,
}

impl Process {
    /// Starts `run` on `datadir`, listening on a free port of 127.0.0.1, and waits until it listens.
    pub async fn run(binary: &str, datadir: &Path, more: &[&str]) -> Self {
        Self::run_as(binary, datadir, more, |call| call).await
    }

    /// Starts [`Process::run`] in another way, such as [`Call::with_files_up_to`].
    pub async fn run_as(binary: &str, datadir: &Path, more: &[&str], way: impl FnOnce(Call) -> Call) -> Self {
        let (port, rpc_port) = (free_port(), free_port());
        let call = Call::at(binary, datadir)
            .args(["run", "--p2p-host", "127.0.0.1", "--p2p-port", &port.to_string()])
            .args(["--port", &rpc_port.to_string()])
            .args(more);
        let mut node = way(call).start();
        (node.p2p_port, node.rpc_port) = (Some(port), Some(rpc_port));
        node.listening(port).await;
        node.listening(rpc_port).await;
        node
    }

    /// Starts `run` on `datadir`, listening on a free port of 127.0.0.1 for each of these links, and waits until it does.
    pub async fn run_over(binary: &str, datadir: &Path, links: &[&str], more: &[&str]) -> Self {
        let links: Vec<(String, u16)> = links.iter().map(|link| ((*link).to_owned(), free_port())).collect();
        Self::run_at(binary, datadir, links, more).await
    }

    /// Starts `run` on `datadir`, listening on these links and ports of 127.0.0.1, and waits until it does.
    pub async fn run_at(binary: &str, datadir: &Path, links: Vec<(String, u16)>, more: &[&str]) -> Self {
        let rpc_port = free_port();
        let mut call = Call::at(binary, datadir).args(["run", "--port", &rpc_port.to_string()]).args(more);
        for (link, port) in &links {
            call = call.args(["--listen", &format!("{link}://127.0.0.1:{port}")]);
        }
        let mut node = call.start();
        for (_, port) in &links {
            node.listening(*port).await;
        }
        node.listening(rpc_port).await;
        node.rpc_port = Some(rpc_port);
        node.p2p_port = links.first().map(|(_, port)| *port);
        node.links = links;
        node
    }

    /// The port of a link that [`Process::run_over`] chose.
    pub fn port_of(&self, link: &str) -> u16 {
        self.links.iter().find(|(name, _)| name == link).expect("it listens on this link").1
    }

    /// The links, with their ports.
    pub fn links(&self) -> Vec<(String, u16)> {
        self.links.clone()
    }

    /// Starts [`Process::run`] with these peers.
    pub async fn run_with_peers<S: AsRef<str>>(binary: &str, datadir: &Path, peers: &[S]) -> Self {
        let peers: Vec<&str> = peers.iter().map(AsRef::as_ref).collect();
        Self::run(binary, datadir, &["--peers", &peers.join(",")]).await
    }

    /// The port that [`Process::run`] chose.
    pub fn port(&self) -> u16 {
        self.p2p_port.expect("started by `Process::run`")
    }

    /// The port of its RPC, as [`Process::run`] or [`Process::run_at`] chose it.
    pub fn rpc_port(&self) -> u16 {
        self.rpc_port.expect("started by `Process::run` or `Process::run_at`")
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Waits until this process listens on `port`.
    pub async fn listening(&mut self, port: u16) {
        let (log, child) = (self.log.clone(), &mut self.child);
        until(PATIENCE, &format!("a listener on port {port}"), async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("ended with {status} before it listened:\n{}", log.tail(TAIL));
            }
            is_listening(port).then_some(())
        })
        .await;
    }

    /// Waits for a line, on either stream, that has `needle` in it (in any case); the lines of the past count.
    pub async fn line(&self, needle: &str, limit: Duration) -> String {
        self.line_where(&format!("a line with `{needle}`"), limit, |line| {
            line.to_lowercase().contains(&needle.to_lowercase())
        })
        .await
    }

    /// Waits for a line, on either stream, that fits; the lines of the past count.
    pub async fn line_where(&self, what: &str, limit: Duration, fits: impl Fn(&str) -> bool) -> String {
        let mut count = self.log.count.subscribe();
        within(limit, what, async {
            let mut seen = 0;
            loop {
                let total = *count.borrow_and_update();
                for line in &self.log.lines.lock().unwrap()[seen..total] {
                    if fits(&line.text) {
                        return line.text.clone();
                    }
                }
                seen = total;
                if count.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await
    }

    /// Everything written so far on standard error.
    pub fn stderr(&self) -> String {
        self.log.text(Stream::Err)
    }

    /// Everything written so far on standard output.
    pub fn stdout(&self) -> String {
        self.log.text(Stream::Out)
    }

    /// Waits for its end.
    pub async fn exit(&mut self, limit: Duration) -> Output {
        let status: ExitStatus =
            within(limit, &format!("the end of `{}`", self.shown), self.child.wait()).await.unwrap();
        let took = self.started.elapsed();
        for reader in self.readers.drain(..) {
            within(PATIENCE, "the end of its output", reader).await.unwrap();
        }
        Output {
            code: status.code(),
            stdout: self.log.text(Stream::Out),
            stderr: self.log.text(Stream::Err),
            took,
            shown: self.shown.clone(),
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Term => "-TERM",
            Signal::Int => "-INT",
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Cont => "-CONT",
        };
        let status = std::process::Command::new("kill").args([name, &self.pid.to_string()]).status().unwrap();
        assert!(status.success(), "kill {name} {}", self.pid);
    }

    /// SIGTERM, and its end within five seconds, with exit code 0.
    pub async fn stop(mut self) -> Output {
        self.signal(Signal::Term);
        self.exit(Duration::from_secs(5)).await.expect_code(0)
    }

    /// SIGKILL, and its end.
    pub async fn kill(mut self) -> Output {
        // Not by way of another process, which would take its time.
        self.child.start_kill().unwrap();
        self.exit(PATIENCE).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- end of the log of `{}` ----\n{}", self.shown, self.log.tail(TAIL));
        }
    }
}
