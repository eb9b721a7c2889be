//! The terminal: results on stdout, errors and the progress of long work on stderr. Nothing here panics when nobody reads.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use serde::Serialize;

use crate::CliError;

/// How often long work says how far it is where there is no terminal to draw a bar on.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(5);

/// The bar that is on the screen, which log lines must not tear.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes a result to stdout. A reader that went away early has seen what it wanted: that is no error.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::caused("cannot write to stdout", &error))
        }
        _ => Ok(()),
    }
}

/// Writes a result to stdout as one line of JSON.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), CliError> {
    let line = serde_json::to_string(value).map_err(|error| CliError::caused("cannot write JSON", &error))?;
    print(&format!("{line}\n"))
}

/// Writes the one line of an error to stderr.
pub(crate) fn print_error(error: &CliError) {
    // Where stderr is gone too, the exit code is all that is left to say.
    let _ = StderrAroundBar.write_all(format!("cpc-node: {error}\n").as_bytes());
}

/// Stderr for whole lines: takes the progress bar off the screen while it writes. A line that nobody takes, as a full disk, is lost: an
/// error would be told on stderr by the library of the log, which panics where that fails too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StderrAroundBar;

impl Write for StderrAroundBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bar = BAR.lock().map_or(None, |bar| bar.clone());
        let _ = match bar {
            Some(bar) => bar.suspend(|| io::stderr().write_all(line)),
            None => io::stderr().write_all(line),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has log lines keep clear of what this bar draws on, with all that is drawn together with it.
pub(crate) fn draw_around(bar: Option<ProgressBar>) {
    if let Ok(mut shown) = BAR.lock() {
        *shown = bar;
    }
}

/// Shows how far a long piece of work is: a bar on a terminal, a log line now and then elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    doing: &'static str,
    bar: Option<ProgressBar>,
    from: u64,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// Begins to show work that counts blocks, `from` of which were done before. `doing` names it: "syncing".
    pub(crate) fn start(doing: &'static str, from: u64) -> Self {
        let bar = io::stderr()
            .is_terminal()
            .then(|| ProgressBar::hidden().with_style(style(false)).with_prefix(doing).with_position(from));
        if let Some(bar) = &bar {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        draw_around(bar.clone());
        let now = Instant::now();
        Self { doing, bar, from, started: now, said: now }
    }

    /// `done` blocks are done of `total`, where that is known.
    pub(crate) fn set(&mut self, done: u64, total: Option<u64>) {
        let plain_line = self.bar.is_none() && self.said.elapsed() >= PLAIN_LINE_EVERY;
        if self.bar.is_none() && !plain_line {
            return;
        }
        let rate = rate(done.saturating_sub(self.from), self.started.elapsed().as_secs_f64());
        let pace = match total {
            Some(total) => format!("{rate:.0} blocks/s, {} left", eta(total.saturating_sub(done), rate)),
            None => format!("{rate:.0} blocks/s"),
        };
        if let Some(bar) = &self.bar {
            if let Some(total) = total
                && bar.length() != Some(total)
            {
                bar.set_style(style(true));
                bar.set_length(total);
            }
            bar.set_message(pace);
            bar.set_position(done);
        } else {
            self.said = Instant::now();
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            tracing::info!("{}: {done}{of} blocks, {pace}", self.doing);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        draw_around(None);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Blocks per second; 0 where no time has passed.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub(crate) fn rate(blocks: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { blocks as f64 / seconds } else { 0.0 }
}

/// How long `left` blocks take, as text.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn eta(left: u64, rate: f64) -> String {
    match Duration::try_from_secs_f64(left as f64 / rate) {
        Ok(time) => format!("{} s", time.as_secs()),
        Err(_) => "unknown time".to_owned(),
    }
}

fn style(total_known: bool) -> ProgressStyle {
    let template = if total_known {
        "{prefix} [{bar:30}] {human_pos}/{human_len} blocks, {msg}"
    } else {
        "{prefix} {spinner} {human_pos} blocks, {msg}"
    };
    ProgressStyle::with_template(template)
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_estimates_are_defined_at_zero() {
        assert_eq!(rate(10, 0.0).to_string(), "0");
        assert_eq!(eta(10, 0.0), "unknown time");
        assert_eq!(eta(0, 0.0), "unknown time");
        assert_eq!(eta(30, 10.0), "3 s");
    }
}
