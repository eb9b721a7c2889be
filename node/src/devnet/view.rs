use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console;
use crate::wallet::table;

/// How often the nodes are told where there is no terminal to draw on.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// How much of a hash is shown: enough to tell tips apart.
const HASH_DIGITS: usize = 8;

/// What is shown of a node.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) role: &'static str,
    pub(super) pid: Option<u32>,
    /// Its mode, or what keeps it from having one.
    pub(super) state: String,
    pub(super) height: Option<u64>,
    pub(super) tip: Option<String>,
    pub(super) peers: Option<usize>,
    pub(super) pool: Option<usize>,
    pub(super) blocks_per_second: Option<f64>,
    pub(super) rpc_port: u16,
}

/// What the operator sees: a table that is drawn again and again on a terminal, lines now and then elsewhere; on stdout.
#[derive(Debug)]
pub(super) struct View {
    started: Instant,
    out: Out,
}

#[derive(Debug)]
enum Out {
    Screen { multi: MultiProgress, lines: Vec<ProgressBar> },
    Plain { said: Instant },
}

impl View {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        let out = if io::stdout().is_terminal() {
            Out::Screen { multi: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()), lines: Vec::new() }
        } else {
            Out::Plain { said: now }
        };
        Self { started: now, out }
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Something happened.
    pub(super) fn event(&self, text: &str) {
        let line = format!("{:>4} s  {}", self.seconds(), plain(text));
        match &self.out {
            // Where it cannot be written, nobody is there to be told.
            Out::Screen { multi, .. } => drop(multi.println(line)),
            Out::Plain { .. } => drop(console::print(&(line + "\n"))),
        }
    }

    /// How the nodes stand, and what else is to be said.
    pub(super) fn show(&mut self, rows: &[Row], more: &[String]) {
        match &mut self.out {
            Out::Screen { multi, lines } => {
                let seconds = self.started.elapsed().as_secs();
                let text = format!("\n{}\n{seconds} s{}", screen_table(rows), more_text(more));
                let shown: Vec<&str> = text.lines().collect();
                while lines.len() < shown.len() {
                    let line = ProgressBar::new(0).with_style(line_style());
                    lines.push(multi.add(line));
                    if lines.len() == 1 {
                        console::draw_around(lines.first().cloned());
                    }
                }
                for (at, line) in lines.iter().enumerate() {
                    line.set_message(shown.get(at).copied().unwrap_or_default().to_owned());
                }
            }
            Out::Plain { said } => {
                if said.elapsed() < PLAIN_EVERY {
                    return;
                }
                *said = Instant::now();
                let seconds = self.started.elapsed().as_secs();
                let mut text = String::new();
                for row in rows {
                    let _ = writeln!(text, "{seconds:>4} s  {}", plain(&plain_row(row)));
                }
                for line in more {
                    let _ = writeln!(text, "{seconds:>4} s  {}", plain(line));
                }
                let _ = console::print(&text);
            }
        }
    }

    /// Leaves the last table where it stands.
    pub(super) fn finish(self) {
        if let Out::Screen { lines, .. } = self.out {
            console::draw_around(None);
            for line in lines {
                line.abandon();
            }
            // The cursor is left at the end of the last line.
            let _ = console::print("\n");
        }
    }
}

/// The beginning of a hash.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(HASH_DIGITS).collect()
}

fn screen_table(rows: &[Row]) -> String {
    let heading = ["NODE", "ROLE", "PID", "MODE", "HEIGHT", "TIP", "PEERS", "POOL", "RATE", "RPC"];
    let dash = || "-".to_owned();
    table::rows(
        heading,
        rows.iter().map(|row| {
            [
                row.name.clone(),
                row.role.to_owned(),
                row.pid.map_or_else(dash, |pid| pid.to_string()),
                row.state.clone(),
                row.height.map_or_else(dash, |height| height.to_string()),
                row.tip.clone().unwrap_or_else(dash),
                row.peers.map_or_else(dash, |peers| peers.to_string()),
                row.pool.map_or_else(dash, |pool| pool.to_string()),
                row.blocks_per_second.map_or_else(dash, |rate| format!("{rate:.1}/s")),
                format!(":{}", row.rpc_port),
            ]
        }),
    )
}

fn plain_row(row: &Row) -> String {
    let mut text = format!("{} ({}", row.name, row.role);
    if let Some(pid) = row.pid {
        let _ = write!(text, ", pid {pid}");
    }
    let _ = write!(text, ") {}", row.state);
    if let Some(height) = row.height {
        let _ = write!(text, ", height {height}, tip {}", row.tip.as_deref().unwrap_or("-"));
    }
    if let (Some(peers), Some(pool)) = (row.peers, row.pool) {
        let _ = write!(text, ", {peers} peers, pool {pool}");
    }
    if let Some(rate) = row.blocks_per_second {
        let _ = write!(text, ", {rate:.1} blocks/s");
    }
    text
}

fn more_text(more: &[String]) -> String {
    more.iter().fold(String::new(), |text, line| text + "   " + &plain(line))
}

fn line_style() -> ProgressStyle {
    // Cut at the terminal's width: a line that wraps would not be found again.
    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Text that cannot steer the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_is_known_and_leaves_out_the_rest() {
        let mut row = Row { name: "node-1".into(), role: "validator", state: "joins in 7 s".into(), ..Row::default() };
        assert_eq!(plain_row(&row), "node-1 (validator) joins in 7 s");
        row.state = "SYNCED".into();
        (row.pid, row.height, row.tip) = (Some(7), Some(12), Some(short(&"ab".repeat(32))));
        (row.peers, row.pool, row.blocks_per_second) = (Some(3), Some(0), Some(1.04));
        let text = plain_row(&row);
        assert_eq!(text, "node-1 (validator, pid 7) SYNCED, height 12, tip abababab, 3 peers, pool 0, 1.0 blocks/s");
        assert!(screen_table(&[row]).contains("  abababab  "));
    }
}
