//! A command line of the node, and what comes of running it to its end.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::log::{Log, Stream};
use super::{PATIENCE, Process, free_port};

/// A command line of the node.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) binary: PathBuf,
    pub(super) args: Vec<OsString>,
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
    pub(super) shown: String,
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
