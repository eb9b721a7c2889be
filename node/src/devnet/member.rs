use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::child::{self, Child};
use super::client::{Client, Look};
use super::ports::Reserved;
use super::view::{Row, short};
use crate::datadir::Datadir;

/// How often a node is asked how it stands.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a node that ended stays down: long enough to be seen.
pub(super) const RESTART_AFTER: Duration = Duration::from_secs(3);

/// The longest wait for a node that ends again and again.
const LONGEST_RESTART: Duration = Duration::from_secs(60);

/// A node that ran as long ended for a new reason.
const STEADY: Duration = Duration::from_secs(30);

/// Over which time the rate of blocks is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// One node of the devnet.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) datadir: Datadir,
    pub(super) is_validator: bool,
    /// `LINK://127.0.0.1:PORT`
    pub(super) address: String,
    pub(super) rpc_port: u16,
    pub(super) state: State,
    /// Its ports, until it takes them.
    pub(super) reserved: Vec<Reserved>,
    log: PathBuf,
    looks: Option<Looks>,
    heights: VecDeque<(Instant, u64)>,
    restart_after: Duration,
}

/// Whether a node runs.
#[derive(Debug)]
pub(super) enum State {
    /// It has not run yet, and begins then.
    Waits(Instant),
    /// It runs.
    Runs { child: Child, since: Instant },
    /// It ended, and begins again then, or not at all.
    Down { why: String, again: Option<Instant> },
}

/// Asks a node for as long as this exists.
#[derive(Debug)]
struct Looks {
    last: watch::Receiver<Option<Arc<Look>>>,
    task: JoinHandle<()>,
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Member {
    pub(super) fn new(
        name: String,
        datadir: Datadir,
        address: String,
        log: PathBuf,
        reserved: [Reserved; 2],
        starts: Instant,
    ) -> Self {
        let is_validator = datadir.validator_key_file().exists();
        let rpc_port = reserved[1].port;
        Self {
            name,
            datadir,
            is_validator,
            address,
            rpc_port,
            state: State::Waits(starts),
            reserved: reserved.into(),
            log,
            looks: None,
            heights: VecDeque::new(),
            restart_after: RESTART_AFTER,
        }
    }

    /// Whether it was started yet.
    pub(super) fn has_joined(&self) -> bool {
        !matches!(self.state, State::Waits(_))
    }

    /// Whether it does not run, but is to be started some time.
    pub(super) fn is_to_run(&self) -> bool {
        matches!(self.state, State::Waits(_) | State::Down { again: Some(_), .. })
    }

    /// Whether it is time to start it.
    pub(super) fn is_due(&self) -> bool {
        match &self.state {
            State::Waits(at) | State::Down { again: Some(at), .. } => *at <= Instant::now(),
            _ => false,
        }
    }

    /// Starts its process; tells what happened.
    pub(super) fn start(&mut self, args: &[String]) -> String {
        let again = self.has_joined();
        self.reserved.clear();
        match Child::start(args, &self.log) {
            Ok(child) => {
                let told = format!(
                    "{} {}, pid {}, RPC http://127.0.0.1:{}",
                    self.name,
                    if again { "is started again" } else { "starts" },
                    child.pid(),
                    self.rpc_port
                );
                self.state = State::Runs { child, since: Instant::now() };
                self.looks = Some(Looks::begin(self.rpc_port));
                told
            }
            Err(error) => {
                let why = format!("cannot be started: {error}");
                self.state = State::Down { why: why.clone(), again: Some(Instant::now() + LONGEST_RESTART) };
                format!("{} {why}", self.name)
            }
        }
    }

    /// Notices where its process has ended; tells what happened.
    pub(super) fn look_after(&mut self, restarts: bool) -> Option<String> {
        let State::Runs { child, since } = &mut self.state else { return None };
        let status = child.ended()?;
        let why = child::told(status);
        self.restart_after = match since.elapsed() {
            ran if ran > STEADY => RESTART_AFTER,
            // One that a signal ended has no fault of its own.
            _ if status.code().is_none() => RESTART_AFTER,
            _ => (self.restart_after * 2).min(LONGEST_RESTART),
        };
        let again = restarts.then(|| Instant::now() + self.restart_after);
        let last_words = status.code().and_then(|_| child::last_line(&self.log));
        let mut told = format!("{} was {why}", self.name).replace("was ended", "ended");
        if let Some(line) = last_words {
            told.push_str(": ");
            told.push_str(&line);
        }
        self.state = State::Down { why, again };
        self.looks = None;
        self.heights.clear();
        Some(told)
    }

    /// How it stood when it was last asked; `None` where it does not say.
    pub(super) fn last_look(&self) -> Option<Arc<Look>> {
        self.looks.as_ref()?.last.borrow().clone()
    }

    /// What is shown of it.
    pub(super) fn row(&mut self) -> Row {
        let look = self.last_look();
        let mut row = Row {
            name: self.name.clone(),
            role: if self.is_validator { "validator" } else { "follower" },
            rpc_port: self.rpc_port,
            ..Row::default()
        };
        let until = |at: &Instant| at.saturating_duration_since(Instant::now()).as_secs() + 1;
        row.state = match &self.state {
            State::Waits(at) => format!("joins in {} s", until(at)),
            State::Down { again: Some(at), .. } => format!("down, back in {} s", until(at)),
            State::Down { why, again: None } => format!("down ({why})"),
            State::Runs { child, .. } => {
                row.pid = Some(child.pid());
                match &look {
                    None => "no answer".to_owned(),
                    Some(look) => match look.target.filter(|_| look.mode == "SYNCING") {
                        Some(target) => format!("{} to {target}", look.mode),
                        None => look.mode.clone(),
                    },
                }
            }
        };
        if let Some(look) = look {
            (row.peers, row.pool) = (Some(look.peers), Some(look.pool));
            row.height = look.height;
            row.tip = look.height.map(|_| short(&look.tip.to_string()));
            row.blocks_per_second = self.rate(look.height);
        }
        row
    }

    /// Blocks a second, over the last while.
    fn rate(&mut self, height: Option<u64>) -> Option<f64> {
        let now = Instant::now();
        self.heights.push_back((now, height.map_or(0, |height| height + 1)));
        while self.heights.front().is_some_and(|(at, _)| now - *at > RATE_WINDOW) {
            self.heights.pop_front();
        }
        let (first, last) = (self.heights.front()?, self.heights.back()?);
        let seconds = (last.0 - first.0).as_secs_f64();
        (seconds >= 1.0).then(|| crate::console::rate(last.1.saturating_sub(first.1), seconds))
    }
}

impl Looks {
    fn begin(port: u16) -> Self {
        let (looked, last) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut client = Client::new(port);
            loop {
                looked.send_replace(client.look().await.map(Arc::new));
                sleep(LOOK_EVERY).await;
            }
        });
        Self { last, task }
    }
}
