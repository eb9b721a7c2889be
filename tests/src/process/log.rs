//! What a process writes, line by line.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

#[derive(Debug)]
pub(super) struct Line {
    stream: Stream,
    at: Instant,
    pub(super) text: String,
}

#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) lines: Arc<Mutex<Vec<Line>>>,
    pub(super) count: watch::Sender<usize>,
    start: Instant,
}

impl Default for Log {
    fn default() -> Self {
        Self { lines: Arc::default(), count: watch::Sender::new(0), start: Instant::now() }
    }
}

impl Log {
    pub(super) fn follow(&self, stream: Stream, from: impl AsyncRead + Send + Unpin + 'static) -> JoinHandle<()> {
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

    pub(super) fn text(&self, stream: Stream) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.stream == stream).flat_map(|line| [line.text.as_str(), "\n"]).collect()
    }

    pub(super) fn tail(&self, count: usize) -> String {
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
