//! Ctrl-C and SIGTERM, and what a limit on the sizes of files sends.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::sync::watch;

use crate::CliError;

/// How long an orderly shutdown may take. What is committed is durable before, so that giving up loses nothing.
pub(crate) const SHUTDOWN_WITHIN: Duration = Duration::from_secs(5);

/// The exit code of a process that a second Ctrl-C ended, as shells count: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Tells whether the operator wants the program to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Begins to listen for signals. The first asks for an orderly end; a second one, or five seconds, end the process.
    pub(crate) fn listen() -> Result<Self, CliError> {
        Self::listen_or(std::future::pending(), SHUTDOWN_WITHIN)
    }

    /// The same, where `reason` is one to stop too, and an orderly end may take `within`.
    pub(crate) fn listen_or(
        reason: impl Future<Output = ()> + Send + 'static,
        within: Duration,
    ) -> Result<Self, CliError> {
        let mut signals = Signals::new().map_err(|error| CliError::caused("cannot listen for signals", &error))?;
        let (wanted, stop) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                () = signals.next() => tracing::info!("stopping (once more stops at once)"),
                () = reason => {}
            }
            wanted.send_replace(true);
            tokio::select! {
                () = signals.next() => std::process::exit(INTERRUPTED),
                () = tokio::time::sleep(within) => {
                    tracing::error!("did not stop within {} s: ending at once", within.as_secs());
                    std::process::exit(1);
                }
            }
        });
        Ok(Self(stop))
    }

    /// Nobody will ask to stop.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self(watch::channel(false).1)
    }

    /// Whether it is time to stop.
    pub(crate) fn is_wanted(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is time to stop. Cancel-safe.
    pub(crate) async fn wanted(&mut self) {
        // The sender lives in a task that never ends before the process does.
        if self.0.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Has a write beyond the limit on the sizes of files (`ulimit -f`) fail, as it does on a full disk, instead of ending the process.
pub(crate) fn outlive_file_limits() -> Result<(), CliError> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // What is installed lasts as long as the process: nobody need listen.
        let install = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            let _inside = runtime.enter();
            signal(SignalKind::from_raw(libc::SIGXFSZ)).map(drop)
        };
        install().map_err(|error: io::Error| CliError::caused("cannot listen for signals", &error))?;
    }
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
