use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};

use crate::CliError;
use crate::parent::HOLD;

/// How much of a log's end is looked at for its last line.
const TAIL_BYTES: u64 = 4096;

/// What a node's process writes, in its datadir.
pub(super) const LOG_FILE: &str = "node.log";

/// The log of the run before.
const OLD_LOG_FILE: &str = "node.log.old";

/// A node's process. It ends when this is dropped, or the whole program is gone: its standard input closes then.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
}

impl Child {
    /// Starts this very program with these arguments; its output goes to the end of `log`.
    pub(super) fn start(args: &[String], log: &Path) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = process::Command::new(std::env::current_exe()?);
        command.args(args).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        // What is meant for the devnet is not meant for each of its nodes.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CPC_")) {
            command.env_remove(name);
        }
        // A Ctrl-C on the terminal goes to its whole group; the nodes are to wait until they are told.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().map(|process| Self { process })
    }

    /// Its number in the system.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Tells it to propose no more blocks.
    pub(super) fn hold(&mut self) {
        if let Some(stdin) = &mut self.process.stdin {
            // A few bytes, which always fit the pipe. Where it is gone, there is nothing to hold.
            let _ = stdin.write_all(format!("{HOLD}\n").as_bytes());
        }
    }

    /// Tells it to stop.
    pub(super) fn stop(&mut self) {
        self.process.stdin = None;
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}

/// How a process ended, in words.
pub(super) fn told(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("killed by signal {signal}");
    }
    status.code().map_or_else(|| status.to_string(), |code| format!("ended with code {code}"))
}

/// Begins a new log, and keeps the one before.
pub(super) fn new_log(datadir: &Path) -> Result<PathBuf, CliError> {
    let log = datadir.join(LOG_FILE);
    match fs::rename(&log, datadir.join(OLD_LOG_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CliError::file("move", &log, &error)),
        _ => Ok(log),
    }
}

/// The last line of a log, if there is one.
pub(super) fn last_line(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).collect())
}
