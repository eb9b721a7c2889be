//! The node as a process: started, watched, signalled, and killed at the end.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Debug, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::deadline::{until, within};

mod limited;

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

/// A command line of the node.
#[derive(Debug, Clone)]
pub struct Call {
    binary: PathBuf,
    args: Vec<OsString>,
    stdin: Option<Vec<u8>>,
    env: Vec<(String, OsString)>,
}

impl Call {
    /// The bare binary.
    pub fn new(binary: &str) -> Self {
        Self { binary: binary.into(), args: Vec::new(), stdin: None, env: Vec::new() }
    }

    /// The binary with `--datadir DIR`.
    pub fn at(binary: &str, datadir: &Path) -> Self {
        Self::new(binary).arg("--datadir").arg(datadir)
    }

    /// `sync` with these peers, listening on a free port of 127.0.0.1.
    pub fn sync<S: AsRef<str>>(binary: &str, datadir: &Path, peers: &[S]) -> Self {
        let peers: Vec<&str> = peers.iter().map(AsRef::as_ref).collect();
        let call = Self::at(binary, datadir).args(["sync", "--p2p-host", "127.0.0.1", "--p2p-port"]);
        let call = call.arg(free_port().to_string());
        if peers.is_empty() { call } else { call.arg("--peers").arg(peers.join(",")) }
    }

    /// `sync` over one link, such as `quic+postcard`, with these peers.
    pub fn sync_over(binary: &str, datadir: &Path, link: &str, peers: &[&str]) -> Self {
        let (transport, codec) = link.split_once('+').unwrap();
        Self::at(binary, datadir)
            .args(["sync", "--transport", transport, "--codec", codec, "--peers"])
            .arg(peers.join(","))
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What the process reads on its standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Runs it to its end, within [`PATIENCE`].
    pub async fn output(self) -> Output {
        self.output_within(PATIENCE).await
    }

    /// Runs it to its end, within `limit`.
    pub async fn output_within(self, limit: Duration) -> Output {
        let mut process = self.start();
        process.exit(limit).await
    }

    /// Starts it.
    pub fn start(mut self) -> Process {
        let mut command = Command::new(&self.binary);
        command.args(&self.args).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CPC_") {
                command.env_remove(name);
            }
        }
        command.env_remove("RUST_LOG").envs(self.env.drain(..));
        let mut child = command.spawn().unwrap();
        if let (Some(bytes), Some(mut stdin)) = (self.stdin.take(), child.stdin.take()) {
            // The process may end before it has read everything: that is its right.
            tokio::spawn(async move { stdin.write_all(&bytes).await.ok() });
        }
        let log = Log::default();
        let readers = vec![
            log.follow(Stream::Out, child.stdout.take().unwrap()),
            log.follow(Stream::Err, child.stderr.take().unwrap()),
        ];
        let shown = self.args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Process {
            pid: child.id().unwrap(),
            child,
            log,
            readers,
            shown,
            started: Instant::now(),
            p2p_port: None,
            rpc_port: None,
            links: Vec::new(),
        }
    }
}

/// A process that ran to its end.
#[derive(Clone)]
pub struct Output {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    shown: String,
}

impl Output {
    /// Itself, having ended with `code`.
    ///
    /// # Panics
    /// It ended otherwise.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code; {self:?}");
        self
    }

    /// The last line of standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON on stdout ({error}); {self:?}"))
    }

    /// Whether standard error has one of these words, in any case.
    pub fn says_any(&self, words: &[&str]) -> bool {
        let text = self.stderr.to_lowercase();
        words.iter().any(|word| text.contains(&word.to_lowercase()))
    }
}

impl Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, stdout, stderr, took, shown } = self;
        write!(f, "`{shown}` ended with {code:?} after {took:?}\n-- stdout --\n{stdout}\n-- stderr --\n{stderr}")
    }
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

    /// Memory in use, in KiB; none once it ended.
    pub fn rss_kib(&self) -> Option<u64> {
        self.status_field("VmRSS:")
    }

    /// The most memory it ever used, in KiB; none once it ended.
    pub fn peak_rss_kib(&self) -> Option<u64> {
        self.status_field("VmHWM:")
    }

    /// Processor time used so far, in seconds, until it was waited for.
    pub fn cpu_seconds(&self) -> Option<f64> {
        /// Linux counts process times in hundredths of a second for user space, on every architecture.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let (user, system): (u32, u32) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
        Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
    }

    fn status_field(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(field))?.trim().strip_suffix(" kB")?.parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- end of the log of `{}` ----\n{}", self.shown, self.log.tail(TAIL));
        }
    }
}

/// A port on which nobody listens, outside the range that the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(97);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + u16::try_from((start.wrapping_add(u32::from(step))) % u32::from(COUNT)).unwrap();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// Whether somebody listens on `port`, over TCP or UDP, by the kernel's tables, so that nobody has to connect to find out.
fn is_listening(port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    // The states of a listening TCP socket and of a UDP socket that is not connected.
    let tables = [("/proc/net/tcp", "0A"), ("/proc/net/tcp6", "0A"), ("/proc/net/udp", "07"), ("/proc/net/udp6", "07")];
    tables.into_iter().filter_map(|(file, state)| Some((std::fs::read_to_string(file).ok()?, state))).any(
        |(table, wanted)| {
            table.lines().skip(1).any(|line| {
                let mut fields = line.split_whitespace().skip(1);
                let (local, state) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
                local.ends_with(&suffix) && state == wanted
            })
        },
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

#[derive(Debug)]
struct Line {
    stream: Stream,
    at: Instant,
    text: String,
}

#[derive(Debug, Clone)]
struct Log {
    lines: Arc<Mutex<Vec<Line>>>,
    count: watch::Sender<usize>,
    start: Instant,
}

impl Default for Log {
    fn default() -> Self {
        Self { lines: Arc::default(), count: watch::Sender::new(0), start: Instant::now() }
    }
}

impl Log {
    fn follow(&self, stream: Stream, from: impl AsyncRead + Send + Unpin + 'static) -> JoinHandle<()> {
        let log = self.clone();
        tokio::spawn(async move {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                line.clear();
                let total = {
                    let mut lines = log.lines.lock().unwrap();
                    lines.push(Line { stream, at: Instant::now(), text });
                    lines.len()
                };
                log.count.send_replace(total);
            }
        })
    }

    fn text(&self, stream: Stream) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.stream == stream).flat_map(|line| [line.text.as_str(), "\n"]).collect()
    }

    fn tail(&self, count: usize) -> String {
        let lines = self.lines.lock().unwrap();
        let shown = lines.iter().skip(lines.len().saturating_sub(count));
        let mut text = String::new();
        for Line { stream, at, text: line } in shown {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:8.3} {stream:?} {line}", (*at - self.start).as_secs_f64());
        }
        text
    }
}
