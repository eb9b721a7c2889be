//! What a node's process has allocated, told by itself: resident memory also has what the allocator keeps for later, and so
//! cannot show a leak of some bytes a block.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The file that a node tells it in. Without it, nothing is told.
pub const FILE: &str = "SOAK_HEAP";

/// Bytes that a node loses each second, to see that they are found.
pub const LEAK: &str = "SOAK_LEAK";

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The least of so many looks is told: what is there between one piece of work and the next.
const LOOKS: u32 = 20;

/// Tells, from now on and once a second, what `allocated` gives, if the environment names a file for it.
pub fn tell(allocated: fn() -> usize) {
    let Some(path) = std::env::var_os(FILE) else { return };
    let leak: usize = std::env::var(LEAK).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let start = Instant::now();
    std::thread::spawn(move || {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        let mut line = String::with_capacity(64);
        loop {
            let mut least = usize::MAX;
            for _ in 0..LOOKS {
                std::thread::sleep(LOOK_EVERY);
                least = least.min(allocated());
            }
            std::mem::forget(vec![1u8; leak]);
            line.clear();
            let _ = writeln!(line, "{} {least}", start.elapsed().as_millis());
            let _ = file.write_all(line.as_bytes());
        }
    });
}

/// What a process has told: when, from its start, and bytes.
pub fn told(path: &Path) -> Vec<(Duration, u64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (at, bytes) = line.split_once(' ')?;
        Some((Duration::from_millis(at.parse().ok()?), bytes.parse().ok()?))
    };
    text.lines().map_while(line).collect()
}
